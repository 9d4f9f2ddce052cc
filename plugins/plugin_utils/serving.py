# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM section of a plan: which build, and for each instance its environment, options, devices and unit."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import memory, mirror, models, nodes, rootless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import Catalog, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils.planner import Host

VENVS = "/opt/vllm"
UNIT_FILES = {
    "venv": "/etc/systemd/system/vllm-{}.service",
    "quadlet": "/etc/containers/systemd/vllm-{}.container",
    "podman": "/etc/systemd/system/vllm-{}.service",
}
# For the engines to end, once vLLM waited for the last requests (--shutdown-timeout).
STOP_SECONDS = 60
NO_VENVS: dict[str, t.Any] = {"current": None, "previous": None, "remove": [], "change": False}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("*", "")
VISIBLE = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
TAG = re.compile(r"(:[\w.-]+)?(@.*)?$")
INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


class Build(t.NamedTuple):
    """What is installed or pulled: one release of vLLM for one accelerator."""

    accelerator: str
    version: str
    variant: str
    image: str
    image_digest: str
    packages: list[str]
    pip_arguments: str
    python: str
    venv: str
    uv: str
    known: dict[str, t.Any]
    source: str | None


def candidates(wants: dict[str, t.Any], catalog: Catalog) -> dict[str, Build | None]:
    """The build of each accelerator that the wants lead to, ``None`` where the catalog has no such release."""
    return {accelerator: _build(accelerator, wants, catalog) for accelerator in ("rocm", "cpu")}


def _build(accelerator: str, wants: dict[str, t.Any], catalog: Catalog) -> Build | None:
    if accelerator == "cpu":
        builds = catalog.vllm["cpu_versions"]
        version = wants["vllm_version"] or max(builds, key=version_key)
        release, variant = builds.get(version, {}), "cpu"
        known = release or None
    else:
        version = wants["vllm_version"] or catalog.vllm["default_version"]
        release = catalog.vllm["versions"].get(version, {})
        variant = wants["vllm_variant"] or release.get("default_variant", "")
        known = release.get("variants", {}).get(variant)
    if known is None:
        return None
    # Environments that an inventory puts together differently are different environments.
    own = [wants[name] for name in ("vllm_packages", "vllm_pip_arguments", "vllm_python")]
    suffix = f"-{hashlib.sha256(repr(own).encode()).hexdigest()[:8]}" if any(own) else ""
    return Build(
        accelerator=accelerator,
        version=version,
        variant=variant,
        image=wants["vllm_image"] or mirror.image(wants, known.get("image") or ""),
        image_digest=wants["vllm_image_digest"] or (not wants["vllm_image"] and known.get("digest")) or "",
        packages=wants["vllm_packages"] or [known["pin"]],
        pip_arguments=mirror.pip_arguments(wants, wants["vllm_pip_arguments"], known.get("index_url") or ""),
        python=wants["vllm_python"] or f"python{known['python']}",
        venv=f"{VENVS}/{version}-{variant}{suffix}",
        uv=wants["vllm_uv"] or f"{VENVS}/uv-{catalog.vllm['install']['installer']['version']}/bin/uv",
        known=known,
        source=release.get("source"),
    )


def questions(wants: dict[str, t.Any], catalog: Catalog) -> dict[str, t.Any]:
    """What ``rocm_facts`` must look up on the host before the plan can be made."""
    builds = [build for build in candidates(wants, catalog).values() if build]
    instances = wants["vllm_instances"]
    several = [instance for instance in instances if instance["nodes"]]
    ports = {instance["port"] for instance in instances}
    ports.update(port for instance in several for port in nodes.ports(nodes.master_port(wants, instance)))
    return {
        "ports": sorted(ports),
        "paths": models.questions(wants, catalog),
        "images": sorted({build.image for build in builds if build.image}) if instances else [],
        "search_paths": [*sorted({build.venv for build in builds}), models.client(catalog)] if instances else [],
        "user": wants["vllm_user"] if instances else "",
        "network": bool(several),
    }


