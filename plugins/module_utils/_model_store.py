# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a model folder in its place, whole or not at all: archives, manifests, space, and the one rename at
the end."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import shutil
import tarfile
import typing as t
import zlib

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_model, _model, _model_record
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import why

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it; tarfile says so itself
    LZMAError = tarfile.ReadError  # type: ignore[misc,assignment]

# What is left free beside the model: a full disk stops more than the download.
RESERVE = 1 << 30
CHUNK = 4 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
MANIFEST_LINE = re.compile(r"(?P<sum>[0-9a-f]{64}) [ *](?P<name>[^\0]+)")


# Weights that run code when they are loaded. Those of the first kind are left out beside the same weights as
# safetensors, those of the second are remains of a training.
_PICKLED = re.compile(r"(pytorch_model|model|consolidated|adapter_model)[\w.-]*\.(bin|pt|pth|ckpt|pkl)")
_OF_TRAINING = re.compile(
    r"(training_args|optimizer|scheduler|rng_state|random_states|scaler)[\w.-]*\.(bin|pt|pth|pkl)"
)
# What no engine reads: a manifest need not name it.
_FOR_PEOPLE = re.compile(
    r"(README|LICEN[CS]E|NOTICE|USE_POLICY|CHANGELOG)(-\w+)?(\.(txt|rst))?|.*\.(md|png|jpe?g|svg|gif|pdf)|\.git(attributes|ignore)|"
    r"\.cache|\.eval_results",
    re.IGNORECASE,
)


class StoreError(Exception):
    """What is wrong with a source or its place; the text is a whole sentence with the remedy."""


def gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def sha256(path: str) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                return total.hexdigest()
            total.update(data)


def require_space(path: str, size: int, present: int = 0) -> None:
    """Refuse where the file system that ``path`` is to be on has no room; ``there`` bytes of it are already
    there."""
    existing = path
    while not os.path.exists(existing):
        existing = os.path.dirname(existing) or "."
    free = shutil.disk_usage(existing).free
    if size - present + RESERVE > free:
        raise StoreError(
            f"{path} needs {gib(max(size - present, 0))} and {gib(RESERVE)} to spare, and {existing} has "
            f"{gib(free)} free. "
            "Make room there, or set model_directory to a larger disk."
        )


def expect(folder: str, size: int) -> None:
    """Leave word of how large a folder will be, for whoever waits; it goes with everything else in
    ``.cache``."""
    os.makedirs(f"{folder}/.cache", exist_ok=True)
    with open(f"{folder}/.cache/expected_bytes", "w", encoding="ascii") as file:
        file.write(str(size))


def size_of(folder: str) -> int:
    return sum(
        os.lstat(os.path.join(base, name)).st_size
        for base, _folders, names in os.walk(folder)
        for name in names
    )


def _members(archive: tarfile.TarFile, path: str) -> tuple[list[tarfile.TarInfo], int]:
    """The files of the model in an archive, named as they lie beside its config.json or its GGUF file, and
    how many bytes they are."""
    files = [member for member in archive if not member.isdir()]
    strange = next((member for member in files if not member.isreg()), None)
    if strange is not None:
        raise StoreError(
            f"{path} holds {strange.name}, which is no regular file. Pack it again with tar --dereference."
        )
    for member in files:
        member.name = os.path.normpath(member.name)
        if member.name.startswith(("/", "../")):
            raise StoreError(
                f"{path} holds {member.name}, which would lie outside of the model. Pack it again with "
                f"relative names."
            )
    marks = [member.name for member in files if os.path.basename(member.name) == "config.json"]
    marks = marks or [member.name for member in files if member.name.endswith(".gguf")]
    tops = sorted((os.path.dirname(name) for name in marks), key=len)
    if not tops:
        raise StoreError(
            f"{path} holds no config.json and no GGUF file, so it is not a model. Pack the folder that has "
            "one."
        )
    prefix = f"{tops[0]}/" if tops[0] else ""
    mine = [member for member in files if member.name.startswith(prefix)]
    for member in mine:
        # Whoever packed it had other users and modes; the server must be able to read it.
        member.name, member.mode = member.name[len(prefix) :], 0o644
        member.uid = member.gid = 0
        member.uname = member.gname = ""
    return mine, sum(member.size for member in mine)


