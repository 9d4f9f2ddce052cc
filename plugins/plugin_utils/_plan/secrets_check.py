# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a key or a token can do what it is for. Only what is wrong leaves this file, never the value."""

from __future__ import annotations

import re
import typing as t

# Shorter ones are guessed.
LEAST, MOST = 8, 512
# Programs read the files that hold keys, and each takes these for something else.
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_QUOTES = re.compile(r"['\"\\]")


def fault(value: t.Any, least: int = LEAST) -> str:
    """What is wrong with a secret, to follow its name in a sentence; empty where nothing is, or where there
    is no secret."""
    if not isinstance(value, str):
        return "is not a text. Put it in quotes, or remove it where there is none."
    if value == "":
        return ""
    if not value.strip():
        return "is blank, so nobody would be asked for a key. Write a key, or remove it where there is none."
    if not _PRINTABLE.fullmatch(value):
        return "holds blanks, line breaks or characters beyond ASCII. Write one line of printable characters."
    if value[0] in "#;":
        return f"begins with {value[0]}, which makes its line a comment. Choose one that begins otherwise."
    if _QUOTES.search(value):
        return "holds a quote or a backslash, which programs read differently. Choose one without."
    if not least <= len(value) <= MOST:
        return f"has {len(value)} characters. Write {least} to {MOST}."
    return ""
