# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files an image shows, whose layers lie one upon the other: what is in a layer, what the layers above
it replaced, and what they took away."""

from __future__ import annotations

import os

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


class Layers:
    """Layers are visited from the top. What one says counts for those below it, when it is done."""

    def __init__(self) -> None:
        # Files and links of the layers above, and what they took away: nothing below these paths shows.
        self._covered: set[str] = set()
        # Folders of the layers above: a file of the same name does not show, what is in a folder does.
        self._folders: set[str] = set()
        # Folders of which the layers below show nothing.
        self._opaque: set[str] = set()
        self._new: tuple[set[str], set[str], set[str]] = (set(), set(), set())

    def shows(self, path: str) -> bool:
        """Whether a file of the layer that is being visited shows."""
        if path in self._covered or path in self._folders:
            return False
        above = os.path.dirname(path)
        while above:
            if above in self._covered or above in self._opaque:
                return False
            above = os.path.dirname(above)
        return "" not in self._opaque

    def file(self, path: str) -> None:
        """A file, link or device of this layer; one named as a whiteout takes another away."""
        base, name = os.path.split(path)
        if name == OPAQUE:
            self.opaque(base)
        elif name.startswith(WHITEOUT):
            self._new[0].add(os.path.join(base, name[len(WHITEOUT) :]))
        else:
            self._new[0].add(path)

    def folder(self, path: str) -> None:
        self._new[1].add(path)

    def opaque(self, path: str) -> None:
        self._new[2].add(path)

    def done(self) -> None:
        for known, new in zip((self._covered, self._folders, self._opaque), self._new):
            known |= new
        self._new = (set(), set(), set())


def is_whiteout(path: str) -> bool:
    return os.path.basename(path).startswith(WHITEOUT)
