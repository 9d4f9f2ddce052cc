# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot loaders: which one a host has, what it gives the kernel at the next boot, and how to change that.

plan() reads and decides, it changes nothing. carry_out() writes, runs the loader's own tool and looks at the
result; whatever goes wrong, the files are put back as they were. What a person wrote is kept: beside GRUB's
drop-in a record (_boot_record.py) tells what to take back. Commands go through a function that the caller
gives.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from . import _cmdline as cmdline
from . import _uki as uki
from ._boot_record import RECORD, Record, RecordError
from ._cmdline import Wanted
from ._next_boot import (
    ENTRIES,
    GRUB_CFG,
    GRUBENV,
    LOADER_FOLDERS,
    LOADER_VARIABLE,
    default_entry,
    default_loader_entry,
    environment_block,
    loader_variable,
    named_entry,
)
from ._write import (
    Snapshot,
    WriteError,
    below,
    discard,
    follow,
    make_parents,
    move,
    read_bytes,
    read_text,
    refuse_special,
    remove,
    remove_directories,
    stage,
    why,
    write_text,
)

LOADERS = ("grub", "bls", "systemd-boot", "rpm-ostree", "suse")
DEFAULTS = "/etc/default/grub"
DROPINS = "/etc/default/grub.d"
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

    @property
    def changed(self) -> bool:
        return bool(self.commands) or any(old != new for old, new in self.files.values())


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


# Which boot loader --------------------------------------------------------------------------------


def release_ids(root: str) -> list[str]:
    text = read_text(below(root, "/etc/os-release")) or read_text(below(root, "/usr/lib/os-release")) or ""
    found = re.findall(r"^(?:ID|ID_LIKE)=[\"']?([^\"'\n]*)", text, re.MULTILINE)
    return " ".join(found).split()


def entry_files(root: str) -> list[str]:
    for folder in ENTRIES:
        found = sorted(glob.glob(os.path.join(glob.escape(below(root, folder)), "*.conf")))
        if found:
            return found
    return []


def variable(root: str, name: str) -> str:
    return loader_variable(read_bytes(below(root, LOADER_VARIABLE.format(name))))


def booted_by(root: str) -> str | None:
    """`systemd-boot` or `other`, by what the loader left in the EFI variables; None where there are none to
    be seen."""
    if not glob.glob(os.path.join(glob.escape(below(root, "/sys/firmware/efi/efivars")), "*")):
        return None
    return "systemd-boot" if variable(root, "LoaderInfo").startswith("systemd-boot") else "other"


def detect(root: str) -> str | None:
    """The boot loader whose configuration decides the next boot, or None."""
    if exists(root, "/run/ostree-booted"):
        return "rpm-ostree"
    grub2 = exists(root, "/boot/grub2") or any(exists(root, f"{folder}/grubby") for folder in TOOLS)
    if entry_files(root):
        if grub2:
            return "bls"
        # The entries may be another system's, which shares the EFI system partition.
        return "grub" if exists(root, GRUB_CFG[0]) and booted_by(root) == "other" else "systemd-boot"
    if exists(root, "/etc/kernelstub/configuration") or any(
        exists(root, path)
        for path in ("/boot/loader/loader.conf", "/efi/loader/loader.conf", "/boot/efi/loader/loader.conf")
    ):
        return "systemd-boot"
    if exists(root, DEFAULTS) or exists(root, DROPINS) or any(exists(root, path) for path in GRUB_CFG):
        return (
            "suse"
            if any(name.startswith(("suse", "opensuse", "sles", "sle")) for name in release_ids(root))
            else "grub"
        )
    return "systemd-boot" if exists(root, KERNEL_CMDLINE) or uki.images(root) else None


# GRUB: what its shell files say -------------------------------------------------------------------

# As grub-mkconfig does it: a command that fails ends it.
EVALUATE = """
set -e
for file do
  if test -f "$file"; then { . "$file"; } >/dev/null; fi
done
printf '\\036%s' "${GRUB_CMDLINE_LINUX-}" "${GRUB_CMDLINE_LINUX_DEFAULT-}" "${GRUB_DEFAULT-0}" end
"""


class Grub(NamedTuple):
    """What GRUB's defaults come to once the shell has read them."""

    always: list[str]
    normal: list[str]
    default: str

    @property
    def arguments(self) -> list[str]:
        return cmdline.split(cmdline.join(self.always + self.normal))


def sources(host: Host, candidate: tuple[str, str] | None = None) -> list[str]:
    """The files grub-mkconfig sources, in its order; candidate = (a place, the file to take instead of
    it)."""
    places = [follow(host.root, DEFAULTS)]
    if reads_dropins(host):
        places += [place for place in dropin_files(host.root) if place not in host.retired]
    if candidate and candidate[0] not in places:
        places.append(candidate[0])
    places = places[:1] + sorted(places[1:], key=os.path.basename)
    return [candidate[1] if candidate and place == candidate[0] else place for place in places]


