# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about links that lead out of a model's folder."""

from __future__ import annotations

from .facts import ModelPath
from .findings import Findings


def check(findings: Findings, facts: ModelPath, path: str, instance: str) -> None:
    """``facts`` are those of the model's path."""
    if facts.get("astray"):
        findings.add(
            "serve.model_link", f"{path} leads to {facts['astray']}", "a folder of its own", severity="fail",
            instance=instance, path=path,
        )  # fmt: skip
    if facts.get("barred"):
        findings.add(
            "serve.model_link", f"{path} has links into {', '.join(facts['barred'])}",
            "links inside the model's own tree", instance=instance, path=path,
        )  # fmt: skip
