# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog: what is known to work, as data. Loaded once a process, with an operator's own entries merged
over it."""

from __future__ import annotations

import functools
import json
import re
import string
import typing as t
from pathlib import Path

import yaml

from .facts_gpu import Gpu

try:
    from yaml import CSafeLoader as Loader
except ImportError:
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

FOLDER = Path(__file__).resolve().parents[3] / "roles" / "plan" / "files" / "catalog"
PROFILE = re.compile(r"[\w.-]{1,64}")
FILES = (
    "gpus",
    "releases",
    "vllm",
    "llama_cpp",
    "podman",
    "mirror",
    "kubernetes",
    "known_issues",
    "health",
    "acceptance",
    "monitoring",
    "builds",
)
# Computed by tools/catalog_refresh.
GENERATED = (
    "options",
    "environment",
    "quantization",
    "attention",
    "parsers",
    "architectures",
    "recipes",
)
# Parts that do not lie in a file of their name.
PLACES = {"llama_cpp": "engines/llama_cpp"}
# An engine's part of the catalog is a folder: one file a subject, merged into one mapping.
ENGINES = {
    "vllm": (
        *("releases", "environment", "options", "recipes", "memory", "models"),
        *(f"generated/{name}" for name in GENERATED),
    )
}


class CatalogError(ValueError):
    """An entry that does not exist, or an override that does not fit. The message names the path."""


@functools.cache
def read_yaml(path: Path) -> t.Any:
    """A file of the collection; the pure Python loader would take ten times as long."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a safe loader


def merge(base: t.Any, over: t.Any, path: str = "plan_catalog") -> t.Any:
    """Mappings are merged key by key, anything else is replaced; a mapping never turns into something
    else."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value, f"{path}.{key}") if key in base else value
        return merged
    if isinstance(base, dict) != isinstance(over, dict) and base is not None:
        wanted = "a mapping" if isinstance(base, dict) else f"a value such as {base!r}"
        raise CatalogError(
            f"{path}: the catalog has {wanted} here, the inventory gives {over!r}. Correct it in "
            f"plan_catalog."
        )
    return over


@functools.cache
def read_part(name: str) -> dict[str, t.Any]:
    """A part of the catalog as the collection ships it."""
    if name not in ENGINES:
        return dict(read_yaml(FOLDER / f"{PLACES.get(name, name)}.yml"))
    part: dict[str, t.Any] = {}
    for subject in ENGINES[name]:
        part.update(read_yaml(FOLDER / "engines" / name / f"{subject}.yml"))
    part["versions"] = _versions(part)
    return part


def read_schema(name: str) -> dict[str, t.Any]:
    """The JSON schema of a part of the catalog; that of an engine is made of its subjects'."""
    if name not in ENGINES:
        return _read_json(FOLDER / "schema" / f"{PLACES.get(name, name)}.json")
    subjects = [_read_json(FOLDER / "schema" / "engines" / name / f"{file}.json") for file in ENGINES[name]]
    return {
        **subjects[0],
        "required": sorted(required for subject in subjects for required in subject["required"]),
        "properties": {key: value for subject in subjects for key, value in subject["properties"].items()},
        "$defs": {key: value for subject in subjects for key, value in subject["$defs"].items()},
    }


def _read_json(path: Path) -> dict[str, t.Any]:
    with path.open(encoding="utf-8") as file:
        return dict(json.load(file))


def _versions(part: dict[str, t.Any]) -> dict[str, t.Any]:
    """The releases of an engine in full: what an entry leaves out is taken from the defaults, and the names
    of release and variant are filled in."""
    for_release, for_variant = part.pop("version_defaults"), part.pop("variant_defaults")
    versions = {}
    for version, entry in part["versions"].items():
        variants = {
            name: _named({**for_variant, **variant}, version=version, variant=name)
            for name, variant in entry["variants"].items()
        }
        versions[version] = {**_named({**for_release, **entry}, version=version), "variants": variants}
    return versions


def _named(entry: dict[str, t.Any], **names: str) -> dict[str, t.Any]:
    """An entry with ``{version}`` and ``{variant}`` of its texts filled in."""
    return {key: value.format(**names) if isinstance(value, str) else value for key, value in entry.items()}


def _is_profile(folder: str, name: t.Any) -> bool:
    return bool(PROFILE.fullmatch(str(name))) and (FOLDER / folder / f"{name}.yml").exists()


def with_base(profile: dict[str, t.Any]) -> dict[str, t.Any]:
    """A profile merged over what it names as its base: a file in ``profiles/bases``, or another profile."""
    name = profile.get("base")
    if not name:
        return profile
    folder = next((folder for folder in ("profiles/bases", "profiles") if _is_profile(folder, name)), None)
    if folder is None or name == profile.get("gfx"):
        raise CatalogError(
            f"plan_catalog.profiles: {name!r} is no profile to base one on. Correct base in plan_catalog."
        )
    path = FOLDER / folder / f"{name}.yml"
    return dict(merge(with_base(read_yaml(path)), profile, f"catalog/{folder}/{name}.yml"))


