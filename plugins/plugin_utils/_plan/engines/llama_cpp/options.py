# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of an instance of llama-server. They travel as variables: a file holds any value, and nobody
sees it in the list of processes. llama.cpp ignores a variable that it does not know without a word, so names
and values are held to the release here."""

from __future__ import annotations

import difflib
import math
import re
import typing as t

from ... import model as models
from ...host import Host
from ...wants import INVENTORY
from ..protocol import Instance
from . import fit, router
from .beside import projector
from .builds import LlamaBuild

Llama = Instance[LlamaBuild]
DEVICES = {"vulkan": "Vulkan", "hip": "ROCm"}
SLOTS, SLOT_CONTEXT = 4, 8192
CONFIGURATION = "/etc/llama-cpp"
# What a unit and a pod take as it is.
PLAIN = re.compile(r"[\w./:@,=+*^-]{1,1024}")
_KINDS = {"int": "a whole number", "number": "a number", "bool": "true or false", "text": "one line of text"}


def of_instance(instance: Llama) -> dict[str, t.Any]:
    """Every option with its value; the inventory beats the plan."""
    server, build = instance.server, instance.build
    options: dict[str, t.Any] = {
        "alias": server.served_name or server.model.rstrip("/").rpartition("/")[2].removesuffix(".gguf"),
        "host": "0.0.0.0" if instance.container else server.host,  # noqa: S104
        "port": server.port,
        "metrics": True,
        "offline": True,
        "ui": False,
        "parallel": SLOTS,
        "kv-unified": False,
    }
    if not {**instance.host.wants.llama_cpp_options, **server.options}.get("models"):
        projector(model_of(instance), options)
    if build.gpu:
        # Without its device it ends: else it would go on, on the CPU, with no more than a warning.
        names = [f"{DEVICES[build.backend]}{at}" for at in range(max(len(instance.devices.gpus), 1))]
        options |= {"device": ",".join(names), "gpu-layers": "all", "flash-attn": "on"}
    if any(gpu["apu"] for gpu in instance.devices.gpus):
        # Weights that are mapped from the file are read incoherently there (ggml-org/llama.cpp#26543).
        known = build.number >= instance.host.catalog.llama_cpp["options"]["load-mode"]["from_build"]
        options |= {"cache-ram": 0, **({"load-mode": "none"} if known else {"no-mmap": True})}
        reason = "a cache of prompts in host memory takes from the memory of the GPU, which is the same here"
        instance.note("option", "cache-ram=0", reason, "ggml-org/llama.cpp#22774")
    named = {**instance.host.wants.llama_cpp_options, **server.options}
    several = named.pop("models", None)
    for name, value in named.items():
        name, value = _known(instance, name, value)
        if name:
            options[name] = value
            instance.note("option", f"{name}={value}", "asked for", INVENTORY)
    options = {name: value for name, value in options.items() if value is not None}
    router.take(instance, several, options)
    for name in ("models-max", "models-autoload"):
        if name in options and "models" not in options and not several:
            _refuse(instance, f"--{name}", "several models", f"Remove {name}, or name the others in models")
    return options


def _spelt(catalog: t.Mapping[str, t.Any], name: str, value: t.Any) -> tuple[str, t.Any]:
    """The option under the name that the catalog has for it, and its value; ``no-`` turns a switch around."""
    known, aliases = catalog["options"], catalog["aliases"]
    name = aliases.get(name, name)
    positive = aliases.get(name[3:], name[3:]) if name.startswith("no-") else ""
    if name not in known and known.get(positive, {}).get("type") == "bool":
        return positive, None if value is None else not value
    return name, value


def _known(instance: Llama, name: str, value: t.Any) -> tuple[str, t.Any]:
    """The option under its own name, or a finding and no name."""
    catalog, build = instance.host.catalog.llama_cpp, instance.build
    name, value = _spelt(catalog, name, value)
    entry, gone = catalog["options"].get(name), catalog["removed"].get(name)
    if value is None and (entry or gone):
        return name, None
    what = f"--{name} with llama.cpp {build.version} (b{build.number})"
    if name in catalog["refused"]:
        _refuse(instance, what, "a server that only answers", f"Remove {name}: {catalog['refused'][name]}")
    elif gone and (gone["below_build"] is None or build.number >= gone["below_build"]):
        _refuse(instance, what, "an option it knows", f"Use {gone['replacement']} instead")
    elif entry is None and not gone:
        close = difflib.get_close_matches(name, [*catalog["options"], *catalog["aliases"]], n=1)
        meant = f": did you mean {close[0]}?" if close else ", or correct its name"
        _refuse(instance, what, "an option it knows", f"Remove {name}{meant}")
    elif entry and entry.get("from_build") and build.number < entry["from_build"]:
        _refuse(instance, what, "an option it knows", f"Remove {name}: it came with b{entry['from_build']}")
    elif entry and not _takes(entry, value):
        expected = " or ".join(map(str, entry.get("values", []))) or _KINDS[entry["type"]]
        if "variable" not in entry and entry["type"] == "text":
            expected = "words without blanks and quotes, as they stand on a command line"
        _refuse(instance, f"--{name} {value}", expected, f"Correct the value of {name}")
    else:
        return name, value
    return "", None


def _refuse(instance: Llama, seen: str, expected: str, remedy: str) -> None:
    instance.host.findings.add("llama.option", seen, expected, remedy=f"{remedy} ({instance.name})")


def _takes(entry: t.Mapping[str, t.Any], value: t.Any) -> bool:
    text = ("on" if value else "off") if isinstance(value, bool) else str(value)
    if text in entry.get("values", []):
        return True
    if isinstance(value, bool) or entry["type"] == "bool":
        return isinstance(value, bool) and entry["type"] == "bool"
    if entry["type"] == "int":
        return isinstance(value, int) and value >= entry.get("least", 0)
    if entry["type"] == "number":
        return isinstance(value, (int, float)) and math.isfinite(value)
    if entry["type"] == "text" and isinstance(value, (str, int, float)):
        return "\n" not in text if "variable" in entry else bool(PLAIN.fullmatch(text))
    return False


def arguments(instance: Llama, options: t.Mapping[str, t.Any]) -> list[str]:
    """What can stand on the command line alone; nothing of it is a secret, or needs quotes."""
    known, words = instance.host.catalog.llama_cpp["options"], []
    for name, value in options.items():
        entry = known.get(name)
        if entry is None or "variable" in entry:
            continue
        if value is True:
            words.append(f"--{name}")
        elif value is False:
            words += [f"--{entry['negative']}"] if "negative" in entry else []
        else:
            words += [f"--{name}", str(value)]
    return words


def environment(instance: Llama, options: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The options as llama-server reads them from its environment, and what the back end is told."""
    host, build = instance.host, instance.build
    known, removed = host.catalog.llama_cpp["options"], host.catalog.llama_cpp["removed"]
    named: dict[str, str] = {"LLAMA_ARG_MODEL": file_of(instance)}
    if "models" in options:
        named = {"LLAMA_ARG_MODELS_PRESET": configuration_path(instance)}
    for name, value in options.items():
        # Of several models each has a name of its own.
        if name == "models" or (name == "alias" and "models" in options):
            continue
        entry = known.get(name) or removed[name]
        if "variable" in entry:
            named[entry["variable"]] = _text(value, switch=entry.get("type", "bool") == "bool")
    if build.backend == "hip" and any(gpu["apu"] for gpu in instance.devices.gpus):
        named["GGML_CUDA_ENABLE_UNIFIED_MEMORY"] = "1"
    for name, value in {**host.wants.llama_cpp_environment, **instance.server.environment}.items():
        if value is None:
            named.pop(name, None)
            continue
        check_variable(instance, name)
        named[name] = _text(value, switch=True)
        instance.note("environment", f"{name}={named[name]}", "asked for", INVENTORY)
    return named


