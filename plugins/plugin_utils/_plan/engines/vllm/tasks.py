# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is for: text, vectors and scores, or the text of a recording (vLLM's config/model.py and
tasks.py)."""

from __future__ import annotations

import typing as t

# These answer transcriptions and no completions.
TRANSCRIBES = ("whisper", "cohereasr", "funasr", "fireredasr2", "mosstranscribediarize")
GENERATES = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")
POOLS = (
    "ForSequenceClassification", "ForTokenClassification", "ForAudioClassification",
    "ForImageClassification", "ForVideoClassification",
    "ClassificationModel", "EmbeddingModel", "ForTextEncoding", "RewardModel", "ForRewardModeling",
    "ForMaskedLM", "Model",
)  # fmt: skip
# Options that say that a server embeds, classifies or scores.
POOLING: t.Mapping[str, tuple[str, ...]] = {
    "runner": ("pooling",),
    "convert": ("embed", "classify", "reward"),
}


def task(architecture: str | None, options: t.Mapping[str, t.Any]) -> str:
    """``generate``, ``pooling`` or ``transcription``; options come before the architecture."""
    if any(options.get(name) in values for name, values in POOLING.items()):
        return "pooling"
    if options.get("runner") in ("generate", "draft") or not architecture:
        return "generate"
    if architecture.lower().startswith(TRANSCRIBES):
        return "transcription"
    if architecture.endswith(GENERATES):
        return "generate"
    return "pooling" if architecture.endswith(POOLS) else "generate"
