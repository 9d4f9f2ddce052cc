# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that vLLM reads, and what each takes for a value."""

from __future__ import annotations

import ast
from typing import Any

from .source import Source, literal

TRUE = {"1", "true"}


def variables(source: Source) -> dict[str, dict[str, Any]]:
    table = source.value("envs.py", "environment_variables")
    if not isinstance(table, ast.Dict):
        return {}
    return {
        key.value: _entry(source, value)
        for key, value in zip(table.keys, table.values)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _entry(source: Source, node: ast.expr) -> dict[str, Any]:
    if isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if function in ("env_with_choices", "env_list_with_choices", "env_set_with_choices"):
            entry: dict[str, Any] = {"type": "choice" if function == "env_with_choices" else "list"}
            choices = literal(named.get("choices", node.args[2] if len(node.args) > 2 else None))
            if choices[0] and choices[1]:
                entry["choices"] = choices[1]
            # vLLM compares as written unless it is told not to.
            if entry["type"] == "choice" and ast.unparse(named.get("case_sensitive", node)) == "False":
                entry["any_case"] = True
            return entry
    return {"type": _type(node)}


def _type(node: ast.expr) -> str:
    """The type that the reading function makes of the text."""
    body = node.body if isinstance(node, ast.Lambda) else node
    # Where a value is only read when it is there, what it is read with decides.
    while isinstance(body, ast.IfExp):
        body = body.orelse if _is_none(body.body) else body.body
    text = ast.unparse(body)
    if text.startswith(("bool(int(", "maybe_convert_bool(")):
        return "int-bool"
    for function, kind in (("int(", "int"), ("maybe_convert_int(", "int"), ("float(", "float")):
        if text.startswith(function):
            return kind
    compared = next((part for part in ast.walk(body) if isinstance(part, ast.Compare)), None)
    if compared is not None and isinstance(compared.ops[0], ast.In) and _words(compared) >= TRUE:
        return "bool"
    if compared is not None and isinstance(compared.ops[0], ast.Eq) and _words(compared) == {"1"}:
        # Anything but 1 is false, "true" as well.
        return "one"
    return "text"


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, (ast.Constant, ast.List)) and literal(node)[1] in (None, [])


def _words(compared: ast.Compare) -> set[str]:
    return {
        part.value
        for part in ast.walk(compared.comparators[0])
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
