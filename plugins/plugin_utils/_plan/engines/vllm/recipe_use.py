# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the recipe of an instance's model sets, beneath what the inventory asks for and above the profile of
the GPU."""

from __future__ import annotations

import dataclasses
import typing as t

from .....module_utils import _model
from ...memory import GIB
from . import attention, checkpoint, classes, cures, history, recipes, tasks, widths
from .checkpoint import Vllm

AITER, BACKEND, WIDTH = "VLLM_ROCM_USE_AITER", "attention-backend", "tensor-parallel-size"
TOOLS, REMOTE = "enable-auto-tool-choice", "trust-remote-code"
# Who spreads a model in another way chooses the width too.
SPREAD = (WIDTH, "pipeline-parallel-size", "data-parallel-size", "data-parallel-size-local")
# AITER's attention reads blocks of these sizes.
BLOCKS = (None, 16, 32)
# What tells one model of a class from another.
SIZES = ("type", "layers", "hidden", "heads", "vocabulary", "experts")
# By their names the recipe's own way of drafting is asked for.
DRAFTS = "speculative-config"


@dataclasses.dataclass
class Used:
    """Options and variables that come from a recipe."""

    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


def of_instance(instance: Vllm, options: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> Used:
    """``options`` and ``variables`` are those that the inventory asks for; they stay as they are."""
    used = Used()
    recipe = _recipe(instance)
    settings = recipes.settings(recipe, _gpu(instance), instance.build.version) if recipe else []
    if not instance.build.rocm:
        # What a recipe says of GPUs is not for the CPU build; what a model answers with is.
        settings = [setting for setting in settings if setting.kind == "parser"]
    if instance.server.recipe != "none" and not any(setting.kind == "parser" for setting in settings):
        known = {"model_type": (checkpoint.shape(instance) or {}).get("type")}
        name = _names(instance)[0]
        settings += recipes.family_parsers(instance.host.catalog, name, known, instance.build.version)
    for setting in settings:
        if setting.name not in options and setting.name not in variables:
            _take(instance, used, setting, options)
        if setting.kind == "speculative" and options.get(DRAFTS) == setting.name:
            _draft(instance, used, setting)
    for cure in cures.of_instance(instance):
        _cure(instance, used, cure, {**options, **variables})
    return used


def _cure(instance: Vllm, used: Used, cure: dict[str, t.Any], asked: t.Mapping[str, t.Any]) -> None:
    for kind, taken in (("option", used.options), ("environment", used.environment)):
        for name, value in cure.get("options" if kind == "option" else kind, {}).items():
            if name not in asked:
                taken[name] = value
                instance.note(kind, f"{name}={value}", cure["reason"], cure["source"])


def _names(instance: Vllm) -> list[str]:
    """What the model may be called: its name, and the end of a folder that is named after it."""
    name = instance.server.model
    return [name, "/".join(name.rstrip("/").split("/")[-2:])] if name.startswith("/") else [name]


def _recipe(instance: Vllm) -> recipes.Recipe | None:
    asked, catalog = instance.server.recipe, instance.host.catalog
    if asked == "none":
        instance.note("recipe", "none", "switched off", "the inventory")
        return None
    if asked != "auto":
        found = recipes.find(catalog, asked)
        if found is None:
            seen, expected = f"recipe {asked} for {instance.name}", "auto, none, or a model that has a recipe"
            remedy = f"Correct recipe of the instance {instance.name}, or add it to recipes in plan_catalog"
            instance.host.findings.add("vllm.recipe", seen, expected, remedy=remedy)
        return found
    for name in _names(instance):
        found = recipes.find(catalog, name)
        if found:
            return found
    given = instance.server.model_config
    bases = [given.get("_name_or_path"), *checkpoint.bases(instance)]
    names = [base for base in bases if isinstance(base, str) and base]
    found = recipes.find(catalog, "", {"base_model": names}) if names else None
    return found or _alike(instance)


def _alike(instance: Vllm) -> recipes.Recipe | None:
    """The recipe of a model of the same class and sizes, where there is one alone. It is for another
    checkpoint."""
    catalog, shape = instance.host.catalog, checkpoint.shape(instance)
    name = checkpoint.architecture(instance)
    if not shape or not name:
        return None
    alike = {
        model: (_model.shape(entry["config"]) or {}).get("context")
        for model, entry in catalog.vllm["models"].items()
        if entry["config"].get("architectures") == [name]
        and _sizes(entry["config"]) == tuple(shape.get(key) for key in SIZES)
    }
    if len(alike) > 1:
        # Releases of one model differ by their context, if at all.
        alike = {model: context for model, context in alike.items() if context == shape.get("context")}
    found = recipes.find(catalog, "", {"base_model": list(alike)}) if len(alike) == 1 else None
    if found:
        why = f"it has the class and the sizes of {found.model}"
        instance.note("recipe", found.model, why, found.source)
    return found


def _sizes(config: dict[str, t.Any]) -> tuple[t.Any, ...]:
    shape = _model.shape(config) or {}
    return tuple(shape.get(key) for key in SIZES)


def _gpu(instance: Vllm) -> recipes.Gpu:
    gpus = instance.devices.gpus
    product = next((gpu["product"] for gpu in gpus), None)
    sizes = [gpu["usable_bytes"] or 0 for gpu in gpus]
    memory = min(sizes) / GIB if sizes and all(sizes) else None
    return recipes.Gpu(instance.gfx, product, max(instance.devices.number, 1), memory)


def _take(instance: Vllm, used: Used, setting: recipes.Setting, options: t.Mapping[str, t.Any]) -> None:
    if setting.kind in ("refuse", "minimum", "trust"):
        _finding(instance, setting)
        return
    reason = setting.reason
    if setting.kind == "option" and setting.name == WIDTH:
        why = _no_width(instance, int(setting.value), options)
        if why:
            instance.note("recipe", f"not {WIDTH}={setting.value}", f"{reason}: {why}", setting.source)
            return
    if setting.kind == "parser" and not options.get(TOOLS):
        instance.note(
            "recipe",
            f"not {setting.name}={setting.value}",
            f"{reason}: set {TOOLS} to have it",
            setting.source,
        )
        return
    if setting.kind in ("option", "parser"):
        used.options[setting.name] = setting.value
        instance.note("option", f"{setting.name}={setting.value}", reason, setting.source)
    elif setting.kind == "environment":
        used.environment[setting.name] = str(setting.value)
        instance.note("environment", f"{setting.name}={setting.value}", reason, setting.source)
    elif setting.kind == "left_out":
        instance.note("recipe", f"not {setting.name}={setting.value}", reason, setting.source)


def _draft(instance: Vllm, used: Used, setting: recipes.Setting) -> None:
    for name, value in setting.value["options"].items():
        used.options[name] = value
        instance.note("option", f"{name}={value}", setting.reason, setting.source)
    used.environment |= {name: str(value) for name, value in setting.value["environment"].items()}


def _no_width(instance: Vllm, width: int, options: t.Mapping[str, t.Any]) -> str | None:
    """Why the width of a recipe is not taken over."""
    if any(name in options for name in SPREAD) or instance.server.nodes:
        return "the inventory spreads the model"
    if instance.gfx not in instance.host.catalog.vllm["recipe_rules"]["amd"]["gfx"]:
        return "it was tried on Instinct accelerators alone"
    shape = checkpoint.shape(instance)
    return widths.fault(shape, width, options, checkpoint.quantization(instance)) if shape else None


def _finding(instance: Vllm, setting: recipes.Setting) -> None:
    name, findings = instance.name, instance.host.findings
    if setting.kind == "trust":
        seen, expected = f"{setting.name} for {name}", "a decision of yours"
        findings.add("vllm.remote_code", seen, expected, instance=name, why=setting.reason)
    elif setting.kind == "refuse":
        seen, expected = f"{setting.name} on {str(setting.value).upper()}", "a GPU that it runs on"
        remedy = f"Take another model or other GPUs for the instance {name}, or set its recipe to none"
        findings.add("vllm.recipe", seen, expected, remedy=remedy)
    else:
        seen, expected = f"vLLM {instance.build.version} for {setting.name}", f"vLLM {setting.value} or newer"
        nightly = setting.value == "nightly"
        remedy = (
            f"Set vllm_version to {expected.removeprefix('vLLM ')}, or recipe of the instance {name} to none"
        )
        if nightly:
            expected, remedy = (
                "a nightly build",
                "Take an image of your own with vllm_image, or wait for the next release",
            )
        findings.add("vllm.recipe", seen, expected, severity="warn" if nightly else None, remedy=remedy)


def backend(instance: Vllm, options: t.Mapping[str, t.Any], variables: t.Mapping[str, str]) -> str | None:
    """The attention backend to ask for where vLLM's own choice is the slower one."""
    shape, asked = (
        classes.counted(instance, options, checkpoint.shape(instance)),
        options.get(BACKEND) or options.get("attention-config"),
    )
    if not shape or asked or variables.get(AITER) != "1" or instance.server.recipe == "none":
        return None
    unlike = ("uncounted", "encoder", "state", "chunk", "vision_heads", "sliding_heads", "value_dim", "cross")
    if any(shape.get(name) for name in unlike):
        return None
    plain = str(options.get("kv-cache-dtype", "auto")) in ("auto", "bfloat16", "fp8", "fp8_e4m3")
    if not plain or options.get("block-size") not in BLOCKS or DRAFTS in options:
        return None
    name = classes.of_instance(instance, options)
    if tasks.task(name, options, classes.kind_of(instance, options)) != "generate":
        return None
    known = {
        # One that also sees, and its language model.
        "model_type": checkpoint.model_type(instance),
        "text_config": {
            "model_type": shape.get("type"),
            "head_dim": shape.get("head_dim"),
            "kv_lora_rank": shape.get("kv_lora_rank"),
        },
    }
    found = attention.preferred(instance.host.catalog, instance.gfx, known, instance.build.version)
    if not found or not history.option_known(instance.host.catalog, BACKEND, instance.build.version):
        return None
    name, reason, source = found
    instance.note("option", f"{BACKEND}={name}", reason, source)
    return name
