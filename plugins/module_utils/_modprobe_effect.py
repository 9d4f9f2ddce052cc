# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When options of modprobe.d take effect: what has to be built again, and what still runs with others."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ._modprobe import State, equal, meant
from ._write import below

# A unified kernel image holds an initramfs, and so modprobe.d of the time when it was built.
INITRAMFS = ("initrd*", "initramfs*", "booster-*.img", "*/*/initrd*", "*/*/initramfs*", "EFI/Linux/*.efi")
IMAGE_FOLDERS = ("/boot", "/efi", "/boot/efi")


def installed_images(root: str) -> list[str]:
    """The newest image of each installed kernel; where names tell nothing about kernels, the newest one there
    is."""
    found = {
        image
        for folder in IMAGE_FOLDERS
        for pattern in INITRAMFS
        for image in glob.glob(os.path.join(glob.escape(below(root, folder)), pattern))
        if os.path.isfile(image)
    }
    images = sorted(found)
    images.sort(key=_written)
    newest = {}
    for folder in glob.glob(os.path.join(glob.escape(below(root, "/lib/modules")), "*", "")):
        release = os.path.basename(os.path.dirname(folder))
        names = {
            f"{kind}-{release}{end}" for kind in ("initrd.img", "initrd", "initramfs") for end in ("", ".img")
        }
        for image in images:
            if os.path.basename(image) in names or os.path.basename(os.path.dirname(image)) == release:
                newest[release] = image
    return list(newest.values()) or images[-1:]


def _written(place: str) -> float:
    try:
        return os.stat(place).st_mtime
    except OSError:  # it went away meanwhile
        return 0


def initramfs_reason(root: str, place: str, changed: bool, whole: bool = False) -> str:
    """Why the initramfs has to be built again (empty: it has not). Without an image there is nothing to
    build.

    whole: the file is to be gone. A run that was interrupted after that left a trace on the directory alone.
    """
    images = installed_images(root)
    if not images:
        return ""
    if changed:
        if os.path.isdir(below(root, "/etc/initramfs-tools")):
            return "initramfs-tools copies /etc/modprobe.d into the initramfs"
        return "whether the module is in the initramfs cannot be told without unpacking it"
    oldest = min(images, key=_written)
    changed_last = os.path.dirname(place) if whole and not os.path.exists(place) else place
    return f"{changed_last} is newer than {oldest}" if _written(changed_last) > _written(oldest) else ""


def reload_reasons(
    root: str,
    before: State,
    after: State,
    asked: Mapping[str, Mapping[str, Any]],
    overruled: Collection[tuple[str, str]] = (),
) -> list[str]:
    """Where a loaded module still runs with another value than the files now say. Another one is not got by
    loading what is overruled."""
    reasons = []
    for module in dict.fromkeys([*asked, *before.options]):
        folder = below(root, f"/sys/module/{module}/parameters")
        if not os.path.isdir(os.path.dirname(folder)):
            continue
        held, holds = before.options.get(module, {}), after.options.get(module, {})
        named = list(asked[module] or held) if module in asked else []
        for parameter in dict.fromkeys([*named, *(name for name in held if name not in holds)]):
            if (module, parameter) in overruled:
                continue
            new, old = meant(holds, parameter), meant(held, parameter)
            try:
                with open(os.path.join(folder, parameter), encoding="utf-8", errors="replace") as stream:
                    running: str | None = stream.read(4096).strip("\0\n ")
            except OSError:
                running = None
            if running is None:
                if new != old:
                    reasons.append(f"{module} is loaded and does not show its {parameter}, which changes")
            elif new is not None and not equal(running, new):
                reasons.append(f"{module} runs with {parameter}={running}, wanted is {new}")
            elif new is None and old is not None and equal(running, old):
                reasons.append(f"{module} still runs with {parameter}={running}")
    return reasons


def loaded_all_the_same(root: str, after: State, blacklist: Sequence[str]) -> list[str]:
    """Modules that the file keeps from loading, and that are loaded already."""
    return [
        f"{name} is blacklisted but loaded"
        for name in blacklist
        if name in after.blacklist and os.path.isdir(below(root, f"/sys/module/{name}"))
    ]
