# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of an instance of vLLM, as the file of ``vllm serve --config`` takes them."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import history, nodes
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm.builds import Build
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

NEGATIONS = {"enable-": "disable-", "disable-": "enable-"}
# Servers that answer no completions.
POOLING = {"runner": ("pooling",), "convert": ("embed", "classify")}


def of_instance(
    host: Host,
    build: Build,
    kind: str,
    serving: dict[str, t.Any],
    wanted: dict[str, t.Any],
    width: int,
    together: nodes.Nodes | None,
) -> dict[str, t.Any]:
    """Every option with its value; the inventory beats the profile. ``width``: the devices that the model may
    be spread over."""
    asked = {**host.wants["vllm_options"], **wanted["options"]}
    options: dict[str, t.Any] = {
        "served-model-name": wanted["served_name"] or wanted["model"].rstrip("/").rpartition("/")[2],
        # In a container every address is that of the container; Podman publishes the port on the address
        # asked for.
        "host": "0.0.0.0" if kind != "venv" and not together else wanted["host"],  # noqa: S104
        "port": wanted["port"],
    }
    if together:
        options |= nodes.options(host, wanted, together, width)
    elif "tensor-parallel-size" not in asked:
        tensor = _tensor_parallel(host, wanted, width, asked)
        if tensor > 1:
            options["tensor-parallel-size"] = tensor
            host.note(
                "serve",
                f"{wanted['name']} option",
                f"tensor-parallel-size={tensor}",
                "one model over all its GPUs or partitions",
            )
    for name, entry in serving.get("options", {}).items():
        if _excepted(host, entry.get("unless", {}), wanted):
            continue
        options[name] = entry["value"]
        host.note(
            "serve", f"{wanted['name']} option", f"{name}={entry['value']}", entry["reason"], entry["source"]
        )
    for name, value in asked.items():
        options[name] = value
        _check_option(host, build, name)
        host.note("serve", f"{wanted['name']} option", f"{name}={value}", "asked for", INVENTORY)
    _check_heads(host, wanted, asked.get("tensor-parallel-size"))
    if together:
        nodes.check_split(host, wanted, together, options)
    rendered: dict[str, t.Any] = {}
    for name, value in options.items():
        if value is False:
            rendered.update(_negated(host.catalog, name))
        elif value is not None:
            rendered[name] = _json(host, wanted, name, value)
    return rendered


def _heads(host: Host, wanted: dict[str, t.Any]) -> tuple[int, int] | None:
    """Attention heads, and those of keys and values, where the model is known."""
    given = wanted["model_config"]
    shape = _model.shape(given) if given else host.rocm["paths"].get(wanted["path"], {}).get("shape")
    return (
        (shape["heads"], shape["kv_heads"])
        if shape and shape.get("heads") and shape.get("kv_heads")
        else None
    )


def _can_spread(heads: tuple[int, int], width: int) -> bool:
    """Each device has equally many heads; heads of keys and values are shared out, or repeated equally
    often."""
    attention, kept = heads
    return attention % width == 0 and (kept % width == 0 or width % kept == 0)


def _tensor_parallel(host: Host, wanted: dict[str, t.Any], width: int, asked: dict[str, t.Any]) -> int:
    """As many devices as there are and the heads of the model can be shared out over, beside other ways to
    spread it."""
    for name in (
        "data-parallel-size-local" if "data-parallel-size-local" in asked else "data-parallel-size",
        "pipeline-parallel-size",
    ):
        value = asked.get(name, 1)
        width //= value if isinstance(value, int) and 0 < value <= width else 1
    heads = _heads(host, wanted)
    tensor = (
        next((number for number in range(width, 0, -1) if _can_spread(heads, number)), 1) if heads else width
    )
    if tensor < width and heads:
        host.findings.add(
            "vllm.heads",
            f"{heads[0]} attention heads for {width} devices of {wanted['name']}",
            f"{tensor} devices",
            severity="warn",
            remedy=f"The instance {wanted['name']} uses {tensor} of them. Give the others to further instances, for example with count",
        )
    return tensor


def _check_heads(host: Host, wanted: dict[str, t.Any], asked: t.Any) -> None:
    heads = _heads(host, wanted)
    if heads and isinstance(asked, int) and asked > 0 and not _can_spread(heads, asked):
        fitting = [str(number) for number in range(1, asked) if _can_spread(heads, number)]
        host.findings.add(
            "vllm.heads",
            f"tensor-parallel-size {asked} for {heads[0]} attention heads ({heads[1]} of keys and values)",
            ", ".join(fitting),
            remedy=f"Set tensor-parallel-size of the instance {wanted['name']} to {fitting[-1]}",
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


def _json(host: Host, wanted: dict[str, t.Any], name: str, value: t.Any) -> t.Any:
    """A value as vLLM's file takes it: it makes JSON of a mapping, but of a list repeated values, which not
    every option takes."""
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
    """Whether the model is one that an option of the profile is not for. Nothing is known of a model before
    it is fetched."""
    model = host.rocm["paths"].get(wanted["path"], {})
    quantization = wanted["options"].get("quantization") or model.get("quantization")
    return model.get("model_type") in unless.get("model_types", []) or quantization in unless.get(
        "quantization", []
    )


def _check_option(host: Host, build: Build, name: str) -> None:
    """An option must be one that this release knows: another one ends it with 2."""
    if history.option_known(host.catalog, name, build.version):
        return
    known = host.catalog.vllm["options"]
    entry = known.get(name) or known.get(name[3:] if name.startswith("no-") else name) or {}
    version = version_key(build.version)
    first, last = history.option_span(host.catalog, name) or (None, None)
    gone = entry.get("last") or last
    if gone and version > version_key(str(gone)):
        replacement = entry.get("replacement")
        remedy = (
            f"Use {replacement} instead" if replacement else f"Remove {name}: {gone} was the last to know it"
        )
    elif first and version < version_key(str(first)):
        remedy = f"Remove {name}: it came with vLLM {first}"
    else:
        remedy = f"Remove {name}, or correct its name"
    host.findings.add(
        "vllm.option", f"--{name} with vLLM {build.version}", "an option it knows", remedy=remedy
    )


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


def completes(options: dict[str, t.Any]) -> bool:
    """Whether the server answers completions, as far as its options say: one that embeds or classifies does
    not."""
    return not any(options.get(name) in values for name, values in POOLING.items())