def section(host: Host) -> dict[str, t.Any]:
    """The section ``vllm`` of the plan."""
    wants = host.wants
    nothing: dict[str, t.Any] = {"instances": [], "state": wants["vllm_state"], "version": None, "stale": [], "venvs": NO_VENVS}
    if wants["vllm_state"] == "absent":
        there = host.rocm["venvs"]
        remove = [*there["found"], *there["uv"], *(link for link in ("current", "previous") if there[link])]
        return {**nothing, "stale": host.rocm["vllm_units"], "venvs": {**NO_VENVS, "remove": remove, "change": bool(remove)}}
    if not wants["vllm_instances"]:
        return nothing
    accelerator = wants["vllm_accelerator"]
    if accelerator == "auto":
        accelerator = "rocm" if host.gpus else "cpu"
    build = candidates(wants, host.catalog)[accelerator]
    if build is None:
        return {**nothing, **_unknown_build(host, accelerator)}
    if accelerator == "rocm":
        prebuilt = host.catalog.vllm["versions"][build.version]["prebuilt_gfx"]
        own = wants["vllm_image"] or wants["vllm_packages"]
        if not host.gpus:
            host.findings.add("gpu.none", "vllm_accelerator rocm", "a GPU that ROCm supports", severity="fail")
        elif host.gfx not in prebuilt and not own:
            host.findings.add("vllm.prebuilt", host.gfx, "a prebuilt one", known=", ".join(prebuilt), gfx=host.gfx)
    kind = _kind(host, build)
    if kind != "venv" and not build.image:
        host.findings.add("vllm.image", f"vllm_kind {kind}", f"an image of vLLM for {build.accelerator}")
    host.note(
        "vllm",
        "version",
        f"{build.version} ({build.variant})",
        "asked for" if wants["vllm_version"] else "default of the catalog",
        INVENTORY if wants["vllm_version"] else build.source,
    )
    instances = []
    used: dict[tuple[int, int], str] = {}
    names: set[str] = set()
    ports: dict[int, str] = {}
    for wanted in wants["vllm_instances"]:
        together = nodes.of_instance(host, wanted)
        _check_place(host, wanted, names, ports, together)
        instances.append(_instance(host, build, kind, wanted, used, together))
    podman = host.rocm["podman"]
    open_store = podman.get("open_store") if kind != "venv" and host.rocm["user"] is None else None
    if open_store:
        reason = "its database keeps the environment of every container, keys among it; systemd-tmpfiles makes it for everybody to read"
        host.note("vllm", f"mode of {open_store}", "0700", reason, "Debian 13 /usr/lib/tmpfiles.d/podman.conf")
    rootless.check(host, kind, accelerator, instances)
    environment = host.rocm["environments"].get(build.venv, {})
    return {
        "state": wants["vllm_state"],
        "accelerator": accelerator,
        "kind": kind,
        "container": kind != "venv",
        "open_store": open_store,
        # Who runs the containers, where it is not root.
        "user": host.rocm["user"],
        # The Podman whose keys the units may hold.
        "quadlet": podman["quadlet"] if kind == "quadlet" else None,
        "podman_version": podman["version"],
        "version": build.version,
        "variant": build.variant,
        "image": build.image,
        "image_digest": build.image_digest,
        # By digest a registry cannot give another image than the one that is meant, and no tag moves before it is there.
        "image_pull": f"{TAG.sub('', build.image)}@{build.image_digest}" if build.image_digest else build.image,
        # Podman tells no size before a pull. What the wheels take is the least that an image of them can; of an own image nothing is known.
        "image_gib": (not wants["vllm_image"] and build.known.get("disk_gib")) or 0,
        "image_present": build.image in podman["images"]
        and (not build.image_digest or build.image_digest in podman["image_digests"][build.image]),
        "image_archive": wants["vllm_image_archive"],
        "venv": build.venv,
        "venv_present": bool(environment.get("vllm") and environment["checked"]),
        "venvs": _venvs(host, build) if kind == "venv" else NO_VENVS,
        "uv": build.uv,
        "uv_packages": [] if wants["vllm_uv"] else ["{name}=={version}".format(**host.catalog.vllm["install"]["installer"])],
        "uv_pip_arguments": mirror.pip_arguments(wants, wants["vllm_pip_arguments"]),
        "packages": build.packages,
        "pip_arguments": build.pip_arguments,
        "python": build.python,
        "start_timeout": wants["vllm_start_timeout"],
        "check_interval": wants["vllm_check_interval"],
        # Their names: the values are nobody's business.
        "secret_variables": _secret_variables(host, build),
        "instances": instances,
        # Instances that are not wanted any more hold GPUs and ports. Where none is wanted at all, nothing is taken away.
        "stale": [path for path in host.rocm["vllm_units"] if path not in {instance["unit_file"] for instance in instances}],
    }


