# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``amd_host`` says of a model folder, as the module host_facts returns it."""

from __future__ import annotations

import typing as t


class Shape(t.TypedDict, total=False):
    """The numbers that memory is computed from; keys that config.json does not tell are left out."""

    type: str  # Model type.
    layers: int  # Layers.
    heads: int  # Attention heads.
    kv_heads: int  # Heads of the KV cache.
    head_dim: int  # Size of a head.
    hidden: int  # Hidden size.
    vocabulary: int  # Size of the vocabulary.
    context: int  # Longest context, in tokens.
    reach: int  # Context that may be asked for, where it is more than that, in tokens.
    stretched: int  # Context that YaRN stretches the positions to, in tokens.
    dtype: str  # Type of the weights.
    kv_dtype: str  # Type of the KV cache.
    kv_lora_rank: int  # Rank of a compressed KV cache.
    rope_head_dim: int  # Size of the rotary part of a head.
    q_lora_rank: int  # Rank that queries are compressed to.
    value_dim: int  # Size of a value, where it is not that of a key.
    sliding_heads: dict[str, int]  # Heads of layers with a window, where they differ.
    index: dict[str, int]  # Layers with a vector to pick tokens by, and its bytes.
    cross: dict[str, int]  # Layers that look at an encoder, and how many tokens that has.
    window: int  # Sliding window, in tokens.
    chunk: int  # Chunk that some layers attend within, in tokens.
    attention: dict[str, int]  # Number of layers that are full, sliding, chunked or state.
    state: dict[str, int]  # Sizes of the state that one layer keeps of a sequence.
    encoder: bool  # Whether it only encodes, and keeps no cache.
    intermediate: int  # Width of the feed-forward layers.
    experts: int  # Number of experts.
    expert: int  # Width of one expert.
    shared_expert: int  # Width of the expert that all tokens use.
    vision_heads: int  # Attention heads of the vision encoder.
    labels: int  # Labels of a classifier.
    drafts: int  # Layers that propose the next tokens.
    quant_block: int  # Rows and columns of the weights that share a scale.
    quant_group: int  # Rows of the weights that share a scale.
    weight_bits: int  # Bits of a weight in GPTQ and AWQ.
    asymmetric: bool  # Whether the range of a weight does not lie around zero, in GPTQ.
    weight_format: str  # Format of the weights, where it is NVFP4.
    expert_format: str  # Format of the experts, where it is not that of the other weights.
    uncounted: str  # What makes the cache another one than these numbers say.


class Gguf(t.TypedDict):
    file: str | None  # The file that a server is given, the first one of several.
    files: int  # How many files the weights are in.
    architecture: str | None  # Architecture of the model.
    quantization: str | None  # Type of most of the weights.
    chat_template: bool  # Whether it has a chat template.
    context: int  # Longest context, in tokens; 0 where nothing says so.
    layers: int  # Layers.
    heads: int  # Attention heads.
    experts: int  # Experts of a layer; 0 where it has none.
    vocabulary: int  # Size of the vocabulary, where the file says it.
    total_bytes: int  # Bytes of all weights.
    weights_bytes: int  # Bytes of the weights that a GPU with all layers holds.
    embedding_bytes: int  # Bytes of the embedding, which the host keeps.
    key_width: int  # Elements of the keys of a token, in the layers that see all.
    value_width: int  # Elements of the values of a token, in the layers that see all.
    window: int  # Sliding window, in tokens; 0 where no layer has one.
    window_key_width: int  # Elements of the keys of a token, in the layers with a window.
    window_value_width: int  # Elements of the values of a token, in the layers with a window.
    state_bytes: int  # Bytes of the states of a sequence, in recurrent layers.
    projector: str | None  # The file for images (mmproj) that lies beside it.
    projector_bytes: int  # Bytes of its weights.
    draft: str | None  # A model for speculative decoding that lies beside it.
    problem: str | None  # What keeps it from being served.


class ModelPath(t.TypedDict):
    exists: bool  # Whether the path is there.
    directory: bool  # Whether it is a folder.
    model: bool  # Whether it has a config.json, a params.json or an adapter_config.json.
    model_type: str | None  # Type of the model.
    architecture: str | None  # Class that serves it.
    pools: bool  # Whether files of Sentence Transformers say that it makes vectors.
    base: list[str]  # Names of the model, and of those that it comes from.
    quantization: str | None  # How the weights are quantized.
    fp8_scales: str | None  # What shares a scale, tensor, channel or block.
    weights_bytes: int | None  # Size of the weight files, in bytes.
    missing: str | None  # What of the weights is not there.
    checked_by: str | None  # Manifest that it was checked against.
    place: str  # Where it is, whatever links lead there.
    elsewhere: list[str]  # Folders outside of it in which files of it lie.
    barred: list[str]  # Folders that its links lead to and that no server is given.
    astray: str | None  # Where the path leads, if somebody other than root led it to a private place.
    shape: Shape | None  # Numbers that memory is computed from.
    gguf: Gguf | None  # What a GGUF file, or the one in the folder, says of itself.
