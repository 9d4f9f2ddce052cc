# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot loaders: which one a host has, what it gives the kernel at the next boot, and how to change that.

plan() reads and decides, it changes nothing. carry_out() writes, runs the loader's own tool and looks at the
result. Whatever goes wrong, the files are put back as they were. What a person wrote is kept: beside GRUB's
drop-in a record (record.py) tells what to take back. Commands go through a function that the caller gives.

A boot loader is one file here and one line in choose.LOADERS; a system that is refused is one entry of
refused.SYSTEMS.
"""

from __future__ import annotations

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._tree import Tree
from .._write import Snapshot, WriteError, below, remove_directories
from . import limine, ostree, refused, tool_built, uki
from .base import BootError, Host, Plan
from .choose import LOADERS, Found, find, nothing_found
from .entries import options_of, set_options
from .initramfs import Initramfs, initramfs_of, writable_root
from .initramfs_options import holds_options
from .next_boot import grub_release
from .other_system import next_system
from .steps import full_folders, lacking_folders, write_record

__all__ = [
    "LOADERS",
    "BootError",
    "Found",
    "Host",
    "Initramfs",
    "Plan",
    "find",
    "holds_options",
    "options_of",
    "initramfs_of",
    "next_system",
    "set_options",
    "writable_root",
    "write_record",
]


# COMMAND_LINE_SIZE of x86 and arm64 without the NUL at the end.
MOST_BYTES = 2047
# Where a link of an image leads out of it, nothing is known.
UNREAD = (Found(None, None), False, Initramfs(None, []), True)


def detect(root: str) -> str | None:
    """The boot loader whose configuration decides the next boot; None where it is not ours to change."""
    return find(root).loader


def default_release(tree: Tree, loader: str | None = None) -> str | None:
    """The kernel that the next boot starts, or None where no boot configuration tells.

    What a boot loader left behind that is no longer the host's does not count: loader is the one that is.
    """
    known = LOADERS.get(loader or "")
    return (known.release if known else grub_release)(tree)


def plan(host: Host, loader: str, asked: Wanted) -> Plan:
    """What has to be done so that the next boot gets what was asked for. Reads only."""
    if loader == "auto":
        loader = _found(host, asked)
    decided = LOADERS[loader].plan(host, asked)
    _check_length(decided)
    return decided


def _check_length(decided: Plan) -> None:
    """What lies behind the end of the longest line is lost without a word: the last argument was ours."""
    before, after = (
        len(cmdline.join(line).encode("utf-8", "surrogateescape")) for line in (decided.before, decided.after)
    )
    if after > MOST_BYTES and after > before:
        raise BootError(
            f"The command line would have {after} bytes, and the kernel reads {MOST_BYTES} of them; take out "
            "arguments that are not needed, then run again. Nothing was changed."
        )


def _found(host: Host, asked: Wanted) -> str:
    found = find(host.root)
    if found.refused is None and found.loader:
        return found.loader
    if found.refused is None:
        raise BootError(nothing_found(host.root))
    layered = found.refused.system in ("bootc", "OSTree") and host.tool("rpm-ostree")
    if layered and not refused.enterprise(host.root):
        return ostree.NAME
    if found.refused == refused.PLAIN_LIMINE:
        limine.refuse_plain(host.root, asked)
    words = [*asked.present, *(f"no {entry}" for entry in asked.absent)]
    raise BootError(
        f"The kernel arguments of this host ({found.refused.system}) are not changed here, because "
        f"{found.refused.reason}; write {cmdline.join(words) or 'them'} into {found.refused.where}."
    )


def carry_out(host: Host, decided: Plan, asked: Wanted) -> None:
    """Do what plan() decided and look at the result. A failure puts every file back and raises BootError."""
    places = list(decided.files) + decided.touched + ([decided.record.place] if decided.record else [])
    places += [below(host.root, tool_built.PENDING)] if decided.rebuilt else []
    snapshot = Snapshot(places)
    made = lacking_folders(snapshot.files)
    try:
        # First: what is recorded and not done is harmless, what is done and not recorded is never taken back.
        # The record keeps what is taken back until that is done. So the next run finishes a killed one.
        write_record(decided, done=False)
        LOADERS[decided.loader].perform(host, decided, asked)
    except BaseException as error:
        full = full_folders(decided)
        problems = snapshot.restore()
        remove_directories(made)
        if not isinstance(error, (BootError, WriteError, cmdline.CmdlineError)):
            raise
        problems += uki.build_again(host, decided) if decided.image or decided.rebuilt else []
        end = (
            " The previous configuration was put back."
            if not problems
            else " Not everything could be put back: " + " ".join(problems)
        )
        end = f" There is no room left in {', '.join(full)}." * bool(full) + end
        raise BootError(str(error) + ("" if decided.loader == ostree.NAME else end)) from error
