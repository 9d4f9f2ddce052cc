# SPDX-License-Identifier: GPL-3.0-or-later
"""How roles write what nobody else may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
# They rename a file into place first and set its mode afterwards.
OPEN_FOR_A_MOMENT = ("copy", "template", "lineinfile", "blockinfile", "file")


def tasks(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        for part in ("block", "rescue", "always"):
            yield from tasks(entry.get(part) or [])


def test_secrets_are_closed_from_their_first_byte():
    wrong = []
    for path in sorted(REPOSITORY.glob("roles/*/tasks/*.yml")):
        for task in tasks(yaml.safe_load(path.read_text(encoding="utf-8")) or []):
            for name in OPEN_FOR_A_MOMENT:
                given = task.get(f"ansible.builtin.{name}") or {}
                closed = str(given.get("mode", "0644"))[-1] == "0" and given.get("state") not in (
                    "directory",
                    "absent",
                )
                if given and (task.get("no_log") or closed):
                    wrong.append(f"{path.relative_to(REPOSITORY)}: {task['name']}")
    assert wrong == []
