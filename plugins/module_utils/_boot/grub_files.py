# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB's defaults: what the shell makes of them, and how an argument is written there."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from .. import _cmdline as cmdline
from .._write import below, follow, read_bytes, read_text
from .base import DEFAULTS, TOOLS, BootError, Host, called, exists, first_line, release_ids
from .next_boot import GRUBENV, environment_block

DROPINS = "/etc/default/grub.d"

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


def later_files(host: Host, place: str) -> str:
    names = [os.path.basename(name) for name in sources(host)[1:]]
    later = [name for name in names if name > os.path.basename(place)]
    return ", ".join(later) or DEFAULTS


def grubenv(root: str) -> dict[str, str]:
    for path in GRUBENV:
        text = read_text(below(root, path))
        if text:
            return environment_block(text)
    return {}
