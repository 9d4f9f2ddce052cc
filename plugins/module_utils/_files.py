# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several small files as one change: look at all, stage and validate all, then move all into place or
none."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import _write as disk
from ._write import WriteError

Run = Callable[[list[str]], tuple[int, str, str]]


# The next number means "leave it as it is" to the kernel.
LARGEST_ID = (1 << 32) - 2


class File(NamedTuple):
    path: str
    content: bytes | None  # None: shall not be there
    mode: int
    uid: int | None
    gid: int | None
    secret: bool
    validate: list[str]
    validator: str = ""  # what refuses, for a message
    keep: bool = False  # the content of a file that is there already stays
    keep_pattern: str = ""  # ... where it holds this


class Change(NamedTuple):
    file: File
    place: str
    before: bytes | None
    rights: str  # of the file that is there: mode and owner as a line of text
    actions: list[str]

    def diff(self) -> dict[str, str]:
        def text(content: bytes | None, rights: str) -> str:
            if content is None:
                return ""
            body = "(secret, not shown)\n" if self.file.secret else content.decode("utf-8", "replace")
            return rights + body

        differs = self.before is not None and self.file.content is not None
        old, new = (self.rights, wanted_rights(self.file, self.rights)) if differs else ("", "")
        old, new = (old, new) if old != new else ("", "")
        return {
            "before": text(self.before, old),
            "after": text(self.file.content, new),
            "before_header": self.file.path,
            "after_header": self.file.path,
        }


def number(name: str | None, what: str, find: Callable[[str], int]) -> int | None:
    if name is None:
        return None
    if re.fullmatch(r"[0-9]+", name):
        if len(name) > 10 or int(name) > LARGEST_ID:
            raise WriteError(f"{name[:20]} cannot be the number of a {what}; the largest is {LARGEST_ID}.")
        return int(name)
    try:
        return find(name)
    except (KeyError, ValueError) as error:
        raise WriteError(
            f"There is no {what} {name!r} on this host; create it first, or give a number."
        ) from error


def wanted(item: Mapping[str, Any]) -> File:
    """One entry of the module's list, checked."""
    path, mode, validate = item["path"], item["mode"], item.get("validate")
    if not re.fullmatch(r"0?[0-7]{3,4}", str(mode)):
        raise WriteError(
            f"{path}: the mode {mode!r} is not an octal number; write it in quotes, as in '0644'."
        )
    if item["state"] == "present" and item.get("content") is None:
        raise WriteError(f"{path}: there is no content; give it, or state: absent.")
    try:
        command = (
            shlex.split(validate) if isinstance(validate, str) else [str(word) for word in validate or []]
        )
    except (TypeError, ValueError) as error:
        raise WriteError(
            f"{path}: validate cannot be split into words ({error}); give it as a list."
        ) from error
    try:
        re.compile(item.get("keep_pattern") or "")
    except re.error as error:
        raise WriteError(f"{path}: keep_pattern is no regular expression ({error}). Correct it.") from error
    content = item["content"].encode("utf-8", "surrogateescape") if item["state"] == "present" else None
    if content is not None and len(content) > disk.LARGEST:
        raise WriteError(
            f"{path}: the content is larger than {disk.LARGEST >> 20} MiB, too large for a configuration "
            f"file."
        )
    if path.endswith(("/", "/.")):
        raise WriteError(f"{path} is the path of a directory; name the file.")
    if command and not any("%s" in word or "%d" in word for word in command):
        raise WriteError(
            f"{path}: validate must contain %s, where the name of the new file goes, or %d for its directory."
        )
    return File(
        path,
        content,
        int(str(mode), 8),
        number(item.get("owner"), "user", lambda name: pwd.getpwnam(name).pw_uid),
        number(item.get("group"), "group", lambda name: grp.getgrnam(name).gr_gid),
        bool(item["secret"]),
        command,
        item.get("validator") or (command[0] if command else ""),
        bool(item.get("keep")),
        item.get("keep_pattern") or "",
    )


def rights_of(mode: int, uid: int, gid: int) -> str:
    return f"# mode {mode:04o}, owner {uid}, group {gid}\n"


def wanted_rights(file: File, now: str) -> str:
    found = re.findall(r"\d+", now)
    return rights_of(
        file.mode,
        int(found[1]) if file.uid is None else file.uid,
        int(found[2]) if file.gid is None else file.gid,
    )


