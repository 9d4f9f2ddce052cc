# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kinds of layers a model has, and what each keeps of a sequence."""

from __future__ import annotations

import typing as t

LARGEST = 10**9
# Which layers see all tokens, where config.json does not list them: every n-th (transformers).
PATTERNS = {
    "gemma2": 2, "gemma3": 6, "gemma3_text": 6, "gemma3n": 5, "gemma3n_text": 5, "gemma4": 6,
    "gemma4_text": 6,
    "cohere2": 4, "exaone4": 4, "gpt_oss": 2,
}  # fmt: skip
# Their last layer sees all tokens, whatever the list says.
LAST_IS_FULL = ("gemma4", "gemma4_text")
# The last layers of these look at the cache of earlier ones.
SHARE = ("gemma3n", "gemma3n_text", "gemma4", "gemma4_text")
# Models whose layers all have the window where config.json names one and lists no layers (vLLM's class gives
# none of its own, or only listed ones). Of others a window alone does not tell which layers have it.
ALL_SLIDE = (
    "llama", "mistral", "mistral3", "ministral", "ministral3", "mixtral", "phi3", "phi3_v", "phimoe",
    "starcoder2",
    "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen3", "qwen3_moe",
    "qwen2_audio_encoder", "stablelm", "granite", "granitemoe", "modernbert", "pixtral", "llava",
)  # fmt: skip
# The same for models whose other layers see a chunk.
CHUNKED = {"llama4": 4, "llama4_text": 4}
LAYER_TYPES = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "state",
    "mamba": "state",
    "mamba2": "state",
    "conv": "state",
    # Layers without attention keep nothing.
    "moe": "none",
    "mlp": "none",
}
# The letters of Nemotron-H.
LETTERS = {"M": "state", "*": "full", "E": "none", "-": "none"}
# Those of EXAONE 4, which say a pattern that repeats.
REPEATED = {"L": "sliding", "G": "full"}
DELTA_NET = ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "olmo_hybrid")
MAMBA2 = ("granitemoehybrid", "bamba")
BYTES = {"float32": 4, "float": 4, "float16": 2, "bfloat16": 2, "half": 2}


class Layers(t.NamedTuple):
    """``counts`` of the kinds; ``state`` of one layer: ``mixed`` channels that a convolution of ``kernel``
    tokens looks back on, ``groups`` of ``group_width`` more of them, ``numbers`` of the state itself and
    their ``bytes`` (0: as the convolution's). ``understood``: keys that would make a cache an unknown one."""

    counts: dict[str, int]
    window: int | None
    chunk: int | None
    state: dict[str, int] | None
    understood: tuple[str, ...]


