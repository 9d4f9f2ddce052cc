# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""apt: Debian, Ubuntu and what derives from them."""

from __future__ import annotations

import typing as t


class Apt:
    """Exact versions, and kernels that are held by name."""

    repository_key = "uri"
    family = "deb"

    def pin(self, name: str, known: t.Mapping[str, t.Any], key: str = "package_version") -> str:
        return f"{name}={known[key]}"

    def spell(self, packages: t.Sequence[str]) -> list[str]:
        return list(packages)

    def at_least(self, name: str, version: str) -> str:
        return f"{name}>={version}"

    def kernels(self, installed: t.Mapping[str, str], running: str) -> list[str]:
        # Of these packages the facts name only those that always lead to the newest kernel.
        names = [name for name in installed if name.startswith("linux-")]
        return sorted(name for name in names if not name.startswith("linux-firmware"))
