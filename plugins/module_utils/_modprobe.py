# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""modprobe.d: read it, change one file of it, and say who else sets the same."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import _cmdline as cmdline
from ._write import WriteError, below, read_text, shown

# Read after what amd-smi writes (ttm.conf): of two values modprobe hands over both, and the kernel takes the
# later one.
PATH = "/etc/modprobe.d/zz-amdgpu-fleet.conf"
# What PATH was called before.
OLD_PATH = "/etc/modprobe.d/amdgpu-fleet.conf"
HEAD = "# Written by amdgpu.fleet.module_options. Lines of another kind may be added and are kept.\n"
# A file hides one of the same name in a folder that stands later here.
FOLDERS = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)

# Whose options decide about a GPU.
GPU_MODULES = ("amdgpu", "amdttm", "ttm")

# A parameter without a value (`options amdgpu exp_hw_support`) has None: an empty one means something else to
# the kernel.
Options = dict[str, dict[str, Optional[str]]]


class ModprobeError(ValueError):
    """An option that cannot be written; the text is a whole sentence."""


class State(NamedTuple):
    """A file's options, its blacklist and every other line as it was."""

    options: Options
    blacklist: list[str]
    other: list[str]

    def public(self) -> dict[str, Any]:
        options = {
            name: {key: shown(value) for key, value in values.items()}
            for name, values in self.options.items()
        }
        return {"options": options, "blacklist": [shown(name) for name in self.blacklist]}


class Setting(NamedTuple):
    """One parameter as a line of a file sets it."""

    path: str
    line: int
    module: str
    parameter: str
    value: str


def module_name(name: str) -> str:
    """The kernel and modprobe take a dash and an underscore in a module's name as the same."""
    return name.replace("-", "_")


def lines(text: str) -> list[tuple[int, str]]:
    """The lines with their numbers; a backslash at the end continues a line."""
    result: list[tuple[int, str]] = []
    held, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        result.append((first, held + line))
        held, first = "", 0
    if held:
        result.append((first, held))
    return result


def settings(path: str, text: str) -> list[Setting]:
    """Every parameter that an options line sets."""
    result = []
    for number, line in lines(text):
        words = cmdline.split(line)
        if len(words) > 2 and words[0] == "options":
            for word in words[2:]:
                name, value = cmdline.parse(word)
                result.append(
                    Setting(path, number, module_name(words[1]), name, "" if value is None else value)
                )
    return result


def parse(text: str | None) -> State:
    state = State({}, [], [])
    for _number, line in lines(text or ""):
        words = cmdline.split(line)
        if len(words) > 2 and words[0] == "options":
            mine = state.options.setdefault(module_name(words[1]), {})
            mine.update(cmdline.parse(word) for word in words[2:])
        elif len(words) == 2 and words[0] == "blacklist":
            if module_name(words[1]) not in state.blacklist:
                state.blacklist.append(module_name(words[1]))
        elif line.strip() and line + "\n" != HEAD:
            state.other.append(line)
    return state


