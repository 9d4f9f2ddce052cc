# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog: what is known to work, as data. Loaded once a process, with an operator's own entries merged over it."""

from __future__ import annotations

import functools
import re
import typing as t
from pathlib import Path

import yaml

try:
    from yaml import CSafeLoader as Loader
except ImportError:
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

FOLDER = Path(__file__).resolve().parents[2] / "catalog"
FILES = ("gpus", "releases", "vllm", "known_issues")


class CatalogError(ValueError):
    """An entry that does not exist, or an override that does not fit. The message names the path."""


@functools.cache
def read_yaml(path: Path) -> t.Any:
    """A file of the collection; the pure Python loader would take ten times as long."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a safe loader


def merge(base: t.Any, over: t.Any, path: str = "plan_catalog") -> t.Any:
    """Mappings are merged key by key, anything else is replaced; a mapping never turns into something else."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value, f"{path}.{key}") if key in base else value
        return merged
    if isinstance(base, dict) != isinstance(over, dict) and base is not None:
        wanted = "a mapping" if isinstance(base, dict) else f"a value such as {base!r}"
        raise CatalogError(f"{path}: the catalog has {wanted} here, the inventory gives {over!r}. Correct it in plan_catalog.")
    return over


class Catalog:
    """The files below ``catalog/``, each read when it is first asked for."""

    def __init__(self, override: dict[str, t.Any] | None = None) -> None:
        self._override = override or {}
        unknown = sorted(set(self._override) - {*FILES, "profiles"})
        if unknown:
            raise CatalogError(
                f"plan_catalog.{unknown[0]}: there is no such part of the catalog. Parts are {', '.join((*FILES, 'profiles'))}."
            )

    def __getattr__(self, name: str) -> t.Any:
        if name not in FILES:
            raise AttributeError(name)
        return merge(read_yaml(FOLDER / f"{name}.yml"), self._override.get(name, {}), f"plan_catalog.{name}")

    def profile(self, name: str) -> dict[str, t.Any] | None:
        """The profile of an architecture (or ``cpu``); ``None`` where the catalog has none."""
        path = FOLDER / "profiles" / f"{name}.yml"
        override = self._override.get("profiles", {}).get(name)
        if not path.exists():
            return override
        return merge(read_yaml(path), override or {}, f"plan_catalog.profiles.{name}")


def version_key(version: str) -> list[int]:
    """Orders versions by number (``10.1`` after ``7.14``), taking the numbers in front of any other text as one list."""
    return [int(number) for number in re.findall(r"\d+", re.split(r"[+~]", version, maxsplit=1)[0])]
