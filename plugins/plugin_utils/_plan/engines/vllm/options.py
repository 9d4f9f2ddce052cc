# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of an instance of vLLM, as the file of ``vllm serve --config`` takes them."""

from __future__ import annotations

import difflib
import json
import typing as t

from ... import model
from ...catalog import Catalog, version_key
from ...host import Host
from ...wants import INVENTORY, Server, Wants
from ..protocol import Together
from . import brought, checkpoint, history, widths
from .builds import VllmBuild
from .checkpoint import Vllm
from .nodes import check_split
from .nodes import options as of_nodes
from .recipe_use import WIDTH, Used
from .states import mapping

# No model is spread over more devices.
MOST = 1024
NEGATIONS = {"enable-": "disable-", "disable-": "enable-"}


def named(wants: Wants, server: Server) -> dict[str, t.Any]:
    """The options that the inventory has for a server, its share of the memory among them."""
    share = {"gpu-memory-utilization": server.memory_share} if server.memory_share else {}
    return _folded(layered(layered(wants.vllm_options, share), server.options))


def layered(under: t.Mapping[str, t.Any], over: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Options that beat others, whose opposites and keys go with them: of an option and its negation vLLM
    takes the last of the file."""
    gone = {name[3:] if name.startswith("no-") else f"no-{name}" for name in over}
    kept = {name: value for name, value in under.items() if name not in gone and _head(name) not in over}
    return {**kept, **over}


def _head(name: str) -> str:
    """The option that a key inside of one belongs to; nothing for an option itself."""
    head, stop, _rest = name.partition(".")
    return head if stop else ""


def _folded(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """``compilation-config.mode: 3`` becomes part of the mapping ``compilation-config``, as vLLM reads it."""
    whole = {name: value for name, value in options.items() if not _head(name)}
    for name, value in options.items():
        head, *keys = name.split(".")
        base = mapping(whole.get(head)) if keys else {}
        # Of a value that is no mapping another part tells.
        if keys and (base or not whole.get(head)):
            nested = _read(value)
            for key in reversed(keys):
                nested = {key: nested}
            whole[head] = _merged(base, nested)
    return whole


def _read(value: t.Any) -> t.Any:
    """vLLM reads the value of such a key as JSON where it is that."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _merged(base: t.Mapping[str, t.Any], over: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    both = {
        name: _merged(base[name], value)
        for name, value in over.items()
        if isinstance(base.get(name), dict) and isinstance(value, dict)
    }
    return {**base, **over, **both}


def asked_of(instance: Vllm) -> dict[str, t.Any]:
    """What the inventory asks for; a number may be in quotes."""
    asked, catalog = named(instance.host.wants, instance.server), instance.host.catalog
    return {name: history.number(catalog, name, value) for name, value in asked.items()}


def of_instance(instance: Vllm, nodes: Together | None, used: Used) -> dict[str, t.Any]:
    """Every option with its value; the inventory beats the recipe, and that the profile."""
    host, server = instance.host, instance.server
    asked = asked_of(instance)
    options: dict[str, t.Any] = {
        "served-model-name": server.served_name or server.model.rstrip("/").rpartition("/")[2],
        # In a container every address is that of the container; Podman publishes the port on the address
        # asked for.
        "host": "0.0.0.0" if instance.container and not nodes else server.host,  # noqa: S104
        "port": server.port,
    }
    if nodes:
        options |= of_nodes(instance, nodes)
    elif WIDTH not in asked and WIDTH not in used.options:
        tensor = _tensor_parallel(instance, {**used.options, **asked})
        if tensor > 1:
            options["tensor-parallel-size"] = tensor
            reason = "one model over all its GPUs or partitions"
            instance.note("option", f"tensor-parallel-size={tensor}", reason)
    for name, entry in instance.serving.get("options", {}).items():
        if _excepted(instance, entry.get("unless", {})):
            continue
        options[name] = entry["value"]
        instance.note("option", f"{name}={entry['value']}", entry["reason"], entry["source"])
    options = layered(layered(options, used.options), asked)
    for name, value in asked.items():
        # A way of drafting that is asked for by its name is the recipe's.
        options[name] = used.options.get(name, value)
        _check_option(host, instance.build, name, value)
        instance.note("option", f"{name}={value}", "asked for", INVENTORY)
    options = brought.resolve(instance, options)
    _check_width(instance, options)
    if nodes:
        check_split(instance, nodes, options)
    rendered: dict[str, t.Any] = {}
    for name, value in options.items():
        if value is False:
            rendered.update(_negated(host.catalog, name))
        elif value is not None:
            rendered[name] = _json(instance, name, value)
    return rendered


