# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of this collection that run on a host without Ansible: a file, and all that it imports of ours."""

from __future__ import annotations

import ast
import functools
import typing as t
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
PACKAGE = ("ansible_collections", "amdgpu", "fleet")
STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


def files(*modules: str) -> dict[str, str]:
    """The text of each file by its path below a folder that Python looks into. ``modules``: as
    plugins.module_utils._gpus."""
    return dict(_files(modules))


@functools.cache
def _files(modules: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = [tuple(name.split(".")) for name in modules]
    seen = set()
    while waiting:
        parts = waiting.pop()
        if parts in seen:
            continue
        seen.add(parts)
        # A package runs its __init__ before anything in it is imported.
        if len(parts) > 1:
            waiting.append(parts[:-1])
        path = _path(parts)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        found["/".join((*PACKAGE, *path.relative_to(COLLECTION).parts))] = text
        package = parts if path.name == "__init__.py" else parts[:-1]
        waiting += [name for node in _run(ast.parse(text)) for name in _imported(node, package)]
    return dict(sorted(found.items()))


def _path(parts: tuple[str, ...]) -> Path | None:
    """The file of a module; a name out of a module is no module, and a folder may have no __init__."""
    whole = COLLECTION.joinpath(*parts)
    for path in (whole / "__init__.py", whole.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _run(tree: ast.AST) -> t.Iterator[ast.AST]:
    """All statements but those that only a type checker reads. No expression imports anything."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, STATEMENTS):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _run(node)


def _imported(node: ast.AST, package: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(node, ast.Import):
        names = [tuple(alias.name.split(".")) for alias in node.names]
        return [name[len(PACKAGE) :] for name in names if name[: len(PACKAGE)] == PACKAGE]
    if not isinstance(node, ast.ImportFrom):
        return []
    path = tuple(node.module.split(".")) if node.module else ()
    if node.level:
        base = package[: len(package) - node.level + 1] + path
    elif path[: len(PACKAGE)] == PACKAGE:
        base = path[len(PACKAGE) :]
    else:
        return []
    return [base, *((*base, alias.name) for alias in node.names)]