def said(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={value}"


def written(name: str, value: str | None) -> str:
    return f'{name}="{value}"' if value and re.search(r"\s", value) else said(name, value)


def meant(parameters: Mapping[str, str | None], name: str) -> str | None:
    """The value that the kernel sees; None where the parameter is not set. One without a value is a switch
    that is on."""
    value = parameters.get(name)
    return "1" if value is None and name in parameters else value


def render(state: State) -> str | None:
    """The file; None where nothing is left to say."""
    text = [f"blacklist {name}" for name in state.blacklist]
    for module, parameters in state.options.items():
        if parameters:
            text.append(
                f"options {module} {' '.join(written(name, value) for name, value in parameters.items())}"
            )
    if not text and not state.other:
        return None
    return HEAD + "".join(line + "\n" for line in state.other + text)


def name_of(value: object, what: str) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise ModprobeError(
            f"{str(value)[:80]!r} is not the name of a {what}; names are letters, digits, - and _."
        )
    return text.replace("-", "_")


def value_of(module: str, parameter: str, value: object) -> str | None:
    """A value as modprobe.d holds it: true and false as 1 and 0. None stays None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if not isinstance(value, (str, int, float)):
        raise ModprobeError(
            f"options: {module}.{parameter} is a {type(value).__name__}; give a text or a number (a list as "
            f"one text: '1,2')."
        )
    text = str(value)
    if re.search(r'[\x00-\x1f\x7f"\\]', text):
        raise ModprobeError(
            f"options: the value of {module}.{parameter} holds a line break, a double quote or a backslash; "
            f"a value"
            " is one line of plain text."
        )
    return text


def wanted(
    options: Mapping[str, object], blacklist: Sequence[object]
) -> tuple[dict[str, dict[str, str | None]], list[str]]:
    """Check and normalise what was asked for."""
    result: dict[str, dict[str, str | None]] = {}
    for module, parameters in options.items():
        name = name_of(module, "kernel module")
        if parameters is not None and not isinstance(parameters, Mapping):
            raise ModprobeError(
                f"options: {module} is a {type(parameters).__name__}, a dictionary of parameter and value was"
                f" expected, as in ttm: {{pages_limit: 25165824}}."
            )
        mine = result.setdefault(name, {})
        for parameter, value in (parameters or {}).items():
            key = name_of(parameter, "module parameter")
            text = value_of(name, key, value)
            if key in mine and mine[key] != text:
                raise ModprobeError(
                    f"options: {name}.{key} is given twice with different values; keep one of them."
                )
            mine[key] = text
    return result, list(dict.fromkeys(name_of(entry, "kernel module") for entry in blacklist))


def predecessor(root: str, path: str) -> tuple[str, str] | None:
    """Place and text of the file that path takes over from, where we wrote one under its old name."""
    place = below(root, OLD_PATH)
    if path != PATH or not os.path.isfile(place) or os.path.islink(place):
        return None
    text = read_text(place) or ""
    return (place, text) if text.startswith(HEAD) else None


def apply(
    state: State,
    options: Mapping[str, Mapping[str, str | None]],
    blacklist: Sequence[str],
    present: bool,
    purge: bool = False,
) -> State:
    """The state with these options set (or taken away); what this file already held of others stays, unless
    it is purged."""
    kept: Options = (
        {}
        if present and purge
        else {module: dict(parameters) for module, parameters in state.options.items()}
    )
    result = State(kept, [] if present and purge else list(state.blacklist), list(state.other))
    if not present and not options and not blacklist:
        return State({}, [], [])
    for module, parameters in options.items():
        mine = result.options.setdefault(module, {})
        if not present and not parameters:
            mine.clear()
        for parameter, value in parameters.items():
            if present and value is not None:
                mine[parameter] = value
            else:
                mine.pop(parameter, None)
        if not mine:
            del result.options[module]
    for module in blacklist:
        if present and module not in result.blacklist:
            result.blacklist.append(module)
        elif not present and module in result.blacklist:
            result.blacklist.remove(module)
    return result


def edits(before: State, after: State) -> list[str]:
    result = []
    for module in dict.fromkeys([*before.options, *after.options]):
        old, new = before.options.get(module, {}), after.options.get(module, {})
        for parameter in dict.fromkeys([*old, *new]):
            if parameter not in new:
                result.append(f"remove {module} {said(parameter, old[parameter])}")
            elif parameter not in old:
                result.append(f"set {module} {said(parameter, new[parameter])}")
            elif old[parameter] != new[parameter]:
                was = "no value" if old[parameter] is None else old[parameter]
                result.append(f"change {module} {parameter} from {was} to {new[parameter]}")
    result += [f"blacklist {name}" for name in after.blacklist if name not in before.blacklist]
    return result + [f"remove blacklist {name}" for name in before.blacklist if name not in after.blacklist]


def files(root: str) -> dict[str, str]:
    """Every file modprobe reads, in its order: name -> place."""
    found: dict[str, str] = {}
    for folder in reversed(FOLDERS):
        try:
            places = glob.glob(os.path.join(glob.escape(below(root, folder)), "*.conf"))
        except WriteError:
            continue  # a link of an image that leads out of it
        for place in places:
            found[os.path.basename(place)] = place
    return dict(sorted(found.items()))


def equal(one: str, other: str) -> bool:
    """Are two values the same to a parameter? Numbers by value, truth values by meaning."""
    truth = {"y": "1", "n": "0", "yes": "1", "no": "0", "on": "1", "off": "0", "true": "1", "false": "0"}
    left, right = (truth.get(text.strip().lower(), text.strip()) for text in (one, other))
    try:
        return int(left, 0) == int(right, 0)
    except ValueError:
        return left == right


def elsewhere(root: str, mine: Collection[str], problems: list[dict[str, str]]) -> Iterator[Setting]:
    """What files set that are none of mine, in the order in which modprobe reads them."""
    ours = {os.path.realpath(place) for place in mine}
    for other in files(root).values():
        if os.path.realpath(other) in ours:
            continue
        try:
            text = read_text(other) or ""
        except WriteError as error:  # one unreadable file of somebody else must not stop the run
            problems.append({"path": other, "problem": str(error)})
            continue
        yield from settings(other, shown(text))


def of_others(root: str, problems: list[dict[str, str]]) -> list[dict[str, str]]:
    """Options of the GPU modules in files that we did not write, the file as the host names it."""
    old = predecessor(root, PATH)
    ours = [below(root, PATH), *([old[0]] if old else [])]
    base = os.path.realpath(root)
    return [
        {
            "path": f"/{os.path.relpath(seen.path, base)}",
            "module": seen.module,
            "parameter": seen.parameter,
            "value": seen.value,
        }
        for seen in elsewhere(root, ours, problems)
        if seen.module in GPU_MODULES
    ]


def conflicts(
    root: str, place: str, options: Options, problems: list[dict[str, str]], leaving: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Lines of other files, that are not leaving, which set one of these parameters to another value; wins:
    that file is read later."""
    result = []
    for setting in elsewhere(root, (place, *leaving), problems):
        mine = meant(options.get(setting.module, {}), setting.parameter)
        if mine is not None and not equal(mine, setting.value):
            result.append(
                {**setting._asdict(), "wins": os.path.basename(setting.path) > os.path.basename(place)}
            )
    return result
