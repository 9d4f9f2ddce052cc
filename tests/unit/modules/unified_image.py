# SPDX-License-Identifier: GPL-3.0-or-later
"""A unified kernel image, for tests and for the stand-in of kernel-install, which is a program of its own."""

from __future__ import annotations

import struct


def pe(sections: dict[str, bytes]) -> bytes:
    """A PE file with nothing but sections, padded as linkers do it."""
    optional = 16
    start = 64 + 24 + optional + 40 * len(sections)
    table, data = b"", b""
    for name, content in sections.items():
        padded = content + b"\0" * (-len(content) % 512)
        table += struct.pack(
            "<8sIIIIIIHHI", name.encode(), len(content), 0, len(padded), start + len(data), 0, 0, 0, 0, 0
        )
        data += padded
    head = (
        b"MZ"
        + b"\0" * 58
        + struct.pack("<I", 64)
        + b"PE\0\0"
        + struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, optional, 0)
    )
    return head + b"\0" * optional + table + data


def image(arguments: str) -> bytes:
    return pe({".osrel": b"ID=debian\n", ".cmdline": arguments.encode() + b"\0", ".linux": b"x" * 700})
