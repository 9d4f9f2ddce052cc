# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speculative-config asks for, held to what vLLM checks of it first (its config/speculative.py)."""

from __future__ import annotations

import difflib
import typing as t

from . import checkpoint, history
from .refusals import Launched
from .states import mapping

OPTION, WIDTH = "speculative-config", "tensor-parallel-size"
COUNT, DRAFT_WIDTH = "num_speculative_tokens", "draft_tensor_parallel_size"
MTP, OF_V41 = "mtp", "deepseek_v41"
# Its old name in brackets, and those of MTP before there was one.
NGRAM, LOOKUP = ("ngram", "[ngram]"), ("prompt_lookup_min", "prompt_lookup_max")


def check(launched: Launched) -> None:
    """Hold one instance to it. A value that is no mapping is told elsewhere, or is the name of a recipe's
    way."""
    asked = mapping(launched.options.get(OPTION))
    rules = launched.instance.host.catalog.vllm["speculative"]
    if not asked or not launched.instance.build.version[:1].isdigit():
        return
    _check_keys(launched, asked, rules)
    method = _method(asked)
    if not _method_known(launched, method, rules):
        return
    _check_model(launched, asked, method, rules)
    _check_numbers(launched, asked)
    if method == MTP and not asked.get("model"):
        _check_layers(launched, rules)


def _method(asked: t.Mapping[str, t.Any]) -> str | None:
    """``None`` where the drafter tells it."""
    method = asked.get("method")
    if method is None:
        return "ngram" if asked.get("model") in NGRAM else None
    name = str(method).strip("[]")
    return MTP if name.endswith(f"_{MTP}") else name


def _check_keys(launched: Launched, asked: t.Mapping[str, t.Any], rules: t.Mapping[str, t.Any]) -> None:
    version, known = launched.instance.build.version, rules["keys"]
    for name in asked:
        if name == WIDTH.replace("-", "_"):
            launched.refuse(
                OPTION, f"{OPTION} with {name}", f"vLLM ends with it and takes {DRAFT_WIDTH} instead"
            )
        elif name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; the nearest key is {close[0]}" if close else ""
            launched.refuse(
                OPTION, f"{OPTION} with {name}", f"vLLM {version} ends with keys that it does not know{hint}"
            )
        elif not history.within((known[name].get("first"), known[name].get("last")), version):
            launched.refuse(OPTION, f"{OPTION} with {name}", _span(known[name], version))


def _span(entry: t.Mapping[str, str], version: str) -> str:
    if entry.get("last") and not history.within((None, entry["last"]), version):
        return f"vLLM {entry['last']} was the last to know it"
    return f"it came with vLLM {entry.get('first')}"


def _method_known(launched: Launched, method: str | None, rules: t.Mapping[str, t.Any]) -> bool:
    known, version = rules["methods"], launched.instance.build.version
    if method is None:
        return True
    entry = known.get(method)
    if entry is None:
        close = difflib.get_close_matches(method, known, 1)
        hint = f"the nearest is {close[0]}" if close else f"it has {', '.join(known)}"
        launched.refuse(
            OPTION, f"the method {method} in {OPTION}", f"vLLM {version} has none of this name; {hint}"
        )
    elif not history.within((entry.get("first"), entry.get("last")), version):
        launched.refuse(OPTION, f"the method {method} in {OPTION}", _span(entry, version))
    else:
        return True
    return False


def _check_model(
    launched: Launched, asked: t.Mapping[str, t.Any], method: str | None, rules: t.Mapping[str, t.Any]
) -> None:
    what = f"the method {method}" if method else OPTION
    if not asked.get("model") and (method is None or method in rules["with_model"]):
        why = (
            "vLLM ends without a model that proposes tokens, or a method that needs none (ngram, suffix, mtp)"
        )
        launched.refuse(OPTION, f"{what} without model", why)
    elif method and COUNT not in asked and method not in rules["counted_by_file"]:
        launched.refuse(
            OPTION, f"{what} without {COUNT}", "vLLM does not choose how many tokens are proposed"
        )


def _check_numbers(launched: Launched, asked: t.Mapping[str, t.Any]) -> None:
    count, width = asked.get(COUNT), asked.get(DRAFT_WIDTH)
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        launched.refuse(OPTION, f"{COUNT} {count}", "it is how many tokens are proposed at a time")
    whole = launched.options.get(WIDTH, 1)
    if isinstance(width, int) and isinstance(whole, int) and width not in (1, whole):
        why = f"a drafter is whole on each device, or shared out as the model is (1 or {whole})"
        launched.refuse(OPTION, f"{DRAFT_WIDTH} {width} for {WIDTH} {whole}", why)
    least, most = (asked.get(name) for name in LOOKUP)
    if isinstance(least, int) and isinstance(most, int) and least > most:
        launched.refuse(OPTION, f"{LOOKUP[0]} {least} above {LOOKUP[1]} {most}", "it is the shortest of them")


def _check_layers(launched: Launched, rules: t.Mapping[str, t.Any]) -> None:
    """Multi-token prediction needs layers that the model was made with."""
    instance = launched.instance
    shape = checkpoint.shape(instance) or {}
    kinds = {shape.get("type"), checkpoint.model_type(instance)}
    if OF_V41 in kinds:
        why = "DeepSeek V4.1 has no such layers; its method is dspark"
        launched.refuse(OPTION, f"the method {MTP} for {instance.server.model}", why)
    elif (
        shape
        and not shape.get("drafts")
        and not kinds & set(rules["drafts_unnamed"])
        and not instance.server.model_config
    ):
        why = "its config.json names no layers that propose tokens, and vLLM ends where there are none"
        launched.refuse(OPTION, f"the method {MTP} for {instance.server.model}", why, "warn")