def _venvs(host: Host, build: Build) -> dict[str, t.Any]:
    """What the links name once this build serves: it, and what served before it, to return to. Older environments go."""
    there, current = host.rocm["venvs"], build.venv.rpartition("/")[2]
    previous = there["previous"] if there["current"] in (current, None) else there["current"]
    previous = previous if previous in there["found"] else None
    kept = (current, previous, *build.uv.split("/"))
    remove = [name for name in (*there["found"], *there["uv"]) if name not in kept]
    return {"current": current, "previous": previous, "remove": remove, "change": there["current"] != current or bool(remove)}


def _unknown_build(host: Host, accelerator: str) -> dict[str, t.Any]:
    wants, vllm = host.wants, host.catalog.vllm
    releases = vllm["cpu_versions"] if accelerator == "cpu" else vllm["versions"]
    version = wants["vllm_version"] or vllm["default_version"]
    if version not in releases:
        known = ", ".join(sorted(releases, key=version_key, reverse=True))
        host.findings.add("vllm.version", f"{version} for {accelerator}", "a release of the catalog", known=known)
    else:
        known = ", ".join(releases[version]["variants"])
        host.findings.add("vllm.variant", wants["vllm_variant"], f"a build of {version}", known=known)
    return {"accelerator": accelerator}


def _kind(host: Host, build: Build) -> str:
    podman, want = host.rocm["podman"], host.wants["vllm_kind"]
    if want == "quadlet" and not podman["quadlet"]:
        host.findings.add("vllm.quadlet", f"Podman {podman['version'] or 'not installed'}", "Podman 4.4 or later")
    if (want == "podman" or (want == "auto" and host.wants["vllm_user"])) and not podman["version"]:
        host.findings.add("vllm.podman", "Podman not installed", "Podman")
    if want != "auto":
        host.note("vllm", "kind", want, "asked for", INVENTORY)
        return want
    if host.wants["vllm_user"]:
        host.note("vllm", "kind", "podman", "a service of the system can run Podman as another user; units of Quadlet there are root's")
        return "podman"
    if podman["quadlet"] and build.image:
        host.note("vllm", "kind", "quadlet", f"Podman {podman['version']} generates units", "podman-systemd.unit(5)")
        return "quadlet"
    if podman["version"] and build.image:
        host.note("vllm", "kind", "podman", f"Podman {podman['version']} generates no units: a service around podman run")
        return "podman"
    reason = "there is no Podman here" if build.image else f"there is no image of vLLM for {build.accelerator}"
    host.note("vllm", "kind", "venv", reason)
    return "venv"


def _check_place(host: Host, wanted: dict[str, t.Any], names: set[str], ports: dict[int, str], together: nodes.Nodes | None) -> None:
    """Name, address and port, held against the host and the other instances."""
    name = wanted["name"]
    if name in names or not INSTANCE_NAME.fullmatch(name):
        host.findings.add("vllm.name", name, "a name of its own")
    names.add(name)
    if _everywhere(wanted["host"]):
        host.findings.add("vllm.address", wanted["host"] or "an empty host", "one address", instance=name)
    # Requests go to the first host, and there the others report.
    for port in [] if together and together.worker else [wanted["port"], *(together.ports if together else ())]:
        _check_port(host, name, port, ports)


