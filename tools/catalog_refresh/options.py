# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of ``vllm serve``: names, types, choices and defaults.

vLLM spells every option out in a call to ``add_argument``, but takes type and default from a field of a data
class of its configuration. Options of the server are fields of classes named ``*FrontendArgs``.
"""

from __future__ import annotations

import ast
from typing import Any

from .source import Source, fields, literal

# The file of the server's options has moved twice.
FRONTENDS = (
    "entrypoints/openai/cli_args.py",
    "entrypoints/launchers/cli_args.py",
    "entrypoints/common/cli_args.py",
)
FILES = ("engine/arg_utils.py", *FRONTENDS, "entrypoints/cli/serve.py")
TWINS = {"enable-": "disable-", "disable-": "enable-"}
SIMPLE = {
    "str": "text",
    "int": "int",
    "float": "float",
    "json.loads": "json",
    "union_dict_and_str": "json_or_word",
}


def options(source: Source) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in FILES:
        tree = source.tree(file)
        places = _places(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and str(argument.value).startswith("--"):
                        name = str(argument.value)[2:].replace("_", "-")
                        found[name] = _argument(source, node, places)
            elif isinstance(node, ast.ClassDef) and "FrontendArgs" in node.name:
                json = _json_fields(tree)
                for name, (annotation, default) in fields(node).items():
                    entry = _field(source, annotation, default)
                    found[name.replace("_", "-")] = {**entry, "type": "json"} if name in json else entry
    found.update(_negations(source, found))
    if found:
        found["help"] = {"type": "switch"}
    return found


def _negations(source: Source, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What argparse adds for each option that may be true or false, and vLLM since it pairs enable and
    disable."""
    paired = source.value("utils/argparse_utils.py", "_inverse_prefixes") is not None
    negations = {}
    for name, entry in found.items():
        if entry["type"] == "bool":
            negations[f"no-{name}"] = {"type": "negation", "of": name}
            for prefix, other in TWINS.items():
                if paired and name.startswith(prefix):
                    negations[name.replace(prefix, other, 1)] = {"type": "negation", "of": name}
    return negations


def _places(tree: ast.Module) -> dict[str, tuple[str, str | None]]:
    """What variables stand for: the options of a class, or one of them."""
    places: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "get_kwargs":
                places[name] = (ast.unparse(value.args[0]), None)
            elif isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name):
                whole, key = places.get(value.value.id), literal(value.slice)[1]
                if whole and isinstance(key, str):
                    places[name] = (whole[0], key)
    return places