def dropin_files(root: str) -> list[str]:
    return glob.glob(os.path.join(glob.escape(below(root, DROPINS)), "*.cfg"))


def reads_dropins(host: Host) -> bool:
    """Only Debian's and Ubuntu's grub-mkconfig reads /etc/default/grub.d."""
    for folder in TOOLS:
        for name in ("grub-mkconfig", "grub2-mkconfig"):
            text = read_bytes(below(host.root, f"{folder}/{name}"))
            if text is not None:
                return b"default/grub.d" in text
    return exists(host.root, DROPINS) or "debian" in release_ids(host.root)


def refuse_foreign(file: str, content: bytes) -> None:
    """Refuse what an editor of another system left in a file: the shell takes it for a part of the words."""
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BootError(
            f"{file} begins with a byte order mark, which no shell understands; save it as UTF-8 without "
            f"one, then run again."
        )
    if b"\r" in content:
        raise BootError(
            f"{file} has the line ends of Windows, which no shell understands; take them out with sed -i "
            f"'s/\\r//' {file}."
        )


def evaluate(host: Host, files: Sequence[str]) -> Grub:
    """Let sh read the files in a clean environment, as grub-mkconfig does."""
    environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
    for file in files:
        refuse_foreign(file, read_bytes(file) or b"")
    code, out, err = called(host, environment + ["sh", "-c", EVALUATE, "sh"] + list(files))
    parts = out.split("\x1e")
    if code != 0 or len(parts) != 5 or parts[4] != "end":
        said = first_line(err) if err.strip() else f"the shell stopped with return code {code}"
        raise BootError(
            f"The shell cannot read GRUB's defaults ({', '.join(files)}): {said}; correct the file, then run "
            f"again."
        )
    return Grub(cmdline.split(parts[1]), cmdline.split(parts[2]), parts[3].strip() or "0")


