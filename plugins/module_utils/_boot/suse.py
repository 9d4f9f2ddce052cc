# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB of SUSE: grub2-mkconfig reads /etc/default/grub and no drop-ins."""

from __future__ import annotations

from .._cmdline import Wanted
from . import grub, grub_config
from .base import Host, Loader, Plan, release_ids
from .grub_config import generator
from .grub_defaults import plan_defaults
from .next_boot import grub_release

NAME = "suse"


def detect(root: str) -> bool:
    return grub.detect(root) and any(
        name.startswith(("suse", "opensuse", "sles", "sle")) for name in release_ids(root)
    )


def plan(host: Host, asked: Wanted) -> Plan:
    return plan_defaults(host, NAME, asked, generator(host))


LOADER = Loader(NAME, detect, plan, grub_config.perform, grub_release, grub_config.lines)
