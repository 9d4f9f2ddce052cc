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
    """An image keeps its path and tag in the mirror's registry."""
    return image_from(wants.plan_mirror.registry, public)


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