def try_text(host: Host, place: str, text: str) -> Grub:
    """What the defaults come to if place held this text; the file itself is not touched."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="amdgpu-fleet-", suffix=".cfg", encoding="utf-8", errors="surrogateescape"
    ) as stream:
        stream.write(text)
        stream.flush()
        return evaluate(host, sources(host, (place, stream.name)))


# GRUB: our drop-in --------------------------------------------------------------------------------

DROPIN_MARK = "# Written by amdgpu.fleet.kernel_args"
DROPIN_HEAD = """\
# Written by amdgpu.fleet.kernel_args; edits of this file are lost. Your own arguments belong in /etc/default/grub.
# add: {add}
# remove: {remove}
"""

# Stands where the drop-in goes until grub.cfg is generated without it: a run that is killed leaves a sign.
DROPIN_EMPTY = (
    "# Written by amdgpu.fleet.kernel_args: what stood here is taken back, grub.cfg has to be generated.\n"
)

DROPIN_FILTER = r"""
# Prints the arguments in $1 without those that are removed, or set below, and then $2.
# A quoted value stays in one piece, what follows -- is init's.
amdgpu_fleet_keep() (
  set -f
  kept= token= plain= quoted=0 init=0
  for word in $1; do
    token="${{token:+$token }}$word"
    plain="${{plain:+$plain }}"
    while [ "$word" != "${{word#*\"}}" ]; do
      plain="$plain${{word%%\"*}}"
      word="${{word#*\"}}"
      quoted=$((1 - quoted))
    done
    plain="$plain$word"
    [ "$quoted" = 0 ] || continue
    if [ "$init" = 0 ]; then
      case "$plain" in
        --) init=1 token="${{2:+$2 }}--" ;;{patterns}
      esac
    fi
    kept="$kept${{token:+${{kept:+ }}$token}}"
    token= plain=
  done
  kept="$kept${{token:+${{kept:+ }}$token}}"
  [ "$init" = 1 ] || kept="$kept${{2:+${{kept:+ }}$2}}"
  printf '%s' "$kept"
)
GRUB_CMDLINE_LINUX="$(amdgpu_fleet_keep "${{GRUB_CMDLINE_LINUX-}}" "")"
GRUB_CMDLINE_LINUX_DEFAULT="$(amdgpu_fleet_keep "${{GRUB_CMDLINE_LINUX_DEFAULT-}}" "{add}")"
"""

DROPIN_PLAIN = r"""
GRUB_CMDLINE_LINUX_DEFAULT="${{GRUB_CMDLINE_LINUX_DEFAULT-}} {add}"
"""


def shell_pattern(argument: str) -> str:
    """A case pattern for an argument written without its quotes: a dash and an underscore in the name are
    one."""
    name, value = cmdline.parse(argument)
    text = "".join(
        "[-_]" if char == "_" else char if char.isalnum() or char in ".,:/+@%" else "\\" + char
        for char in name
    )
    if value is None:
        return f"{text}|{text}=*"
    return f"{text}=" + "".join(
        char if char.isalnum() or char in "._,:/+@%=-" else "\\" + char for char in value
    )


def grub_argument(argument: str) -> str:
    """An argument as GRUB's language needs it: quoted where it means something there; what stays special is
    refused."""
    if re.search(r"[$`\\']", argument):
        raise BootError(
            f"{argument!r} holds a character that GRUB or its shell files read as their own ($, `, \\ or '); "
            f"write"
            f" this argument into {DEFAULTS} by hand."
        )
    if re.search(r"[;&|<>(){}]", re.sub(r'"[^"]*"', "", argument)):
        name, value = cmdline.parse(argument)
        return f'"{name}"' if value is None else f'{name}="{value}"'
    return argument


def render_dropin(add: Sequence[str], gone: Sequence[str], whole: bool = False) -> str:
    """The drop-in. Where something has to go (or whole is set) it filters, so that later edits by hand are
    covered."""
    text = DROPIN_HEAD.format(add=cmdline.join(add), remove=cmdline.join(gone))
    added = cmdline.join(grub_argument(entry) for entry in add).replace('"', '\\"')
    patterns = [shell_pattern(entry) for entry in gone]
    patterns += [
        shell_pattern(name)
        for name in dict.fromkeys(cmdline.parse(entry).name for entry in add)
        if not cmdline.repeatable(name)
    ]
    if patterns or whole:
        lines = "".join(f"\n        {pattern}) token= ;;" for pattern in patterns)
        return text + DROPIN_FILTER.format(patterns=lines, add=added)
    return text + DROPIN_PLAIN.format(add=added)


def parse_dropin(text: str | None) -> tuple[list[str], list[str]]:
    """What our drop-in adds and removes, from its two lines of comment."""
    result = []
    for key in ("add", "remove"):
        found = re.search(rf"^# {key}:([^\n]*)$", text or "", re.MULTILINE)
        result.append(cmdline.split(found.group(1)) if found else [])
    return result[0], result[1]


def next_dropin(host: Host, place: str, text: str | None, asked: Wanted) -> tuple[str | None, Grub]:
    """The drop-in that brings what was asked for, and what the defaults come to with it."""
    add, gone = parse_dropin(text)
    names = {
        cmdline.parse(entry).name
        for entry in asked.present
        if not cmdline.repeatable(cmdline.parse(entry).name)
    }
    add = [entry for entry in add if cmdline.parse(entry).name not in names or entry in asked.present]
    add = [entry for entry in add if not any(cmdline.matches(entry, pattern) for pattern in asked.absent)]
    gone = [entry for entry in gone if not any(cmdline.matches(wish, entry) for wish in asked.present)]

    def draft(whole: bool = False) -> str | None:
        return render_dropin(add, gone, whole) if add or gone else None

    seen = try_text(host, place, draft() or "").arguments
    add += cmdline.missing(seen, asked)
    gone += [
        pattern
        for pattern in asked.absent
        if any(cmdline.matches(entry, pattern) for entry in cmdline.for_kernel(seen))
    ]
    first = try_text(host, place, draft() or "")
    if cmdline.satisfied(first.arguments, asked) or not (add or gone):
        return draft(), first
    return draft(True), try_text(host, place, draft(True) or "")


def our_others(host: Host, place: str) -> tuple[str, ...]:
    """Drop-ins that we wrote under another name than place."""
    others = sorted(
        other for other in dropin_files(host.root) if other != place and not os.path.islink(other)
    )
    return tuple(other for other in others if (read_text(other) or "").startswith(DROPIN_MARK))


def later_files(host: Host, place: str) -> str:
    names = [os.path.basename(name) for name in sources(host)[1:]]
    later = [name for name in names if name > os.path.basename(place)]
    return ", ".join(later) or DEFAULTS


# GRUB: the generated grub.cfg ---------------------------------------------------------------------


def grubenv(root: str) -> dict[str, str]:
    for path in GRUBENV:
        text = read_text(below(root, path))
        if text:
            return environment_block(text)
    return {}


def generator(host: Host) -> tuple[list[str] | None, str | None]:
    """The command that writes grub.cfg and that file; None where there is no such tool, or no grub.cfg to
    renew."""
    path = next((path for path in GRUB_CFG if exists(host.root, path)), None)
    if path is None:
        return None, None
    place = follow(host.root, path)
    command = host.tool("update-grub") if path == GRUB_CFG[0] else None
    if command is None:
        tool = host.tool("grub2-mkconfig", "grub-mkconfig")
        command = tool + ["-o", path] if tool else None
    return command, place


def carried(host: Host, place: str, default: str) -> list[str] | None:
    """The arguments the default entry of grub.cfg gives the kernel, None where it has no Linux entry."""
    entry = default_entry(read_text(place) or "", default, grubenv(host.root).get("saved_entry", ""))
    return entry.arguments if entry and entry.arguments else None


def plan_grub(host: Host, loader: str, asked: Wanted) -> Plan:
    """GRUB with a generated grub.cfg: our drop-in where drop-ins are read, else one line of
    /etc/default/grub."""
    dropins = loader == "grub" and reads_dropins(host)
    place = below(host.root, f"{DROPINS}/{host.dropin}") if dropins else follow(host.root, DEFAULTS)
    if dropins:
        refuse_special(place)
    text = read_text(place)
    now = evaluate(host, sources(host))
    if dropins and host.purge:
        host = host._replace(retired=our_others(host, place))
    command, config = generator(host)
    before, after, wanted_text = now.arguments, now.arguments, text
    actions: list[str] = []
    warnings: list[str] = []
    record_place, record = the_record(host, asked)
    if not cmdline.satisfied(before, asked) or host.purge or text == DROPIN_EMPTY:
        if dropins:
            wanted_text, then = next_dropin(host, place, None if host.purge else text, asked)
        else:
            edited = edit_defaults(text or "", now, asked, record)
            wanted_text, then = (
                (text, now) if edited == (text or "") else (edited, try_text(host, place, edited))
            )
        after = then.arguments
        if not cmdline.satisfied(after, asked):
            left = cmdline.missing(after, asked) + cmdline.unwanted(after, asked)
            raise BootError(
                f"{cmdline.join(left)} cannot be settled in {place}: a file that is read later decides"
                f" ({later_files(host, place)}), or -- in"
                " GRUB_CMDLINE_LINUX hands everything after it to init; correct that by hand, or give dropin"
                " (of the role kernel: kernel_dropin) a name that sorts after them, such as "
                "zz-amdgpu-fleet.cfg."
            )
        actions = cmdline.edits(before, after)
    stale = None
    if command and config and wanted_text in (text, None):
        # A run that was killed before grub.cfg was generated: asked for and not there, or taken back and
        # perhaps still there.
        halfway = host.purge and wanted_text is not None and newer(place, config)
        halfway = text == DROPIN_EMPTY or (halfway and (dropins or record.text() != read_text(record_place)))
        stale = carried(host, config, now.default) if halfway or wanted_text == text else None
        if stale is not None:
            settled = cmdline.satisfied(stale, asked)
            stale = [
                entry
                for entry in stale
                if cmdline.parse(entry).name not in ("root", "ro", "rw") or entry in after
            ]
            same = sorted(entry for entry in stale if not entry.startswith("$")) == sorted(after)
            stale = None if settled and (same or not halfway) else stale
    if stale is not None:
        before = stale
        actions = cmdline.edits(before, after)
    files = {place: (text, wanted_text), **{other: (read_text(other), None) for other in host.retired}}
    changed = [file for file, (old, new) in files.items() if old != new]
    renew = command is not None and (bool(changed) or stale is not None)
    if changed:
        actions += [f"{'remove' if files[file][1] is None else 'write'} {file}" for file in changed]
        if not renew:
            reason = (
                "there is no grub.cfg"
                if config is None
                else f"{host.root} has no update-grub or grub-mkconfig that could be run"
            )
            warnings.append(f"grub.cfg was not generated: {reason}; the arguments take effect once it is.")
    commands = [command] if command and renew else []
    actions += [f"run {cmdline.join(command)}" for command in commands]
    return Plan(
        loader,
        before,
        after,
        files,
        commands,
        actions,
        warnings,
        [config, config + ".new"] if config else [],
        None if dropins else Kept(record_place, record.meanwhile(), record.text()),
    )


def newer(place: str, other: str) -> bool:
    """Was a file written after the other?"""
    try:
        return os.stat(place).st_mtime_ns > os.stat(other).st_mtime_ns
    except OSError:
        return False


def edit_defaults(text: str, now: Grub, asked: Wanted, record: Record, everywhere: bool = False) -> str:
    """/etc/default/grub with what was asked for, every other line kept. everywhere: new ones for rescue
    entries too."""
    lines = [f"{DEFAULTS} GRUB_CMDLINE_LINUX", f"{DEFAULTS} GRUB_CMDLINE_LINUX_DEFAULT"]
    always = cmdline.apply(record.start(lines[0], now.always), Wanted([], asked.absent))
    normal = cmdline.apply(record.start(lines[1], now.normal), Wanted([], asked.absent))
    for entry in cmdline.missing(always + normal, asked):
        name = cmdline.parse(entry).name
        single = not cmdline.repeatable(name)
        in_normal, in_always = (
            single and any(cmdline.parse(other).name == name for other in line) for line in (normal, always)
        )
        if in_normal or not (in_always or everywhere):
            normal = cmdline.apply(normal, Wanted([entry], []))
            always = [other for other in always if not single or cmdline.parse(other).name != name]
        else:
            always = cmdline.apply(always, Wanted([entry], []))
    record.note(lines[0], now.always, always)
    record.note(lines[1], now.normal, normal)
    text = text if always == now.always else assign(text, "GRUB_CMDLINE_LINUX", always)
    return text if normal == now.normal else assign(text, "GRUB_CMDLINE_LINUX_DEFAULT", normal)


def assign(text: str, name: str, arguments: Sequence[str]) -> str:
    """The text with the last assignment of a variable replaced, or one added at the end."""
    value = cmdline.join(grub_argument(entry) for entry in arguments)
    line = f"{name}='{value}'" if '"' in value else f'{name}="{value}"'
    found = list(
        re.finditer(
            rf"^[ \t]*(?:export[ \t]+)?{name}=(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'#]*)[ \t]*(#[^\n]*)?$",
            text,
            re.MULTILINE,
        )
    )
    if not found:
        if re.search(rf"\b{name}\+?=", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)):
            raise BootError(
                f'{name} is set in {DEFAULTS} in a way that cannot be edited safely; write it as one line {name}="...".'
            )
        return text + ("" if not text or text.endswith("\n") else "\n") + line + "\n"
    last = found[-1]
    if re.search(r"[$`\\]", last.group(1)):
        raise BootError(
            f"{name} in {DEFAULTS} is computed by the shell ({last.group(1)}) and cannot be edited safely; "
            f"write it"
            " as one line of plain text."
        )
    return text[: last.start()] + line + (f"  {last.group(2)}" if last.group(2) else "") + text[last.end() :]


# Loader entries: BLS and systemd-boot -------------------------------------------------------------


def starts_linux(text: str) -> bool:
    """Is a loader entry one of a kernel? A program of the firmware (memtest, a shell, another system) takes
    no kernel arguments."""
    program = re.search(r"^efi[ \t]", text, re.MULTILINE) and any(
        cmdline.parse(entry).name == "root" for entry in options_of(text)
    )
    return bool(program or re.search(r"^(?:linux|uki)[ \t]", text, re.MULTILINE))


def options_of(text: str) -> list[str]:
    return cmdline.split(" ".join(re.findall(r"^options[ \t]+([^\n]*)$", text, re.MULTILINE)))


def expand(arguments: Sequence[str], variables: dict[str, str]) -> list[str]:
    """Loader entries of GRUB may name variables of grubenv: $kernelopts."""
    result: list[str] = []
    for entry in arguments:
        result += (
            cmdline.split(variables.get("kernelopts", ""))
            if entry in ("$kernelopts", "${kernelopts}")
            else [entry]
        )
    return result


def set_options(text: str, arguments: Sequence[str]) -> str:
    """A loader entry with these options on one line, where the first options line stood; without any there is
    no such line."""
    line = "options " + cmdline.join(arguments)
    kept = []
    for old in text.splitlines():
        if re.match(r"options([ \t]|$)", old):
            if arguments and line not in kept:
                kept.append(line)
        else:
            kept.append(old)
    if arguments and line not in kept:
        kept.append(line)
    return "\n".join(kept) + "\n"


def default_file(root: str, loader: str, files: Sequence[str]) -> str:
    """The loader entry that boots take from now on."""
    named = grubenv(root).get("saved_entry", "") if loader == "bls" else ""
    return default_loader_entry(files, named or named_default(root))


def named_default(root: str) -> str:
    """What systemd-boot is told to take from now on; the empty text where it is left to it."""
    named = ""
    for folder in LOADER_FOLDERS:
        named = named or named_entry(
            lambda name: variable(root, name), read_text(below(root, f"{folder}/loader.conf")), once=False
        )
    return named


def default_image(root: str, entries: Sequence[str]) -> str:
    """The unified kernel image of the next boot; the empty text where a loader entry is taken instead."""
    images, name = uki.images(root), named_default(root)
    return uki.default(images, name) if images and (not entries or uki.named(images, name)) else ""


def inside(image: str) -> list[str]:
    try:
        return cmdline.split(uki.arguments(image))
    except uki.ImageError as error:
        raise BootError(str(error)) from error


def plan_images(host: Host, loader: str, asked: Wanted, image: str) -> Plan:
    """Images that hold their arguments: /etc/kernel/cmdline is what they are built from, again where need
    be."""
    record_place, record = the_record(host, asked)
    before = inside(image)
    place = follow(host.root, KERNEL_CMDLINE)
    text = read_text(place)
    have = before if text is None else cmdline.split(text)
    becomes = record.settle(KERNEL_CMDLINE, have)
    # A run that was killed wrote the file, and built nothing.
    halfway = host.purge and record.text() != read_text(record_place) and sorted(before) != sorted(becomes)
    if becomes == have and cmdline.satisfied(before, asked) and not halfway:
        return Plan(
            loader,
            before,
            before,
            {},
            [],
            [],
            [],
            [],
            Kept(record_place, record.meanwhile(), record.text()),
            image=image,
        )
    commands = uki.builders(host.root, host.tool)
    if not commands:
        raise BootError(
            f"This host boots unified kernel images ({', '.join(uki.images(host.root))}), which hold their "
            f"kernel arguments, and what"
            f" builds them is not known: put {cmdline.join(becomes)} into {KERNEL_CMDLINE} and build them by "
            f"hand, or let kernel-install"
            " do it (layout=uki in /etc/kernel/install.conf, and systemd-ukify); nothing was changed."
        )
    files: dict[str, tuple[str | None, str | None]] = {}
    files[place] = (text, text if text is not None and becomes == have else cmdline.join(becomes) + "\n")
    actions = cmdline.edits(before, becomes) + [f"write {place}"] * (files[place][0] != files[place][1])
    actions += [f"run {cmdline.join(command)}" for command in commands]
    kept = Kept(record_place, record.meanwhile(), record.text())
    return Plan(loader, before, becomes, files, commands, actions, [], [], kept, image=image)


def build_again(host: Host, decided: Plan) -> list[str]:
    """The images from the files that were put back; what fails, as sentences."""
    for command in decided.commands:
        code, out, err = called(host, command)
        if code != 0:
            return [
                f"{cmdline.join(command)} failed again ({first_line(err, out)}): images may hold the new "
                f"arguments."
            ]
    return []


def plan_entries(host: Host, loader: str, asked: Wanted, tools: bool = True) -> Plan:
    """BLS entries, and what the entries of later kernels come from: /etc/kernel/cmdline,
    GRUB_CMDLINE_LINUX."""
    variables = grubenv(host.root)
    record_place, record = the_record(host, asked)
    base = os.path.realpath(host.root)
    entries = [place for place in entry_files(host.root) if starts_linux(read_text(place) or "")]
    image = default_image(host.root, entries) if loader == "systemd-boot" else ""
    if image:
        return plan_images(host, loader, asked, image)
    kernel_place = follow(host.root, KERNEL_CMDLINE)
    kernel_text = read_text(kernel_place)
    files: dict[str, tuple[str | None, str | None]] = {}
    becomes: dict[str, list[str]] = {}
    entry_lines: list[str] = []
    for place in entries:
        text = read_text(place) or ""
        have = expand(options_of(text), variables)
        # An entry that came later was made from /etc/kernel/cmdline.
        entry_lines.append("/" + os.path.relpath(place, base))
        becomes[place] = record.settle(entry_lines[-1], have, like=KERNEL_CMDLINE)
        files[place] = (text, text if becomes[place] == have else set_options(text, becomes[place]))
    if entries:
        record.forget_other(entry_lines)
        default = default_file(host.root, loader, entries)
        before, after = expand(options_of(files[default][0] or ""), variables), becomes[default]
    elif kernel_text is not None:
        before = after = cmdline.split(kernel_text)
    else:
        raise BootError(
            f"There is no loader entry of a kernel below {', '.join(ENTRIES)} and no {KERNEL_CMDLINE} under "
            f"{host.root}; the"
            " kernel arguments of this host cannot be"
            " read. Mount the EFI system partition, or name the boot loader in boot_loader."
        )
    plain = [entry for entry in before if not entry.startswith(("$", "initrd=", "BOOT_IMAGE="))]
    have = plain if kernel_text is None else cmdline.split(kernel_text)
    changing = any(old != new for old, new in files.values())
    warnings: list[str] = []
    rooted = kernel_text is not None or any(cmdline.parse(entry).name == "root" for entry in plain)
    if changing and not rooted:
        warnings.append(
            f"{KERNEL_CMDLINE} was not made: the default loader entry names no root=, which the entry of a "
            f"later kernel needs. A"
            " kernel that is installed before the next boot gets the arguments of the running one."
        )
    if kernel_text is not None or (changing and rooted):
        becomes[kernel_place] = record.settle(KERNEL_CMDLINE, have)
        same = becomes[kernel_place] == have
        files[kernel_place] = (
            kernel_text,
            kernel_text if same else cmdline.join(becomes[kernel_place]) + "\n",
        )
        after = after if entries else becomes[kernel_place]
    else:
        record.new.pop(KERNEL_CMDLINE, None)
    defaults_text = read_text(follow(host.root, DEFAULTS)) if loader == "bls" else None
    if defaults_text is not None:
        now = evaluate(host, [follow(host.root, DEFAULTS)])
        edit = host.purge or not cmdline.satisfied(now.arguments, asked)
        wanted_text = (
            edit_defaults(defaults_text, now, asked, record, everywhere=True) if edit else defaults_text
        )
        files[follow(host.root, DEFAULTS)] = (defaults_text, wanted_text)
    actions = cmdline.edits(before, after)
    commands: list[list[str]] = []
    if tools and changing and host.real:
        commands = entry_commands(host, loader, asked, before, after)
    changed = [place for place, (old, new) in files.items() if old != new]
    if not entries and changed:
        warnings.append(
            f"Only {KERNEL_CMDLINE} was changed: there are no loader entries, so the images of the installed "
            f"kernels"
            " have to be built again (kernel-install). No reboot is asked for, because it might not bring "
            "the arguments."
        )
    actions += [f"run {cmdline.join(command)}" for command in commands] + [
        f"write {place}" for place in changed
    ]
    touched = (
        entries + [kernel_place, follow(host.root, DEFAULTS)] + [below(host.root, path) for path in GRUBENV]
    )
    kept = Kept(record_place, record.meanwhile(), record.text())
    return Plan(loader, before, after, files, commands, actions, warnings, touched, kept, blind=not entries)


def entry_commands(
    host: Host, loader: str, asked: Wanted, before: Sequence[str], after: Sequence[str]
) -> list[list[str]]:
    """The distribution's own tool, where it has one. What it leaves undone is edited afterwards."""
    new = [entry for entry in after if entry not in before] or cmdline.missing(before, asked)
    old = [entry for entry in before if entry not in after]
    if loader == "bls":
        tool = host.tool("grubby")
        command = (tool or []) + ["--update-kernel=ALL"]
        command += [f"--remove-args={cmdline.join(old)}"] if old else []
        command += [f"--args={cmdline.join(new)}"] if new else []
        return [command] if tool and (old or new) else []
    tool = host.tool("kernelstub")
    if not tool:
        return []
    return [tool + ["--delete-options", entry] for entry in old] + [
        tool + ["--add-options", entry] for entry in new
    ]


