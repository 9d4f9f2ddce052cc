# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""dnf: RHEL, Fedora and what derives from them."""

from __future__ import annotations

import typing as t

# What a new kernel of EL comes in.
PARTS = {
    "": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel", "-devel-matched", "-headers"),
    "-uek": ("", "-core", "-modules", "-modules-core", "-modules-extra", "-devel"),
}


class Dnf:
    """Of rpm packages the catalog knows the upstream version, and leaves the release open."""

    repository_key = "rpm_uri"
    family = "rpm"

    def pin(self, name: str, known: t.Mapping[str, t.Any], key: str = "package_version") -> str:
        upstream = known[key].rpartition(":")[2].rpartition("-")[0]
        return f"{name}={known.get(f'rpm_{key}') or f'{upstream}-*'}"

    def spell(self, packages: t.Sequence[str]) -> list[str]:
        return [package.replace("=", "-", 1) for package in packages]

    def at_least(self, name: str, version: str) -> str:
        return f"{name} >= {version}"

    def kernels(self, installed: t.Mapping[str, str], running: str) -> list[str]:
        # dnf keeps several kernels beside each other, so a lock names the running one.
        family = "-uek" if "uek" in running else ""
        return [f"kernel{family}{part}-{running}" for part in PARTS[family] if running]