def _check_port(host: Host, name: str, port: int, ports: dict[int, str]) -> None:
    holder = host.rocm["ports"].get(str(port), {})
    own = (f"vllm-{name}.service", f"amdgpu-lifeline-{name}.service")
    if port in ports:
        host.findings.add("vllm.port", f"{port}, twice", "one instance a port", instance=name, holder=ports[port])
    elif not 0 < port < 65536:
        host.findings.add("vllm.port", port, "1 to 65535", instance=name, holder="nothing")
    elif holder.get("listening") and holder.get("unit") not in own:
        process = holder.get("unit") or holder.get("process") or "the program that listens on it"
        host.findings.add("vllm.port", f"{port} held by {process}", "a free port", instance=name, holder=process)
    ports[port] = f"vllm-{name}.service"


def _everywhere(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        # "0" and "0.0" are 0.0.0.0 for the C library.
        return address in EVERYWHERE or not address.strip("0.")


class Devices(t.NamedTuple):
    """What one instance computes on: GPUs, and of each of them the partitions (of a GPU in SPX: number 0)."""

    gpus: list[dict[str, t.Any]]
    partitions: dict[int, list[int]]

    @property
    def number(self) -> int:
        return sum(len(partitions) for partitions in self.partitions.values())


NO_DEVICES = Devices([], {})


def _chosen(host: Host, wanted: dict[str, t.Any], used: dict[tuple[int, int], str]) -> Devices:
    by_index = {gpu["index"]: gpu for gpu in host.gpus}
    name = wanted["name"]
    missing = [index for index in wanted["gpus"] if index not in by_index]
    if missing:
        listed = {gpu["index"] for gpu in host.gpu_facts["gpus"]}
        seen = ", ".join(str(index) for index in missing)
        why = "ROCm does not support this GPU" if set(missing) <= listed else "the host has no GPU of this index"
        known = ", ".join(str(index) for index in by_index) or "nothing (the host has no supported GPU)"
        host.findings.add("vllm.gpus", f"GPU {seen}", f"{known}", why=why, instance=name, known=known)
    pairs = []
    for index in dict.fromkeys(wanted["gpus"] or by_index):
        there = memory.devices_of(host, by_index[index]) if index in by_index else 0
        absent = [number for number in wanted["partitions"] if not 0 <= number < there]
        if absent and there:
            seen = f"partition {', '.join(map(str, absent))} of GPU {index}"
            host.findings.add("vllm.partitions", seen, f"0 to {there - 1}" if there > 1 else "0, the whole GPU", instance=name)
        pairs += [(index, number) for number in dict.fromkeys(wanted["partitions"] or range(there)) if 0 <= number < there]
    at, count = wanted["share"]
    each, rest = divmod(len(pairs), count)
    if pairs and (rest or not each):
        if at == 0:
            host.findings.add(
                "vllm.count", f"{len(pairs)} devices for {count} servers", "as many for each", instance=name.removesuffix("-0")
            )
        pairs = []
    pairs = pairs[at * each : (at + 1) * each]
    # One finding for a GPU, however many of its partitions are claimed twice.
    for index, other in dict.fromkeys((index, used[index, number]) for index, number in pairs if (index, number) in used):
        twice = [number for number in range(memory.devices_of(host, by_index[index])) if used.get((index, number)) == other]
        twice = [number for number in twice if (index, number) in pairs]
        whole = len(twice) == memory.devices_of(host, by_index[index])
        what = f"GPU {index}" if whole else f"partition {', '.join(map(str, twice))} of GPU {index}"
        host.findings.add("vllm.overlap", f"{what} for {other} and {name}", "one instance a GPU or partition")
    used.update(dict.fromkeys(pairs, name))
    gpus = [by_index[index] for index in dict.fromkeys(index for index, _number in pairs)]
    return Devices(gpus, {gpu["index"]: [number for index, number in pairs if index == gpu["index"]] for gpu in gpus})


def _render_nodes(host: Host, devices: Devices) -> list[str]:
    """The nodes of the partitions. Before the mode is set there are others: the plan is made again with those that it shows then."""
    nodes: list[str] = []
    for gpu in devices.gpus:
        shown = gpu["render_nodes"]
        apart = len(shown) == memory.devices_of(host, gpu)
        nodes += [shown[number] for number in devices.partitions[gpu["index"]]] if apart else shown
    return nodes


def _numa(host: Host, wanted: dict[str, t.Any], gpus: list[dict[str, t.Any]]) -> dict[str, t.Any] | None:
    """The node whose CPUs and memory an instance uses, ``None`` where nothing is to be gained or the kernel shall choose."""
    known, asked = host.rocm["numa_nodes"], wanted["numa"]
    if asked == "none":
        return None
    if asked != "auto":
        if asked not in known:
            seen, there = f"node {asked} for {wanted['name']}", ", ".join(known) or "none that has CPUs"
            host.findings.add("vllm.numa", seen, f"a node of the host: {there}", instance=wanted["name"])
            return None
        host.note("vllm", f"{wanted['name']} numa", f"node {asked}: CPUs {known[asked]}", "asked for", INVENTORY)
        return {"node": int(asked), "cpus": known[asked]}
    nodes = {str(gpu["numa_node"]) for gpu in gpus}
    if len(known) < 2 or len(nodes) != 1 or not nodes <= set(known):
        return None
    node = nodes.pop()
    reason = "its GPUs are attached to this node; CPUs and memory of another one are reached through the link between the sockets"
    host.note("vllm", f"{wanted['name']} numa", f"node {node}: CPUs {known[node]}", reason, "numa_node of the GPUs in sysfs")
    return {"node": int(node), "cpus": known[node]}


def _check_visible(host: Host, wanted: dict[str, t.Any], environment: dict[str, str], devices: Devices) -> None:
    """The unit shows an instance its own devices only, and ROCm counts those it sees: from 0."""
    for name in VISIBLE:
        numbers = [int(number) for number in re.findall(r"[0-9]+", environment.get(name, ""))]
        if devices.number and any(number >= devices.number for number in numbers):
            why = "the unit gives the instance its own devices alone, and ROCm counts what it sees"
            remedy = f"Remove {name} from the environment of the instance {wanted['name']}; gpus and partitions say which devices it has"
            seen = f"{name}={environment[name]} for {wanted['name']}"
            host.findings.add("vllm.visible", seen, f"numbers below {devices.number}", why=why, remedy=remedy)


def _instance(
    host: Host,
    build: Build,
    kind: str,
    wanted: dict[str, t.Any],
    used: dict[tuple[int, int], str],
    together: nodes.Nodes | None,
) -> dict[str, t.Any]:
    rocm = build.accelerator == "rocm"
    devices = _chosen(host, wanted, used) if rocm or wanted["gpus"] else NO_DEVICES
    if not rocm:
        devices = NO_DEVICES
    profile = host.profile if rocm else host.catalog.profile("cpu") or {}
    serving = profile.get("serving", {})
    environment = _environment(host, build, kind, serving, wanted, devices.number, together)
    options = _options(host, build, kind, serving, wanted, devices, together)
    _refusals(host, build, serving, options, environment, wanted)
    if rocm:
        _check_quantization(host, build, options, wanted)
        _check_visible(host, wanted, environment, devices)
    staged = host.wants["model_tiktoken_directory"]
    read_only = [*models.folders(host, wanted["path"]), *([staged] if staged and staged in environment.values() else [])]
    groups = [host.rocm["groups"][name] for name in ("video", "render") if host.rocm["groups"][name] is not None]
    worker, loopback = bool(together and together.worker), wanted["host"] in LOOPBACK
    there = devices.number * (len(together.hosts) if together else 1)
    # A colon separates address and port in a URL and in Podman, and Podman takes numbers only.
    address = f"[{wanted['host']}]" if ":" in wanted["host"] else wanted["host"]
    return {
        "name": wanted["name"],
        "unit": f"vllm-{wanted['name']}.service",
        "unit_file": UNIT_FILES[kind].format(wanted["name"]),
        "model": read_only[0],
        # What the server reads of the host's files, besides its configuration.
        "read_only": read_only,
        "served_name": str(options.get("served-model-name") or wanted["path"]),
        "host": wanted["host"],
        "port": wanted["port"],
        "address": "127.0.0.1" if wanted["host"] == "localhost" else address,
        # A worker is asked for at the first host, where that can be reached.
        "url": "" if worker and loopback else f"http://{address}:{wanted['port']}",
        "exposed": not worker and not loopback,
        "worker": worker,
        "nodes": {**together._asdict(), "last": together.last, "lifeline": together.ports[1]} if together else None,
        "environment": environment,
        "options": options,
        "memory": memory.of_instance(host, rocm, build.version, wanted, options, environment, devices.gpus, there),
        "gpus": [gpu["index"] for gpu in devices.gpus],
        "numa": _numa(host, wanted, devices.gpus),
        "devices": ["/dev/kfd", *(f"/dev/dri/{node}" for node in _render_nodes(host, devices))] if devices.number else [],
        "groups": groups if rocm else [],
        "rocm": rocm,
        # Reaps what dies; Podman refuses to start the container where it has none.
        "init": host.rocm["podman"]["init"],
        "stop_timeout": _shutdown_timeout(options) + STOP_SECONDS,
        "shm_size": "64g" if there > 1 else "8g",
    }


def _shutdown_timeout(options: dict[str, t.Any]) -> int:
    value = str(options.get("shutdown-timeout", 0))
    return int(value) if value.isdecimal() else 0


def _environment(
    host: Host, build: Build, kind: str, serving: dict[str, t.Any], wanted: dict[str, t.Any], devices: int, together: nodes.Nodes | None
) -> dict[str, str]:
    parts = [serving.get("environment", {})]
    if kind == "venv":
        parts.append(serving.get("environment_bare_metal", {}))
    if devices > 1 or together:
        parts.append(serving.get("environment_multi_gpu", {}))
    environment: dict[str, str] = {}
    for part in parts:
        for name, entry in part.items():
            if not _build_matches(build, entry.get("when", {})):
                continue
            environment[name] = str(entry["value"])
            host.note("vllm", f"{wanted['name']} environment", f"{name}={entry['value']}", entry["reason"], entry["source"])
    needed, staged = models.tokenizer_files(host, wanted["path"]), host.wants["model_tiktoken_directory"]
    if needed and staged:
        environment[needed["variable"]] = staged
        host.note("vllm", f"{wanted['name']} environment", f"{needed['variable']}={staged}", needed["reason"], needed["source"])
    if together:
        environment |= nodes.environment(host, wanted, together, build.accelerator == "rocm")
    for name, value in {**host.wants["vllm_environment"], **wanted["environment"]}.items():
        if value is None:
            environment.pop(name, None)
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        environment[name] = text
        _check_variable(host, build, name)
        host.note("vllm", f"{wanted['name']} environment", f"{name}={text}", "asked for", INVENTORY)
    return environment


def _secret_variables(host: Host, build: Build) -> list[str]:
    names = [name for name, value in host.wants["vllm_secret_environment"].items() if value is not None]
    for name in names:
        _check_variable(host, build, name)
        host.note("vllm", "secret environment", name, "asked for", INVENTORY)
    return names


def _check_variable(host: Host, build: Build, name: str) -> None:
    """A ``VLLM_*`` name must be one that this release reads; other names only if the catalog does not forbid them."""
    vllm = host.catalog.vllm
    other = vllm["other_environment"].get(name, {})
    if other.get("advice") == "never":
        remedy = f"Remove {name}. {other['meaning'].rstrip('.')}"
        host.findings.add("vllm.environment", name, "a variable with an effect", severity="warn", remedy=remedy)
    entry = vllm["environment"].get(name, {})
    if not name.startswith("VLLM_"):
        return
    first, last = entry.get("first"), entry.get("last")
    if not entry and name in vllm["known_environment"]:
        first, last = vllm["known_environment"][name]
    elif not entry:
        remedy = f"Remove {name}, or correct its name"
        host.findings.add("vllm.environment", f"{name} with vLLM {build.version}", "a variable it reads", remedy=remedy)
        return
    version = version_key(build.version)
    if first and version < version_key(str(first)):
        remedy = f"Remove {name}: it came with vLLM {first}"
    elif last and version > version_key(str(last)):
        remedy = f"Use {entry['replacement']} instead" if entry.get("replacement") else f"Remove {name}: {last} was the last to read it"
    else:
        return
    host.findings.add("vllm.environment", f"{name} with vLLM {build.version}", "a variable it reads", remedy=remedy)


def _options(
    host: Host, build: Build, kind: str, serving: dict[str, t.Any], wanted: dict[str, t.Any], devices: Devices, together: nodes.Nodes | None
) -> dict[str, t.Any]:
    """The options of ``vllm serve`` as its ``--config`` file takes them.

    A ``false`` in that file is dropped in silence (vLLM 0.31 to 0.33), so it is written as ``no-<option>: true``; a
    ``null`` would become the text "None", so it takes the option away.
    """
    options: dict[str, t.Any] = {
        "served-model-name": wanted["served_name"] or wanted["model"].rstrip("/").rpartition("/")[2],
        # In a container every address is that of the container; Podman publishes the port on the address asked for.
        "host": "0.0.0.0" if kind != "venv" and not together else wanted["host"],  # noqa: S104
        "port": wanted["port"],
    }
    # A host in CPX has dozens of devices: over all of them a model is spread only where somebody chose them.
    whole = len(devices.gpus) if all(gpu["partitions"] <= 1 for gpu in devices.gpus) else 1
    width = devices.number if wanted["partitions"] or wanted["share"][1] > 1 else whole
    if together:
        options |= nodes.options(host, wanted, together, devices.number)
    elif width > 1:
        options["tensor-parallel-size"] = width
        host.note("vllm", f"{wanted['name']} option", f"tensor-parallel-size={width}", "one model over all its GPUs or partitions")
    for name, entry in serving.get("options", {}).items():
        if _excepted(host, entry.get("unless", {}), wanted):
            continue
        options[name] = entry["value"]
        host.note("vllm", f"{wanted['name']} option", f"{name}={entry['value']}", entry["reason"], entry["source"])
    for name, value in {**host.wants["vllm_options"], **wanted["options"]}.items():
        options[name] = value
        _check_option(host, build, name)
        host.note("vllm", f"{wanted['name']} option", f"{name}={value}", "asked for", INVENTORY)
    if together:
        nodes.check_split(host, wanted, together, options)
    rendered: dict[str, t.Any] = {}
    for name, value in options.items():
        if value is False:
            rendered[name[3:] if name.startswith("no-") else f"no-{name}"] = True
        elif value is not None:
            rendered[name] = _json(host, wanted, name, value)
    return rendered


def _json(host: Host, wanted: dict[str, t.Any], name: str, value: t.Any) -> t.Any:
    """A value as vLLM's file takes it: it makes JSON of a mapping, but of a list repeated values, which not every option takes."""
    rules = host.catalog.vllm["config_file"]
    strict = name in rules["json"]
    if isinstance(value, list) and strict:
        return json.dumps(value)
    text = value.lstrip() if isinstance(value, str) else ""
    if isinstance(value, str) and (strict or (name in rules["json_or_word"] and text[:1] in ("{", "["))):
        try:
            json.loads(text)
        except ValueError as error:
            seen = f"--{name} {value} ({error})"
            host.findings.add("vllm.json", seen, "JSON", option=name, instance=wanted["name"])
    return value


def _excepted(host: Host, unless: dict[str, t.Any], wanted: dict[str, t.Any]) -> bool:
    """Whether the model is one that an option of the profile is not for. Nothing is known of a model before it is fetched."""
    model = host.rocm["paths"].get(wanted["path"], {})
    quantization = wanted["options"].get("quantization") or model.get("quantization")
    return model.get("model_type") in unless.get("model_types", []) or quantization in unless.get("quantization", [])


def _check_option(host: Host, build: Build, name: str) -> None:
    vllm = host.catalog.vllm
    base = name[3:] if name.startswith("no-") else name
    removed = vllm["options"].get(name) or vllm["options"].get(base)
    if removed and removed.get("last") and version_key(build.version) > version_key(str(removed["last"])):
        replacement = removed.get("replacement")
        remedy = f"Use {replacement} instead" if replacement else f"Remove {name}: {removed['last']} was the last to know it"
    elif base in vllm["known_options"] or name in vllm["known_options"] or removed:
        return
    else:
        remedy = f"Remove {name}, or correct its name"
    host.findings.add("vllm.option", f"--{name} with vLLM {build.version}", "an option it knows", remedy=remedy)


def _refusals(
    host: Host,
    build: Build,
    serving: dict[str, t.Any],
    options: dict[str, t.Any],
    environment: dict[str, str],
    wanted: dict[str, t.Any],
) -> None:
    for rule in serving.get("refuse", []):
        condition = rule["when"]
        values = options if "option" in condition else environment
        name = condition.get("option") or condition["environment"]
        value = values.get(name)
        if value is not None and _refused(condition, value) and _build_matches(build, condition):
            host.findings.add(
                "vllm.refused",
                f"{name}={value} on {host.gfx}",
                "a value that works there",
                severity=rule["severity"],
                why=rule["reason"].rstrip("."),
                remedy=f"Change {name} of the instance {wanted['name']}",
            )


def _check_quantization(host: Host, build: Build, options: dict[str, t.Any], wanted: dict[str, t.Any]) -> None:
    """What the weights are quantized with, held against the release and the GPU. Options are refused by the profile."""
    there, given, known = host.rocm["paths"].get(wanted["path"], {}), wanted["model_config"], host.catalog.vllm["quantization"]
    method = options.get("quantization") or (_model.quantization(given) if given else there.get("quantization"))
    scales = _model.fp8_scales(given) if given else there.get("fp8_scales")
    removed, newest = known["removed"].get(method), host.catalog.vllm["default_version"]
    remedy = f"Take the model of the instance {wanted['name']} in another quantization, for example AWQ or GPTQ"
    if removed and version_key(build.version) > version_key(removed["last"]):
        why = f"vLLM {removed['last']} was the last to load it on ROCm"
        remedy = f"Take the model in another quantization: {removed['replacement']}"
        host.findings.add("vllm.quantization", method, "one that this release loads", why=why, remedy=remedy)
        return
    if method and not removed and method not in known["supported"]:
        # What older releases load is known of those only that lost something since.
        severity = "warn" if version_key(build.version) < version_key(newest) else "fail"
        why = f"vLLM {newest} loads {', '.join(known['supported'])} on ROCm"
        host.findings.add("vllm.quantization", method, "one that vLLM loads", severity=severity, why=why, remedy=remedy)
        return
    if "quantization" in options:
        return
    name = f"fp8_per_{scales}" if scales else str(method)
    support = known["by_gfx"].get(host.gfx, {})
    works, first = support.get(name), support.get(f"{name}_first")
    if works == "yes" and first and version_key(build.version) < version_key(first):
        works = "no"
    if works in ("no", "slow"):
        why = f"vLLM {build.version} has no kernels for it there" if works == "no" else "it runs without kernels of its own, slowly"
        host.findings.add(
            "vllm.quantization",
            f"weights in {name} on {host.gfx}",
            "a quantization with kernels for this GPU",
            severity="fail" if works == "no" else "warn",
            why=why,
            remedy=remedy,
        )


def _refused(condition: dict[str, t.Any], value: t.Any) -> bool:
    if "above" in condition:
        return isinstance(value, int) and value > condition["above"]
    if "in" in condition:
        return str(value).lower() in [str(entry).lower() for entry in condition["in"]]
    if "equals" in condition:
        return str(value).lower() == str(condition["equals"]).lower()
    return bool(condition.get("present"))


def _build_matches(build: Build, condition: dict[str, t.Any]) -> bool:
    """Limits on the releases of vLLM and of the ROCm it carries: ``*_at_least`` and ``*_below``."""
    for name, version in (("vllm", build.version), ("rocm", str(build.known.get("rocm", "0")))):
        least, below = condition.get(f"{name}_at_least"), condition.get(f"{name}_below")
        if least and version_key(version) < version_key(least):
            return False
        if below and version_key(version) >= version_key(below):
            return False
    return True
