# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints and expiry of OpenPGP public keys, so that a repository key can be checked on a host that has
no gpg.

Only the fingerprint is computed here (RFC 9580, 5.5.4), of keys of version 4 and 6, and the date of
expiry read; signatures are verified by apt and dnf.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

SIGNATURE, PUBLIC_KEY, PUBLIC_SUBKEY = 2, 6, 14
# Kinds of signatures that a key gives itself: over a user id, or over the key alone.
OF_THE_KEY = (0x10, 0x11, 0x12, 0x13, 0x1F)
# Kinds of subpackets.
CREATED, KEY_EXPIRES, ISSUER, ISSUER_FINGERPRINT = 2, 9, 16, 33
ARMOR = re.compile(
    # Whatever comes from the network: no part of it may match in two ways.
    rb"^-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n:]+: [^\r\n]*\r?\n)*\r?\n"
    rb"([^-]*)-----END PGP PUBLIC KEY BLOCK-----",
    re.M,
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
            base64.b64decode(
                b"".join(line for line in block.split() if not line.startswith(b"=")), validate=True
            )
            for block in blocks
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
    return b"\n".join(
        [
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
            b"",
            *lines,
            end,
            b"-----END PGP PUBLIC KEY BLOCK-----",
            b"",
        ]
    )


def fingerprints(data: bytes) -> list[str]:
    """The fingerprints of the primary keys in a keyring, upper-case hexadecimal."""
    found = [_fingerprint(body) for tag, body in _packets(dearmored(data)) if tag == PUBLIC_KEY]
    if not found:
        raise NotAKey("there is no public key in it")
    return found


def expires_at(data: bytes) -> int | None:
    """When the first key of a keyring expires, in seconds since 1970, by its own latest signature; ``None``
    where it never does."""
    key, latest, expires = b"", -1, None
    for tag, body in _packets(dearmored(data)):
        if tag in (PUBLIC_KEY, PUBLIC_SUBKEY) and key:
            break  # what follows is about another key
        if tag == PUBLIC_KEY:
            key = body
        elif (
            tag == SIGNATURE
            and key
            and body[:1] in (b"\4", b"\6")
            and len(body) > 9
            and body[1] in OF_THE_KEY
        ):
            hashed, unhashed = _subpackets(body)
            issued = {**unhashed, **hashed}
            # Version 6 names its issuer by the whole fingerprint, behind the version of the key.
            issuer = issued.get(ISSUER) or issued.get(ISSUER_FINGERPRINT, b"")[1:]
            created = int.from_bytes(hashed.get(CREATED, b""), "big")
            if (not issuer or _fingerprint(key).endswith(issuer.hex().upper())) and created >= latest:
                seconds = int.from_bytes(hashed.get(KEY_EXPIRES, b""), "big")
                latest, expires = created, int.from_bytes(key[1:5], "big") + seconds if seconds else None
    return expires


def _fingerprint(body: bytes) -> str:
    if not body:
        raise NotAKey("the key is truncated")
    if body[:1] == b"\4" and len(body) <= 0xFFFF:
        whole = b"\x99" + len(body).to_bytes(2, "big") + body
        return hashlib.sha1(whole).hexdigest().upper()  # noqa: S324
    if body[:1] == b"\6":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise NotAKey("only keys of version 4 and 6 are understood")


def _packets(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """Tag and body of each packet."""
    position = 0
    while position < len(data):
        try:
            tag, start, length = _packet(data, position)
        except IndexError as error:
            raise NotAKey("the key is truncated") from error
        if start + length > len(data):
            raise NotAKey("the key is truncated")
        yield tag, data[start : start + length]
        position = start + length


def _subpackets(signature: bytes) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """The hashed and the unhashed subpackets of a signature of version 4 or 6, by kind (RFC 9580, 5.2.3)."""
    parts: list[dict[int, bytes]] = []
    position, count = 4, 4 if signature[0] == 6 else 2
    for _part in ("hashed", "unhashed"):
        end = position + count + int.from_bytes(signature[position : position + count], "big")
        position, found = position + count, {}
        while position < min(end, len(signature)):
            length, size = signature[position], 1
            if 192 <= length < 255:
                length, size = (
                    ((length - 192) << 8)
                    + int.from_bytes(signature[position + 1 : position + 2], "big")
                    + 192,
                    2,
                )
            elif length == 255:
                length, size = int.from_bytes(signature[position + 1 : position + 5], "big"), 5
            body = signature[position + size : position + size + length]
            if body:
                found[body[0] & 0x7F] = body[1:]
            position += size + length
        parts.append(found)
        position = end
    return parts[0], parts[1]


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
    return (
        header >> 2 & 0xF,
        position + 1 + size,
        int.from_bytes(data[position + 1 : position + 1 + size], "big"),
    )
