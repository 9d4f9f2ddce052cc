# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM section of a plan: which build, and for each instance its environment, options, devices and
unit."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import mirror, rootless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import model as models
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import (
    builds,
    environment,
    memory,
    nodes,
    options,
    refusals,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.builds import Build
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

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
# The first Podman that generates units.
QUADLET = "4.4"
# Where it keeps images and containers unless it is told otherwise.
STORE = "/var/lib/containers/storage"
INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


def questions(wants: dict[str, t.Any], catalog: Catalog) -> dict[str, t.Any]:
    """What ``rocm_facts`` must look up on the host before the plan can be made."""
    known = [build for build in builds.candidates(wants, catalog).values() if build]
    instances = wants["serve_instances"]
    named = [
        path
        for instance in instances
        for path in options.paths(catalog, {**wants["vllm_options"], **instance["options"]})
    ]
    several = [instance for instance in instances if instance["nodes"]]
    ports = {instance["port"] for instance in instances}
    ports.update(port for instance in several for port in nodes.ports(nodes.master_port(wants, instance)))
    return {
        "ports": sorted(ports),
        "paths": sorted({*models.questions(wants, catalog), *named}),
        "images": sorted({build.image for build in known if build.image}) if instances else [],
        "search_paths": [*sorted({build.venv for build in known}), models.client(catalog)]
        if instances
        else [],
        "programs": sorted({build.python for build in known}) if instances else [],
        "user": wants["serve_user"] if instances else "",
        "network": bool(several),
    }


def section(host: Host) -> dict[str, t.Any]:
    """The section ``vllm`` of the plan."""
    wants = host.wants
    state = {"state": wants["serve_state"], "purge": False}
    nothing: dict[str, t.Any] = {**state, "instances": [], "version": None, "stale": [], "venvs": NO_VENVS}
    if wants["serve_state"] == "absent":
        there = host.rocm["venvs"]
        remove = [*there["found"], *there["uv"], *(link for link in ("current", "previous") if there[link])]
        return {
            **nothing,
            "stale": host.rocm["serve_units"],
            "venvs": {**NO_VENVS, "remove": remove, "change": bool(remove)},
            # What is left of it otherwise: keys that clients have, and what took long to download and to
            # compile.
            "purge": wants["serve_purge"],
        }
    if not wants["serve_instances"]:
        return nothing
    accelerator = wants["serve_accelerator"]
    if accelerator == "auto":
        accelerator = "rocm" if host.gpus else "cpu"
    build = builds.candidates(wants, host.catalog)[accelerator]
    if build is None:
        builds.unknown(host, accelerator)
        return {**nothing, "accelerator": accelerator}
    if accelerator == "rocm" and not host.gpus:
        host.findings.add("gpu.none", "serve_accelerator rocm", "a GPU that ROCm supports", severity="fail")
    packages = _with_podman(host, build)
    kind = _kind(host, build)
    builds.check_host(host, build, kind)
    if kind != "venv" and not build.image:
        host.findings.add("serve.image", f"serve_kind {kind}", f"an image of vLLM for {build.accelerator}")
    builds.note(host, build)
    instances = []
    used: dict[tuple[int, int], str] = {}
    names: set[str] = set()
    ports: dict[int, str] = {}
    for wanted in wants["serve_instances"]:
        together = nodes.of_instance(host, wanted)
        _check_place(host, wanted, names, ports, together)
        instances.append(_instance(host, build, kind, wanted, used, together))
    podman = host.rocm["podman"]
    open_store = podman.get("open_store") if kind != "venv" and host.rocm["user"] is None else None
    if open_store:
        reason = "its database keeps the environment of every container, keys among it; systemd-tmpfiles makes it for everybody to read"
        host.note(
            "serve", f"mode of {open_store}", "0700", reason, "Debian 13 /usr/lib/tmpfiles.d/podman.conf"
        )
    rootless.check(host, kind, accelerator, instances)
    installed = host.rocm["environments"].get(build.venv, {})
    return {
        "state": wants["serve_state"],
        "purge": False,
        "accelerator": accelerator,
        "kind": kind,
        "container": kind != "venv",
        "open_store": open_store,
        # Who runs the containers, where it is not root.
        "user": host.rocm["user"],
        # The Podman whose keys the units may hold.
        "quadlet": podman["quadlet"] if kind == "quadlet" else None,
        "podman_version": podman["version"],
        "podman_packages": packages,
        "version": build.version,
        "variant": build.variant,
        "image": build.image,
        "image_digest": build.image_digest,
        # Under which name an archive has it, and what a registry is asked for.
        "image_source": build.image_source,
        "image_pull": builds.pull_name(build),
        # Podman tells no size before a pull. What the wheels take is the least that an image of them can; of
        # an own image nothing is known.
        "image_gib": (not wants["vllm_image"] and build.known.get("disk_gib")) or 0,
        "image_present": build.image in podman["images"]
        and (not build.image_digest or build.image_digest in podman["image_digests"][build.image]),
        "image_archive": wants["vllm_image_archive"],
        "venv": build.venv,
        # Of packages that an inventory names itself nothing is known.
        "venv_gib": (not wants["vllm_packages"] and build.known.get("disk_gib")) or 0,
        "venv_present": bool(installed.get("vllm") and installed["checked"]),
        "venvs": builds.venvs(host, build) if kind == "venv" else NO_VENVS,
        "uv": build.uv,
        "uv_packages": []
        if wants["vllm_uv"]
        else ["{name}=={version}".format(**host.catalog.vllm["install"]["installer"])],
        "uv_pip_arguments": mirror.pip_arguments(wants, wants["vllm_pip_arguments"]),
        "packages": build.packages,
        "pip_arguments": build.pip_arguments,
        "python": build.python,
        "start_timeout": wants["serve_start_timeout"],
        "check_interval": wants["serve_check_interval"],
        "secret_variables": environment.secret_variables(host, build),
        "instances": instances,
        # Instances that are not wanted any more hold GPUs and ports. Where none is wanted at all, nothing is
        # taken away.
        "stale": [
            path
            for path in host.rocm["serve_units"]
            if path not in {instance["unit_file"] for instance in instances}
        ],
    }


def _with_podman(host: Host, build: Build) -> list[str]:
    """The packages of Podman, where a container is wanted or nothing else would do and the distribution has
    some.

    The facts of the host then say what it will have, so that the plan needs no second look.
    """
    want, known = host.wants["serve_kind"], (host.distribution or {}).get("podman")
    # What an account needs besides is a matter of the account.
    if (
        host.rocm["podman"]["version"]
        or want == "venv"
        or host.wants["serve_user"]
        or not (known and build.image)
    ):
        return []
    quadlet = version_key(known["version"]) >= version_key(QUADLET)
    if (want == "quadlet" and not quadlet) or (want == "auto" and not any(builds.misfits(host, build))):
        return []
    release = ".".join(known["version"].split(".")[:2])
    planned = {
        "version": known["version"],
        "init": True,
        "quadlet": release if quadlet else None,
        "open_store": STORE,
    }
    host.rocm = {**host.rocm, "podman": {**host.rocm["podman"], **planned}}
    host.note("serve", "packages", " ".join(known["packages"]), "containers need them", known["source"])
    return known["packages"]


def _kind(host: Host, build: Build) -> str:
    podman, want = host.rocm["podman"], host.wants["serve_kind"]
    if want == "quadlet" and not podman["quadlet"]:
        host.findings.add(
            "serve.quadlet", f"Podman {podman['version'] or 'not installed'}", f"Podman {QUADLET} or later"
        )
    if (want == "podman" or (want == "auto" and host.wants["serve_user"])) and not podman["version"]:
        host.findings.add("serve.podman", "Podman not installed", "Podman")
    if want != "auto":
        host.note("serve", "kind", want, "asked for", INVENTORY)
        return want
    if host.wants["serve_user"]:
        host.note(
            "serve",
            "kind",
            "podman",
            "a service of the system can run Podman as another user; units of Quadlet there are root's",
        )
        return "podman"
    if podman["quadlet"] and build.image:
        host.note(
            "serve",
            "kind",
            "quadlet",
            f"Podman {podman['version']} generates units",
            "podman-systemd.unit(5)",
        )
        return "quadlet"
    if podman["version"] and build.image:
        host.note(
            "serve",
            "kind",
            "podman",
            f"Podman {podman['version']} generates no units: a service around podman run",
        )
        return "podman"
    reason = (
        "there is no Podman here" if build.image else f"there is no image of vLLM for {build.accelerator}"
    )
    host.note("serve", "kind", "venv", reason)
    return "venv"


def _check_place(
    host: Host, wanted: dict[str, t.Any], names: set[str], ports: dict[int, str], together: nodes.Nodes | None
) -> None:
    """Name, address and port, held against the host and the other instances."""
    name = wanted["name"]
    if name in names or not INSTANCE_NAME.fullmatch(name):
        host.findings.add("serve.name", name, "a name of its own")
    names.add(name)
    if _everywhere(wanted["host"]):
        host.findings.add("serve.address", wanted["host"] or "an empty host", "one address", instance=name)
    # Requests go to the first host, and there the others report.
    for port in (
        [] if together and together.worker else [wanted["port"], *(together.ports if together else ())]
    ):
        _check_port(host, name, port, ports)


def _check_port(host: Host, name: str, port: int, ports: dict[int, str]) -> None:
    holder = host.rocm["ports"].get(str(port), {})
    own = (f"vllm-{name}.service", f"amdgpu-lifeline-{name}.service")
    if port in ports:
        host.findings.add(
            "serve.port", f"{port}, twice", "one instance a port", instance=name, holder=ports[port]
        )
    elif not 0 < port < 65536:
        host.findings.add("serve.port", port, "1 to 65535", instance=name, holder="nothing")
    elif holder.get("listening") and holder.get("unit") not in own:
        process = holder.get("unit") or holder.get("process") or "the program that listens on it"
        host.findings.add(
            "serve.port", f"{port} held by {process}", "a free port", instance=name, holder=process
        )
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
        why = (
            "ROCm does not support this GPU"
            if set(missing) <= listed
            else "the host has no GPU of this index"
        )
        known = ", ".join(str(index) for index in by_index) or "nothing (the host has no supported GPU)"
        host.findings.add("serve.gpus", f"GPU {seen}", f"{known}", why=why, instance=name, known=known)
    pairs = []
    for index in dict.fromkeys(wanted["gpus"] or by_index):
        there = memory.devices_of(host, by_index[index]) if index in by_index else 0
        absent = [number for number in wanted["partitions"] if not 0 <= number < there]
        if absent and there:
            seen = f"partition {', '.join(map(str, absent))} of GPU {index}"
            host.findings.add(
                "serve.partitions",
                seen,
                f"0 to {there - 1}" if there > 1 else "0, the whole GPU",
                instance=name,
            )
        pairs += [
            (index, number)
            for number in dict.fromkeys(wanted["partitions"] or range(there))
            if 0 <= number < there
        ]
    at, count = wanted["share"]
    each, rest = divmod(len(pairs), count)
    if pairs and (rest or not each):
        if at == 0:
            host.findings.add(
                "serve.count",
                f"{len(pairs)} devices for {count} servers",
                "as many for each",
                instance=name.removesuffix("-0"),
            )
        pairs = []
    pairs = pairs[at * each : (at + 1) * each]
    # One finding for a GPU, however many of its partitions are claimed twice.
    for index, other in dict.fromkeys(
        (index, used[index, number]) for index, number in pairs if (index, number) in used
    ):
        twice = [
            number
            for number in range(memory.devices_of(host, by_index[index]))
            if used.get((index, number)) == other
        ]
        twice = [number for number in twice if (index, number) in pairs]
        whole = len(twice) == memory.devices_of(host, by_index[index])
        what = f"GPU {index}" if whole else f"partition {', '.join(map(str, twice))} of GPU {index}"
        host.findings.add(
            "serve.overlap", f"{what} for {other} and {name}", "one instance a GPU or partition"
        )
    used.update(dict.fromkeys(pairs, name))
    gpus = [by_index[index] for index in dict.fromkeys(index for index, _number in pairs)]
    return Devices(
        gpus, {gpu["index"]: [number for index, number in pairs if index == gpu["index"]] for gpu in gpus}
    )


def _render_nodes(host: Host, devices: Devices) -> list[str]:
    """The nodes of the partitions. Before the mode is set there are others: the plan is made again with those
    that it shows then."""
    nodes: list[str] = []
    for gpu in devices.gpus:
        shown = gpu["render_nodes"]
        apart = len(shown) == memory.devices_of(host, gpu)
        nodes += [shown[number] for number in devices.partitions[gpu["index"]]] if apart else shown
    return nodes


def _numa(host: Host, wanted: dict[str, t.Any], gpus: list[dict[str, t.Any]]) -> dict[str, t.Any] | None:
    """The node whose CPUs and memory an instance uses, ``None`` where nothing is to be gained or the kernel
    shall choose."""
    known, asked = host.rocm["numa_nodes"], wanted["numa"]
    if asked == "none":
        return None
    if asked != "auto":
        if asked not in known:
            seen, there = f"node {asked} for {wanted['name']}", ", ".join(known) or "none that has CPUs"
            host.findings.add("serve.numa", seen, f"a node of the host: {there}", instance=wanted["name"])
            return None
        host.note(
            "serve", f"{wanted['name']} numa", f"node {asked}: CPUs {known[asked]}", "asked for", INVENTORY
        )
        return {"node": int(asked), "cpus": known[asked]}
    nodes = {str(gpu["numa_node"]) for gpu in gpus}
    if len(known) < 2 or len(nodes) != 1 or not nodes <= set(known):
        return None
    node = nodes.pop()
    reason = "its GPUs are attached to this node; CPUs and memory of another one are reached through the link between the sockets"
    host.note(
        "serve",
        f"{wanted['name']} numa",
        f"node {node}: CPUs {known[node]}",
        reason,
        "numa_node of the GPUs in sysfs",
    )
    return {"node": int(node), "cpus": known[node]}


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
    gfx = _architecture(host, build, wanted, devices) if rocm else "cpu"
    profile = host.catalog.profile(gfx) or {}
    serving = profile.get("serving", {})
    variables = environment.of_instance(host, build, kind, serving, wanted, devices.number, together)
    arguments = options.of_instance(
        host, build, kind, serving, wanted, _width(devices, wanted, together), together
    )
    if rocm:
        refusals.check(host, build, gfx, serving, arguments, variables, wanted)
        environment.check_visible(host, wanted, variables, devices.number)
    named = options.paths(host.catalog, arguments)
    _check_named(host, wanted, named)
    staged = host.wants["model_tiktoken_directory"]
    folders = models.folders(host, wanted["path"])
    read_only = [*folders, *([staged] if staged and staged in variables.values() else [])]
    # What lies in a folder that the server is given anyway is not given twice.
    read_only += [
        path for path in named if not any(f"{path}/".startswith(f"{folder}/") for folder in read_only)
    ]
    groups = [
        host.rocm["groups"][name] for name in ("video", "render") if host.rocm["groups"][name] is not None
    ]
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
        "served_name": str(arguments.get("served-model-name") or wanted["path"]),
        "host": wanted["host"],
        "port": wanted["port"],
        "address": "127.0.0.1" if wanted["host"] == "localhost" else address,
        # A worker is asked for at the first host, where that can be reached.
        "url": "" if worker and loopback else f"http://{address}:{wanted['port']}",
        "exposed": not worker and not loopback,
        "worker": worker,
        "nodes": {**together._asdict(), "last": together.last, "lifeline": together.ports[1]}
        if together
        else None,
        "environment": variables,
        # Where AITER compiles in a container; the folder is filled from the image first.
        "aiter_cache": environment.aiter_cache(variables) if kind != "venv" else "",
        "options": arguments,
        "completes": wanted["probe"] == "completion"
        or (wanted["probe"] == "auto" and options.completes(arguments)),
        "memory": memory.of_instance(
            host, rocm, build.version, wanted, arguments, variables, devices.gpus, there
        ),
        "gpus": [gpu["index"] for gpu in devices.gpus],
        "numa": _numa(host, wanted, devices.gpus),
        "devices": ["/dev/kfd", *(f"/dev/dri/{node}" for node in _render_nodes(host, devices))]
        if devices.number
        else [],
        "groups": groups if rocm else [],
        "rocm": rocm,
        # Reaps what dies; Podman refuses to start the container where it has none.
        "init": host.rocm["podman"]["init"],
        # A model lies where containers may read nothing, and its label is not ours to change: on a share
        # there may be none.
        "confined": host.rocm["selinux"]["mode"] != "enforcing",
        "stop_timeout": _shutdown_timeout(arguments) + STOP_SECONDS,
        "shm_size": "64g" if there > 1 else "8g",
    }