def _width(instance: Vllm) -> int:
    """Over how many devices a model is spread: over all partitions of a host in CPX only where somebody chose
    them."""
    devices, server = instance.devices, instance.server
    if server.partitions or server.share[1] > 1:
        return devices.number
    return len(devices.gpus) if all(gpu["partitions"] <= 1 for gpu in devices.gpus) else 1


def _tensor_parallel(instance: Vllm, asked: dict[str, t.Any]) -> int:
    """As many devices as there are and the heads of the model can be shared out over, beside other ways to
    spread it."""
    width = _width(instance)
    replicas = "data-parallel-size-local" if "data-parallel-size-local" in asked else "data-parallel-size"
    for name in (replicas, "pipeline-parallel-size"):
        value = asked.get(name, 1)
        width //= value if isinstance(value, int) and 0 < value <= width else 1
    shape = checkpoint.shape(instance)
    if not shape:
        return width
    quantized = checkpoint.quantization(instance)
    tensor = widths.fitting(shape, max(width, 1), asked, quantized)[-1]
    if tensor < width:
        instance.host.findings.add(
            "vllm.heads",
            f"{widths.fault(shape, width, asked, quantized)} for {width} devices of {instance.name}",
            f"{tensor} devices",
            severity="warn",
            remedy=f"The instance {instance.name} uses {tensor} of them. Give the others to further "
            "instances, for example with count",
        )
    return tensor


def _check_width(instance: Vllm, options: dict[str, t.Any]) -> None:
    """The width that is asked for, by whoever."""
    shape, width = checkpoint.shape(instance), options.get(WIDTH)
    if not shape or isinstance(width, bool) or not isinstance(width, int) or not 0 < width <= MOST:
        return
    quantized = checkpoint.quantization(instance)
    fault = widths.fault(shape, width, options, quantized)
    if fault:
        fitting = widths.fitting(shape, width, options, quantized)
        instance.host.findings.add(
            "vllm.heads",
            f"{WIDTH} {width} for {fault}",
            ", ".join(map(str, fitting)),
            remedy=f"Set {WIDTH} of the instance {instance.name} to {fitting[-1]}",
        )


def _negated(catalog: Catalog, name: str) -> dict[str, t.Any]:
    """What an option that is ``false`` becomes: vLLM (0.31 to 0.33) drops a ``false`` of the file in
    silence."""
    rules, known = catalog.vllm["config_file"], catalog.vllm["known_options"]
    if name in rules["no_negation"]:
        return {}
    if name.startswith("no-"):
        return {name[3:]: True}
    for prefix, other in NEGATIONS.items():
        # Of such a pair the newer one is the negation.
        mate = name.replace(prefix, other, 1) if name.startswith(prefix) else ""
        if mate in known and history.option(catalog, name).get("of") == mate:
            return {mate: True}
    return {f"no-{name}": True}


def _json(instance: Vllm, name: str, value: t.Any) -> t.Any:
    """A value as vLLM's file takes it: it makes JSON of a mapping, but of a list repeated values, which not
    every option takes."""
    rules = instance.host.catalog.vllm["config_file"]
    strict = name in rules["json"]
    if isinstance(value, list) and strict:
        return json.dumps(value)
    text = value.lstrip() if isinstance(value, str) else ""
    if isinstance(value, str) and (strict or (name in rules["json_or_word"] and text[:1] in ("{", "["))):
        try:
            json.loads(text)
        except ValueError as error:
            seen = f"--{name} {value} ({error})"
            instance.host.findings.add("vllm.json", seen, "JSON", option=name, instance=instance.name)
    return value


