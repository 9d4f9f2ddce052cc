# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources that the catalog cites: is the file in the release, and does it hold the value?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SDIST = re.compile(r"vLLM (\d+\.\d+\.\d+) sdist ([\w./,\- ]+)")


def cited(
    document: Any, trail: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """Every entry with a source: where it stands, the source, the entry."""
    if isinstance(document, dict):
        if isinstance(document.get("source"), str):
            yield trail, document["source"], document
        for name, value in document.items():
            yield from cited(value, (*trail, str(name)))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from cited(value, (*trail, str(number)))


def files(source: str) -> list[tuple[str, str]]:
    """Release and path of each file of a source distribution that a source names."""
    found = []
    for part in source.split(";"):
        match = SDIST.search(part)
        if match:
            paths = [path.strip() for path in match[2].split(",")]
            found += [(match[1], path) for path in paths if re.fullmatch(r"[\w.][\w./-]*", path)]
    return found


def problems(document: Any, cache: Path) -> list[str]:
    """Entries whose file is not in the release, or does not hold the name that the entry is about.

    The name is that of a variable or an option: only those are spelt in the catalog as in the source.
    """
    found = []
    for trail, source, entry in cited(document):
        named = [(release, path) for release, path in files(source) if (cache / f"vllm-{release}").is_dir()]
        if not named:
            continue
        missing = [path for release, path in named if not (cache / f"vllm-{release}" / path).exists()]
        where = ".".join(trail)
        if missing:
            found.append(f"{where}: {missing[0]} is not in the release ({source})")
            continue
        name = trail[-1] if trail else ""
        # What is gone is not in the source that shows it gone.
        gone = entry.get("type") == "removed" or entry.get("advice") in ("never", "optional")
        held = any(_holds(cache / f"vllm-{release}" / path, name) for release, path in named)
        if re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", name) and not gone and not held:
            found.append(f"{where}: {name} is in none of the files of {source}")
    return found


def _holds(path: Path, word: str) -> bool:
    paths = [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())
    return any(word in part.read_text(encoding="utf-8", errors="replace") for part in paths)


def outdated(document: Any, newest: str) -> list[str]:
    """Entries whose cited release is older than the newest of the catalog, by their place."""
    return [
        f"{'.'.join(trail)} ({release})"
        for trail, source, _entry in cited(document)
        for release in sorted({release for release, _path in files(source)})
        if _key(release) < _key(newest)
    ]


def _key(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
