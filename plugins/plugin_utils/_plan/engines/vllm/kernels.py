# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What attention backends bear: GPUs, sizes of heads, sinks, latent vectors, blocks and formats of the cache.

vLLM holds each layer to it when it loads the model, and ends where the backend that is asked for does not
fit, or none is left.
"""

from __future__ import annotations

import typing as t

from ...catalog import version_key
from ...facts import Shape
from . import checkpoint, history, states
from .refusals import Launched

BACKEND, CACHE, BLOCK, AITER = "attention-backend", "kv-cache-dtype", "block-size", "VLLM_ROCM_USE_AITER"
# All kernels for heads on ROCm go in steps of so many tokens.
STEP = 16


def check(launched: Launched) -> None:
    """Hold one instance on GPUs to the backend it asks for, or to those there are."""
    gfx, known = launched.instance.gfx, launched.instance.host.catalog.vllm["attention_backends"]
    aiter = known["by_gfx"].get(gfx, {}).get("aiter", False)
    backend = _asked(launched.options)
    if backend:
        _check_backend(launched, backend, aiter)
    for option in ("moe-backend", "linear-backend"):
        value = launched.options.get(option, "")
        if "aiter" in str(value).lower() and not aiter:
            launched.refuse(option, f"{option}={value} on {gfx}", "AITER has no kernels for this GPU")
    shape = checkpoint.shape(launched.instance)
    if (
        shape
        and not shape.get("uncounted")
        and not shape.get("index")
        and not states.spreads(launched.environment)
    ):
        _check_cache(launched, backend, shape, aiter)
        _check_blocks(launched, bool(shape.get("kv_lora_rank") or shape.get("state")))


def _asked(options: dict[str, t.Any]) -> str | None:
    """The attention backend, whichever way it is asked for."""
    asked = options.get(BACKEND) or states.mapping(options.get("attention-config")).get("backend")
    return str(asked) if asked and str(asked).lower() != "auto" else None


def _check_backend(launched: Launched, backend: str, aiter: bool) -> None:
    """A backend that the release has, with kernels for the GPU and the model."""
    gfx, version, catalog = (
        launched.instance.gfx,
        launched.instance.build.version,
        launched.instance.host.catalog,
    )
    known, name, option = catalog.vllm["attention_backends"]["names"], backend.upper(), f"{BACKEND}={backend}"
    entry, first = known.get(name), catalog.vllm["attention_history"].get(name, {}).get("first")
    if entry is None:
        launched.refuse(BACKEND, option, f"vLLM has {', '.join(known)}")
    elif first and version_key(version) < version_key(first):
        launched.refuse(BACKEND, f"{option} with vLLM {version}", f"it came with {first}")
    elif entry.get("aiter") and not aiter:
        why = f"{name} is made of AITER's kernels, which need CDNA 3 or later; the engine stops at start"
        launched.refuse(BACKEND, f"{option} on {gfx}", why)
    else:
        _check_model(launched, option, entry)


def _check_model(launched: Launched, option: str, entry: t.Mapping[str, t.Any]) -> None:
    shape = checkpoint.shape(launched.instance)
    # Of encoders another part decides, and an uncounted model may have layers of another kind.
    unlike = ("uncounted", "encoder", "index")
    if not shape or any(shape.get(name) for name in unlike) or states.spreads(launched.environment):
        return
    known = launched.instance.host.catalog.vllm["attention_backends"]
    unfit = _unfit(known, entry, shape)
    if unfit:
        launched.refuse(BACKEND, f"{option} for {unfit[0]}", unfit[1])


def _unfit(
    known: t.Mapping[str, t.Any], entry: t.Mapping[str, t.Any], shape: Shape
) -> tuple[str, str] | None:
    """What of a model a backend does not take, and what takes it."""
    latent, head = bool(shape.get("kv_lora_rank")), shape.get("head_dim")
    if latent != entry.get("latent", False):
        kept = "latent vectors (MLA)" if latent else "heads of keys and values"
        others = known["names"].items()
        fitting = [
            name for name, other in others if other.get("latent", False) == latent and not other.get("sparse")
        ]
        return f"a model of {kept}", f"vLLM has {', '.join(fitting)} for them"
    if not latent and head and head not in entry.get("heads", [head]):
        return f"heads of {head}", f"it takes heads of {', '.join(map(str, entry['heads']))}"
    if shape.get("type") in known["sink_types"] and not entry.get("sinks", True):
        return str(shape["type"]), "it does not know attention sinks, which these models have"
    return None


def _check_cache(launched: Launched, backend: str | None, shape: Shape, aiter: bool) -> None:
    """A format of the cache that a backend for this model can read."""
    catalog, version = launched.instance.host.catalog, launched.instance.build.version
    known, kind = catalog.vllm["attention_backends"], str(launched.options.get(CACHE) or "auto")
    if kind in known["plain_caches"] or history.option_refuses(catalog, CACHE, kind, version):
        return  # what is no format at all is told with the option
    latent = bool(shape.get("kv_lora_rank"))
    # vLLM takes AITER's kernels for latent vectors only where it shall use AITER.
    aiter = aiter and (not latent or launched.environment.get(AITER) == "1")
    taken: dict[str, None] = {}
    for name, entry in known["names"].items():
        chosen = name == backend.upper() if backend else not entry.get("aiter") or aiter
        fits = not entry.get("sparse") and _unfit(known, entry, shape) is None
        if chosen and fits and history.backend_known(catalog, name, version):
            taken.update(dict.fromkeys(entry.get("caches", known["plain_caches"])))
    words = [word for word in taken if not history.option_refuses(catalog, CACHE, word, version)]
    if words and kind not in words:
        whose = (
            f"{BACKEND}={backend}"
            if backend
            else f"a model of {'latent vectors (MLA)' if latent else 'its heads'}"
        )
        why = f"no attention backend reads it there; it may be {', '.join(words)}"
        launched.refuse(CACHE, f"{CACHE}={kind} on {launched.instance.gfx} for {whose}", why)


def _check_blocks(launched: Launched, own: bool) -> None:
    """Layers that keep a state, and latent vectors, have blocks of their own size."""
    size = launched.options.get(BLOCK)
    if not own and isinstance(size, int) and not isinstance(size, bool) and size > 0 and size % STEP:
        why = f"all attention backends on ROCm want a multiple of {STEP}"
        launched.refuse(BLOCK, f"{BLOCK} {size}", why)
