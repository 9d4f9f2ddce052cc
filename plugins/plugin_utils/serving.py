# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM section of a plan: which build, and for each instance its environment, options, devices and unit."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import memory, mirror, models
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import Catalog, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils.planner import Host

VENVS = "/opt/vllm"
UNIT_FILES = {"venv": "/etc/systemd/system/vllm-{}.service", "quadlet": "/etc/containers/systemd/vllm-{}.container"}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("*", "")
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
        known=known,
        source=release.get("source"),
    )


def questions(wants: dict[str, t.Any], catalog: Catalog) -> dict[str, list[t.Any]]:
    """What ``rocm_facts`` must look up on the host before the plan can be made."""
    builds = [build for build in candidates(wants, catalog).values() if build]
    instances = wants["vllm_instances"]
    return {
        "ports": sorted({instance["port"] for instance in instances}),
        "paths": models.questions(wants, catalog),
        "images": sorted({build.image for build in builds if build.image}) if instances else [],
        "search_paths": [*sorted({build.venv for build in builds}), models.client(catalog)] if instances else [],
    }


def section(host: Host) -> dict[str, t.Any]:
    """The section ``vllm`` of the plan."""
    wants = host.wants
    nothing: dict[str, t.Any] = {"instances": [], "state": wants["vllm_state"], "version": None, "stale": []}
    if wants["vllm_state"] == "absent":
        return {**nothing, "stale": host.rocm["vllm_units"]}
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
    host.note(
        "vllm",
        "version",
        f"{build.version} ({build.variant})",
        "asked for" if wants["vllm_version"] else "default of the catalog",
        INVENTORY if wants["vllm_version"] else build.source,
    )
    instances = []
    used: dict[int, str] = {}
    names: set[str] = set()
    ports: dict[int, str] = {}
    for wanted in wants["vllm_instances"]:
        _check_place(host, wanted, names, ports)
        instances.append(_instance(host, build, kind, wanted, used))
    podman = host.rocm["podman"]
    environment = host.rocm["environments"].get(build.venv, {})
    return {
        "state": wants["vllm_state"],
        "accelerator": accelerator,
        "kind": kind,
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
        "venv_present": bool(environment.get("vllm")),
        "packages": build.packages,
        "pip_arguments": build.pip_arguments,
        "python": build.python,
        "start_timeout": wants["vllm_start_timeout"],
        "instances": instances,
        # Instances that are not wanted any more hold GPUs and ports. Where none is wanted at all, nothing is taken away.
        "stale": [path for path in host.rocm["vllm_units"] if path not in {instance["unit_file"] for instance in instances}],
    }


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
    if want != "auto":
        host.note("vllm", "kind", want, "asked for", INVENTORY)
        return want
    if podman["quadlet"] and build.image:
        host.note("vllm", "kind", "quadlet", f"Podman {podman['version']} generates units", "podman-systemd.unit(5)")
        return "quadlet"
    reason = "Podman generates no units here" if build.image else f"there is no image of vLLM for {build.accelerator}"
    host.note("vllm", "kind", "venv", reason)
    return "venv"


def _check_place(host: Host, wanted: dict[str, t.Any], names: set[str], ports: dict[int, str]) -> None:
    """Name, address and port, held against the host and the other instances."""
    name, port = wanted["name"], wanted["port"]
    if name in names or not INSTANCE_NAME.fullmatch(name):
        host.findings.add("vllm.name", name, "a name of its own")
    names.add(name)
    if _everywhere(wanted["host"]):
        host.findings.add("vllm.address", wanted["host"] or "an empty host", "one address", instance=name)
    holder = host.rocm["ports"].get(str(port), {})
    if port in ports:
        host.findings.add("vllm.port", f"{port}, twice", "one instance a port", instance=name, holder=ports[port])
    elif not 0 < port < 65536:
        host.findings.add("vllm.port", port, "1 to 65535", instance=name, holder="nothing")
    elif holder.get("listening") and holder.get("unit") != f"vllm-{name}.service":
        process = holder.get("unit") or holder.get("process") or "the program that listens on it"
        host.findings.add("vllm.port", f"{port} held by {process}", "a free port", instance=name, holder=process)
    ports[port] = f"vllm-{name}.service"


