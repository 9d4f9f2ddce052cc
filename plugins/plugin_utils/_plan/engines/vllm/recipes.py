# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of vLLM: which one a model has, and what it sets on these GPUs.

Pure functions of the catalog. The order is that of vLLM's own recipe site: a setting of a card beats one
for all AMD
GPUs, which beats one of the variant, which beats the recipe's own; of parsers, the recipe's come before the
family's. What the inventory says comes before all of it and is not known here.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ...catalog import Catalog, version_key
from . import history

CARD = re.compile(r"\bMI[0-9]{3}[AX]", re.IGNORECASE)
Settings = t.Dict[str, t.Tuple[str, t.Any, str]]
# The cards that recipes name; those that share an architecture are tried as one.
CARDS = ("mi300x", "mi325x", "mi350x", "mi355x")
TWINS = {"mi350x": "mi355x", "mi355x": "mi350x", "mi325x": "mi300x"}
# The words in which a setting is taken over or left out.
WORDS = {"option": "option", "environment": "variable"}


class Setting(t.NamedTuple):
    """One thing that a recipe says.

    ``kind``: ``option``, ``environment``, ``parser`` (an option, for an instance that wants tools or
    reasoning),
    ``speculative`` (a way that may be asked for; the value holds its options and environment), ``trust`` (the
    operator is asked), ``refuse`` (it does not run on this GPU), ``minimum`` (the release is too old) and
    ``left_out`` (told and not set).
    """

    kind: str
    name: str
    value: t.Any
    reason: str
    source: str


@dataclass(frozen=True)
class Recipe:
    """A recipe as a model finds it. ``exact``: the recipe is for this model, and not for one that it comes
    from."""

    model: str
    variant: str | None
    exact: bool
    entry: t.Mapping[str, t.Any]
    rules: t.Mapping[str, t.Any]
    catalog: Catalog

    @property
    def source(self) -> str:
        return str(self.entry["source"])


@dataclass(frozen=True)
class Gpu:
    """Where an instance runs: architecture, product, and how many devices the host has for it."""

    gfx: str
    product: str | None = None
    devices: int = 1
    memory_gib: float | None = None


def find(catalog: Catalog, model_name: str, config: t.Mapping[str, t.Any] | None = None) -> Recipe | None:
    """The recipe of a model: by its name on the Hub, by the name its config.json carries, by the models it
    comes
    from."""
    config = config or {}
    names = [(model_name, True), (config.get("_name_or_path"), False)]
    bases = config.get("base_model") or []
    names += [(base, False) for base in ([bases] if isinstance(bases, str) else bases)]
    for name, exact in names:
        found = _by_name(catalog, str(name)) if name else None
        if found:
            model, variant = found
            # Another checkpoint shares what its architecture needs, not its precision.
            return _recipe(catalog, model, variant if exact else None, exact)
    return None


def _recipe(catalog: Catalog, model: str, variant: str | None, exact: bool) -> Recipe:
    vllm = catalog.vllm
    return Recipe(model, variant, exact, vllm["recipes"][model], vllm["recipe_rules"], catalog)


def _by_name(catalog: Catalog, name: str) -> tuple[str, str | None] | None:
    wanted = name.strip("/").lower()
    variants = None
    for model, entry in catalog.vllm["recipes"].items():
        if model.lower() == wanted:
            # The recipe's own checkpoint is the variant without a name of its own.
            own = (key for key, variant in entry.get("variants", {}).items() if not variant.get("model"))
            return model, next(own, None)
        for key, variant in entry.get("variants", {}).items():
            if str(variant.get("model", "")).lower() == wanted:
                variants = variants or (model, key)
    return variants


def card(gpu: Gpu) -> str:
    """A GPU as recipes call it: the card where it is an Instinct, else the architecture."""
    found = CARD.search(gpu.product or "")
    return found[0].lower() if found else gpu.gfx


def settings(recipe: Recipe, gpu: Gpu, release: str) -> list[Setting]:
    """What the recipe says for these GPUs and this release, each with its reason."""
    own, entry = card(gpu), recipe.entry
    variant = entry.get("variants", {}).get(recipe.variant or "", {})
    found = []
    if own in entry.get("unsupported", []) or not _runs(variant, own):
        reason = f"vLLM's recipe says that {recipe.model} does not run on {own.upper()}"
        return [Setting("refuse", recipe.model, own, reason, recipe.source)]
    least = variant.get("min") or entry["min"]
    if least and version_key(release) < version_key(least):
        reason = f"vLLM's recipe for {recipe.model} asks for vLLM {least} or newer"
        found.append(Setting("minimum", recipe.model, least, reason, recipe.source))
    elif entry.get("nightly"):
        newest = recipe.catalog.vllm["default_version"]
        reason = f"vLLM's recipe for {recipe.model} asks for a build after {newest}"
        found.append(Setting("minimum", recipe.model, "nightly", reason, recipe.source))
    if entry.get("trust_remote_code") or variant.get("trust_remote_code"):
        reason = (
            "the recipe lets code of the model run in the server; vLLM's own class may make it unnecessary"
        )
        found.append(Setting("trust", "trust-remote-code", True, reason, recipe.source))
    for name, (kind, value, why) in _merged(recipe, variant, gpu).items():
        found.append(_taken(recipe, Setting(kind, name, value, why, recipe.source), gpu, release))
    return [*found, *_parsers(recipe, release), *_speculative(recipe, own, release)]


