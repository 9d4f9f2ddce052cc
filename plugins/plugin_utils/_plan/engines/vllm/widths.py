# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Over how many devices a model can be spread: tensor parallelism divides more than heads (vLLM's
config/model.py ``verify_with_parallel_config`` and its layers)."""

from __future__ import annotations

import typing as t

from ...facts import Shape

# vLLM pads a vocabulary to a multiple of this before it divides it.
PADDING = 64


def fault(shape: Shape, width: int, options: t.Mapping[str, t.Any], quantization: str | None) -> str | None:
    """What cannot be shared out over so many devices, for people; ``None`` where everything can."""
    if width == 1:
        return None
    heads, kept, vocabulary = shape["heads"], shape.get("kv_heads"), shape.get("vocabulary")
    if heads % width:
        return f"{heads} attention heads" + (f" ({kept} of keys and values)" if kept else "")
    # Heads of keys and values are shared out, or repeated equally often; a latent vector is whole everywhere.
    if kept and not shape.get("kv_lora_rank") and kept % width and width % kept:
        return f"{heads} attention heads ({kept} of keys and values)"
    if vocabulary and -(-vocabulary // PADDING) * PADDING % width:
        return f"a vocabulary of {vocabulary}"
    if shape.get("state") and shape["state"]["mixed"] % width:
        return f"{shape['state']['mixed']} channels of linear attention"
    vision = shape.get("vision_heads")
    if vision and vision % width and options.get("mm-encoder-tp-mode") != "data":
        return f"{vision} heads of the vision encoder (unless mm-encoder-tp-mode is data)"
    return _layers(shape, width, options, quantization)


def context_fault(shape: Shape, width: int, ways: int) -> str | None:
    """Why a cache cannot be shared out by tokens (decode-context-parallel-size) over so many devices of the
    width."""
    heads, kept = shape["heads"], shape.get("kv_heads") or shape["heads"]
    if width % ways:
        return f"it must divide tensor-parallel-size {width}"
    if shape.get("kv_lora_rank"):
        return None
    if width // kept < ways:
        most = max(width // kept, 1)
        return f"each of the {kept} heads of keys and values lies on {most} of {width} devices, no more"
    if heads // kept % ways:
        return f"it must divide the {heads // kept} heads that share one of keys and values"
    return None


def _layers(shape: Shape, width: int, options: t.Mapping[str, t.Any], quantization: str | None) -> str | None:
    """Feed-forward layers and experts, whose parts must be whole blocks of their scales too. MXFP4 is
    padded."""
    if quantization and "mxfp4" in quantization:
        return None
    whole = bool(options.get("enable-expert-parallel"))
    sizes = [
        ("feed-forward layers", shape.get("intermediate")),
        ("the shared expert", shape.get("shared_expert")),
        ("experts", None if whole else shape.get("expert")),
    ]
    for name, size in sizes:
        if not size:
            continue
        unit = shape.get("quant_block") or shape.get("quant_group") or 1
        if name == "experts" and shape.get("expert_format") == "fp4":
            # Their scales are those of MXFP4, which vLLM pads.
            unit = 1
        if size % width:
            return f"{name} of {size}"
        # Where even one device has no whole blocks, the layer is not quantized so.
        if size % unit == 0 and size // width % unit:
            return f"{name} of {size} in blocks of {unit}"
    return None


def fitting(
    shape: Shape, most: int, options: t.Mapping[str, t.Any], quantization: str | None = None
) -> list[int]:
    """All widths up to one that the model bears."""
    return [width for width in range(1, most + 1) if fault(shape, width, options, quantization) is None]
