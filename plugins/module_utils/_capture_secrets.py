# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a capture leaves out: files that are secret, and secrets in the text of others.

In doubt a text is taken for a secret: a capture goes to people whom the host's owner does not know.
"""

from __future__ import annotations

import re

REDACTED = "REDACTED"
# By the path below the root.
_SECRET_FILES = re.compile(
    r"(^|/)(shadow|gshadow)-?$|(^|/)\.ssh(/|$)|^etc/ssh(/|$)|^etc/ssl/private(/|$)"
    r"|\.(secret|key|pem|p12|pfx|jks|kdbx|keytab|priv)$|(^|/)(huggingface\.token|token|\.netrc|\.pgpass|\.git-credentials)$"
    r"|(^|/)id_(rsa|dsa|ecdsa|ed25519)[^/]*$|(^|/)(auth|credentials|\.dockercfg)(\.json)?$|^etc/credstore|^run/credentials"
    r"|^run/secrets|(^|/)(secrets?|private|\.gnupg|\.aws|\.kube)/|(^|/)[^/]*(_history|\.env)$|^etc/sudoers|^etc/krb5"
    r"|^proc/[^/]+/(mem|kcore|auxv)$|^proc/kcore$|^dev/(mem|port)$|^etc/NetworkManager/system-connections(/|$)",
    re.I,
)
_KEY = (
    r"[\w.-]*(?:passwd|password|passphrase|passcode|psk|secret|api[-_]?keys?|apikey|auth[-_]?key|private[-_]?key"
    r"|access[-_]?key|credentials?|set_?credential(?:_binary|_encrypted)?|(?<![a-z])(?:[\w.-]*[-_.])?tokens?)"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----.*?(-----END [A-Z ]*PRIVATE KEY( BLOCK)?-----|\Z)",
            re.S,
        ),
        REDACTED,
    ),
    # Before the pairs below, which end at a blank.
    (re.compile(r"^(\s*password(?:_pbkdf2)?\s).*$", re.M | re.I), rf"\g<1>{REDACTED}"),
    (re.compile(r"(authorization\s*[:=]\s*).*$", re.M | re.I), rf"\g<1>{REDACTED}"),
    (re.compile(r"(\bbearer\s+)[^\s\"']+", re.I), rf"\g<1>{REDACTED}"),
    (re.compile(r"(\w://|\biscsi:)[^\s/@\"']+@"), rf"\g<1>{REDACTED}@"),
    (
        re.compile(
            r"\b(hf_\w{8,}|sk-[\w-]{16,}|gh[pousr]_\w{16,}|github_pat_\w+|glpat-[\w-]{10,}|xox[a-z]-[\w-]+|AKIA[0-9A-Z]{12,}"
            r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
        ),
        REDACTED,
    ),
    # JSON stays JSON: a text is replaced by a text, and what is no text is no secret.
    (re.compile(rf"(\"{_KEY}\"\s*:\s*)\"(?:[^\"\\]|\\.)*\"", re.I), rf'\g<1>"{REDACTED}"'),
    (re.compile(rf"([\"'])({_KEY}=)(?:(?!\1)[^\n])*\1", re.I), rf"\g<1>\g<2>{REDACTED}\g<1>"),
    (
        re.compile(
            rf"(?<![\w.-])({_KEY}(?:\s*=[ \t]*|:[ \t]*|[ \t]+))(?!\s)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)",
            re.I,
        ),
        rf"\g<1>{REDACTED}",
    ),
)
_KEPT_OF_PACKAGES = re.compile(rb"^(?:(?:Package|Status|Version): .*)?\n", re.M)


def is_secret(path: str) -> bool:
    """Whether nothing of a file is packed; ``path`` is the one below the root."""
    return bool(_SECRET_FILES.search(path))


def without_secrets(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def reduced(path: str, data: bytes) -> bytes:
    """What is packed of a file: of some only what detection looks for."""
    if path.startswith("proc/") and path.endswith("/environ"):
        found = re.search(rb"(?:^|\0)(container=[\w.-]{1,40})", data)
        return found.group(1) + b"\0" if found else b""
    if path == "var/lib/dpkg/status":
        return b"".join(match.group() for match in _KEPT_OF_PACKAGES.finditer(data))
    if path.endswith(".ko"):
        found = re.search(rb"(?:^|\0)(srcversion=[0-9A-F]{1,64})", data)
        return b"\0" + found.group(1) + b"\0" if found else b"\0"
    if path.endswith(".safetensors"):
        return _header(data)
    if path in ("etc/passwd", "etc/group"):
        return b"".join(_account(path, line) for line in data.splitlines(keepends=True))
    if b"\0" in data:
        return re.sub(rb"[ -~]{8,}", lambda match: _binary(match.group()), data)
    try:
        return without_secrets(data.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return _binary(data)


def _header(data: bytes) -> bytes:
    """Of a file of weights its description, which a number at its beginning measures. The weights are their
    owner's."""
    end = 8 + int.from_bytes(data[:8], "little")
    known = end <= len(data) and data[8:9] == b"{"
    return data[:8] + (_binary(data[8:end]) if known else b"")


def _binary(data: bytes) -> bytes:
    """As many bytes as before: other parts of the file are found by their place."""
    text = data.decode("latin-1")
    clean = without_secrets(text)
    return data if clean == text else clean.encode("latin-1")[: len(data)].ljust(len(data))


def _account(path: str, line: bytes) -> bytes:
    """Without the password that may stand in it, and without the name of a person."""
    fields = line.split(b":")
    if len(fields) > 3:
        fields[1] = b"x"
    if path == "etc/passwd" and len(fields) == 7:
        fields[4] = b""
    return b":".join(fields)
