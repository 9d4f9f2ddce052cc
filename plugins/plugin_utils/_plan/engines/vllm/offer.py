# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be served here? The models of the catalog on GPUs of one kind, before anything is fetched: how
many GPUs, how much context, how many sequences, and the line for the inventory. A plan with that line checks
the rest."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from .....module_utils import _model
from ...catalog import Catalog, version_key
from ...facts import Shape
from ...memory import GIB
from . import classes, defaults, fit, history, recipes, widths

# A context that most people ask for; sequences are told for it where the model bears as much.
USUAL = 32768
# Below this nobody is helped.
LEAST = 4096
WIDTHS = (1, 2, 4, 8)
WIDE_BLOCKS = "ROCM_AITER_UNIFIED_ATTN"
NAME = "served"


@dataclasses.dataclass(frozen=True)
class Card:
    """GPUs of one kind in a host. ``usable_bytes`` is what one device of them has for vLLM."""

    gfx: str
    product: str
    count: int
    usable_bytes: int
    # The share and further limits that the profile of the architecture sets.
    profile: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def options(self) -> dict[str, t.Any]:
        found = self.profile.get("serving", {}).get("options", {})
        return {name: entry["value"] for name, entry in found.items()}


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a checkpoint is started with on a card: the options of the profile and of the recipe."""

    card: Card
    release: str
    options: t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Offer:
    """One checkpoint on a card. ``why`` says what is in the way, or what is not known; then numbers may be
    missing."""

    model: str
    precision: str
    # fits, unknown or no.
    verdict: str
    why: str = ""
    gpus: int = 0
    weights_bytes: int = 0
    kv_bytes_per_token: int | None = None
    largest_context: int | None = None
    context: int | None = None
    sequences: int | None = None
    settings: tuple[str, ...] = ()
    # What vLLM's recipe publishes as the least memory for it, in GB of all GPUs together.
    recipe_gb: int | None = None
    line: str = ""


def offers(catalog: Catalog, card: Card, release: str, names: t.Collection[str] = ()) -> list[Offer]:
    """Every checkpoint of the models that are asked for, of all models where none is. A name that the catalog
    does not have is told."""
    known = catalog.vllm["models"]
    wanted = {name.lower() for name in names}
    found = [
        _offer(catalog, card, release, entry["config"], checkpoint)
        for name, entry in known.items()
        for checkpoint in entry["checkpoints"]
        if not wanted or {name.lower(), checkpoint["model"].lower()} & wanted
    ]
    told = {offer.model.lower() for offer in found} | {name.lower() for name in known}
    return found + [_by_recipe(catalog, card, release, name) for name in names if name.lower() not in told]


def _by_recipe(catalog: Catalog, card: Card, release: str, model: str) -> Offer:
    """What is known of a model that has a recipe and no numbers."""
    recipe = recipes.find(catalog, model)
    if recipe is None:
        why = "neither numbers nor a recipe of it are known; model_config and weights_gib of an instance tell"
        return Offer(model, "", "unknown", why)
    gpu = recipes.Gpu(card.gfx, card.product, card.count, card.usable_bytes / GIB)
    refused = _no_code(catalog, card, release) or _refused(recipe, gpu, release)
    if refused:
        return Offer(model, "", "no", refused)
    fitting = recipes.variants(recipe, gpu)
    asked = [f"{kind or name} asks for {memory} GB" for name, _checkpoint, kind, memory in fitting if memory]
    why = f"its recipe is known ({', '.join(asked) or 'no size'}), its numbers are not"
    return Offer(model, "", "unknown", why, settings=_settings(recipe, gpu, release))


def _offer(
    catalog: Catalog, card: Card, release: str, config: dict[str, t.Any], checkpoint: dict[str, t.Any]
) -> Offer:
    quantized = checkpoint.get("quantization_config")
    whole = {**config, **({"quantization_config": quantized} if quantized else {})}
    name, precision = checkpoint["model"], checkpoint["precision"]
    names = config.get("architectures") or [None]
    shape = classes.marked(catalog, names[0], t.cast("Shape | None", _model.shape(whole)))
    recipe = recipes.find(catalog, name)
    gpu = recipes.Gpu(card.gfx, card.product, card.count, card.usable_bytes / GIB)
    none = Offer(name, precision, "no", recipe_gb=_asked_gb(recipe) if recipe else None)
    why = _lacks(catalog, card, release, whole) or (_refused(recipe, gpu, release) if recipe else None)
    if why or shape is None:
        return dataclasses.replace(none, why=why or "its config.json has no layers")
    model = fit.Model(int(checkpoint["weights_gib"] * GIB), shape, _model.quantization(whole))
    asked = Asked(card, release, {**card.options, **(_options(recipe, gpu, release) if recipe else {})})
    best = _narrowest(catalog, asked, model)
    if isinstance(best, str):
        return dataclasses.replace(none, why=best)
    width, table = best
    offer = dataclasses.replace(
        none,
        verdict="fits" if table["verdict"] == "fits" else "unknown",
        why=table.get("reason") or "",
        gpus=width,
        weights_bytes=table["weights_bytes"],
        kv_bytes_per_token=table.get("kv_bytes_per_token"),
        largest_context=table.get("largest_context"),
        context=table.get("context"),
        sequences=table.get("sequences"),
        settings=_settings(recipe, gpu, release) if recipe else (),
    )
    return dataclasses.replace(offer, line=_line(offer, card, shape))


def _asked_gb(recipe: recipes.Recipe) -> int | None:
    """The least memory that a recipe names for the checkpoint."""
    variant = recipe.entry.get("variants", {}).get(recipe.variant or "", {})
    return t.cast("int | None", variant.get("memory_gb")) if recipe.exact else None


def _narrowest(catalog: Catalog, asked: Asked, model: fit.Model) -> tuple[int, dict[str, t.Any]] | str:
    """The fewest GPUs that hold the model and its usual context, or, where none do, the most context; else
    why there are none."""
    shape, best = model.shape or t.cast(Shape, {}), None
    why = "no number of GPUs that there is can share it out"
    for width in (width for width in WIDTHS if width <= asked.card.count):
        fault = widths.fault(shape, width, asked.options, model.quantization)
        if fault:
            why = f"{fault} cannot be shared out over {width} GPUs"
            continue
        table = _table(catalog, asked, model, width)
        if table["verdict"] == "weights":
            weights, room = table["weights_bytes"] / GIB, table["budget_bytes"] / GIB
            where = f"on each of {width} GPUs" if width > 1 else "on one GPU"
            why = f"{weights:.0f} GiB of weights {where}, which has {room:.0f} for them"
            continue
        usual = min(shape.get("context", USUAL), USUAL)
        largest = table.get("largest_context")
        if table["verdict"] == "unknown" or largest is None or largest >= usual:
            return width, table
        why = f"beside the weights there is room for {largest} tokens"
        if largest >= LEAST and (best is None or largest > best[1]["largest_context"]):
            best = (width, table)
    return best or why


def _table(catalog: Catalog, asked: Asked, model: fit.Model, width: int) -> dict[str, t.Any]:
    """The memory with as much context as there is room for, and the sequences of a usual one."""
    card, release, options = asked.card, asked.release, asked.options
    rules = catalog.vllm["memory"]
    batch = defaults.batch(catalog, release, card.usable_bytes)
    wide = str(options.get("attention-backend", "")).upper() == WIDE_BLOCKS
    settings = fit.Settings(
        usable_bytes=card.usable_bytes,
        utilization=float(options.get("gpu-memory-utilization", defaults.share(catalog, release))),
        tensor_parallel=width,
        dtype=str(options.get("dtype", "auto")),
        kv_dtype=str(options.get("kv-cache-dtype", "auto")),
        block_size=int(options.get("block-size", 64 if wide else rules["block_size"]["rocm"])),
        batched_tokens=batch["tokens"],
        sequences=batch["sequences"],
        states=2 if defaults.caches_states(release) else 1,
        widened=defaults.widens(catalog, release, card.gfx, model.quantization),
    )
    table = fit.table(model, settings, rules)
    largest = table.get("largest_context")
    if model.shape and model.shape.get("encoder"):
        return {**table, "largest_context": table.get("context")}
    if not largest or table["verdict"] == "weights":
        return table
    ceiling = card.profile.get("memory", {}).get("max_model_len_ceiling") or largest
    largest = min(largest, ceiling, table["context"] or largest)
    held = fit.table(model, settings._replace(max_model_len=min(largest, USUAL)), rules)
    most = [
        held["sequences"],
        batch["sequences"],
        *([held["state_blocks"]] if held.get("state_blocks") else []),
    ]
    return {**held, "largest_context": largest, "context": min(largest, USUAL), "sequences": min(most)}


def _lacks(catalog: Catalog, card: Card, release: str, config: dict[str, t.Any]) -> str | None:
    """Why the release or the GPU cannot serve a model at all."""
    missing = _no_code(catalog, card, release)
    if missing:
        return missing
    names = config.get("architectures") or [None]
    found = classes.find(catalog, names[0])
    if not found or not history.within((found.first, found.last), release) or "foreign" in found.signs:
        return f"vLLM {release} has no class {names[0]} for AMD's GPUs"
    known = catalog.vllm["attention_backends"]["by_gfx"].get(card.gfx, {})
    if config.get("index_topk") and not known.get("aiter"):
        return "its sparse attention has AITER's kernels alone, which need CDNA 3 or later"
    support = catalog.vllm["quantization"]["by_gfx"].get(card.gfx, {})
    scales = _model.fp8_scales(config)
    method = f"fp8_per_{scales}" if scales else str(_model.quantization(config))
    first = support.get(f"{method}_first")
    if support.get(method) == "no" or (first and version_key(release) < version_key(first)):
        return f"vLLM {release} has no kernels for {method} on {card.gfx}"
    return None


def _no_code(catalog: Catalog, card: Card, release: str) -> str | None:
    built = catalog.vllm["versions"][release].get("prebuilt_gfx", [])
    return None if card.gfx in built else f"vLLM {release} comes with no code for {card.gfx}"


def _refused(recipe: recipes.Recipe, gpu: recipes.Gpu, release: str) -> str | None:
    found = [
        setting for setting in recipes.settings(recipe, gpu, release) if setting.kind in ("refuse", "minimum")
    ]
    return found[0].reason if found else None


def _options(recipe: recipes.Recipe, gpu: recipes.Gpu, release: str) -> dict[str, t.Any]:
    """The options that the plan takes from the recipe by itself: the memory depends on some."""
    return {
        setting.name: setting.value
        for setting in recipes.settings(recipe, gpu, release)
        if setting.kind == "option" and setting.name != "tensor-parallel-size"
    }


def _settings(recipe: recipes.Recipe, gpu: recipes.Gpu, release: str) -> tuple[str, ...]:
    """What the plan takes from the recipe by itself, and the parsers for who wants tools."""
    return tuple(
        f"{setting.name}={_text(setting.value)}"
        for setting in recipes.settings(recipe, gpu, release)
        if setting.kind in ("option", "environment", "parser") and setting.name != "tensor-parallel-size"
    )


def _text(value: t.Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _line(offer: Offer, card: Card, shape: Shape) -> str:
    """The entry of serve_instances."""
    options = {"tensor-parallel-size": offer.gpus} if offer.gpus > 1 else {}
    own, largest = shape.get("context"), offer.largest_context
    if largest and own and largest < own:
        options["max-model-len"] = largest
    parts = [f"name: {NAME}", f"model: {offer.model}"]
    if offer.gpus < card.count:
        parts.append(f"gpus: [{', '.join(map(str, range(offer.gpus)))}]")
    if options:
        parts.append("options: {" + ", ".join(f"{name}: {value}" for name, value in options.items()) + "}")
    return "- {" + ", ".join(parts) + "}"


def cards(facts: t.Mapping[str, t.Any], catalog: Catalog, pool_bytes: int | None = None) -> list[Card]:
    """The GPUs of a host, by kind. The pool of an APU is as large as the plan makes it."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for gpu in facts.get("gpus") or []:
        usable = gpu.get("usable_bytes") or 0
        if gpu.get("apu") and pool_bytes:
            usable = max(usable, pool_bytes)
        if usable and gpu.get("gfx"):
            kinds.setdefault((gpu["gfx"], gpu.get("product") or gpu["gfx"]), []).append(usable)
    return [
        Card(gfx, product, len(sizes), min(sizes), catalog.profile(gfx) or {})
        for (gfx, product), sizes in kinds.items()
    ]
