# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel command line: split it, compare its arguments and work out the line that holds what is wanted.

An argument is kept as the text it was written as. Two arguments are the same when the kernel takes them as
the same: name="a b" and "name=a b" are one argument, and a dash equals an underscore in a name. What stands
after -- belongs to init and is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# What the kernel takes as white space between arguments.
SPACE = " \t\n\v\f\r\xa0"

# Names that may stand more than once: each occurrence has an effect of its own.
REPEATABLE = frozenset(
    [
        "acpi_osi",
        "bond",
        "bridge",
        "cgroup_disable",
        "console",
        "crashkernel",
        "driver_async_probe",
        "dyndbg",
        "earlycon",
        "earlyprintk",
        "efi",
        "hugepages",
        "hugepagesz",
        "ifname",
        "initrd",
        "ip",
        "ivrs_acpihid",
        "ivrs_hpet",
        "ivrs_ioapic",
        "memmap",
        "modprobe.blacklist",
        "module_blacklist",
        "mtdparts",
        "nameserver",
        "netconsole",
        "pci",
        "rd",
        "systemd.mask",
        "systemd.setenv",
        "systemd.wants",
        "team",
        "trace_event",
        "tsc",
        "video",
        "vlan",
    ]
)


class CmdlineError(ValueError):
    """An argument or a command line that cannot be used; the text is a whole sentence."""


class Argument(NamedTuple):
    """An argument as the kernel sees it: its name with underscores, its value without quotes (None: no
    value)."""

    name: str
    value: str | None


def split(text: str) -> list[str]:
    """Split like the kernel: at white space outside double quotes. A quote that is not closed takes the
    rest."""
    arguments: list[str] = []
    current: list[str] = []
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character in SPACE and not quoted:
            if current:
                arguments.append("".join(current))
                current = []
        else:
            current.append(character)
    if current:
        arguments.append("".join(current))
    return arguments


def join(arguments: Iterable[str]) -> str:
    return " ".join(arguments)


def parse(argument: str) -> Argument:
    """Name and value of one argument, by the rules of the kernel's next_arg()."""
    text = argument
    if text.startswith('"'):
        text = text[1:].removesuffix('"')
    name, equals, value = text.partition("=")
    if equals and value.startswith('"'):
        value = value[1:].removesuffix('"')
    return Argument(name.replace("-", "_"), value if equals else None)


def balanced(argument: str) -> bool:
    return argument.count('"') % 2 == 0


def repeatable(name: str) -> bool:
    name = name.replace("-", "_")
    return name in REPEATABLE or name.startswith("rd.") or name.endswith((".dyndbg", ".blacklist"))


def same(one: str, other: str) -> bool:
    return parse(one) == parse(other)


def matches(argument: str, pattern: str) -> bool:
    """Does a pattern name this argument? A name alone names it with any value, name=value only with that
    one."""
    have, want = parse(argument), parse(pattern)
    return have.name == want.name and (want.value is None or have.value == want.value)


def check(argument: str, option: str) -> str:
    """The argument without the white space around it, or CmdlineError with what is wrong and what to do."""
    text = argument.strip(SPACE)
    shown = repr(text if len(text) <= 80 else text[:77] + "...")
    if not text:
        raise CmdlineError(f"{option} holds an empty argument; remove it from the list.")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
        raise CmdlineError(
            f"{option}: {shown} holds a line break, a NUL or another control character; a kernel argument is "
            f"one line of text."
        )
    if not balanced(text):
        raise CmdlineError(
            f'{option}: {shown} has a double quote that is not closed; close it, as in dyndbg="file x +p".'
        )
    if len(split(text)) != 1:
        raise CmdlineError(
            f"{option}: {shown} is {len(split(text))} arguments; give each one as an entry of the list, or "
            f"put a"
            " value that holds spaces in double quotes."
        )
    if text == "--":
        raise CmdlineError(
            f"{option}: '--' ends the kernel's arguments; what follows it belongs to init and is not managed "
            f"here."
        )
    if not parse(text).name:
        raise CmdlineError(f"{option}: {shown} has no name before the equals sign; write name or name=value.")
    return text


class Wanted(NamedTuple):
    """What was asked for, checked: no argument stands on both sides, no single name has two values."""

    present: list[str]
    absent: list[str]