def unpack(path: str, checksum: str, folder: str) -> None:
    """The model of an archive in ``folder``, after its checksum and the space were looked at."""
    try:
        seen = sha256(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {why(error)}. Put the archive there, or correct archive in "
            f"model_sources."
        ) from error
    if seen != checksum:
        raise StoreError(
            f"{path} has the SHA-256 {seen}, not {checksum}. Copy it again, or correct sha256 in "
            f"model_sources."
        )
    try:
        with tarfile.open(path) as archive:
            members, size = _members(archive, path)
            require_space(folder, size)
            shutil.rmtree(folder, ignore_errors=True)
            if hasattr(tarfile, "data_filter"):  # Python 3.9 has it in its later fixes only
                archive.extraction_filter = tarfile.data_filter
            for member in members:
                archive.extract(member, folder)
    except tarfile.TarError as error:
        raise StoreError(
            f"{path} cannot be unpacked: {error}. Pack it as tar, plain or with gzip, bzip2 or xz."
        ) from error
    except (OSError, EOFError, LZMAError, zlib.error) as error:
        raise StoreError(
            f"{path} could not be unpacked to {folder}: {getattr(error, 'strerror', None) or error}."
        ) from error


def check_manifest(folder: str, manifest: str) -> None:
    """Hold every file that a manifest (as ``sha256sum`` writes it) names to its checksum."""
    place = os.path.join(folder, manifest)
    try:
        with open(place, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{place} cannot be read: {error}. Correct manifest in model_sources.") from error
    named: set[str] = set()
    for line in lines:
        match = MANIFEST_LINE.fullmatch(line)
        name = os.path.normpath(match["name"]) if match else ""
        if match is None or name.startswith(("/", "../")):
            raise StoreError(
                f"{place} holds {line[:80]!r}, which sha256sum did not write. Make it with sha256sum inside "
                f"of the folder."
            )
        named.add(name)
        try:
            seen = sha256(os.path.join(folder, name))
        except OSError as error:
            raise StoreError(
                f"{place} names {name}, which cannot be read in {folder}: {why(error)}."
            ) from error
        if seen != match["sum"]:
            raise StoreError(
                f"{name} in {folder} has the SHA-256 {seen}, not {match['sum']} as {place} says. Fetch the "
                f"file again."
            )
    if not lines:
        raise StoreError(f"{place} is empty. Make it with sha256sum inside of the folder.")
    _check_named(folder, place, named)


def pickled(listing: t.Any) -> list[str]:
    """The files of a Hub's listing that need not be fetched, as loading them would run what they hold."""
    try:
        paths = [str(entry["path"]) for entry in listing]
    except (TypeError, KeyError) as error:
        raise StoreError("What the Hub answers is not a list of files. Correct model_hub.") from error
    safe = {os.path.dirname(path) for path in paths if path.endswith(".safetensors")}
    return [
        path
        for path in paths
        if _OF_TRAINING.fullmatch(os.path.basename(path))
        or (os.path.dirname(path) in safe and _PICKLED.fullmatch(os.path.basename(path)))
    ]


def _check_named(folder: str, place: str, named: set[str]) -> None:
    """Refuse what a manifest does not name: an engine would load it all the same."""
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _FOR_PEOPLE.fullmatch(name)]
        for name in files:
            path = os.path.normpath(os.path.relpath(os.path.join(base, name), folder))
            own = os.path.abspath(os.path.join(folder, path)) == os.path.abspath(place)
            if path not in named and not own and not _FOR_PEOPLE.fullmatch(name):
                raise StoreError(
                    f"{folder} holds {path}, which {place} does not name. Remove the file, or name it in the "
                    "manifest."
                )


