# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fact ``amd_host`` says of how the system starts."""

from __future__ import annotations

import typing as t


class Refused(t.TypedDict):
    system: str  # The system whose kernel arguments are not ours to write.
    reason: str  # Why they are not.
    where: str  # Where its owner writes them.
    whole: bool  # Whether nothing else of the system is ours either.
    units: bool  # Whether units and rules in /etc stay there.


class Boot(t.TypedDict):
    loader: str | None  # Boot loader that is ours to change.
    refused: Refused | None  # What is not ours to change.
    next_system: str | None  # What the next boot starts instead of Linux.
    initramfs: str | None  # Tool that builds the initramfs.
    initramfs_commands: list[list[str]]  # Commands which build all images again.
    initramfs_images: bool  # Whether there are images.
    initramfs_options: bool  # Whether images hold /etc/modprobe.d; false where they are known not to.
    writable_root: bool  # Whether the system can be written.
    secure_boot: bool | None  # Whether Secure Boot is on; only EFI has it.
    signatures_enforced: bool | None  # Whether the kernel takes signed modules alone.
    mok_enrolled: bool | None  # Whether shim trusts the key of DKMS.
    bootc: bool  # Whether the system is an ostree image.
    id: str | None  # Id of this boot.
    rebooted_from: str | None  # Boot that our last reboot ended, where it was not seen to come back.
    rebooted_into: str | None  # Boot that our last reboot led to.
    rebooted_for: str | None  # Reasons of our last reboot.