def _everywhere(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        # "0" and "0.0" are 0.0.0.0 for the C library.
        return address in EVERYWHERE or not address.strip("0.")


def _chosen_gpus(host: Host, wanted: dict[str, t.Any], used: dict[int, str]) -> list[dict[str, t.Any]]:
    by_index = {gpu["index"]: gpu for gpu in host.gpus}
    name = wanted["name"]
    missing = [index for index in wanted["gpus"] if index not in by_index]
    if missing:
        listed = {gpu["index"] for gpu in host.gpu_facts["gpus"]}
        seen = ", ".join(str(index) for index in missing)
        why = "ROCm does not support this GPU" if set(missing) <= listed else "the host has no GPU of this index"
        known = ", ".join(str(index) for index in by_index) or "nothing (the host has no supported GPU)"
        host.findings.add("vllm.gpus", f"GPU {seen}", f"{known}", why=why, instance=name, known=known)
    chosen = [by_index[index] for index in dict.fromkeys(wanted["gpus"] or by_index) if index in by_index]
    for gpu in chosen:
        other = used.get(gpu["index"])
        if other:
            host.findings.add("vllm.overlap", f"GPU {gpu['index']} for {other} and {name}", "one instance a GPU")
        used[gpu["index"]] = name
    return chosen


def _instance(host: Host, build: Build, kind: str, wanted: dict[str, t.Any], used: dict[int, str]) -> dict[str, t.Any]:
    rocm = build.accelerator == "rocm"
    gpus = _chosen_gpus(host, wanted, used) if rocm or wanted["gpus"] else []
    if not rocm:
        gpus = []
    profile = host.profile if rocm else host.catalog.profile("cpu") or {}
    serving = profile.get("serving", {})
    environment = _environment(host, build, kind, serving, wanted, len(gpus))
    options = _options(host, build, kind, serving, wanted, gpus)
    _refusals(host, build, serving, options, environment, wanted)
    if rocm:
        _check_quantization(host, build, options, wanted)
    staged = host.wants["model_tiktoken_directory"]
    groups = [host.rocm["groups"][name] for name in ("video", "render") if host.rocm["groups"][name] is not None]
    # A colon separates address and port in a URL and in Podman, and Podman takes numbers only.
    address = f"[{wanted['host']}]" if ":" in wanted["host"] else wanted["host"]
    devices = ["/dev/kfd", *(f"/dev/dri/{node}" for gpu in gpus for node in gpu["render_nodes"])] if gpus else []
    return {
        "name": wanted["name"],
        "unit": f"vllm-{wanted['name']}.service",
        "unit_file": UNIT_FILES[kind].format(wanted["name"]),
        "model": wanted["path"],
        # What the server reads of the host's files, besides its configuration.
        "read_only": [wanted["path"], *([staged] if staged and staged in environment.values() else [])],
        "served_name": str(options.get("served-model-name") or wanted["path"]),
        "host": wanted["host"],
        "port": wanted["port"],
        "address": "127.0.0.1" if wanted["host"] == "localhost" else address,
        "url": f"http://{address}:{wanted['port']}",
        "exposed": wanted["host"] not in LOOPBACK,
        "environment": environment,
        "options": options,
        "memory": memory.of_instance(host, rocm, build.version, wanted, options, environment, gpus),
        "gpus": [gpu["index"] for gpu in gpus],
        "devices": devices,
        "groups": groups if rocm else [],
        "rocm": rocm,
        # Reaps what dies; Podman refuses to start the container where it has none.
        "init": host.rocm["podman"]["init"],
        "shm_size": "64g" if len(gpus) > 1 else "8g",
    }


def _environment(host: Host, build: Build, kind: str, serving: dict[str, t.Any], wanted: dict[str, t.Any], gpus: int) -> dict[str, str]:
    parts = [serving.get("environment", {})]
    if kind == "venv":
        parts.append(serving.get("environment_bare_metal", {}))
    if gpus > 1:
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
    for name, value in {**host.wants["vllm_environment"], **wanted["environment"]}.items():
        if value is None:
            environment.pop(name, None)
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        environment[name] = text
        _check_variable(host, build, name)
        host.note("vllm", f"{wanted['name']} environment", f"{name}={text}", "asked for", INVENTORY)
    return environment


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
    host: Host, build: Build, kind: str, serving: dict[str, t.Any], wanted: dict[str, t.Any], gpus: list[dict[str, t.Any]]
) -> dict[str, t.Any]:
    """The options of ``vllm serve`` as its ``--config`` file takes them.

    A ``false`` in that file is dropped in silence (vLLM 0.31 to 0.33), so it is written as ``no-<option>: true``; a
    ``null`` would become the text "None", so it takes the option away.
    """
    options: dict[str, t.Any] = {
        "served-model-name": wanted["served_name"] or wanted["model"].rstrip("/").rpartition("/")[2],
        # In a container every address is that of the container; Podman publishes the port on the address asked for.
        "host": "0.0.0.0" if kind == "quadlet" else wanted["host"],  # noqa: S104
        "port": wanted["port"],
    }
    whole = [gpu for gpu in gpus if gpu["partitions"] <= 1]
    if len(gpus) > 1 and len(whole) == len(gpus):
        options["tensor-parallel-size"] = len(gpus)
        host.note("vllm", f"{wanted['name']} option", f"tensor-parallel-size={len(gpus)}", "one model over all its GPUs")
    for name, entry in serving.get("options", {}).items():
        if _excepted(host, entry.get("unless", {}), wanted):
            continue
        options[name] = entry["value"]
        host.note("vllm", f"{wanted['name']} option", f"{name}={entry['value']}", entry["reason"], entry["source"])
    for name, value in {**host.wants["vllm_options"], **wanted["options"]}.items():
        options[name] = value
        _check_option(host, build, name)
        host.note("vllm", f"{wanted['name']} option", f"{name}={value}", "asked for", INVENTORY)
    rendered: dict[str, t.Any] = {}
    for name, value in options.items():
        if value is False:
            rendered[name[3:] if name.startswith("no-") else f"no-{name}"] = True
        elif value is not None:
            rendered[name] = value
    return rendered


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
    removed = known["removed"].get(method)
    if removed and version_key(build.version) > version_key(removed["last"]):
        why = f"vLLM {removed['last']} was the last to load it on ROCm"
        remedy = f"Take the model in another quantization: {removed['replacement']}"
        host.findings.add("vllm.quantization", method, "one that this release loads", why=why, remedy=remedy)
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
            remedy=f"Take the model of the instance {wanted['name']} in another quantization, for example AWQ or GPTQ",
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