def _runs(variant: t.Mapping[str, t.Any], own: str) -> bool:
    """Whether a checkpoint may run on a card. Lists name the cards that somebody tried: one says something of
    a card that recipes know, where it names others of them and not this one or its twin."""
    listed = variant.get("hardware") or []
    return own not in CARDS or not listed or bool({own, TWINS.get(own, own)} & set(listed))


def _merged(recipe: Recipe, variant: t.Mapping[str, t.Any], gpu: Gpu) -> Settings:
    """Every setting with the reason of the most special place that has it."""
    entry, own, merged = recipe.entry, card(gpu), t.cast(Settings, {})
    single = entry.get("single_node", {})
    features = {name: block for name, block in entry.get("features", {}).items() if not block.get("opt_in")}
    width = _width(recipe, variant, gpu)
    blocks = [
        (entry, f"recipe of {recipe.model}"),
        (variant, f"recipe of {recipe.model}, variant {recipe.variant}"),
        ({"options": width}, f"recipe of {recipe.model}"),
        (single, f"recipe of {recipe.model}, one host"),
        (entry.get("amd", {}), f"recipe of {recipe.model}, AMD GPUs"),
        (variant.get("amd", {}), f"recipe of {recipe.model}, variant {recipe.variant} on AMD GPUs"),
    ]
    blocks += [
        (place.get("cards", {}).get(key, {}), f"recipe of {recipe.model}, {key.upper()}")
        for place in (entry, variant, single)
        for key in dict.fromkeys((gpu.gfx, own))
    ]
    for name, block in features.items():
        blocks.append((block, f"recipe of {recipe.model}, feature {name}"))
        blocks.append((block.get("cards", {}).get(own, {}), f"recipe of {recipe.model}, feature {name}"))
    rules = recipe.rules
    foreign = (entry.get("amd"), variant.get("amd")) if gpu.gfx not in rules["amd"]["gfx"] else ()
    for block, why in blocks:
        told = any(block is other for other in foreign)
        for part, kind in (("options", "option"), ("environment", "environment")):
            for name, value in block.get(part, {}).items():
                if not told:
                    merged[name] = (kind, value, why)
                elif name not in merged:
                    merged[name] = ("left_out", value, f"{why}: {rules['amd']['reason']}")
    return merged


def _width(recipe: Recipe, variant: t.Mapping[str, t.Any], gpu: Gpu) -> dict[str, int]:
    """The tensor-parallel width that the recipe declares, where there are as many devices. A checkpoint of
    another
    precision has another one."""
    asked = variant.get("tensor_parallel") or recipe.entry.get("tensor_parallel")
    if isinstance(asked, t.Mapping):
        asked = asked.get(card(gpu)) or asked.get("amd") or asked.get("default")
    return {"tensor-parallel-size": int(asked)} if asked and recipe.exact else {}


def _taken(recipe: Recipe, setting: Setting, gpu: Gpu, release: str) -> Setting:
    """A setting as it is, or left out with the reason why."""
    rules, name = recipe.rules, setting.name
    if setting.kind == "left_out":
        return setting
    why = rules["never"].get(name)
    if name in rules["limits"]:
        why = "it is a limit of the recipe's own benchmark or GPUs"
    elif name in rules["accuracy"]:
        why = "it changes what the model answers"
    elif name == "tensor-parallel-size" and not recipe.exact:
        why = "another checkpoint needs another width"
    elif name == "tensor-parallel-size" and int(setting.value) > gpu.devices:
        why = f"there are {gpu.devices} devices"
    for rule in rules["only_on"]:
        fits = str(setting.value).lower().startswith(rule.get("starts", ""))
        if name == rule["name"] and fits and gpu.gfx not in rule["gfx"]:
            why = rule["reason"]
    lacks = None if why else _lacks(recipe.catalog, setting, release)
    if lacks:
        why = f"vLLM {release} does not know {lacks}"
    return setting._replace(kind="left_out", reason=f"{setting.reason}: {why}") if why else setting


def _lacks(catalog: Catalog, setting: Setting, release: str) -> str | None:
    """What of a setting a release does not know: recipes are older or newer than it, and not all run."""
    name, value = setting.name, setting.value
    if setting.kind == "option":
        if not history.option_known(catalog, name, release):
            return f"this {WORDS[setting.kind]}"
        known = history.keys(catalog, name, release)
        strange = [key for key in value if key not in known] if known and isinstance(value, dict) else []
        if strange:
            return f"{', '.join(strange)} in it"
        return f"the value {value}" if history.option_refuses(catalog, name, value, release) else None
    known_name = not name.startswith("VLLM_") or history.variable_known(catalog, name, release)
    return None if known_name else f"this {WORDS[setting.kind]}"


