# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A note of changes that still need a step to take effect, so that a run which was killed is made good."""

from __future__ import annotations

from . import _files as files
from ._write import WriteError, below, why


def note(root: str, path: str | None, changed: list[str], check_mode: bool = False) -> list[str]:
    """Add the changes to the note, before they are made. Returns all that stands in it then."""
    if not path:
        return []
    known = _read(below(root, path))
    paths = list(dict.fromkeys([*known, *changed]))
    if paths != known and not check_mode:
        content = "".join(f"{each}\n" for each in paths)
        wanted = files.File(path, content.encode("utf-8", "surrogateescape"), 0o644, None, None, False, [])
        files.carry_out(files.plan(root, [wanted]), lambda _command: (0, "", ""), False)
    return paths


def _read(place: str) -> list[str]:
    try:
        with open(place, encoding="utf-8", errors="replace") as file:
            return [line for line in file.read(65536).splitlines() if line.startswith("/")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WriteError(f"{place} cannot be read: {why(error)}.") from error
