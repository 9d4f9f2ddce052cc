# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a model: the few numbers of its ``config.json`` that memory and widths are computed from,
named alike whatever the model calls them."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_caches as of_caches
from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_defaults as defaults
from ansible_collections.amdgpu.fleet.plugins.module_utils import _model_layers as of_layers
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_layers import LARGEST
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_layers import number as _number
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_layers import word as _word

# Names of one number, the first that is there counts (vLLM's
# transformers_utils/model_arch_config_convertor.py).
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads")
KV_HEADS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
HIDDEN = ("hidden_size", "n_embd", "d_model")
HEAD_DIM = ("head_dim", "hidden_size_per_head", "kv_channels")
CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
# Layers that propose the next tokens (multi-token prediction).
DRAFTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers")
INTERMEDIATE = ("intermediate_size", "ffn_hidden_size", "decoder_ffn_dim", "n_inner")
# These keep their context already scaled, or are an own limit (vLLM's config/model.py).
ROPE_WITHOUT_FACTOR = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
# Caches that are not keys and values of every token, or not of every layer in one way: nothing is computed
# where these stand, unless _model_layers knows the model.
UNCOUNTED = (
    "compress_ratios", "index_topk", "hybrid_override_pattern", "attn_layer_period", "attn_type_list",
    "block_configs", "block_types", "layers_block_type", "sliding_window_pattern", "num_kv_shared_layers",
    "per_layer_config", "global_head_dim", "num_global_key_value_heads", "ssm_cfg", "state_size",
    "mamba_d_state", "linear_attn_config", "is_encoder_decoder", "sliding_window", "sliding_window_size",
    "layer_types", "layer_group_size", "mixer_types", "sparse_attention_config", "lightning_head_dim",
    "mb_per_layer", "rswa_window",
)  # fmt: skip
# Types whose cache is never one of keys and values of every token, whatever config.json says.
UNLIKE = (
    "bailing_hybrid", "bailing_moe_linear", "bailing_moe_v3", "deepseek_v4", "deepseek_v41",
    "deepseek_v41_text", "falcon_mamba", "glm5_next", "glm5_next_text", "hy_v4", "inkling", "kimi_k3",
    "mamba", "mamba2", "minimax_m3", "minimax_m3_text", "minimax_m3_vl", "minicpm_sala", "minimax",
    "minimax_m1", "minimax_text_01", "qwen4_exp", "qwen4_exp_text", "rwkv7",
    "voxtral_realtime", "zamba2",
)  # fmt: skip
# Models that only encode: attention goes both ways and nothing is kept of it.
ENCODERS = (
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gte", "jina_bert",
    "modernbert", "mpnet", "new", "nomic_bert", "siglip", "siglip_text_model", "roberta", "xlm-roberta",
    "xlm-roberta-flash",
)  # fmt: skip
# Decoders that vLLM lets encode where config.json says so.
BOTH_WAYS = ("gemma3_text", "gemma4_text", "llama", "qwen2", "qwen3")


# Formats of 8 bits by ModelOpt, and of Quark, with what shares a scale.
MODELOPT_FP8 = {"FP8": "tensor", "FP8_PER_CHANNEL_PER_TOKEN": "channel", "FP8_PB_WO": "block"}
QUARK_FP8 = {"per_tensor": "tensor", "per_channel": "channel"}
# Parts of ModelOpt that vLLM loads by names of their own, and methods that another one loads.
MODELOPT = {"NVFP4": "modelopt_fp4", "MIXED_PRECISION": "modelopt_mixed", "MXFP8": "modelopt_mxfp8"}
SAME_METHOD = {"auto-round": "inc"}
# A model that vLLM loads in a format of its own where the file has it in this one.
PACKED = ("kimi_k3", "mxfp4-pack-quantized", "mxfp4")
# Numbers without which a cache and the widths of a model cannot be told, if config.json has them at all.
NEEDED = (LAYERS, HEADS, KV_HEADS, HIDDEN, HEAD_DIM, ("vocab_size",))
# No model has more layers.
MOST_LAYERS = 4096