def plan_ostree(host: Host, loader: str, asked: Wanted) -> Plan:
    tool = host.tool("rpm-ostree") if host.real else None
    if not tool:
        raise BootError(
            "This host boots an ostree deployment, but rpm-ostree cannot be run here; an image based host "
            "(bootc)"
            " gets kernel arguments from"
            " /usr/lib/bootc/kargs.d in its image, and another root than / is not supported."
        )
    record_place, record = the_record(host, asked)
    before = cmdline.split(checked(host, tool + ["kargs"]))
    after = record.settle(loader, before)
    new = [entry for entry in after if entry not in before]
    old = [entry for entry in before if entry not in after]
    commands = []
    if before != after:
        commands = [
            tool
            + ["kargs"]
            + [f"--delete-if-present={entry}" for entry in old]
            + [f"--append-if-missing={entry}" for entry in new]
        ]
    actions = cmdline.edits(before, after) + [f"run {cmdline.join(command)}" for command in commands]
    return Plan(
        loader,
        before,
        after,
        {},
        commands,
        actions,
        [],
        [],
        Kept(record_place, record.meanwhile(), record.text()),
    )


# Together -----------------------------------------------------------------------------------------


def plan(host: Host, loader: str, asked: Wanted) -> Plan:
    """What has to be done so that the next boot gets what was asked for. Reads only."""
    found = detect(host.root) if loader == "auto" else loader
    if found is None:
        raise BootError(
            f"No boot loader configuration was found below {host.root} (looked for {DEFAULTS}, "
            f"{', '.join(ENTRIES)},"
            f" {KERNEL_CMDLINE} and"
            " /run/ostree-booted); install one, or name it in boot_loader."
        )
    if found == "rpm-ostree":
        return plan_ostree(host, found, asked)
    if found in ("bls", "systemd-boot"):
        return plan_entries(host, found, asked)
    return plan_grub(host, found, asked)