def _excepted(instance: Vllm, unless: dict[str, t.Any]) -> bool:
    """Whether the model is one that an option of the profile is not for. Before it is
    fetched, what the inventory says of it counts."""
    quantization = instance.server.options.get("quantization") or checkpoint.quantization(instance)
    kinds, methods = unless.get("model_types", []), unless.get("quantization", [])
    return checkpoint.model_type(instance) in kinds or quantization in methods


def _check_option(host: Host, build: VllmBuild, name: str, value: t.Any) -> None:
    """An option must be one that this release knows, with a value that it takes: another one ends it with
    2."""
    if history.option_known(host.catalog, name, build.version):
        expected = history.option_refuses(host.catalog, name, value, build.version)
        if expected:
            seen = f"--{name} {value} with vLLM {build.version}"
            host.findings.add("vllm.option", seen, expected, remedy=f"Correct the value of {name}")
        _check_keys(host, build, name, value)
        return
    known = host.catalog.vllm["options"]
    entry = known.get(name) or known.get(name[3:] if name.startswith("no-") else name) or {}
    version = version_key(build.version)
    first, last = history.option_span(host.catalog, name) or (None, None)
    gone = entry.get("last") or last
    if gone and version > version_key(str(gone)):
        remedy = f"Remove {name}: {gone} was the last to know it"
        if entry.get("replacement"):
            remedy = f"Use {entry['replacement']} instead"
    elif first and version < version_key(str(first)):
        remedy = f"Remove {name}: it came with vLLM {first}"
    else:
        close = history.nearest_option(host.catalog, name, build.version)
        remedy = f"Remove {name}, or correct its name" + (f": the nearest is {close}" if close else "")
    seen = f"--{name} with vLLM {build.version}"
    host.findings.add("vllm.option", seen, "an option it knows", remedy=remedy)


def _check_keys(host: Host, build: VllmBuild, name: str, value: t.Any) -> None:
    """Keys of an option that is a mapping."""
    known = history.keys(host.catalog, name, build.version)
    for key in mapping(value) if known else ():
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            seen = f"--{name} with {key} and vLLM {build.version}"
            remedy = f"Remove {key}, or correct its name" + (f": the nearest is {close[0]}" if close else "")
            host.findings.add("vllm.option", seen, "a key it knows", remedy=remedy)


def paths(catalog: Catalog, options: dict[str, t.Any]) -> list[str]:
    """Files and folders of the host that options name: a template, a drafter, adapters."""
    found = [path for name in catalog.vllm["config_file"]["paths"] for path in _absolute(options.get(name))]
    return list(dict.fromkeys(found))


def _absolute(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _absolute(entry)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            yield from _absolute(json.loads(value))
        except ValueError:
            return
    elif isinstance(value, str):
        # An adapter is NAME=PATH.
        path = value.rpartition("=")[2]
        if path.startswith("/") and len(path) > 1:
            yield path.rstrip("/")


def check_named(instance: Vllm, named: list[str]) -> None:
    """Files that options name: there, and with names that a unit can hold."""
    findings = instance.host.findings
    for path in named:
        remedy = f"Put it there, or correct the options of the instance {instance.name}"
        if not model.MODEL_PATH.fullmatch(path):
            expected = "a path of letters, digits and . _ + @ , = -"
            findings.add("vllm.path", repr(path), expected, remedy=remedy)
        elif not model.on_host(instance.host, path).get("exists"):
            if brought.comes(instance.host.wants, path):
                continue
            seen = f"{path}, which does not exist"
            findings.add("vllm.path", seen, "a file or folder of the host", remedy=remedy)
