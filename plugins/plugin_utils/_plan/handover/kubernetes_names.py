# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names as Kubernetes takes them. What does not fit is changed and gets a hash of what it was, so that two
different things never share a name."""

from __future__ import annotations

import hashlib
import re

# KServe puts "isvc." before and "-predictor" behind the name, in a label of at most 63 characters.
LONGEST_SERVER = 48
# Its address begins with NAME-NAMESPACE, which is one part of a domain name.
DOMAIN_PART = 63
LONGEST = 63
DIGITS = 8
FITS = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
LABEL_FITS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
NODE_FITS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
NAMESPACE_FITS = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def name(*parts: str, longest: int = LONGEST) -> str:
    """A DNS label of these parts. Of several parts only the last one may have a hyphen without a hash: else
    ``a-b`` and ``c`` would be called as ``a`` and ``b-c`` are."""
    joined = "-".join(parts)
    plain = FITS.fullmatch(joined) and len(joined) <= longest
    if plain and not any("-" in part or not part for part in parts[:-1]) and not _hashed(joined):
        return joined
    text = re.sub(r"[^a-z0-9]+", "-", joined.lower()).strip("-")
    text = text if re.match(r"[a-z]", text) else f"x-{text}".rstrip("-")
    return f"{text[: longest - DIGITS - 1].rstrip('-')}-{_hash(parts)}"


def server(instance: str, host: str, namespace: str) -> str:
    """The name of an InferenceService: instances of one name serve on many hosts."""
    return name(instance, host, longest=min(LONGEST_SERVER, DOMAIN_PART - 1 - len(namespace)))


def label(value: str) -> str:
    """The value of a label, which need not be the only one of its kind."""
    if LABEL_FITS.fullmatch(value) and len(value) <= LONGEST:
        return value
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value)[:LONGEST].strip("-._") or "unknown"


def _hashed(text: str) -> bool:
    """Whether it ends as a name with a hash does."""
    return bool(re.search(rf"-[0-9a-f]{{{DIGITS}}}$", text))


def _hash(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:DIGITS]
