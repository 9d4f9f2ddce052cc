# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's folder on the controller. Where it cannot be written, a run goes on without it and says so."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import typing as t
from pathlib import Path


def unwritable(folder: Path) -> str:
    """Why nothing can be written there, in one sentence; empty where it can."""
    try:
        (folder / "hosts").mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "hosts"):
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        return (
            f"report_directory {folder} cannot be written ({(error.strerror or str(error)).lower()}), so "
            f"this run "
            f"leaves no report there. Name a folder that {_user()} may write with report_directory."
        )
    return ""


def _user() -> str:
    with contextlib.suppress(KeyError, ImportError):
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    return f"the user {os.getuid()}"


def usable(folder: Path, instead: Path) -> Path:
    """The folder, or one of the run alone where that cannot be written: the table needs the records."""
    if not unwritable(folder):
        return folder
    (instead / "hosts").mkdir(parents=True, exist_ok=True)
    return instead


def file_of(folder: Path, host: str) -> Path:
    """Where the record of a host is; a name that is no file name gets one."""
    name = re.sub(r"[^A-Za-z0-9._@-]", "_", host)
    return folder / "hosts" / f"{'_' if name.startswith('.') else ''}{name}.json"


def history_of(folder: Path, host: str) -> Path:
    """Where the lines of a host's runs are."""
    return folder / "history" / f"{file_of(folder, host).stem}.jsonl"


def write(path: Path, text: str) -> None:
    """All or nothing: a reader never sees half of it."""
    path.parent.mkdir(exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def to_json(value: t.Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n"