def _text(value: t.Any, switch: bool) -> str:
    """A switch is 1 or 0; of an option with words YAML reads on and off as truth values."""
    if not isinstance(value, bool):
        return str(value)
    return str(int(value)) if switch else "on" if value else "off"


def check_variable(instance: Llama, name: str) -> None:
    """A variable that stands for an option would pass all checks of options."""
    if name == "HSA_OVERRIDE_GFX_VERSION" and instance.build.backend == "hip":
        _refuse(
            instance, name, "no override", f"Remove {name}: with code of another GPU results can be wrong"
        )
    else:
        check_name(instance.host, name)


def check_name(host: Host, name: str) -> None:
    """Hold the name of a variable to what the release reads."""
    catalog = host.catalog.llama_cpp
    option = _option_of(catalog, name)
    if option:
        host.findings.add(
            "llama.option", name, "an option", remedy=f"Set {option} in options in place of {name}"
        )
    elif name.startswith("LLAMA_ARG_"):
        remedy = f"Remove {name}: no option has this name, so it would be ignored without a word"
        host.findings.add("llama.option", name, "an option", remedy=remedy)
    elif name.startswith(("GGML_", "LLAMA_")) and name not in catalog["environment"]["names"]:
        close = difflib.get_close_matches(name, catalog["environment"]["names"], n=1)
        remedy = f"Remove {name}" + (f", or call it {close[0]}" if close else "")
        host.findings.add("llama.environment", name, "a variable that it reads", remedy=remedy)