def quantization(configuration: dict[str, t.Any]) -> str | None:
    """How the weights are quantized, by the name that vLLM looks up (its model_arch_config_convertor.py)."""
    found = _quantization(configuration)
    method = _word(found.get("quant_method"))
    inside, producer = found.get("quantization"), found.get("producer")
    if not method and isinstance(inside, dict) and isinstance(producer, dict):
        # What ModelOpt wrote at first.
        method = "modelopt" if producer.get("name") == "modelopt" else None
        found = inside
    name = method.lower().replace("compressed_tensors", "compressed-tensors") if method else None
    if (configuration.get("model_type"), found.get("format")) == PACKED[:2]:
        return PACKED[2]
    if name == "modelopt":
        return MODELOPT.get(str(found.get("quant_algo")).upper(), name)
    return SAME_METHOD.get(name, name) if name else None


def fp8_scales(configuration: dict[str, t.Any]) -> str | None:
    """What shares a scale in weights of 8 bits: ``tensor``, ``channel`` or ``block``; ``None`` where they are
    not FP8."""
    found, method = _quantization(configuration), quantization(configuration)
    if method == "fp8":
        return "block" if found.get("weight_block_size") else "tensor"
    if method == "modelopt":
        inside = found.get("quantization")
        algorithm = (inside if isinstance(inside, dict) else found).get("quant_algo")
        return MODELOPT_FP8.get(str(algorithm).upper())
    if method == "fbgemm_fp8":
        return "channel"
    if method == "quark":
        return _quark_scales(found)
    groups = found.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict) and weights.get("num_bits") == 8 and weights.get("type") == "float":
            strategy = weights.get("strategy")
            return str(strategy) if strategy in ("tensor", "channel", "block") else None
    return None


def _quark_scales(found: dict[str, t.Any]) -> str | None:
    about = found.get("global_quant_config")
    weight = about.get("weight") if isinstance(about, dict) else None
    if not isinstance(weight, dict) or not str(weight.get("dtype")).startswith("fp8"):
        return None
    return QUARK_FP8.get(str(weight.get("qscheme")))


def _quantization(configuration: dict[str, t.Any]) -> dict[str, t.Any]:
    for part in (configuration, _text_part(configuration)):
        for key in ("quantization_config", "compression_config"):
            found = part.get(key)
            if isinstance(found, dict):
                return found
    return {}


