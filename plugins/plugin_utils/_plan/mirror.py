# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A closed network: every address as its mirror has it."""

from __future__ import annotations

from urllib.parse import urlsplit

from .wants import Wants


def address(wants: Wants, public: str) -> str:
    """The mirror keeps what lies at ``https://HOST/PATH`` below its base as ``HOST/PATH``, as apt-mirror and
    wget do."""
    return address_below(wants.plan_mirror.url, public)


def address_below(base: str, public: str) -> str:
    return f"{base.rstrip('/')}/{public.partition('://')[2]}" if base and "://" in public else public


def image(wants: Wants, public: str) -> str:
    """An image keeps its path and tag in the mirror's registry, and the name of its own one where that keeps
    several."""
    mirror = wants.plan_mirror
    if mirror.registry and mirror.registry_keeps_host and public:
        return f"{mirror.registry.rstrip('/')}/{public}"
    return image_from(mirror.registry, public)


def is_clear(wants: Wants, source: str) -> bool:
    """Whether an image comes from a mirror that answers without TLS."""
    mirror = wants.plan_mirror
    return bool(mirror.registry) and not mirror.registry_tls and source.startswith(f"{mirror.registry}/")


def image_from(registry: str, public: str) -> str:
    return f"{registry.rstrip('/')}/{public.partition('/')[2]}" if registry and public else public


def pip_arguments(wants: Wants, given: str, public: str = "") -> str:
    """Arguments that somebody gave, or those that lead pip to its mirror. ``public`` is an index besides the
    usual one."""
    if given:
        return given
    index = wants.plan_mirror.pip_index
    words = [f"--index-url {index}"] if index else []
    if index.startswith("http://"):
        words.append(f"--trusted-host {urlsplit(index).hostname}")
    return " ".join([*words, *([f"--extra-index-url {address(wants, public)}"] if public else [])])
