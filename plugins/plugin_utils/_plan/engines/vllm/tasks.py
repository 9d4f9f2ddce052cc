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


# What a class of the catalog answers, by its kind there.
KINDS = {
    "generate": "generate", "draft": "generate", "transcribe": "transcription", "score": "score",
    "classify": "classify", "token": "pooling", "reward": "pooling", "embed": "embed",
}  # fmt: skip
CONVERTED = {"embed": "embed", "classify": "classify", "reward": "pooling"}
SCORES = "ForSequenceClassification"


def task(architecture: str | None, options: t.Mapping[str, t.Any], kind: str | None = None) -> str:
    """``generate``, ``pooling`` or ``transcription``; options come before the class, and what the catalog has
    of the class (``kind``) before its name."""
    if any(options.get(name) in values for name, values in POOLING.items()):
        return "pooling"
    if options.get("runner") in ("generate", "draft") or not architecture:
        return "generate"
    known = KINDS.get(kind or "")
    if known:
        return known if known in ("generate", "transcription") else "pooling"
    if architecture.lower().startswith(TRANSCRIBES):
        return "transcription"
    if architecture.endswith(GENERATES):
        return "generate"
    return "pooling" if architecture.endswith(POOLS) else "generate"


def question(
    architecture: str | None,
    options: t.Mapping[str, t.Any],
    kind: str | None = None,
    labels: int | None = None,
) -> str:
    """What a server is asked whether it works: ``completion``, ``transcription``, ``embed``, ``classify``,
    ``score`` or ``pooling``."""
    found = task(architecture, options, kind)
    if found != "pooling":
        return "completion" if found == "generate" else found
    converted = CONVERTED.get(str(options.get("convert")))
    if converted:
        return converted
    known = KINDS.get(kind or "")
    if known == "classify" or (architecture or "").endswith(SCORES):
        # A classifier of one label scores pairs.
        return "score" if labels == 1 else "classify"
    if known in ("embed", "score", "pooling"):
        return known
    return "embed" if (architecture or "").endswith("Model") or not known else "pooling"
