# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The source of one release, parsed and never run."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Where names of types are defined or imported that options use.
TYPES = ("config/*.py", "engine/arg_utils.py", "entrypoints/*/cli_args.py")


class Source:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "vllm"
        self._trees: dict[str, ast.Module] = {}

    def tree(self, file: str) -> ast.Module:
        """A file of the package; an empty one where the release has none of that name."""
        if file not in self._trees:
            path = self.package / file
            self._trees[file] = (
                ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
            )
        return self._trees[file]

    def value(self, file: str, name: str) -> ast.expr | None:
        """What a name is set to, anywhere in a file."""
        for node in ast.walk(self.tree(file)):
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and target.id == name and node.value is not None:
                    return node.value
        return None

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """The classes that hold options, by name."""
        return {
            node.name: node
            for file in ("config/*.py", "engine/arg_utils.py")
            for module in self._modules(file)
            for node in module.body
            if isinstance(node, ast.ClassDef)
        }

    @functools.cached_property
    def aliases(self) -> dict[str, ast.expr]:
        """Names given to types: ``X = Literal[...]``."""
        found: dict[str, ast.expr] = {}
        modules = [module for pattern in TYPES for module in self._modules(pattern)]
        for group in (modules, [self.tree(file) for file in self._imported(modules)]):
            for module in group:
                for node in module.body:
                    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                        if isinstance(target, ast.Name) and target.id[:1].isupper():
                            found.setdefault(target.id, node.value)
        return found

    def _imported(self, modules: list[ast.Module]) -> list[str]:
        """The files of the package that others import names of types from."""
        files: dict[str, None] = {}
        for node in (node for module in modules for node in ast.walk(module)):
            if (
                isinstance(node, ast.ImportFrom)
                and (node.module or "").startswith("vllm.")
                and any(name.name[:1].isupper() for name in node.names)
            ):
                path = str(node.module).replace(".", "/").removeprefix("vllm/")
                files.update(dict.fromkeys((f"{path}.py", f"{path}/__init__.py", f"{path}/types.py")))
        return list(files)

    def _modules(self, pattern: str) -> Iterator[ast.Module]:
        for path in sorted(self.package.glob(pattern)):
            yield self.tree(str(path.relative_to(self.package)))


def fields(node: ast.ClassDef) -> dict[str, tuple[ast.expr, ast.expr | None]]:
    """The annotated fields of a class: annotation and default."""
    return {
        part.target.id: (part.annotation, part.value)
        for part in node.body
        if isinstance(part, ast.AnnAssign)
        and isinstance(part.target, ast.Name)
        and "ClassVar" not in ast.unparse(part.annotation)
    }


def keys(node: ast.expr | None) -> list[str]:
    """The literal keys of a dictionary."""
    if not isinstance(node, ast.Dict):
        return []
    return [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def strings(node: ast.AST | None) -> list[str]:
    """The texts anywhere in an expression."""
    if node is None:
        return []
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def literal(node: ast.AST | None) -> tuple[bool, Any]:
    """Whether an expression is a literal that YAML has, and its value."""
    try:
        value = ast.literal_eval(node) if node is not None else ...
    except (ValueError, TypeError, SyntaxError):
        return False, None
    return isinstance(value, (str, int, float, bool, type(None), list)), value
