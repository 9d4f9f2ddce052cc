# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and write small files below a root folder: a temporary file beside the target, one rename, and a way
back."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

SELINUX = "security.selinux"
LARGEST = 4 * 1024 * 1024


class WriteError(Exception):
    """A file that cannot be read or written; the text is a whole sentence."""


def why(error: OSError) -> str:
    return {
        errno.EACCES: "permission denied (become is needed)",
        errno.EPERM: "operation not permitted (become is needed, or the file is immutable)",
        errno.EROFS: "the file system is mounted read-only",
        errno.ENOSPC: "the file system is full",
        errno.ENOTDIR: "a part of the path is not a directory",
    }.get(error.errno or 0, (error.strerror or str(error)).lower())


@functools.cache
def _base(root: str) -> str:
    """A run looks at hundreds of files of one root."""
    return os.path.realpath(root)


def below(root: str, path: str) -> str:
    """The real place of an absolute path as seen from root. Refuses what would leave the root."""
    if not path.startswith("/") or "\0" in path or "\n" in path:
        raise WriteError(
            f"{path!r} is not an absolute path; give it from the top, as in "
            f"/etc/modprobe.d/zz-amdgpu-fleet.conf."
        )
    if ".." in path.split("/"):
        raise WriteError(f"{path!r} holds '..'; give the path without it.")
    base = _base(root)
    place = os.path.normpath(os.path.join(base, path.strip("/")))  # one place, however it is spelt
    if base == "/":
        return place
    parent = os.path.realpath(os.path.dirname(place))
    if parent != base and not parent.startswith(base + "/"):
        raise WriteError(f"{path} leaves {root} through a symbolic link (to {parent}); it is left alone.")
    return place


def refuse_special(place: str) -> None:
    """Only a regular file, or nothing, may stand where a file is written."""
    try:
        mode = os.lstat(place).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteError(f"{place} cannot be looked at: {why(error)}.") from error
    if stat.S_ISLNK(mode):
        raise WriteError(
            f"{place} is a symbolic link to {os.readlink(place)}; name the file it points to, or remove the "
            f"link first."
        )
    if stat.S_ISDIR(mode):
        raise WriteError(
            f"{place} is a directory, a file was expected there; remove it or choose another path."
        )
    if not stat.S_ISREG(mode):
        raise WriteError(f"{place} is not a regular file; remove it or choose another path.")


