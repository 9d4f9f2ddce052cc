# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of an instance in the plan: what it needs, held against what it has."""

from __future__ import annotations

import dataclasses
import typing as t

from ...memory import gib
from . import fit
from .beside import beside
from .options import SLOT_CONTEXT, Llama, model_of, settings


def choose_context(instance: Llama, options: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options with a context: llama-server would else promise each slot all that the model was trained
    for, out of one pool, or lower it without a word."""
    if "ctx-size" in options:
        return options
    asked, model = settings(instance, options), model_of(instance)
    each = min(model["context"] or SLOT_CONTEXT, SLOT_CONTEXT) if model else SLOT_CONTEXT
    wanted = each * (1 if asked.unified else asked.slots)
    budget = _budget(instance)
    if model and not model["problem"] and budget:
        largest = fit.largest_context(model, asked, budget, beside(instance, options))
        wanted = min(wanted, largest) or wanted
    reason = f"{asked.slots} slots of {fit.slot_context(dataclasses.replace(asked, context=wanted))} tokens"
    instance.note("option", f"ctx-size={wanted}", reason)
    return {**options, "ctx-size": wanted}


def _budget(instance: Llama) -> int:
    """Bytes that it may take on its devices together; 0 where nobody knows."""
    if not instance.build.gpu:
        return max((instance.host.system["memory_bytes"] or 0) - fit.MARGIN_BYTES, 0)
    total = 0
    for gpu in instance.devices.gpus:
        usable = gpu["usable_bytes"] or 0
        if gpu["apu"] and instance.pool_bytes:
            usable = max(usable, instance.pool_bytes)
        # What it leaves free is left once on a device, by all that share it.
        total += int(max(usable - fit.MARGIN_BYTES, 0) * (instance.server.memory_share or 1))
    return total


def of_instance(instance: Llama, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The table of one instance, with its finding and the line that the plan shows."""
    model, budget, name = model_of(instance), _budget(instance), instance.name
    if not model or model["problem"]:
        found: dict[str, t.Any] = {
            "verdict": "unknown",
            "reason": "the model is not on the host",
            "devices": 0,
        }
        instance.note("memory", "not computed", found["reason"])
        return found
    asked, others = settings(instance, options), beside(instance, options)
    need = fit.need(model, asked, others)
    found = {
        "verdict": "fits",
        "reason": None,
        "devices": max(len(instance.devices.gpus), 1),
        "weights_bytes": need.weights,
        "budget_bytes": budget,
        "allowance_bytes": need.compute + need.states,
        "kv_bytes": need.cache,
        "context": fit.slot_context(asked),
        "sequences": asked.slots,
        "largest_context": fit.largest_context(model, asked, budget, others),
    }
    findings, room = instance.host.findings, gib(budget)
    if not budget:
        found |= {
            "verdict": "unknown",
            "reason": "the memory of the device is not known before its driver runs",
        }
    elif need.weights > budget:
        found["verdict"] = "weights"
        remedy = (
            f"For the instance {name} take a quantization of at most {room}, or n-cpu-moe for its experts"
        )
        if not ({"n-cpu-moe", "cpu-moe"} & set(options) or options.get("gpu-layers") not in ("all", None)):
            findings.add("serve.weights_do_not_fit", gib(need.weights), f"at most {room}", remedy=remedy)
    elif need.total > budget:
        found["verdict"] = "context"
        remedy = f"Set ctx-size in options of the instance {name} to {found['largest_context']} or less"
        seen = f"{asked.slots} slots of {found['context']} tokens, {gib(need.total)} with the weights"
        findings.add("serve.context_does_not_fit", seen, f"at most {room}", remedy=remedy)
    value = f"{gib(need.weights)} of weights and {gib(need.cache)} of key-value cache in {room}"
    share = "which share one cache" if asked.unified else "with a cache of their own"
    reason = f"{asked.slots} slots of {found['context']} tokens, {share}"
    reason += " and its draft" if others.draft else ""
    reason += f"; {gib(need.compute)} are left for the rest"
    instance.note("memory", value, reason, instance.host.catalog.llama_cpp["source"])
    return found
