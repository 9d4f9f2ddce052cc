# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that come from a host, held to the types that everything behind them counts on.

A host is not trusted: a number where a text belongs would end in a traceback somewhere else, and a list
without an end would fill the report of a whole fleet.
"""

from __future__ import annotations

import types
import typing as t

# More than any host has of anything, and longer than any text of it.
MOST, LONGEST = 10_000, 1 << 16


class ShapeError(ValueError):
    """What does not fit, and where; nothing of the value itself."""


def fitting(value: t.Any, kind: t.Any, path: str) -> t.Any:
    """The value with the keys of its type alone. Raises where it does not fit."""
    origin, arguments = t.get_origin(kind), t.get_args(kind)
    if kind is t.Any:
        return value
    if origin in (t.Union, types.UnionType):
        inner = [part for part in arguments if part is not type(None)]
        if value is None and len(inner) < len(arguments):
            return None
        return fitting(value, inner[0], path)
    if origin is t.Literal:
        return _one_of(value, arguments, path)
    if t.is_typeddict(kind):
        return _typed(value, kind, path)
    if origin is list or kind is list:
        _check_size(value, list, path)
        each = arguments[0] if arguments else t.Any
        return [fitting(entry, each, f"{path}[]") for entry in value]
    if origin is dict or kind is dict:
        _check_size(value, dict, path)
        each = arguments[1] if arguments else t.Any
        return {_text(key, path): fitting(entry, each, f"{path}{{}}") for key, entry in value.items()}
    return _simple(value, kind, path)


def _typed(value: t.Any, kind: t.Any, path: str) -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise ShapeError(f"{path} is no mapping")
    fields = t.get_type_hints(kind)
    for key in kind.__required_keys__:
        if key not in value:
            raise ShapeError(f"{path} has no {key}")
    return {key: fitting(value[key], field, f"{path}.{key}") for key, field in fields.items() if key in value}


def _check_size(value: t.Any, kind: type[list[t.Any]] | type[dict[str, t.Any]], path: str) -> None:
    if not isinstance(value, kind):
        raise ShapeError(f"{path} is no {'list' if kind is list else 'mapping'}")
    if len(value) > MOST:
        raise ShapeError(f"{path} has {len(value)} entries, more than the {MOST} that a host can have")


def _one_of(value: t.Any, choices: tuple[t.Any, ...], path: str) -> t.Any:
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise ShapeError(f"{path} is none of {', '.join(map(str, choices))}")
    return value


def _text(value: t.Any, path: str) -> str:
    if not isinstance(value, str):
        raise ShapeError(f"{path} is no text")
    if len(value) > LONGEST:
        raise ShapeError(f"{path} has {len(value)} characters, more than {LONGEST}")
    return value


def _simple(value: t.Any, kind: type, path: str) -> t.Any:
    if kind is str:
        return _text(value, path)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    # To Python a truth is a number.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {int: "whole number", float: "number", bool: "truth"}
        raise ShapeError(f"{path} is no {words.get(kind, kind.__name__)}")
    return value