def carry_out(host: Host, decided: Plan, asked: Wanted) -> None:
    """Do what plan() decided and look at the result. A failure puts every file back and raises BootError."""
    snapshot = Snapshot(
        list(decided.files) + decided.touched + ([decided.record.place] if decided.record else [])
    )
    made = lacking_folders(snapshot.files)
    try:
        # First: what is recorded and not done is harmless, what is done and not recorded is never taken back.
        # What is taken back stays recorded until it is done, or a run that was killed would not be finished.
        write_record(decided, done=False)
        if decided.loader in ("grub", "suse"):
            write_files(emptied(decided) if decided.commands else decided)
            for command in decided.commands:
                checked(host, command)
            remove_files(decided)
            write_record(decided, done=True)
            verify_grub(host, decided, asked)
        elif decided.loader == "rpm-ostree":
            for command in decided.commands:
                checked(host, command)
            write_record(decided, done=True)
            seen = (
                cmdline.split(checked(host, [decided.commands[0][0], "kargs"]))
                if decided.commands
                else decided.after
            )
            if not cmdline.satisfied(seen, asked) or cmdline.edits(seen, decided.after):
                raise BootError(
                    f"rpm-ostree kargs ran, but the default deployment still lacks the change (it has: "
                    f"{cmdline.join(seen)})."
                )
        elif decided.image:
            write_files(decided)
            for command in decided.commands:
                checked(host, command)
            write_record(decided, done=True)
            # It may have another name now: kernel-install counts tries in it.
            image = default_image(host.root, []) or decided.image
            seen = inside(image)
            if not cmdline.satisfied(seen, asked):
                left = cmdline.missing(seen, asked) + cmdline.unwanted(seen, asked)
                raise BootError(
                    f"{image} was to be built again, but does not show {cmdline.join(left)} as asked."
                )
        else:
            for command in decided.commands:
                checked(host, command)
            write_files(left_undone(host, decided) if decided.commands else decided)
            write_record(decided, done=True)
            again = plan_entries(host, decided.loader, asked, tools=False)
            if again.changed:
                raise BootError(
                    f"The loader entries were written but do not show the change "
                    f"({'; '.join(again.actions)})."
                )
    except BaseException as error:
        full = full_folders(decided)
        problems = snapshot.restore()
        remove_directories(made)
        if not isinstance(error, (BootError, WriteError, cmdline.CmdlineError)):
            raise
        problems += build_again(host, decided) if decided.image else []
        end = (
            " The previous configuration was put back."
            if not problems
            else " Not everything could be put back: " + " ".join(problems)
        )
        end = f" There is no room left in {', '.join(full)}." * bool(full) + end
        raise BootError(str(error) + ("" if decided.loader == "rpm-ostree" else end)) from error