def _architecture(host: Host, build: Build, wanted: dict[str, t.Any], devices: Devices) -> str:
    """The one of the instance's GPUs, for which the build must have code."""
    found = list(dict.fromkeys(gpu["gfx"] for gpu in devices.gpus)) or [host.gfx]
    if len(found) > 1:
        seen = f"{' and '.join(found)} for {wanted['name']}"
        host.findings.add("gpu.mixed", seen, "GPUs of one architecture in an instance", severity="fail")
    prebuilt = host.catalog.vllm["versions"].get(build.version, {}).get("prebuilt_gfx", [])
    own = host.wants["vllm_image"] or host.wants["vllm_packages"]
    if host.gpus and builds.lacks(host.wants, host.catalog, found[0]):
        seen = f"{host.wants['vllm_image']} on {found[0]}"
        having = [gfx for gfx in prebuilt if not builds.lacks(host.wants, host.catalog, gfx)]
        host.findings.add(
            "vllm.prebuilt", seen, "an image with code for it", known=", ".join(having), gfx=found[0]
        )
    elif host.gpus and found[0] not in prebuilt and not own:
        host.findings.add(
            "vllm.prebuilt", found[0], "a prebuilt one", known=", ".join(prebuilt), gfx=found[0]
        )
    return found[0]


def _width(devices: Devices, wanted: dict[str, t.Any], together: nodes.Nodes | None) -> int:
    """Over how many devices a model is spread. Over all partitions of a host in CPX only where somebody chose
    them."""
    if together or wanted["partitions"] or wanted["share"][1] > 1:
        return devices.number
    return len(devices.gpus) if all(gpu["partitions"] <= 1 for gpu in devices.gpus) else 1


def _check_named(host: Host, wanted: dict[str, t.Any], named: list[str]) -> None:
    """Files that options name: there, and with names that a unit can hold."""
    for path in named:
        if not models.MODEL_PATH.fullmatch(path):
            host.findings.add(
                "vllm.path",
                repr(path),
                "a path of letters, digits and . _ + @ , = -",
                instance=wanted["name"],
            )
        elif not host.rocm["paths"].get(path, {}).get("exists"):
            host.findings.add(
                "vllm.path",
                f"{path}, which does not exist",
                "a file or folder of the host",
                instance=wanted["name"],
            )


def _shutdown_timeout(options: dict[str, t.Any]) -> int:
    value = str(options.get("shutdown-timeout", 0))
    return int(value) if value.isdecimal() else 0
