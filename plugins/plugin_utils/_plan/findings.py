# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings: texts and severities from the catalog, what was seen from the checks."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .. import _harmless

# Roles whose work on a host that is not ours to write is its owner's.
SYSTEM_ROLES = ("kernel", "firmware", "driver", "rocm")
OF_ROLES = re.compile(r"\b[Tt]he role (\w+)\b")
ORDER = {"fail": 0, "warn": 1, "ok": 2}


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about a host that people must know."""

    id: str
    host: str
    # ok, warn or fail.
    severity: str
    title: str
    seen: str
    expected: str
    why: str
    remedy: str
    reference: str | None
    # The role that puts it right in a run, where one does.
    mended_by: str | None


class Findings:
    """Collects the findings of one host."""

    def __init__(self, host: str, known: dict[str, t.Any], accepted: t.Sequence[str] = ()) -> None:
        self._host = host
        self.known = known
        self._accepted = accepted
        self._found: list[Finding] = []

    def add(
        self,
        identifier: str,
        seen: t.Any,
        expected: t.Any,
        severity: str | None = None,
        mended_by: str | None = None,
        **words: t.Any,
    ) -> None:
        """Add a finding. ``words`` fill the placeholders of the catalog's texts; ``mended_by`` is the role
        that puts it right here."""
        known = self.known[identifier]
        # A host's texts stand in them: one line each, without anything that a terminal would obey. ``lines``
        # is text to paste.
        words = {
            name: _harmless.text(str(value)) if name == "lines" else _harmless.line(str(value))
            for name, value in {"seen": seen, "expected": expected, **words}.items()
        }
        severity = severity or known["severity"]
        title = known["title"]
        if identifier in self._accepted and severity != "ok":
            severity, title = "warn" if severity == "fail" else "ok", f"{title} (accepted in the inventory)"
        self._found.append(
            Finding(
                id=identifier,
                host=self._host,
                severity=severity,
                title=title,
                seen=words["seen"],
                expected=words["expected"],
                why=str(known["why"]).format(**words).rstrip("."),
                remedy=str(known["remedy"]).format(**words).rstrip("."),
                reference=known.get("reference"),
                mended_by=mended_by or known.get("mended_by"),
            )
        )

    def add_known(self, identifier: str, seen: str, expected: str) -> None:
        """Add a finding whose check stands in the catalog."""
        self.add(identifier, seen, expected)

    def add_by_rule(self, identifier: str, seen: str, expected: str, severity: str, action: str) -> None:
        """Add a finding whose limit and remedy stand in the catalog (health.yml)."""
        self.add(identifier, seen, expected, severity=severity, action=action)

    def hand_over(
        self, drop: tuple[str, ...], prefixes: tuple[str, ...], keep: tuple[str, ...], words: str
    ) -> None:
        """Findings that are somebody else's to mend: those of ``drop`` go, of ``prefixes`` they stop nothing
        and say in front of the remedy where it belongs."""
        left = []
        for finding in self._found:
            kept = finding.id in keep
            if finding.id.startswith(drop) and not kept:
                continue
            if finding.id.startswith(prefixes) and not kept:
                severity = "warn" if finding.severity == "fail" else finding.severity
                remedy = f"{words}: {finding.remedy}"
                finding = dataclasses.replace(finding, severity=severity, remedy=remedy, mended_by=None)
            left.append(finding)
        self._found = left

    def left_to_the_owner(
        self, prefixes: tuple[str, ...], where: str, roles: tuple[str, ...] = SYSTEM_ROLES
    ) -> None:
        """What a role would mend elsewhere, and its owner mends on this host."""
        for number, finding in enumerate(self._found):
            named = {*OF_ROLES.findall(finding.remedy), finding.mended_by}
            if named & set(roles) and finding.id.startswith(prefixes):
                remedy = f"Its owner mends it in {where}; no role does on this host"
                self._found[number] = dataclasses.replace(finding, remedy=remedy, mended_by=None)

    def sorted(self) -> list[Finding]:
        """The worst first; otherwise in the order in which the checks ran."""
        return sorted(self._found, key=lambda finding: ORDER[finding.severity])


def sentence(finding: t.Mapping[str, t.Any]) -> str:
    """One finding as one sentence: what, seen, expected, remedy."""
    end = "" if finding["remedy"].endswith("?") else "."
    return (
        f"{finding['title']} [{finding['id']}]: seen {finding['seen']}, expected {finding['expected']}, "
        f"because {finding['why']}. {finding['remedy']}{end}"
    )
