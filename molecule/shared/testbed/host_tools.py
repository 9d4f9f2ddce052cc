# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are managed with and run in, as Debian 13 has it, in an image of its own: package managers of other
distributions, and managers of system containers."""

from __future__ import annotations

from .toolbox import Toolbox

PACKAGES = "zypper,pacman-package-manager,dnf,rpm,createrepo-c,systemd-container,lxc,python3,procps,zstd,libarchive-tools"
BOX = Toolbox("host-tools", "trixie", PACKAGES, "the package and container managers")
