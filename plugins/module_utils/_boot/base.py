# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all boot loaders share: the host, the plan, and how a tool is run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._cmdline import Wanted
from .._tree import Tree
from .._write import below, read_text, why
from .record import RECORD, Record, RecordError

DEFAULTS = "/etc/default/grub"
KERNEL_CMDLINE = "/etc/kernel/cmdline"
TOOLS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")

Run = Callable[[list[str]], tuple[int, str, str]]


class BootError(Exception):
    """The boot configuration cannot be read or changed; the text is a whole sentence."""


class Host(NamedTuple):
    """Where to read, how to run a command (words -> rc, stdout, stderr), how to find a tool of the running
    system."""

    root: str
    run: Run
    find: Callable[[str], str | None]
    dropin: str = "60-amdgpu-fleet.cfg"
    purge: bool = False
    retired: tuple[str, ...] = ()  # drop-ins of ours under other names, which are read no more

    @property
    def real(self) -> bool:
        return os.path.realpath(self.root) == "/"

    def tool(self, *names: str) -> list[str] | None:
        """The command line of the first tool there is: of the running system, or by chroot below another
        root."""
        for name in names:
            if self.real:
                found = self.find(name)
                if found:
                    return [found]
                continue
            for folder in TOOLS:
                if os.access(below(self.root, f"{folder}/{name}"), os.X_OK):
                    chroot = self.find("chroot")
                    return [chroot, self.root, f"{folder}/{name}"] if chroot else None
        return None


class Kept(NamedTuple):
    """The record: its place, what it holds while the change is made, and what afterwards (None: no such
    file)."""

    place: str
    meanwhile: str | None
    afterwards: str | None


class Plan(NamedTuple):
    loader: str
    before: list[str]
    after: list[str]
    files: dict[str, tuple[str | None, str | None]]  # place -> text now, text wanted (None: no such file)
    commands: list[list[str]]
    actions: list[str]
    warnings: list[str]
    touched: list[str]  # files a command may rewrite: restored when something fails
    record: Kept | None = None
    blind: bool = False  # what the next boot starts is not to be seen, so it may be without the arguments
    image: str = ""  # the unified kernel image of the next boot, where that is one
    rebuilt: bool = False  # the commands build what boots from the files, and again from those put back

    @property
    def changed(self) -> bool:
        return bool(self.commands) or any(old != new for old, new in self.files.values())


class Loader(NamedTuple):
    """One boot loader: are its files there, what has to be done, do it and look at it, what starts next, and
    every command line that its files can have given."""

    name: str
    detect: Callable[[str], bool]
    plan: Callable[[Host, Wanted], Plan]
    perform: Callable[[Host, Plan, Wanted], None]
    release: Callable[[Tree], str | None]
    lines: Callable[[str], list[list[str]]]


def exists(root: str, path: str) -> bool:
    return os.path.exists(below(root, path))


def the_record(host: Host, asked: Wanted) -> tuple[str, Record]:
    place = below(host.root, RECORD)
    try:
        return place, Record(read_text(place), asked, host.purge)
    except RecordError as error:
        raise BootError(str(error)) from error


def first_line(*texts: str) -> str:
    """The line of a tool's output that says what is wrong."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    words = r"error|fail|cannot|can't|could ?n.t|not found|denied|syntax|invalid|no space"
    bad = [line for line in lines if re.search(words, line, re.IGNORECASE)]
    return (bad or lines or ["no message"])[0][:300]


def called(host: Host, command: list[str]) -> tuple[int, str, str]:
    try:
        return host.run(command)
    except OSError as error:
        raise BootError(f"{command[0]} cannot be run: {why(error)}.") from error


def checked(host: Host, command: list[str]) -> str:
    code, out, err = called(host, command)
    if code != 0:
        raise BootError(f"{cmdline.join(command)} failed with return code {code}: {first_line(err, out)}.")
    return out


def release_ids(root: str) -> list[str]:
    text = read_text(below(root, "/etc/os-release")) or read_text(below(root, "/usr/lib/os-release")) or ""
    found = re.findall(r"^(?:ID|ID_LIKE)=[\"']?([^\"'\n]*)", text, re.MULTILINE)
    return " ".join(found).split()