class Catalog:
    """The files of the catalog, each read when it is first asked for. What an operator adds is held to
    the same schemas."""

    def __init__(self, override: dict[str, t.Any] | None = None) -> None:
        self._override = override or {}
        self._merged: dict[str, t.Any] = {}
        unknown = sorted(set(self._override) - {*FILES, "profiles"})
        if unknown:
            raise CatalogError(
                f"plan_catalog.{unknown[0][:80]}: there is no such part of the catalog. Parts are "
                f"{', '.join((*FILES, 'profiles'))}."
            )

    def __getattr__(self, name: str) -> t.Any:
        if name not in FILES:
            raise AttributeError(name)
        if name not in self._merged:
            known = read_part(name)
            override = self._override.get(name)
            if override is not None:
                path = f"plan_catalog.{name}"
                known = merge(known, override, path)
                if name == "gpus":
                    known = {
                        **known,
                        "products": _products(read_part("gpus")["products"], override),
                    }
                _hold_to_schema(known, name, path)
                if name == "known_issues":
                    _check_placeholders(known, read_part("known_issues"), path)
            self._merged[name] = known
        return self._merged[name]

    def profile(self, name: str) -> dict[str, t.Any] | None:
        """The profile of an architecture (or ``cpu``); ``None`` where the catalog has none."""
        known = (
            with_base(read_yaml(FOLDER / "profiles" / f"{name}.yml"))
            if _is_profile("profiles", name)
            else None
        )
        override = self._override.get("profiles", {}).get(name)
        if override is None:
            return known
        merged = with_base(merge(known or {}, override, f"plan_catalog.profiles.{name}"))
        _hold_to_schema(merged, "profile", f"plan_catalog.profiles.{name}")
        return merged

    def check_overrides(self) -> None:
        """Raise ``CatalogError`` for an override that does not fit, whether or not this host needs that
        part."""
        for name in self._override:
            if name == "profiles":
                for profile in self._override["profiles"]:
                    self.profile(profile)
            else:
                getattr(self, name)

    def identify(self, gpu: Gpu) -> Gpu:
        """A GPU as the operator's own table names it. Its architecture stays what KFD says, where KFD says
        it."""
        added = self._override.get("gpus") and {
            entry["pci_id"]: entry for entry in self.gpus["products"]
        }.get(gpu["pci_id"])
        if not added:
            return gpu
        gfx = gpu["gfx"] or added["gfx"]
        architecture = self.gpus["architectures"].get(gfx, {})
        named: dict[str, t.Any] = {
            **gpu,
            "gfx": gfx,
            "family": architecture.get("family"),
            "supported": architecture.get("rocm") == "supported",
        }
        if gpu["pci_id"] in {entry["pci_id"] for entry in self._override["gpus"].get("products", [])}:
            # The host has named every other board, by its revision too.
            named.update({key: added[key] for key in ("product", "apu", "virtual_function")})
        return t.cast(Gpu, named)


def _products(known: list[dict[str, t.Any]], override: dict[str, t.Any]) -> t.Any:
    """The table of PCI ids is a list: an entry of the operator's replaces the one of the same id, or joins
    it."""
    added = override.get("products", [])
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        return added  # for the schema to refuse
    ids = {entry.get("pci_id") for entry in added}
    return [entry for entry in known if entry["pci_id"] not in ids] + added


def _check_placeholders(issues: dict[str, t.Any], known: dict[str, t.Any], path: str) -> None:
    """A text may use what was seen, what is expected, and the words that the check gives to the text it
    replaces."""
    for identifier, issue in issues.items():
        texts = [known.get(identifier, {}).get(part, "") for part in ("why", "remedy")]
        words = {"seen", "expected"}.union(*(_placeholders(text) for text in texts))
        for part in ("why", "remedy"):
            try:
                strange = sorted(_placeholders(issue[part]) - words)
            except ValueError as error:
                raise CatalogError(
                    f"{path}.{identifier}.{part}: {error}. Write a brace twice where a brace is meant."
                ) from error
            if strange:
                raise CatalogError(
                    f"{path}.{identifier}.{part}: {{{strange[0]}}} is unknown; there are "
                    f"{', '.join(sorted(words))}."
                )


def _placeholders(text: str) -> set[str]:
    found = set()
    for _text, name, form, conversion in string.Formatter().parse(text):
        if form or conversion:
            raise ValueError(f"{{{name}}} must stand alone in its braces")
        if name is not None:
            found.add(name)
    return found


def _hold_to_schema(document: t.Any, schema: str, path: str) -> None:
    try:
        import jsonschema  # here, because most runs override nothing and it takes 60 ms to load
    except ImportError:
        message = (
            f"{path}: overrides are held to a schema, for which the controller needs the Python "
            f"package jsonschema."
        )
        raise CatalogError(message) from None
    formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
    validator = jsonschema.Draft202012Validator(read_schema(schema), format_checker=formats)
    try:
        error = min(
            validator.iter_errors(document),
            key=lambda found: [str(part) for part in found.absolute_path],
            default=None,
        )
    except (
        OverflowError,
        RecursionError,
    ) as overflow:  # a pattern that repeats a letter more often than Python counts
        raise CatalogError(
            f"{path}: a pattern in it cannot be used ({overflow}). Correct it in plan_catalog."
        ) from overflow
    if error is not None:
        place = ".".join((path, *(str(part) for part in error.absolute_path)))
        raise CatalogError(f"{place}: {error.message[:200]}. Correct it in plan_catalog.")


def version_key(version: str) -> list[int]:
    """Orders versions by number (``10.1`` after ``7.14``), taking the numbers in front of any other text as
    one list."""
    return [int(number) for number in re.findall(r"[0-9]{1,18}", re.split(r"[+~]", version, maxsplit=1)[0])]
