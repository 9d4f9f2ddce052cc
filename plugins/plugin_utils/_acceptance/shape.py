# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller believes of a record that a host sends: its own keys, in their own types."""

from __future__ import annotations

import typing as t

VERDICTS = ("pass", "fail", "error", "recorded", "skip")
OF_RECORD = {
    "schema": int, "level": str, "verdict": str, "finished": str, "finished_at": int, "plan": str,
    "versions": dict,
}  # fmt: skip
OF_TEST = {
    "name": str, "title": str, "verdict": str, "reasons": list, "warnings": list, "metrics": dict,
    "thresholds": list, "seconds": (int, float), "started": str, "finished": str, "command": list, "log": str,
    "optional": bool,
}  # fmt: skip


def held(record: t.Any) -> dict[str, t.Any] | None:
    """The record, or null where it is none."""
    if not isinstance(record, dict) or not _typed(record, OF_RECORD):
        return None
    tests, bound = record.get("tests"), record.get("binding")
    if not isinstance(tests, list) or not all(_is_test(test) for test in tests):
        return None
    if not isinstance(bound, dict) or not isinstance(bound.get("gpus"), list):
        return None
    gpus = [gpu for gpu in bound["gpus"] if isinstance(gpu, dict)]
    return {
        **{key: record[key] for key in OF_RECORD},
        "boot_id": record.get("boot_id"),
        "binding": {"driver": bound.get("driver"), "gpus": gpus},
        "tests": [{key: test[key] for key in OF_TEST} for test in tests],
    }


def _is_test(test: t.Any) -> bool:
    if not isinstance(test, dict) or not _typed(test, OF_TEST) or test["verdict"] not in VERDICTS:
        return False
    texts = [*test["reasons"], *test["warnings"], *test["command"]]
    figures = test["metrics"].values()
    return (
        all(isinstance(each, str) for each in texts)
        and all(isinstance(each, dict) and {"value", "unit", "each"} <= each.keys() for each in figures)
        and all(_is_threshold(each) for each in test["thresholds"])
    )


def _is_threshold(value: t.Any) -> bool:
    if not isinstance(value, dict) or not {"metric", "least", "source"} <= value.keys():
        return False
    return isinstance(value["least"], (int, float))


def _typed(value: t.Mapping[str, t.Any], types: t.Mapping[str, t.Any]) -> bool:
    return all(isinstance(value.get(key), kind) for key, kind in types.items())