def wanted(
    present: Sequence[str], absent: Sequence[str], names: tuple[str, str] = ("present", "absent")
) -> Wanted:
    """Check what was asked for, by options of these names. Raises CmdlineError with one sentence that names
    the value and the remedy."""
    wish, ban = names
    keep: list[str] = []
    for text in (check(entry, wish) for entry in present):
        for other in keep:
            if same(other, text):
                break
            if parse(other).name == parse(text).name and not repeatable(parse(text).name):
                raise CmdlineError(
                    f"{wish} asks for {other!r} and for {text!r}, but this argument can have one value only; "
                    f"remove one of them."
                )
        else:
            keep.append(text)
    drop: list[str] = []
    for text in (check(entry, ban) for entry in absent):
        for other in keep:
            if same(other, text):
                raise CmdlineError(f"{text!r} stands in {wish} and in {ban}; remove it from one of them.")
            if matches(other, text):
                raise CmdlineError(
                    f"{ban} names {text!r}, which removes it with any value, but {wish} asks for {other!r}; "
                    f"remove"
                    " one of them"
                    f" or name the old value in {ban} ({text}=...). A name that can have one value only is "
                    f"replaced"
                    " without that."
                )
        if not any(same(other, text) for other in drop):
            drop.append(text)
    return Wanted(keep, drop)


def for_kernel(arguments: Sequence[str]) -> list[str]:
    """The arguments before --, the kernel's own."""
    arguments = list(arguments)
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def holds(arguments: Sequence[str], argument: str) -> bool:
    """Is this argument in effect? For a name that may stand once the last one counts."""
    want = parse(argument)
    values = [entry for entry in map(parse, for_kernel(arguments)) if entry.name == want.name]
    if repeatable(want.name):
        return want in values
    return bool(values) and values[-1] == want


def missing(arguments: Sequence[str], asked: Wanted) -> list[str]:
    """Wanted arguments that are not in effect."""
    return [entry for entry in asked.present if not holds(arguments, entry)]


def unwanted(arguments: Sequence[str], asked: Wanted) -> list[str]:
    """Arguments that stand in the line and were asked to be absent."""
    return [
        entry for entry in for_kernel(arguments) if any(matches(entry, pattern) for pattern in asked.absent)
    ]


def satisfied(arguments: Sequence[str], asked: Wanted) -> bool:
    return not missing(arguments, asked) and not unwanted(arguments, asked)


def apply(arguments: Sequence[str], asked: Wanted) -> list[str]:
    """The line with what was asked for: a replaced argument keeps its place, a new one comes last (before
    --)."""
    kernel = for_kernel(arguments)
    init = list(arguments[len(kernel) :])
    kernel = [entry for entry in kernel if not any(matches(entry, pattern) for pattern in asked.absent)]
    for entry in asked.present:
        if holds(kernel, entry):
            continue
        name = parse(entry).name
        places = (
            []
            if repeatable(name)
            else [place for place, other in enumerate(kernel) if parse(other).name == name]
        )
        if places:
            kernel[places[-1]] = entry
            for place in reversed(places[:-1]):
                del kernel[place]
        else:
            broken = [other for other in kernel if not balanced(other)]
            if broken:
                raise CmdlineError(
                    f"The command line holds a double quote that is not closed, at {broken[0]!r}: whatever "
                    f"is added"
                    " would become part of that value;"
                    " correct it by hand first."
                )
            kernel.append(entry)
    return kernel + init


def edits(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What changed between two lines, one sentence part per argument."""
    gone, new = list(before), []
    for entry in after:
        if entry in gone:
            gone.remove(entry)
        else:
            new.append(entry)
    result = []
    for entry in new:
        old = [
            other
            for other in gone
            if parse(other).name == parse(entry).name and not repeatable(parse(entry).name)
        ]
        for other in old:
            gone.remove(other)
        result.append(f"replace {join(old)} by {entry}" if old else f"add {entry}")
    return result + [f"remove {entry}" for entry in gone]


def reboot_reasons(running: Sequence[str], asked: Wanted) -> list[str]:
    """Why the running kernel is not yet what was asked for (empty: it is)."""
    reasons = [f"{entry} is not in effect in the running kernel" for entry in missing(running, asked)]
    return reasons + [f"the running kernel still has {entry}" for entry in unwanted(running, asked)]


def with_purged(before: Sequence[str], after: Sequence[str], asked: Wanted) -> Wanted:
    """What was asked for together with what a purge changed unasked: the running kernel is compared with all
    of it."""
    names = {parse(entry).name for entry in asked.present if not repeatable(parse(entry).name)}
    back = [
        entry
        for entry in after
        if entry not in before and parse(entry).name not in names and entry not in asked.present
    ]
    gone = [
        entry
        for entry in before
        if entry not in after and parse(entry).name not in names | {parse(other).name for other in back}
    ]
    gone = [entry for entry in gone if not any(matches(entry, pattern) for pattern in asked.absent)]
    return Wanted(asked.present + back, asked.absent + gone)
