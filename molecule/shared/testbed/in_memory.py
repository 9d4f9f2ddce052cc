# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose files are a dictionary: for tests that make hundreds of them."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

NODES = "sys/class/kfd/kfd/topology/nodes"
PCI = "sys/bus/pci/devices"


class Files(Tree):
    """A host whose files are a dictionary."""

    def __init__(self, files: Mapping[str, str]) -> None:
        super().__init__("")
        self.files = files
        self.folders: dict[str, set[str]] = {}
        for path in files:
            parts = path.split("/")
            for depth in range(len(parts)):
                self.folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])

    def _key(self, parts: tuple[str, ...]) -> str:
        return self.path(*parts).strip("/")

    def raw(self, *parts: str, required: bool = False, limit: int = 0) -> bytes | None:
        text = self.files.get(self._key(parts))
        if text is None and required:
            self.problem(self.path(*parts), "is missing")
        return None if text is None else text.encode()

    def names(self, *parts: str) -> list[str]:
        return sorted(self.folders.get(self._key(parts), ()))

    def exists(self, *parts: str) -> bool:
        return self._key(parts) in self.files or self._key(parts) in self.folders

    def link_target(self, *parts: str) -> str | None:
        return None


def node(number: int, **more: int | None) -> dict[str, str]:
    """The files of a KFD node of an MI300X partition; a property that is None is left out."""
    values = {
        "simd_count": 608,
        "simd_per_cu": 4,
        "gfx_target_version": 90402,
        "vendor_id": 0x1002,
        "device_id": 0x74A1,
        "location_id": 1280,
        "domain": 0,
        "drm_render_minor": 128 + number,
        "unique_id": 0,
        "num_xcc": 4,
    }
    values.update(more)  # type: ignore[arg-type]
    lines = (f"{key} {value}\n" for key, value in values.items() if value is not None)
    return {f"{NODES}/{number}/properties": "".join(lines)}


def pci(address: str, device: str = "74a1", **more: str) -> dict[str, str]:
    """The files of a GPU on the bus that amdgpu drives."""
    files = {
        "vendor": "0x1002",
        "device": f"0x{device}",
        "class": "0x120000",
        "uevent": f"DRIVER=amdgpu\nPCI_SLOT_NAME={address}",
        **more,
    }
    return {f"{PCI}/{address}/{name}": text for name, text in files.items()}