def _argument(source: Source, call: ast.Call, places: dict[str, tuple[str, str | None]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "text"}
    for keyword in call.keywords:
        if keyword.arg is None:
            entry.update(_from_class(source, keyword.value, places))
    for keyword in call.keywords:
        text = ast.unparse(keyword.value)
        if keyword.arg == "action":
            entry["type"] = {"argparse.BooleanOptionalAction": "bool"}.get(text, entry["type"])
            if text.strip("'") in ("store_true", "store_false"):
                entry["type"] = "switch"
        elif keyword.arg == "type":
            entry["type"] = SIMPLE.get(text, entry["type"])
        elif keyword.arg == "choices":
            entry.update(_given_choices(source, keyword.value))
        elif keyword.arg == "default" and literal(keyword.value)[0]:
            entry["default"] = literal(keyword.value)[1]
    return entry


def _given_choices(source: Source, node: ast.expr) -> dict[str, Any]:
    """Choices that are written out, or ``get_args(NAME)`` of a type."""
    is_literal, values = literal(node)
    if not is_literal and isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_args"):
        values = sorted(_atoms(source, node.args[0])[1], key=str)
    return {"type": "choice", "choices": values} if values else {}


def _from_class(source: Source, node: ast.expr, places: dict[str, tuple[str, str | None]]) -> dict[str, Any]:
    name, key = None, None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        name, key = places.get(node.value.id, (None, None))[0], literal(node.slice)[1]
    elif isinstance(node, ast.Name):
        name, key = places.get(node.id, (None, None))
    elif isinstance(node, ast.Dict):  # {**kwargs["name"], "default": None}
        entry = {}
        for part, value in zip(node.keys, node.values):
            if part is None:
                entry = _from_class(source, value, places)
            elif literal(part)[1] == "default":
                entry.pop("default", None)
                entry.update({"default": literal(value)[1]} if literal(value)[0] else {})
        return entry
    found = source.classes.get(name or "")
    field = fields(found).get(str(key)) if found else None
    return _field(source, *field) if field else {}


def _field(source: Source, annotation: ast.expr, default: ast.expr | None) -> dict[str, Any]:
    kinds, choices = _atoms(source, annotation)
    entry: dict[str, Any] = {"type": _kind(kinds)}
    if entry["type"] == "choice":
        entry["choices"] = sorted(choices, key=str)
    given = default
    if isinstance(given, ast.Call) and ast.unparse(given.func).rpartition(".")[2] in ("Field", "field"):
        named = {keyword.arg: keyword.value for keyword in given.keywords}
        given = named.get("default", given.args[0] if given.args else None)
    is_literal, value = literal(given)
    if is_literal:
        entry["default"] = value
    return entry


def _kind(kinds: set[str]) -> str:
    """The type of an option, in the order in which vLLM decides it."""
    if "object" in kinds:
        return "json"
    if kinds == {"bool", "str", "None"}:
        return "flag_or_text"
    for kind in ("bool", "choice", "list", "int", "float"):
        if kind in kinds:
            # Where any text is allowed as well, the choices are a help and no limit.
            return "text" if kind == "choice" and "str" in kinds else kind
    if "dict" in kinds:
        return "json_or_word" if kinds & {"str", "other"} else "json"
    return "text"


def _atoms(source: Source, node: ast.expr) -> tuple[set[str], set[Any]]:
    """What an annotation is made of, and the values of its Literals."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _atoms(source, ast.parse(node.value, mode="eval").body)
        return {str(node.value)}, set()
    if isinstance(node, ast.BinOp):
        return _union(source, [node.left, node.right])
    if isinstance(node, ast.Subscript):
        name = ast.unparse(node.value).rpartition(".")[2]
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            return {"choice"}, _literals(source, parts)
        if name in ("Union", "Optional"):
            kinds, choices = _union(source, parts)
            return kinds | ({"None"} if name == "Optional" else set()), choices
        if name == "Annotated":
            return _atoms(source, parts[0])
        if name.lower() in ("list", "tuple", "set", "sequence"):
            return {"list"}, set()
        return ({"dict"} if name.lower() in ("dict", "mapping") else {"other"}), set()
    name = ast.unparse(node).rpartition(".")[2]
    if name in ("bool", "int", "float", "str", "dict", "list", "tuple", "set"):
        return {"list" if name in ("tuple", "set") else name}, set()
    if name in source.classes:
        return {"object"}, set()
    alias = source.aliases.get(name)
    return _atoms(source, alias) if alias is not None else ({"other"}, set())


def _union(source: Source, parts: list[ast.expr]) -> tuple[set[str], set[Any]]:
    found = [_atoms(source, part) for part in parts]
    return set().union(*(kinds for kinds, _choices in found)), set().union(
        *(choices for _kinds, choices in found)
    )


def _literals(source: Source, parts: list[ast.expr]) -> set[Any]:
    values: set[Any] = set()
    for part in parts:
        is_literal, value = literal(part)
        values |= {value} if is_literal else _atoms(source, part)[1]
    return values


def _json_fields(tree: ast.Module) -> set[str]:
    """Fields whose text is read as JSON: ``kwargs["name"]["type"] = json.loads``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "json.loads":
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Subscript):
                found.add(str(literal(target.value.slice)[1]))
    return found
