# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several models in one server: llama-server starts a process for each, and asks the one that a request
names.

The model of the instance is the first; ``models`` in its options has the others by the names that clients ask
for. As many as ``models-max`` are loaded at the start: all of them, unless the inventory says less. Then one
that is asked for takes the place of the one that was asked for the longest time ago.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import quote

from ... import model as models
from .beside import Llama, brought

NAME = re.compile(r"\w[\w.:-]{0,127}")
# What all processes would inherit, and what is of one model.
OF_ONE = ("mmproj", "spec-draft-model", "chat-template", "chat-template-file", "lora")


def take(instance: Llama, given: t.Any, options: dict[str, t.Any]) -> None:
    """Put the other models into the options, with what the router needs; findings where they cannot be."""
    if given in (None, {}):
        return
    findings, own = instance.host.findings, options["alias"]
    wrong = not isinstance(given, dict) or [
        name for name, value in given.items() if not NAME.fullmatch(name) or not isinstance(value, str)
    ]
    if wrong:
        seen, expected = f"models {given!r}"[:120], "the names that clients ask for, each with a model"
        findings.add(
            "llama.option", seen, expected, remedy=f"Correct models in the options of {instance.name}"
        )
        return
    if own in given or not NAME.fullmatch(own):
        remedy = f"Give {instance.name} a served_name of letters, digits and . _ : - that no other model has"
        findings.add("llama.option", f"models with {own}", "a name for each model", remedy=remedy)
        return
    for name in OF_ONE:
        if options.get(name) is not None:
            remedy = f"Remove {name} or models: serve {own} by an instance of its own"
            findings.add(
                "llama.option", f"{name} with several models", "options of all models", remedy=remedy
            )
    options["models"] = {name: brought(instance, "models", value) for name, value in given.items()}
    count = len(given) + 1
    options.setdefault("models-max", count)
    # Nobody waits for a model to be loaded where all are.
    options.setdefault("models-autoload", options["models-max"] < count)
    reason = f"{count} models, of which {min(options['models-max'], count)} are loaded at a time"
    instance.note("option", f"models={', '.join([own, *given])}", reason)


def preset(options: t.Mapping[str, t.Any], own: str) -> str:
    """The configuration file of the router: INI, one section a model."""
    known = {str(options["alias"]): own, **options["models"]}
    parts = ["version = 1"]
    for at, (name, path) in enumerate(known.items()):
        loaded = at < options["models-max"] or not options["models-max"]
        parts.append(f"[{name}]\nmodel = {path}\nload-on-startup = {str(loaded).lower()}")
    return "\n\n".join(parts) + "\n"


def metrics(options: t.Mapping[str, t.Any]) -> list[str]:
    """Where each model has its numbers; the router has none of all together. Asked without the last word it
    would load a model again."""
    names = [str(options["alias"]), *options["models"]]
    return [f"/metrics?model={quote(name, safe='')}&autoload=false" for name in names]


def check(instance: Llama, options: t.Mapping[str, t.Any]) -> None:
    """Hold the models to the host; what the run brings need not be there yet."""
    places = [source.path for source in models.sources(instance.host.wants) if source.fetched]
    for name, path in options.get("models", {}).items():
        known = models.on_host(instance.host, path).get("gguf")
        comes = not path.startswith("/") or any(f"{path}/".startswith(f"{each}/") for each in places)
        if not comes and (known is None or known["problem"]):
            seen = f"{path}, which {known['problem'] if known else 'is no GGUF file'}"
            remedy = f"Put the model {name} there, or correct models in the options of {instance.name}"
            instance.host.findings.add("llama.option", seen, "a whole model", remedy=remedy)