def shape(configuration: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """The numbers that memory is computed from, ``None`` where ``config.json`` has no layers or no heads.

    ``attention`` counts layers: ``full`` keep every token, ``sliding`` the last ``window``, ``chunked`` those
    of one ``chunk``, ``state`` a fixed amount a sequence. ``uncounted`` names what makes the cache another
    one than these numbers say.
    """
    text = defaults.filled(configuration, _text_part(configuration))
    kind = _word(text.get("model_type")) or _word(configuration.get("model_type"))
    layers = of_caches.layers(text, kind) or _number(text, *LAYERS)
    heads, hidden = _number(text, *HEADS), _number(text, *HIDDEN)
    if not layers or not heads or layers > MOST_LAYERS:
        return None
    found = of_layers.layers_of(text, kind, layers)
    caches = of_caches.of(text, kind, layers)
    numbers = {
        "type": kind,
        "layers": layers,
        "heads": heads,
        "kv_heads": _kv_heads(text, heads),
        "head_dim": _number(text, *HEAD_DIM) or (hidden // heads if hidden else None),
        "hidden": hidden,
        "vocabulary": _number(text, "vocab_size") or _number(configuration, "vocab_size"),
        "context": _context(text, kind),
        "reach": _reach(text, kind),
        "stretched": _stretched(text),
        "dtype": _dtype(text) or _dtype(configuration),
        "kv_dtype": _kv_dtype(configuration),
        "kv_lora_rank": _number(text, "kv_lora_rank"),
        "q_lora_rank": _number(text, "q_lora_rank"),
        "rope_head_dim": _number(text, "qk_rope_head_dim"),
        "window": found.window,
        "chunk": found.chunk,
        "attention": found.counts,
        "state": found.state,
        "labels": _labels(configuration),
        "drafts": _number(text, *DRAFTS) or _number(configuration, *DRAFTS),
        "encoder": True if _only_encodes(text, kind) else None,
        "uncounted": _uncounted(configuration, text, found, (*found.understood, *caches.understood)),
        **_widths(configuration, text),
        **caches.numbers,
    }
    return {name: value for name, value in numbers.items() if value is not None}


def _labels(configuration: dict[str, t.Any]) -> int | None:
    names = configuration.get("id2label")
    return _number(configuration, "num_labels") or (len(names) if isinstance(names, dict) and names else None)


def _only_encodes(text: dict[str, t.Any], kind: str | None) -> bool:
    """Whether attention goes both ways, so that nothing is kept."""
    if text.get("is_decoder") is True:
        return False
    both = text.get("is_causal") is False or text.get("use_bidirectional_attention") in (True, "all")
    return kind in ENCODERS or (kind in BOTH_WAYS and both)


def _uncounted(
    configuration: dict[str, t.Any],
    text: dict[str, t.Any],
    found: of_layers.Layers,
    understood: tuple[str, ...],
) -> str | None:
    kinds = (_word(part.get("model_type")) for part in (text, configuration))
    unlike = next((kind for kind in kinds if kind in UNLIKE), None)
    keys = [key for key in UNCOUNTED if text.get(key) or configuration.get(key)]
    odd = next((key for key in keys if key not in understood), None) or _unusable(text)
    if odd or unlike or not found.counts.get("state") or found.state:
        return odd or (f"the layers of {unlike}" if unlike else None)
    return "state of linear attention"


def _unusable(text: dict[str, t.Any]) -> str | None:
    """A number that config.json has in a form that is none here, such as one for each layer."""
    for names in NEEDED:
        given = [name for name in names if text.get(name) not in (None, 0, False)]
        if given and not _number(text, *given):
            return given[0]
    return None


def _widths(configuration: dict[str, t.Any], text: dict[str, t.Any]) -> dict[str, t.Any]:
    """What tensor parallelism divides besides heads and vocabulary."""
    inside = configuration.get("thinker_config")
    vision = (inside if isinstance(inside, dict) else configuration).get("vision_config")
    quantized = _quantization(configuration)
    block = quantized.get("weight_block_size")
    sizes = (
        [size for size in block if isinstance(size, int) and 0 < size <= LARGEST]
        if isinstance(block, list)
        else []
    )
    expert = _number(text, "moe_intermediate_size")
    experts = _number(text, *EXPERTS)
    return {
        "intermediate": _number(text, *INTERMEDIATE),
        "experts": experts,
        "expert": expert,
        "shared_expert": _number(text, "shared_expert_intermediate_size"),
        "vision_heads": _number(vision, "num_attention_heads", "num_heads")
        if isinstance(vision, dict)
        else None,
        "quant_block": max(sizes) if sizes else None,
        "quant_group": _group_size(quantized),
        **_packed(configuration, quantized),
        "expert_format": _expert_format(configuration, text, quantized),
    }


def _expert_format(*parts: dict[str, t.Any]) -> str | None:
    """The format of the experts where it is another one than that of the other weights (DeepSeek V4)."""
    return next((_word(part.get("expert_dtype")) for part in parts if _word(part.get("expert_dtype"))), None)


def _group_size(quantized: dict[str, t.Any]) -> int | None:
    """How many numbers of a column share a scale (GPTQ, AWQ, compressed integers)."""
    found = _number(quantized, "group_size")
    groups = quantized.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict) and weights.get("type") == "int":
            found = found or _number(weights, "group_size")
    return found


def _packed(configuration: dict[str, t.Any], quantized: dict[str, t.Any]) -> dict[str, t.Any]:
    """Weights of few bits: of integers how many, and whether their range lies around zero (GPTQ, AWQ); or
    that they are NVFP4."""
    method, groups = quantization(configuration), quantized.get("config_groups")
    parts = [quantized, *(groups.values() if isinstance(groups, dict) else ())]
    formats = [str(part.get("format")) for part in parts if isinstance(part, dict)]
    if method == "modelopt_fp4" or any(name.startswith("nvfp4") for name in formats):
        return {"weight_format": "nvfp4"}
    if method not in ("gptq", "awq"):
        return {}
    about = {"weight_bits": _number(quantized, "bits", "w_bit", "wbits")}
    return {**about, **({"asymmetric": True} if quantized.get("sym") is False else {})}


def _kv_heads(text: dict[str, t.Any], heads: int) -> int:
    if text.get("multi_query") is True and not text.get("new_decoder_architecture"):
        return 1
    inside = text.get("attn_config")
    if isinstance(inside, dict) and _number(inside, "kv_n_heads"):
        return min(_number(inside, "kv_n_heads") or heads, heads)
    return min(_number(text, *KV_HEADS) or heads, heads)


def _text_part(configuration: dict[str, t.Any]) -> dict[str, t.Any]:
    """The language model of one that also sees or hears."""
    for key in ("text_config", "llm_config", "language_config"):
        part = configuration.get(key)
        if isinstance(part, dict) and any(name in part for name in LAYERS):
            return part
    thinker = configuration.get("thinker_config")
    return _text_part(thinker) if isinstance(thinker, dict) else configuration


def _context(text: dict[str, t.Any], kind: str | None) -> int | None:
    """The context that a server gets where nobody asks for another, as vLLM derives it from
    ``config.json``."""
    limits = [value for value in (_number(text, name) for name in CONTEXT) if value]
    if not limits:
        return None
    limit = _number(text, "model_max_length") or min(limits)
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, dict) or "gemma3" in (kind or ""):
        return limit
    name = rope.get("rope_type") or rope.get("type")
    if name == "longrope":
        return (
            _number(text, "original_max_position_embeddings")
            or _number(rope, "original_max_position_embeddings")
            or limit
        )
    factor = rope.get("factor")
    if (
        name in ROPE_WITHOUT_FACTOR
        or isinstance(factor, bool)
        or not isinstance(factor, (int, float))
        or not 0 < factor < 1 << 20
    ):
        return limit
    return max(min(int(limit * factor), LARGEST), 1)


