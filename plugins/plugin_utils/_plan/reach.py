# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that nothing is known of: one that does not answer, and one that does not let us become root."""

from __future__ import annotations

import re
import typing as t

from .findings import Findings

# What Ansible and the programs that it becomes root with say. The connection is there, so Ansible calls it a
# failure.
NO_ROOT = re.compile(
    r"waiting for become success|privilege escalation prompt|(Missing|Incorrect) \S+ password"
    r"|sudo: (a password is required|.*command not found|.*no new privileges|.*effective uid|.*owned by uid)"
    r"|not in the sudoers file|may not run sudo|is not allowed to (execute|run)|doas: |su: "
    r"(Authentication|must be run)"
    r"|/\w+: \d+: (\S*/)?(sudo|doas|su): not found|(sudo|doas): not found",
    re.I,
)


def refused_root(result: t.Mapping[str, t.Any]) -> str:
    """Why a module did not run as root; the empty text where that was not it."""
    if not result.get("failed") or "ansible_facts" in result:
        return ""
    for name in ("msg", "module_stderr", "module_stdout"):
        text = str(result.get(name) or "")
        if NO_ROOT.search(text):
            return " ".join(text.split())
    return ""


def say(findings: Findings, reason: str) -> None:
    seen = " ".join(reason.split()).removeprefix("Task failed: ")
    if NO_ROOT.search(seen):
        findings.add("host.become", seen.partition(">>> Standard Error ")[2] or seen, "root by way of become")
    else:
        findings.add("host.unreachable", seen, "an answer")