def read_bytes(place: str) -> bytes | None:
    """The content, or None when there is no such file."""
    try:
        with open(place, "rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WriteError(f"{place} cannot be read: {why(error)}.") from error
    if len(content) > LARGEST:
        raise WriteError(
            f"{place} is larger than {LARGEST // 1024 // 1024} MiB, too large for a configuration file; it "
            f"is left alone."
        )
    return content


def read_text(place: str) -> str | None:
    content = read_bytes(place)
    return None if content is None else content.decode("utf-8", "surrogateescape")


def shown(text: str | None) -> str:
    """Text that can be returned as JSON whatever bytes the file held."""
    return "" if text is None else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def stage(
    place: str, content: bytes, mode: int | None = None, uid: int | None = None, gid: int | None = None
) -> str:
    """Write a temporary file beside place with the final mode and owner; None keeps them (new: 0644, the
    caller)."""
    temporary = None
    try:
        try:
            old: os.stat_result | None = os.stat(place)
        except FileNotFoundError:
            old = None
        handle, temporary = tempfile.mkstemp(
            prefix=f".{os.path.basename(place)[:200]}.", suffix=".new", dir=os.path.dirname(place)
        )
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            now = os.fstat(stream.fileno())
            owner = uid if uid is not None else (old.st_uid if old else now.st_uid)
            group = gid if gid is not None else (old.st_gid if old else now.st_gid)
            if (owner, group) != (now.st_uid, now.st_gid):
                os.fchown(stream.fileno(), owner, group)
            rights = mode if mode is not None else (stat.S_IMODE(old.st_mode) if old else 0o644)
            if rights != stat.S_IMODE(os.fstat(stream.fileno()).st_mode):
                os.fchmod(stream.fileno(), rights)
            if old is not None:
                with contextlib.suppress(
                    OSError
                ):  # no SELinux here, or a file system without labels: there is nothing to keep
                    os.setxattr(stream.fileno(), SELINUX, os.getxattr(place, SELINUX))
            os.fsync(stream.fileno())
        return temporary
    except (OSError, OverflowError, ValueError) as error:
        if temporary is not None:
            discard([temporary])
        if not isinstance(error, OSError):
            raise WriteError(f"{place} cannot be written: {error}.") from error
        if isinstance(error, FileNotFoundError):
            raise WriteError(
                f"{place} cannot be written: its directory {os.path.dirname(place)} does not exist."
            ) from error
        raise WriteError(f"{place} cannot be written: {why(error)}.") from error


def discard(temporaries: Iterable[str]) -> None:
    for temporary in temporaries:
        with contextlib.suppress(OSError):  # moved into place already, or gone: nothing is left behind
            os.unlink(temporary)


def move(temporary: str, place: str) -> None:
    try:
        os.replace(temporary, place)
        directory = os.open(os.path.dirname(place), os.O_RDONLY)
        try:
            os.fsync(directory)
        except OSError:
            pass  # not every file system can sync a directory
        finally:
            os.close(directory)
    except OSError as error:
        discard([temporary])
        raise WriteError(f"{place} cannot be replaced: {why(error)}.") from error


def write(
    place: str, content: bytes, mode: int | None = None, uid: int | None = None, gid: int | None = None
) -> None:
    move(stage(place, content, mode, uid, gid), place)


def write_text(place: str, text: str) -> None:
    write(place, text.encode("utf-8", "surrogateescape"))


def remove(place: str) -> None:
    try:
        os.unlink(place)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WriteError(f"{place} cannot be removed: {why(error)}.") from error


def make_parents(place: str) -> list[str]:
    """Create the missing directories above a file, 0755, and say which."""
    made: list[str] = []
    directory = os.path.dirname(place)
    todo = []
    while not os.path.isdir(directory):
        todo.append(directory)
        directory = os.path.dirname(directory)
    for directory in reversed(todo):
        try:
            os.mkdir(directory, 0o755)
            os.chmod(directory, 0o755)  # noqa: S103 - whatever the umask is, programs must be able to look inside
        except FileExistsError:
            if os.path.isdir(directory):
                continue  # another process was faster
            remove_directories(made)
            raise WriteError(f"{directory} is not a directory, so no file can be put into it.") from None
        except OSError as error:
            remove_directories(made)
            raise WriteError(f"The directory {directory} cannot be created: {why(error)}.") from error
        made.append(directory)
    return made


def remove_directories(directories: Iterable[str]) -> None:
    for directory in sorted(directories, reverse=True):
        with contextlib.suppress(OSError):  # something else was put there meanwhile
            os.rmdir(directory)


class Kept(NamedTuple):
    content: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class Snapshot:
    """The state of some files before a change, to go back to."""

    def __init__(self, places: Iterable[str]) -> None:
        self.files: dict[str, Kept] = {}
        for place in places:
            content = read_bytes(place)
            if content is None:
                self.files[place] = Kept(None)
            else:
                seen = os.stat(place)
                self.files[place] = Kept(content, stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid)

    def restore(self) -> list[str]:
        """Put every file back that changed; returns what could not be put back, as sentences."""
        problems = []
        # First what has to go: on a full file system the others need its room.
        for place, kept in sorted(self.files.items(), key=lambda item: item[1].content is not None):
            try:
                if kept.content is None:
                    remove(place)
                elif read_bytes(place) != kept.content:
                    write(place, kept.content, kept.mode, kept.uid, kept.gid)
            except WriteError as error:
                problems.append(str(error))
        return problems


def follow(root: str, path: str) -> str:
    """Like below(), and where a symbolic link stands, the file it points to, as long as that is inside the
    root."""
    place = below(root, path)
    target = os.path.realpath(place)
    if target == place:
        return place
    base = os.path.realpath(root)
    if base != "/" and not target.startswith(base + "/"):
        raise WriteError(f"{place} is a symbolic link that leaves {root} (to {target}); it is left alone.")
    return target