def word(value: t.Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 64 else None


def number(part: dict[str, t.Any], *names: str) -> int | None:
    """The first of these that is a number that can be."""
    for name in names:
        value = part.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST:
            return value
    return None


def layers_of(text: dict[str, t.Any], kind: str | None, layers: int) -> Layers:
    """The layers of a language model, by kind."""
    window, chunk = number(text, "sliding_window"), number(text, "attention_chunk_size")
    if text.get("use_sliding_window") is False:
        window = None
    if _mimo(kind):
        # They have a chunk in config.json and no layer with one.
        window, chunk = number(text, "sliding_window_size", "sliding_window"), None
    counts = {"full": 0, "sliding": 0, "chunked": 0, "state": 0, "none": 0}
    listed = _listed(text, kind, layers)
    interval = number(text, "full_attention_interval")
    if listed:
        for name in listed:
            counts[name] += 1
    elif interval:
        counts.update(full=layers // interval, state=layers - layers // interval)
    elif chunk and CHUNKED.get(kind or ""):
        counts["full"] = layers // CHUNKED[kind or ""]
        counts["chunked"] = layers - counts["full"]
    else:
        counts.update(_windowed(text, kind, layers, window))
    if not window:
        counts.update(full=counts["full"] + counts["sliding"], sliding=0)
    if not chunk:
        counts.update(full=counts["full"] + counts["chunked"], chunked=0)
    state, understood = _state(text, kind) if counts["state"] else (None, ())
    marks = text.get("attn_type_list")
    if isinstance(marks, list) and len(marks) == layers and all(value == 1 for value in marks):
        understood = (*understood, "attn_type_list")
    types = text.get("layer_types")
    if not isinstance(types, list) or all(isinstance(name, str) and name in LAYER_TYPES for name in types):
        understood = (*understood, "layer_types")
    told = listed or number(text, "sliding_window_pattern") or kind in PATTERNS
    if told or not window:
        understood = (*understood, "sliding_window_pattern")
    if told or not counts["sliding"] or kind in ALL_SLIDE:
        understood = (*understood, "sliding_window", "sliding_window_size")
    if kind in SHARE:
        understood = (*understood, "num_kv_shared_layers", "global_head_dim", "num_global_key_value_heads")
    if kind in MAMBA2 and listed and not counts["state"]:
        understood = (*understood, "mamba_d_state")
    return Layers(
        {name: count for name, count in counts.items() if count and name != "none"},
        window if counts["sliding"] else None,
        chunk if counts["chunked"] else None,
        state,
        understood,
    )


def _listed(text: dict[str, t.Any], kind: str | None, layers: int) -> list[str]:
    """The kind of each layer where config.json lists them; a kind that is not known keeps every token."""
    pattern = text.get("hybrid_override_pattern")
    if kind == "nemotron_h" and isinstance(pattern, str) and set(pattern) <= set(LETTERS):
        return [LETTERS[letter] for letter in pattern[:layers]]
    types = text.get("layers_block_type") if kind == "nemotron_h" else None
    types = types or text.get("layer_types")
    if isinstance(types, list) and len(types) == layers:
        found = [LAYER_TYPES.get(name, "full") if isinstance(name, str) else "full" for name in types]
        return _kept(text, kind, found)
    marks = text.get("hybrid_layer_pattern")
    if _mimo(kind) and isinstance(marks, list) and len(marks) == layers:
        return ["sliding" if mark == 1 else "full" for mark in marks]
    if kind == "kimi_linear":
        return _delta_attention(text, layers)
    every = number(text, "global_attn_every_n_layers") if kind == "afmoe" else None
    every = every or (PATTERNS[kind or ""] if kind in SHARE else None)
    if every:
        found = ["full" if layer % every == every - 1 else "sliding" for layer in range(layers)]
        return _kept(text, kind, found)
    repeated = text.get("sliding_window_pattern")
    if isinstance(repeated, str) and repeated and set(repeated) <= set(REPEATED):
        return [REPEATED[repeated[layer % len(repeated)]] for layer in range(layers)]
    return []


def _mimo(kind: str | None) -> bool:
    return (kind or "").startswith("mimo_v2")


def _kept(text: dict[str, t.Any], kind: str | None, found: list[str]) -> list[str]:
    """The layers that keep something of their own."""
    if kind in LAST_IS_FULL:
        found = [*found[:-1], "full"]
    shared = number(text, "num_kv_shared_layers") if kind in SHARE else None
    return [*found[: len(found) - shared], *["none"] * shared] if shared and shared < len(found) else found


def _delta_attention(text: dict[str, t.Any], layers: int) -> list[str]:
    """Kimi's layers, which config.json counts from 1."""
    about = text.get("linear_attn_config")
    numbers = about.get("kda_layers") if isinstance(about, dict) else None
    if not isinstance(numbers, list) or not all(isinstance(layer, int) for layer in numbers):
        return []
    return ["state" if layer + 1 in numbers else "full" for layer in range(layers)]


def _windowed(text: dict[str, t.Any], kind: str | None, layers: int, window: int | None) -> dict[str, int]:
    pattern = number(text, "sliding_window_pattern", "_sliding_window_pattern") or PATTERNS.get(kind or "")
    from_layer = text.get("max_window_layers")
    if window and pattern:
        return {"full": layers // pattern, "sliding": layers - layers // pattern}
    if window and text.get("use_sliding_window") is True and isinstance(from_layer, int):
        full = min(max(from_layer, 0), layers)
        return {"full": full, "sliding": layers - full}
    return {"sliding" if window else "full": layers}


def _state(text: dict[str, t.Any], kind: str | None) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """What one layer keeps of a sequence (vLLM's model_executor/layers/mamba/mamba_utils.py), and the keys
    that tell it."""
    if kind in DELTA_NET:
        return _delta_net(text), ()
    if kind == "nemotron_h":
        sizes = _numbers(
            text, "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel"
        )
        if sizes:
            kept = BYTES.get(str(text.get("mamba_ssm_cache_dtype")), 4)
            inner = sizes[0] * sizes[1]
            return _mamba2((inner, *sizes[2:]), inner, kept), ("hybrid_override_pattern", "layers_block_type")
    if kind in MAMBA2:
        sizes = _numbers(
            text, "mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv"
        )
        expand, hidden = number(text, "mamba_expand") or 2, number(text, "hidden_size")
        if sizes and hidden:
            return _mamba2((expand * hidden, *sizes[2:]), sizes[0] * sizes[1], 0), ("mamba_d_state",)
    if kind == "kimi_linear":
        known = _kimi(text)
        return known, ("linear_attn_config",) if known else ()
    if kind in ("lfm2", "lfm2_moe"):
        kernel, width = number(text, "conv_L_cache") or 3, number(text, "conv_dim", "hidden_size")
        if width:
            return {"mixed": width, "kernel": kernel, "numbers": 0, "bytes": 0}, ()
    return None, ()


def _numbers(text: dict[str, t.Any], *names: str) -> tuple[int, ...] | None:
    found = tuple(number(text, name) or 0 for name in names)
    return found if all(found) else None


def _kimi(text: dict[str, t.Any]) -> dict[str, int] | None:
    """Kimi's delta attention: the state is in 32 bits whatever the model is in."""
    about = text.get("linear_attn_config")
    sizes = (
        _numbers(about, "num_heads", "head_dim", "short_conv_kernel_size")
        if isinstance(about, dict)
        else None
    )
    if not sizes:
        return None
    heads, width, kernel = sizes
    return {"mixed": 3 * heads * width, "kernel": kernel, "numbers": heads * width * width, "bytes": 4}


def _delta_net(text: dict[str, t.Any]) -> dict[str, int] | None:
    sizes = _numbers(
        text, "linear_num_key_heads", "linear_key_head_dim", "linear_num_value_heads",
        "linear_value_head_dim",
        "linear_conv_kernel_dim",
    )  # fmt: skip
    if not sizes:
        return None
    keys, key, values, value, kernel = sizes
    kept = BYTES.get(str(text.get("mamba_ssm_dtype")), 0)
    return {
        "mixed": 2 * keys * key + values * value,
        "kernel": kernel,
        "numbers": values * value * key,
        "bytes": kept,
    }


def _mamba2(sizes: tuple[int, ...], heads: int, kept: int) -> dict[str, int]:
    """``sizes``: channels, groups, width of a state, kernel. ``heads``: the numbers of all heads, each of
    which has a state of that width."""
    inner, groups, width, kernel = sizes
    state = {"mixed": inner, "groups": groups, "group_width": 2 * width, "kernel": kernel}
    return {**state, "numbers": heads * width, "bytes": kept}
