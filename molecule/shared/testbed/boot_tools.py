# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes things to boot, as Debian 13 has it, in an image of its own: ukify, ostree, dracut, kernel-install.

They run in a container without a network; what they do to its /dev stays there.
"""

from __future__ import annotations

from pathlib import Path

from .toolbox import Toolbox

STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
PACKAGES = (
    "systemd-ukify,systemd-boot,systemd-boot-tools,systemd-boot-efi,ostree,dracut,kmod,cpio,zstd,python3"
)
BOX = Toolbox("boot-tools", "trixie", PACKAGES, "the boot tools")


def tool(folder: Path, script: str) -> str:
    """What a script says that is started in ``folder``; it ends at the first command that fails."""
    return BOX.run(folder, "sh", "-euc", script)
