# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP public keys, so that a repository key can be checked on a host that has no gpg.

Only the fingerprint is computed here (RFC 4880, 12.2); signatures are verified by apt and dnf.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

PUBLIC_KEY = 6
ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+: [^\r\n]*\r?\n)*\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.S
)


class NotAKey(ValueError):
    """Data that is not a public key; the message is a sentence."""


def dearmored(data: bytes) -> bytes:
    """The binary form of a key, whether it comes armored or not."""
    blocks = ARMOR.findall(data)
    if not blocks:
        return data
    try:
        # The last line of a block is its checksum and begins with "=".
        return b"".join(
            base64.b64decode(b"".join(line for line in block.split() if not line.startswith(b"=")), validate=True) for block in blocks
        )
    except binascii.Error as error:
        raise NotAKey(f"the armored key is damaged ({error})") from error


def armored(data: bytes) -> bytes:
    """The form that rpm wants, whether the key comes armored or not."""
    data = dearmored(data)
    checksum = 0xB704CE
    for byte in data:
        checksum ^= byte << 16
        for _bit in range(8):
            checksum <<= 1
            if checksum & 0x1000000:
                checksum ^= 0x1864CFB
    lines = re.findall(rb".{1,64}", base64.b64encode(data))
    end = b"=" + base64.b64encode(checksum.to_bytes(3, "big"))
    return b"\n".join([b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"", *lines, end, b"-----END PGP PUBLIC KEY BLOCK-----", b""])


def fingerprints(data: bytes) -> list[str]:
    """The fingerprints of the primary keys in a keyring, upper-case hexadecimal."""
    found = []
    data = dearmored(data)
    position = 0
    try:
        while position < len(data):
            tag, start, length = _packet(data, position)
            if start + length > len(data):
                raise NotAKey("the key is truncated")
            if tag == PUBLIC_KEY:
                body = data[start : start + length]
                # The length is hashed as two bytes.
                if body[0] != 4 or length > 0xFFFF:
                    raise NotAKey("only version 4 keys are understood")
                found.append(hashlib.sha1(b"\x99" + length.to_bytes(2, "big") + body).hexdigest().upper())  # noqa: S324
            position = start + length
    except IndexError as error:
        raise NotAKey("the key is truncated") from error
    if not found:
        raise NotAKey("there is no public key in it")
    return found


def _packet(data: bytes, position: int) -> tuple[int, int, int]:
    """Tag, start and length of the packet at a position."""
    header = data[position]
    if not header & 0x80:
        raise NotAKey("it is not an OpenPGP key")
    if header & 0x40:
        first = data[position + 1]
        if first < 192:
            return header & 0x3F, position + 2, first
        if first < 224:
            return header & 0x3F, position + 3, ((first - 192) << 8) + data[position + 2] + 192
        if first == 255:
            return header & 0x3F, position + 6, int.from_bytes(data[position + 2 : position + 6], "big")
        raise NotAKey("a packet has a partial length")
    size = 1 << (header & 3)
    if size == 8:
        raise NotAKey("a packet has no length")
    return header >> 2 & 0xF, position + 1 + size, int.from_bytes(data[position + 1 : position + 1 + size], "big")
