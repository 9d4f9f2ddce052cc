# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release of vLLM knows by name: options, variables, parsers, quantization, attention backends.

The catalog has the history from vLLM's source distributions (``make catalog-refresh``). What left vLLM
before the
oldest of them stands in the hand-written part, with its replacement.
"""

from __future__ import annotations

import difflib
import operator
import re
import typing as t

from ...catalog import Catalog, version_key

Span = t.Tuple[t.Optional[str], t.Optional[str]]
INTEGER = re.compile(r"-?[0-9]{1,18}")
# What some options take besides: 25.6k are 25,600 and 32K are 32,768; a fraction goes with small letters
# alone.
READABLE = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?[kmgt]|[0-9]{1,15}[KMGT]")


# Of a number that has bounds.
BOUNDS: dict[str, t.Callable[[float, float], bool]] = {
    "lowest": operator.ge,
    "above": operator.gt,
    "highest": operator.le,
    "below": operator.lt,
}
WORDS = {"lowest": "of at least", "above": "above", "highest": "of at most", "below": "below"}


def within(span: Span, release: str) -> bool:
    """Whether a release lies between the first and the last that have a name."""
    first, last = span
    key = version_key(release)
    return not (first and key < version_key(str(first))) and not (last and key > version_key(str(last)))


def _entry(section: dict[str, t.Any], name: str | None) -> dict[str, t.Any]:
    return section.get(name) or {} if name else {}


def _span(entry: dict[str, t.Any]) -> Span | None:
    return (entry.get("first"), entry.get("last")) if entry else None


def _has(entry: dict[str, t.Any], release: str) -> bool:
    span = _span(entry)
    return span is not None and within(span, release) and release not in entry.get("gaps", [])


def option(catalog: Catalog, name: str) -> dict[str, t.Any]:
    """The entry of an option. A negation (``no-NAME``) without an entry of its own has that of ``NAME``."""
    known = catalog.vllm["known_options"]
    return _entry(known, name) or _entry(known, name[3:] if name.startswith("no-") else None)


def option_span(catalog: Catalog, name: str) -> Span | None:
    """The first and the last release that know an option; ``None`` where no release does."""
    old = catalog.vllm["options"]
    gone = _entry(old, name) or _entry(old, name[3:] if name.startswith("no-") else None)
    return _span(option(catalog, name)) or _span(gone)


def option_known(catalog: Catalog, name: str, release: str) -> bool:
    """Whether a release takes an option."""
    entry = option(catalog, name)
    if entry:
        return _has(entry, release)
    span = option_span(catalog, name)
    return span is not None and within(span, release)


def nearest_option(catalog: Catalog, name: str, release: str) -> str | None:
    """The option that a misspelt one is most likely to be."""
    known = [other for other, entry in catalog.vllm["known_options"].items() if _has(entry, release)]
    return next(iter(difflib.get_close_matches(name, known, 1, 0.7)), None)


def number(catalog: Catalog, name: str, value: t.Any) -> t.Any:
    """The value of an option, a whole number too where it is one as text."""
    whole = isinstance(value, str) and option(catalog, name).get("type") == "int" and INTEGER.fullmatch(value)
    return int(value) if whole else value


def option_refuses(catalog: Catalog, name: str, value: t.Any, release: str) -> str | None:
    """What an option takes, where it does not take a value; ``None`` where it may."""
    if value is None:
        return None  # as if it were not there
    entry, text = option(catalog, name), str(value)
    kind, looked_up = entry.get("type"), catalog.vllm["values"]["names"].get(name)
    if kind == "choice" or looked_up:
        spans = {word: (span.get("first"), span.get("last")) for word, span in (looked_up or {}).items()}
        taken = [str(word) for word, span in (spans or entry["choices"]).items() if within(span, release)]
        return None if text in taken else f"one of {', '.join(taken)}"
    if kind in ("bool", "switch", "negation"):
        return None if isinstance(value, bool) else "true or false"
    refused = None
    if kind == "int":
        refused = _integer_refuses(catalog, name, text) if not isinstance(value, bool) else "a whole number"
    elif kind == "float":
        refused = None if _is_number(value) else "a number"
    return refused or _range_refuses(catalog, name, value)


def keys(catalog: Catalog, name: str, release: str) -> list[str]:
    """The keys that a release takes in an option; empty where nothing is known of them."""
    spans = catalog.vllm["values"]["keys"].get(name, {})
    return [key for key, span in spans.items() if within((span.get("first"), span.get("last")), release)]


def _range_refuses(catalog: Catalog, name: str, value: t.Any) -> str | None:
    bounds = catalog.vllm["values"]["ranges"].get(name, {})
    if not _is_number(value) or all(BOUNDS[key](float(value), bound) for key, bound in bounds.items()):
        return None
    return f"a number {' and '.join(f'{WORDS[key]} {bound}' for key, bound in bounds.items())}"


def _integer_refuses(catalog: Catalog, name: str, text: str) -> str | None:
    rules = catalog.vllm["config_file"]["readable"]
    if INTEGER.fullmatch(text) or (name in rules["auto"] and text.lower() == "auto"):
        return None
    if name not in rules["names"]:
        return "a whole number"
    expected = "a whole number, or one like 25.6k (thousands) or 32K (times 1024)"
    return None if READABLE.fullmatch(text) else expected


def _is_number(value: t.Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def variable(catalog: Catalog, name: str) -> dict[str, t.Any]:
    """What is known of a variable: type and releases as computed, the rest as written by hand."""
    return {**_entry(catalog.vllm["environment"], name), **_entry(catalog.vllm["known_environment"], name)}


def variable_span(catalog: Catalog, name: str) -> Span | None:
    """The first and the last release that read a variable of vLLM's table; ``None`` where none does.

    What every release read so far has is older than the oldest of them: then the hand-written part may know
    its first.
    """
    entry, written = variable(catalog, name), _entry(catalog.vllm["environment"], name)
    if not entry:
        return None
    return entry.get("first") or written.get("first"), entry.get("last")


def variable_known(catalog: Catalog, name: str, release: str) -> bool:
    span = variable_span(catalog, name)
    return span is not None and within(span, release)


def variable_refuses(catalog: Catalog, name: str, value: str, release: str) -> str | None:
    """What a variable takes, where it does not take a value; ``None`` where it may."""
    entry = variable(catalog, name)
    kind, choices = entry.get("type"), entry.get("choices")
    if choices:
        spans = (
            choices.items() if isinstance(choices, dict) else [(choice, (None, None)) for choice in choices]
        )
        taken = [str(choice) for choice, span in spans if within(span, release)]
        fold = str.lower if entry.get("any_case") else str
        given = value.split(",") if kind == "list" else [value]
        fits = {fold(part.strip()) for part in given} <= {fold(choice) for choice in taken}
        return None if fits else ", ".join(taken)
    if kind == "bool":
        return None if value.lower() in ("", "0", "1", "true", "false") else "0, 1, true or false"
    if kind in ("int-bool", "one"):
        return None if value in ("0", "1") else "0 or 1"
    if kind == "int":
        return None if re.fullmatch(r"-?[0-9]{1,18}", value) else "a number"
    if kind == "float":
        return None if _is_number(value) else "a number"
    return None


def parsers(catalog: Catalog, kind: str, release: str) -> list[str]:
    """The names of parsers of a release; ``kind`` is ``tool`` or ``reasoning``."""
    return [name for name, entry in catalog.vllm["parsers"][kind].items() if _has(entry, release)]


def parser_known(catalog: Catalog, kind: str, name: str, release: str) -> bool:
    return _has(_entry(catalog.vllm["parsers"][kind], name), release)


def quantization_span(catalog: Catalog, method: str) -> Span | None:
    """The first and the last release that load a method on ROCm."""
    removed = _entry(catalog.vllm["quantization"]["removed"], method)
    computed = _span(_entry(catalog.vllm["quantization_history"], method))
    return computed or ((None, removed["last"]) if removed else None)


def quantizations(catalog: Catalog, release: str) -> list[str]:
    """The methods that a release loads on ROCm; empty where it is older than what was read."""
    if version_key(release) < version_key(catalog.vllm["releases_read"][0]):
        return []
    return [name for name, entry in catalog.vllm["quantization_history"].items() if _has(entry, release)]


def quantization_known(catalog: Catalog, method: str, release: str) -> bool:
    span = quantization_span(catalog, method)
    return span is not None and within(span, release)


def backend_known(catalog: Catalog, name: str, release: str) -> bool:
    """Whether a release has an attention backend of this name."""
    return _has(_entry(catalog.vllm["attention_history"], name), release)
