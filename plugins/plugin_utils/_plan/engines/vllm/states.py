# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models whose layers keep a state: how many of them a sequence holds, and how many sequences there are room
for."""

from __future__ import annotations

import json
import typing as t

from ...facts import Shape
from . import defaults
from .checkpoint import Vllm

CHUNKS = "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE"
SPREADS = "VLLM_MLA_DISABLE"
SOURCE = "vLLM 0.33.0 sdist vllm/v1/worker/gpu_model_runner.py"


def mapping(value: t.Any) -> dict[str, t.Any]:
    """A value that is a mapping, or JSON of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def spreads(environment: t.Mapping[str, str]) -> bool:
    """Whether vLLM shall keep heads of keys and values of a model that has latent vectors (MLA)."""
    return environment.get(SPREADS) == "1"


def drafts(options: t.Mapping[str, t.Any]) -> int:
    """Tokens that are proposed at a time."""
    found = mapping(options.get("speculative-config")).get("num_speculative_tokens")
    return found if isinstance(found, int) and 0 < found < 1000 else 0


def held(instance: Vllm, options: t.Mapping[str, t.Any]) -> int:
    """Pages of state that a sequence holds of each group of layers."""
    on = defaults.caches_states(instance.build.version)
    if options.get("no-enable-prefix-caching"):
        on = False
    elif options.get("enable-prefix-caching") is not None:
        on = bool(options["enable-prefix-caching"])
    mode = options.get("mamba-cache-mode")
    return 2 if (mode == "align" or (on and mode in (None, "auto"))) else 1


def keeps_windows(
    shape: Shape | None, options: t.Mapping[str, t.Any], environment: t.Mapping[str, str]
) -> bool:
    """Whether layers give up what lies behind their window or chunk (vLLM's hybrid cache manager)."""
    # A transfer of the cache to another engine may turn it off; the larger figure is the safe one.
    if options.get("disable-hybrid-kv-cache-manager") or "kv-transfer-config" in options:
        return False
    chunked = bool((shape or {}).get("chunk"))
    method = str(mapping(options.get("speculative-config")).get("method", ""))
    return not (chunked and (environment.get(CHUNKS) == "0" or method.startswith("eagle")))


def hold(instance: Vllm, options: t.Mapping[str, t.Any], blocks: int | None, default: int) -> int | None:
    """The max-num-seqs to set; ``None`` where the default is held, or the inventory asks for another one.

    vLLM captures graphs for as many sequences as there may be, and each needs a block for its state."""
    if not blocks or options.get("enforce-eager"):
        return None
    asked = options.get("max-num-seqs")
    why = f"each sequence keeps a state, and beside the weights there is room for {blocks} of them"
    if asked is None and default > blocks:
        instance.note(
            "option", f"max-num-seqs={blocks}", f"{why}; vLLM refuses its default of {default}", SOURCE
        )
        return blocks
    if isinstance(asked, int) and not isinstance(asked, bool) and asked > blocks:
        seen, expected = f"max-num-seqs {asked} for {instance.name}", f"at most {blocks}"
        instance.host.findings.add("vllm.states", seen, expected, instance=instance.name, most=blocks)
    return None