def lacking_folders(places: Iterable[str]) -> set[str]:
    """The folders that will have to be made for these files."""
    found = set()
    for place in places:
        folder = os.path.dirname(place)
        while not os.path.isdir(folder):
            found.add(folder)
            folder = os.path.dirname(folder)
    return found


def full_folders(decided: Plan) -> list[str]:
    """Folders on file systems without room. Tools say "I/O error" of them, or nothing."""
    folders = {os.path.dirname(place) for place in [*decided.files, *decided.touched]}
    room = {folder: os.statvfs(folder) for folder in sorted(folders) if os.path.isdir(folder)}
    return [folder for folder, seen in room.items() if seen.f_bavail * seen.f_frsize < 4096]


def left_undone(host: Host, decided: Plan) -> Plan:
    """The plan without the loader entries that the distribution's tool made what they should be, in whatever
    words.

    A tool that changes every entry also changes those that were right: each is compared with what is there
    now.
    """
    variables = grubenv(host.root)
    files = {}
    for place, (_old, new) in decided.files.items():
        now = read_text(place)
        seen, wished = options_of(now or ""), options_of(new or "")
        if not wished or sorted(expand(seen, variables)) != sorted(wished):
            files[place] = (now, new)
    return decided._replace(files=files)


def write_record(decided: Plan, done: bool) -> None:
    """Also of a plan that changes nothing else: what a person put back is nothing to take back any more."""
    if decided.record is None:
        return
    place, text = decided.record.place, decided.record.afterwards if done else decided.record.meanwhile
    if text is None:
        remove(place)
    elif text != read_text(place):
        make_parents(place)
        write_text(place, text)