def _parsers(recipe: Recipe, release: str) -> list[Setting]:
    """The recipe's parsers. A checkpoint of somebody else may have another chat template: then they are
    told."""
    found = []
    for kind, option in (("tool", "tool-call-parser"), ("reasoning", "reasoning-parser")):
        name = recipe.entry.get(option.replace("-", "_"))
        if not name:
            continue
        known = history.parser_known(recipe.catalog, kind, name, release)
        reason = f"recipe of {recipe.model}"
        if not known:
            name = _instead(recipe.catalog, kind, name, release)
            reason += f", by the family's older name for vLLM {release}" if name else ""
        if not name:
            continue
        taken = "parser" if recipe.exact else "left_out"
        reason += "" if recipe.exact else ": look whether the chat template of this model is the same"
        found.append(Setting(taken, option, name, reason, recipe.source))
    if any(setting.kind == "parser" for setting in found):
        for name, value in recipe.entry.get("with_parsers", {}).items():
            if history.option_known(recipe.catalog, name, release):
                found.append(_beside(recipe, name, value))
    return found


def _beside(recipe: Recipe, name: str, value: t.Any) -> Setting:
    """What the recipe sets with its parsers. A file that it names is where its author worked: vLLM's source
    tree is in no wheel, and in the image for ROCm not where the server runs."""
    reason = f"recipe of {recipe.model}"
    file = name in recipe.catalog.vllm["config_file"]["paths"] and isinstance(value, str)
    if not file or value.startswith("/"):
        return Setting("parser", name, value, reason, recipe.source)
    reason += ": a file that no build has there. Put it on the host and give its path"
    return Setting("left_out", name, value, reason, recipe.source)


def _instead(catalog: Catalog, kind: str, name: str, release: str) -> str | None:
    """The parser of the same family that an older release has."""
    for family in catalog.vllm["families"]:
        names = family.get(kind, [])
        if name in names:
            return next(
                (other for other in names if history.parser_known(catalog, kind, other, release)), None
            )
    return None


def _speculative(recipe: Recipe, own: str, release: str) -> list[Setting]:
    """The ways of speculative decoding that the recipe has for this checkpoint and this GPU."""
    found = []
    for mode, block in recipe.entry.get("speculative", {}).items():
        if "variants" in block and (recipe.variant not in block["variants"] or not recipe.exact):
            continue
        block = {**block, **block.get("cards", {}).get(own, {})}
        options = block.get("options", {})
        if all(history.option_known(recipe.catalog, name, release) for name in options):
            value = {"options": options, "environment": block.get("environment", {})}
            reason = f"recipe of {recipe.model}, speculative decoding: {mode}"
            found.append(Setting("speculative", mode, value, reason, recipe.source))
    return found


def family_parsers(
    catalog: Catalog, model_name: str, config: t.Mapping[str, t.Any] | None, release: str
) -> list[Setting]:
    """The parsers of a model's family, for a model without a recipe."""
    kind = str((config or {}).get("model_type") or "")
    source = catalog.vllm["families_source"]["source"]
    for family in catalog.vllm["families"]:
        if not _of_family(family, model_name, kind):
            continue
        found = []
        for part, option in (("tool", "tool-call-parser"), ("reasoning", "reasoning-parser")):
            names = [
                name for name in family.get(part, []) if history.parser_known(catalog, part, name, release)
            ]
            if names:
                found.append(
                    Setting("parser", option, names[0], f"models of the family {family['family']}", source)
                )
        return found
    return []


def _of_family(family: t.Mapping[str, t.Any], model_name: str, model_type: str) -> bool:
    """By type and name, as far as the family names them; a model whose type is not known goes by its name
    alone."""
    types, names = family.get("model_types"), family.get("names")
    by_name = bool(names and re.search(names, model_name, re.IGNORECASE))
    if types and model_type:
        return model_type in types and (not names or by_name)
    return by_name


def variants(recipe: Recipe, gpu: Gpu) -> list[tuple[str, str, str | None, int | None]]:
    """The checkpoints of a recipe that run on these GPUs: variant, model, precision and memory in GB; where
    the
    memory of the GPUs is known, those that fit it."""
    own, found = card(gpu), []
    room = gpu.memory_gib * gpu.devices * 1.073741824 if gpu.memory_gib else None
    for name, variant in recipe.entry.get("variants", {}).items():
        memory = variant.get("memory_gb")
        fits = room is None or memory is None or memory <= room
        if _runs(variant, own) and fits:
            found.append((name, variant.get("model") or recipe.model, variant.get("precision"), memory))
    return found