def remember(tree: Tree, path: str, manifest: str) -> None:
    """Write down that a folder, as it is, was checked, so that it is not read again in every run."""
    try:
        known = {"manifest": manifest, "fingerprint": _model_record.fingerprint(tree.path(path))}
    except OSError as error:
        raise StoreError(
            f"{error.filename or path} cannot be looked at: {why(error)}. If it is a link that leads "
            f"nowhere, remove it."
        ) from error
    place = tree.path(_model_record.record(path))
    os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
    temporary = f"{place}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(known, file)
    os.replace(temporary, place)


def lacking(tree: Tree, path: str, weights: bool, form: str) -> str | None:
    """What keeps a folder from being a model of this format, ``None`` where nothing does; of ``weights`` in a
    format of their own names and index say nothing."""
    if form == "gguf":
        found = _gguf_model.of_path(tree, path)
        return (
            "has no GGUF file, so it is not a model that llama.cpp can serve"
            if found is None
            else found["problem"]
        )
    if not tree.exists(path, "config.json"):
        return "has no config.json, so it is not a model that vLLM can serve"
    absent = _model.missing(tree, path) if weights else None
    return f"is not whole: it lacks {absent}" if absent else None


def check_whole(folder: str, source: str, weights: bool = True, form: str = "safetensors") -> None:
    """Refuse what is no model, or a part of one."""
    wrong = lacking(Tree(), folder, weights, form)
    if wrong:
        raise StoreError(f"{source} {wrong}. Fetch it again from where it is, or correct model.")


def put_in_place(partial: str, path: str) -> None:
    """One rename. A folder that was there before, and was not right, goes afterwards."""
    old = f"{path}.old"
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(path):
        os.rename(path, old)
    try:
        os.rename(partial, path)
    except OSError as error:
        if os.path.lexists(old):
            os.rename(old, path)
        raise StoreError(f"{partial} could not be renamed to {path}: {why(error)}.") from error
    shutil.rmtree(old, ignore_errors=True)


def partial(path: str) -> str:
    """Where a model is made. A download that was interrupted goes on there."""
    return f"{path}.partial"


def hub_failure(text: str) -> str:
    """The line of the Hub's client that says why, and what a server said to it; the others are traces and
    hints."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    errors = [at for at, line in enumerate(lines) if re.match(r"(Error|[\w.]*(Error|Exception)):", line)]
    if not errors:
        return ([line for line in lines if line] or ["no reason given"])[-1].rstrip(".")
    said = [
        line for line in lines[errors[-1] + 1 :] if line and not re.match(r"Hint:|For more information", line)
    ]
    # A mirror that has no room says so below the status.
    served = [line for line in said[:1] if " '507 " in lines[errors[-1]]]
    return " ".join([lines[errors[-1]], *served]).rstrip(".")


def commit(name: str, info: t.Any, revision: str = "") -> str:
    """The commit that the Hub's word on a model names. One that was asked for is held to: a Hub that answers
    another one would give other files under its name."""
    found = info.get("sha") if isinstance(info, dict) else None
    if not isinstance(found, str) or not found:
        raise StoreError(f"The Hub does not say which commit of {name} is meant. Correct model_hub.")
    if not _COMMIT.fullmatch(found):
        raise StoreError(
            f"The Hub says that the commit of {name} is {found[:80]!r}, which is none. Correct model_hub."
        )
    if _COMMIT.fullmatch(revision.lower()) and found != revision.lower():
        raise StoreError(
            f"The Hub answers with the commit {found} of {name}, not with {revision}. Correct revision in "
            f"model_sources, or model_hub."
        )
    return found


def listed_bytes(listing: t.Any, exclude: t.Sequence[str]) -> int:
    """Bytes of the files that the Hub lists and that are not left out, as its client matches patterns."""
    patterns = [f"{pattern}*" if pattern.endswith("/") else pattern for pattern in exclude]
    try:
        sizes = {str(entry["path"]): int(entry.get("size") or 0) for entry in listing}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise StoreError("What the Hub answers is not a list of files. Correct model_hub.") from error
    return sum(
        size
        for path, size in sizes.items()
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    )