def plan(root: str, files: Sequence[File]) -> list[Change]:
    """What each file needs. Reads only."""
    if not os.path.isdir(root):
        raise WriteError(f"root: {root} is not a directory.")
    changes: list[Change] = []
    seen: dict[str, str] = {}
    for file in files:
        place = disk.below(root, file.path)
        if place in seen:
            raise WriteError(f"{file.path} stands twice in files; keep one of them.")
        seen[place] = file.path
        disk.refuse_special(place)
        before = disk.read_bytes(place)
        actions, rights = [], ""
        if file.content is not None and before is not None and kept(file, before):
            file = file._replace(content=before)
        if before is not None:
            now = os.stat(place)
            rights = rights_of(stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid)
        if file.content is None:
            actions = [f"remove {file.path}"] if before is not None else []
        elif before is None:
            actions = [f"create directory {folder}" for folder in missing_parents(file.path, place)] + [
                f"create {file.path}"
            ]
        else:
            actions = [f"write {file.path}"] if before != file.content else []
            wish = wanted_rights(file, rights)
            actions += (
                [f"set {wish[2:].strip()} of {file.path} (was {rights[2:].strip()})"]
                if wish != rights
                else []
            )
        changes.append(Change(file, place, before, rights, actions))
    for change in changes:
        for place, path in seen.items():
            if change.place.startswith(place + "/"):
                raise WriteError(
                    f"{change.file.path} would be inside {path}, which is a file of the same list."
                )
    return changes


def kept(file: File, before: bytes) -> bool:
    """Whether what is there stays: a key that somebody emptied is none."""
    text = before.decode("utf-8", "replace")
    return file.keep and (not file.keep_pattern or bool(re.search(file.keep_pattern, text, re.M)))


def missing_parents(path: str, place: str) -> list[str]:
    """The directories above a file that have to be made, as seen from the root."""
    names, place, path = [], os.path.dirname(place), os.path.dirname(path.rstrip("/"))
    while not os.path.isdir(place):
        if os.path.lexists(place):
            raise WriteError(
                f"{place} is not a directory, so {path} cannot hold a file; remove it or choose another path."
            )
        names.append(path)
        place, path = os.path.dirname(place), os.path.dirname(path)
    return names[::-1]


def validated(file: File, temporary: str, run: Run) -> None:
    if not file.validate:
        return
    if any("%d" in word for word in file.validate):  # for programs that go by the name of a file
        with tempfile.TemporaryDirectory(prefix="amdgpu-fleet-") as directory:
            place = os.path.join(directory, os.path.basename(file.path))
            shutil.copyfile(temporary, place)
            refused(
                [word.replace("%d", directory).replace("%s", place) for word in file.validate],
                file,
                place,
                run,
            )
    else:
        refused([word.replace("%s", temporary) for word in file.validate], file, temporary, run)


def refused(command: list[str], file: File, temporary: str, run: Run) -> None:
    """Raise what the command says of the temporary file, if it refuses it."""
    try:
        code, out, err = run(command)
    except OSError as error:
        raise WriteError(
            f"{file.path}: validate cannot run {command[0]}: {disk.why(error)}; nothing was changed."
        ) from error
    if code != 0:
        # Some programs say first who they are, or what they read.
        spoken = [line.strip() for line in (err + "\n" + out).splitlines() if line.strip()]
        lines = [line for line in spoken if "Loading source unit file" not in line] or ["no message"]
        said = next(
            (
                line
                for line in lines
                if re.search(r"\b(alert|error|fatal|unsupported)\b", line, re.IGNORECASE)
            ),
            lines[0],
        )
        detail = (
            "its message is not shown, the file is secret"
            if file.secret
            else said.replace(temporary, file.path)[:300]
        )
        raise WriteError(
            f"{file.path}: {file.validator} refuses the new content with return code {code} ({detail}); "
            f"nothing was changed."
        )


def carry_out(changes: Sequence[Change], run: Run, check_mode: bool) -> None:
    """Stage and validate everything, then replace. A failure takes back whatever was done, the directories
    too."""
    todo = [change for change in changes if change.actions]
    if check_mode:
        for change in todo:
            if change.file.content is not None and change.file.validate:
                with tempfile.NamedTemporaryFile(prefix="amdgpu-fleet-") as stream:
                    stream.write(change.file.content)
                    stream.flush()
                    validated(change.file, stream.name, run)
        return
    made: list[str] = []
    staged: dict[str, str] = {}
    snapshot = disk.Snapshot(change.place for change in todo)
    try:
        for change in todo:
            file = change.file
            if file.content is not None:
                made += disk.make_parents(change.place)
                staged[change.place] = disk.stage(change.place, file.content, file.mode, file.uid, file.gid)
                validated(file, staged[change.place], run)
        for change in todo:
            if change.file.content is None:
                disk.remove(change.place)
            else:
                disk.move(staged[change.place], change.place)
    except BaseException as error:
        disk.discard(staged.values())
        problems = snapshot.restore()
        disk.remove_directories(made)
        if not isinstance(error, WriteError):
            raise
        raise WriteError(" ".join([str(error), *problems])) from error
