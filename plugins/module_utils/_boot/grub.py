# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB with a generated grub.cfg: our drop-in where drop-ins are read, else one line of /etc/default/grub."""

from __future__ import annotations

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._write import below, read_text, refuse_special
from . import grub_config, grub_defaults
from .base import DEFAULTS, Host, Loader, Plan, exists
from .grub_config import Generator, Settled, generator, newer, plan_config, refuse_unsettled
from .grub_dropin import DROPIN_EMPTY, next_dropin, our_others
from .grub_files import DROPINS, evaluate, later_files, reads_dropins, sources
from .next_boot import GRUB_CFG, grub_release

NAME = "grub"


def detect(root: str) -> bool:
    return any(exists(root, path) for path in (DEFAULTS, DROPINS, *GRUB_CFG))


def plan(host: Host, asked: Wanted) -> Plan:
    if reads_dropins(host):
        return plan_dropin(host, NAME, asked, generator(host))
    return grub_defaults.plan_defaults(host, NAME, asked, generator(host))


def plan_dropin(host: Host, loader: str, asked: Wanted, tool: Generator) -> Plan:
    place = below(host.root, f"{DROPINS}/{host.dropin}")
    refuse_special(place)
    text = read_text(place)
    now = evaluate(host, sources(host))
    if host.purge:
        host = host._replace(retired=our_others(host, place))
    wanted, after = text, now.arguments
    if not cmdline.satisfied(after, asked) or host.purge or text == DROPIN_EMPTY:
        wanted, then = next_dropin(host, place, None if host.purge else text, asked)
        after = then.arguments
        refuse_unsettled(place, after, asked, later_files(host, place))
    interrupted = host.purge and wanted is not None and newer(place, tool.config or place)
    files = {place: (text, wanted), **{other: (read_text(other), None) for other in host.retired}}
    settled = Settled(place, files, now, after, text == DROPIN_EMPTY or interrupted)
    return plan_config(host, loader, asked, settled, tool)


LOADER = Loader(NAME, detect, plan, grub_config.perform, grub_release, grub_config.lines)
