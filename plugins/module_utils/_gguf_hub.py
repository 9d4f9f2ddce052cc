# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of one quantization among those that a Hub lists: the model with all its parts, and the projector
beside it. Names say it; nothing is fetched to find out."""

from __future__ import annotations

import os
import posixpath
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils._gguf_model import SPLIT, sort_names
from ansible_collections.amdgpu.fleet.plugins.module_utils._model_store import StoreError

# As publishers spell it, at the end of a name or of a folder: UD-Q4_K_XL, IQ2_XXS, Q4_0, BF16, MXFP4_MOE.
QUANTIZATION = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q|TQ)\d(?:_[A-Za-z0-9]{1,4})*|BF16|F16|F32|MXFP4(?:_MOE)?|NVFP4)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
# What llama.cpp takes where nobody says which.
USUAL = ("Q4_K_M", "Q8_0")
# A projector is small, and loses more by a quantization than the model does.
PROJECTORS = ("F16", "BF16", "F32", "Q8_0")
NAMED_LIMIT = 24
# It stands on the command line of the client, and becomes a path.
SAFE = re.compile(r"(?!.*(^|/)\.)[\w][\w .+@,=()-]*(/[\w][\w .+@,=()-]*){0,3}")


class Files(t.NamedTuple):
    """What is fetched, as paths of the repository."""

    model: list[str]
    projector: str | None
    # As the Hub lists them.
    entries: list[t.Any]

    @property
    def all(self) -> list[str]:
        return [*self.model, *([self.projector] if self.projector else [])]


def quantization_of(path: str) -> str:
    """What the name of a file says, or the folder that it lies in; empty where neither does."""
    folder, name = posixpath.split(path)
    for text in (name[: -len(".gguf")], folder):
        found = QUANTIZATION.findall(text)
        if found:
            return str(found[-1]).upper()
    return ""


def choose(repository: str, listing: t.Any, asked: str) -> Files:
    """The files of the quantization that is asked for; of a file, where its name is. ``StoreError`` names
    what there is."""
    try:
        paths = sorted(str(entry["path"]) for entry in listing if str(entry["path"]).endswith(".gguf"))
    except (TypeError, KeyError) as error:
        raise StoreError("What the Hub answers is not a list of files. Correct model_hub.") from error
    odd = next((path for path in paths if not SAFE.fullmatch(path)), None)
    if odd is not None:
        raise StoreError(
            f"{repository} has a file {odd[:80]!r}, which no folder can be given. Take another one."
        )
    models, projectors, drafts = sort_names(paths)
    # Of a repository that has nothing else they are what is meant.
    models = models or drafts
    if not models:
        raise StoreError(
            f"{repository} has no GGUF file of a model. Set model to a repository that has some, with a "
            f"quantization, such as {repository}-GGUF:{USUAL[0]}."
        )
    byname = [path for path in drafts if posixpath.basename(path).upper() == asked.upper()]
    found = byname or (_named(models, asked) if asked else _usual(models))
    if len(found) != 1:
        what = f"has no {asked}" if asked and not found else "has more than one model"
        what += f" of {asked}" if asked and found else ""
        names = _quantizations(models) if not found or not asked else [posixpath.basename(p) for p in found]
        some = ", ".join(names[:NAMED_LIMIT]) + (" and more" if names[NAMED_LIMIT:] else "")
        raise StoreError(
            f"{repository} {what}: there is {some}. Set model to one of them, such as "
            f"{repository}:{names[0]}."
        )
    parts, projector = _parts(paths, found[0], repository), _projector(projectors, found[0])
    return Files(parts, projector, [entry for entry in listing if entry["path"] in (*parts, projector)])


def _named(models: list[str], asked: str) -> list[str]:
    """By the name of the file, or by quantization; the dynamic one of a publisher only where it is the only
    one of its name."""
    wanted = asked.upper()
    files = [path for path in models if posixpath.basename(path).upper() == wanted]
    exact = [path for path in models if quantization_of(path) == wanted]
    dynamic = [path for path in models if quantization_of(path) == f"UD-{wanted}"]
    return files or exact or dynamic


def _usual(models: list[str]) -> list[str]:
    if len(models) == 1:
        return models
    named = (_named(models, usual) for usual in USUAL)
    return next((found for found in named if found), [])


def _quantizations(models: list[str]) -> list[str]:
    return list(dict.fromkeys(quantization_of(path) or posixpath.basename(path) for path in models))


def _parts(paths: list[str], first: str, repository: str) -> list[str]:
    folder, name = posixpath.split(first)
    match = SPLIT.fullmatch(name)
    if not match:
        return [first]
    names = [
        posixpath.join(folder, f"{match.group(1)}-{at:05}-of-{match.group(3)}.gguf")
        for at in range(1, min(int(match.group(3)), len(paths) + 1) + 1)
    ]
    absent = [each for each in names if each not in paths]
    if absent:
        raise StoreError(
            f"{repository} lacks {absent[0]}, a part of {name}. Take another quantization or revision."
        )
    return names


def _projector(projectors: list[str], model: str) -> str | None:
    """The one that lies beside the model or above it, the most exact first."""
    folder = posixpath.dirname(model)
    near = [path for path in projectors if f"{folder}/".startswith(f"{posixpath.dirname(path)}/".lstrip("/"))]

    def worth(path: str) -> tuple[int, int, str]:
        kind = quantization_of(path)
        rank = PROJECTORS.index(kind) if kind in PROJECTORS else len(PROJECTORS)
        return -len(posixpath.dirname(path)), rank, path

    return min(near, key=worth, default=None)


def clear(folder: str, kept: list[str]) -> None:
    """Remove GGUF files that are not fetched now; the client's own notes stay, so that a download goes on."""
    for base, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each != ".cache"]
        for name in names:
            path = os.path.join(base, name)
            if name.endswith(".gguf") and os.path.relpath(path, folder) not in kept:
                os.unlink(path)