def _reach(text: dict[str, t.Any], kind: str | None) -> int | None:
    """The longest context that may be asked for, where it is more than that."""
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, dict) or (rope.get("rope_type") or rope.get("type")) != "longrope":
        return None
    limit = _context({name: value for name, value in text.items() if not name.startswith("rope_")}, kind)
    return limit if limit and limit > (_context(text, kind) or 0) else None


def _stretched(text: dict[str, t.Any]) -> int | None:
    """How far YaRN stretches the positions, where config.json may have kept the original context."""
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, dict) or (rope.get("rope_type") or rope.get("type")) != "yarn":
        return None
    factor, original = rope.get("factor"), _number(rope, "original_max_position_embeddings")
    if (
        not original
        or isinstance(factor, bool)
        or not isinstance(factor, (int, float))
        or not 1 <= factor < 1 << 20
    ):
        return None
    return min(int(original * factor), LARGEST)


def _kv_dtype(configuration: dict[str, t.Any]) -> str | None:
    """``fp8`` where the checkpoint itself asks for such a cache (vLLM: compressed-tensors and ModelOpt,
    nothing else)."""
    found = _quantization(configuration)
    method = str(found.get("quant_method"))
    scheme = found.get("kv_cache_scheme")
    if (
        isinstance(scheme, dict)
        and scheme.get("num_bits") == 8
        and method.replace("_", "-") == "compressed-tensors"
    ):
        return "fp8"
    inside = found.get("quantization") if isinstance(found.get("quantization"), dict) else found
    asked = str(scheme or t.cast("dict[str, t.Any]", inside).get("kv_cache_quant_algo")).lower()
    eight_bits = "fp8" in asked or (isinstance(scheme, dict) and scheme.get("num_bits") == 8)
    return "fp8" if (quantization(configuration) or "").startswith("modelopt") and eight_bits else None


def _dtype(part: dict[str, t.Any]) -> str | None:
    word = _word(part.get("dtype")) or _word(part.get("torch_dtype"))
    return word.replace("torch.", "") if word else None