def _option_of(catalog: t.Mapping[str, t.Any], variable: str) -> str:
    """The option that a variable stands for, spelt as an inventory has it; empty where there is none."""
    by_variable = {each["variable"]: name for name, each in catalog["removed"].items()}
    by_variable.update({e["variable"]: n for n, e in catalog["options"].items() if "variable" in e})
    negative = variable.startswith("LLAMA_ARG_NO_") and f"LLAMA_ARG_{variable[13:]}"
    if variable not in by_variable and negative in by_variable:
        return f"{by_variable[negative]}: false"
    return str(by_variable.get(variable, ""))


def configuration_path(instance: Llama) -> str:
    """Where the server reads its configuration."""
    return f"{CONFIGURATION}/config.yaml" if instance.container else f"{CONFIGURATION}/{instance.name}.yaml"


def file_of(instance: Llama) -> str:
    """The file that it loads: known once it is on the host."""
    known = model_of(instance)
    return (known["file"] if known else None) or instance.path


def model_of(instance: Llama) -> t.Any:
    """What the host says of the GGUF; ``None`` before it is there."""
    return models.on_host(instance.host, instance.path).get("gguf")


def settings(instance: Llama, options: t.Mapping[str, t.Any]) -> fit.Settings:
    """The options in the terms of the fit; numbers are numbers by now."""
    slots = options.get("parallel")
    slots = slots if isinstance(slots, int) and slots > 0 else SLOTS
    context = options.get("ctx-size") or (model_of(instance) or {}).get("context") or SLOT_CONTEXT
    return fit.Settings(
        context=int(context),
        slots=slots,
        unified=bool(options.get("kv-unified")),
        batch=int(options.get("ubatch-size", 512)),
        key_type=str(options.get("cache-type-k", "f16")),
        value_type=str(options.get("cache-type-v", "f16")),
        flash=options.get("flash-attn", "auto") not in ("off", False),
        whole_window=bool(options.get("swa-full")),
    )


def check_cache(instance: Llama, asked: fit.Settings) -> None:
    """llama-server ends where values are quantized without flash attention."""
    if asked.value_type not in ("f32", "f16", "bf16") and not asked.flash:
        seen = f"--cache-type-v {asked.value_type} with --flash-attn off"
        _refuse(instance, seen, "flash attention", "Remove flash-attn, or take cache-type-v f16")
