# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemd tells of units."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Run = Callable[[list[str]], tuple[int, str, str]]


class Untold(Exception):
    """systemctl did not tell; the message says what it said instead."""


def show(run: Run, names: Sequence[str], properties: Sequence[str]) -> list[dict[str, str]]:
    """The properties of each unit, in the order of ``names``: one call of systemctl for all of them."""
    if not names:
        return []
    rc, out, err = run(["systemctl", "show", f"--property=Id,{','.join(properties)}", *names])
    if rc != 0:
        raise Untold(f"systemctl show ended with {rc}: {err.strip() or 'no message'}")
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in out.strip().split("\n\n")
    ]
    if len(blocks) != len(names):
        raise Untold(f"systemctl tells of {len(blocks)} units instead of {len(names)}")
    return blocks