def write_files(decided: Plan) -> None:
    """All of them beside their places first: a file system that is full shows before one is changed."""
    staged: list[tuple[str, str]] = []
    try:
        for place, (old, new) in decided.files.items():
            if new is not None and new != old:
                make_parents(place)
                staged.append((stage(place, new.encode("utf-8", "surrogateescape")), place))
        for temporary, place in staged:
            move(temporary, place)
    except WriteError:
        discard(temporary for temporary, _place in staged)
        raise
    remove_files(decided)


def remove_files(decided: Plan) -> None:
    for place, (_old, new) in decided.files.items():
        if new is None:
            remove(place)


def emptied(decided: Plan) -> Plan:
    """The plan that leaves an empty drop-in where none is to be."""
    files = {
        place: (old, DROPIN_EMPTY if old is not None and new is None else new)
        for place, (old, new) in decided.files.items()
    }
    return decided._replace(files=files)


def verify_grub(host: Host, decided: Plan, asked: Wanted) -> None:
    """grub.cfg was generated: does the entry of the next boot carry the arguments?"""
    if not decided.commands:
        return
    default = evaluate(host, sources(host)).default
    seen = carried(host, decided.touched[0], default)
    if seen is not None and not cmdline.satisfied(seen, asked):
        left = cmdline.missing(seen, asked) + cmdline.unwanted(seen, asked)
        raise BootError(
            f"{cmdline.join(decided.commands[0])} ran, but the default entry of {decided.touched[0]}"
            f" (GRUB_DEFAULT={default}) does not show {cmdline.join(left)}"
            " as asked; an entry written by hand needs its arguments changed by hand."
        )
