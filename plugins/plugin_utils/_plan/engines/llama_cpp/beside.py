# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is loaded beside a model: the projector for images, a model that drafts, and other files that options
name. The role model brings what model_sources has; a server itself downloads nothing."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ... import model as models
from ...facts import Gguf
from ...host import Host
from ..protocol import Instance
from . import fit
from .builds import LlamaBuild

Llama = Instance[LlamaBuild]
DRAFTED = 3


def projector(known: Gguf | None, options: dict[str, t.Any]) -> None:
    """What lies in the folder of the model belongs to it."""
    if known and known["projector"]:
        options["mmproj"] = known["projector"]


def resolve(instance: Llama, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options with files of the host for the models that they name."""
    found = dict(options)
    for name in instance.host.catalog.llama_cpp["paths"]:
        if isinstance(found.get(name), str):
            found[name] = brought(instance, name, found[name])
    if found.get("spec-draft-model") and "spec-type" not in found:
        kind = _type_of(found["spec-draft-model"], _known(instance.host, found["spec-draft-model"]))
        if kind:
            found["spec-type"] = kind
            instance.note(
                "option", f"spec-type={kind}", "what the draft is; without it, it would not be asked"
            )
    if found.get("spec-draft-model") and instance.build.gpu:
        found.setdefault("spec-draft-ngl", "all")
    return found


def _type_of(path: str, draft: Gguf | None) -> str:
    """Of a draft without a type llama-server loads the weights and never asks it, unless it sees in the file
    what it is (common/speculative.cpp of 0.5.0); empty where it does."""
    architecture = draft["architecture"] if draft else None
    if architecture == "dflash" or re.search(r"(^|[-_.])mtp[-_.]", posixpath.basename(path).lower()):
        return ""
    return "draft-eagle3" if architecture == "eagle3" else "draft-simple"


def files(catalog_paths: t.Sequence[str], named: t.Mapping[str, t.Any]) -> list[str]:
    """Files of the host that options name: a projector, a draft, a template."""
    values = [named.get(name) for name in catalog_paths]
    return list(dict.fromkeys(str(value) for value in values if str(value or "").startswith("/")))


def mount(instance: Llama, path: str) -> str:
    """The file, or its folder where it is one of several parts."""
    known = _known(instance.host, path)
    return posixpath.dirname(path) if known and known["files"] > 1 else path


def check(instance: Llama, options: t.Mapping[str, t.Any]) -> None:
    """Hold the files to the host; what the run brings need not be there yet."""
    host = instance.host
    brought = [source.path for source in models.sources(host.wants) if source.fetched]
    for name in host.catalog.llama_cpp["paths"]:
        path = str(options.get(name) or "")
        if not path.startswith("/") or any(f"{path}/".startswith(f"{each}/") for each in brought):
            continue
        facts = models.on_host(host, path)
        known = facts.get("gguf")
        # A projector is no model alone, and that is right.
        wrong = known["problem"] if known and not known["weights_bytes"] else None
        if not facts.get("exists") or wrong:
            remedy = f"Put the file there, or correct {name} in the options of {instance.name}"
            seen = f"{path}, which {wrong}" if wrong else path
            host.findings.add("llama.option", seen, "a file of the host", remedy=remedy)


def beside(instance: Llama, options: t.Mapping[str, t.Any]) -> fit.Beside:
    """What it adds to the memory."""
    on_host, projected = not instance.build.gpu, 0
    if options.get("mmproj") and (on_host or options.get("mmproj-offload", True)):
        known, own = _known(instance.host, options["mmproj"]), _own(instance)
        if own and own["projector"] == options["mmproj"]:
            projected = own["projector_bytes"]
        elif known:
            projected = known["weights_bytes"]
    draft = _known(instance.host, options.get("spec-draft-model") or "")
    drafted = options.get("spec-draft-n-max", DRAFTED)
    others = [_known(instance.host, path) for path in options.get("models", {}).values()]
    loaded = sorted((each for each in others if each), key=lambda each: -each["total_bytes"])
    most = options.get("models-max") or len(loaded) + 1
    return fit.Beside(
        projector=projected,
        others=tuple(loaded[: most - 1]),
        draft=draft if draft and not draft["problem"] else None,
        draft_key_type=str(options.get("spec-draft-type-k", "f16")),
        draft_value_type=str(options.get("spec-draft-type-v", "f16")),
        drafted=drafted if "draft" in str(options.get("spec-type", "")) and isinstance(drafted, int) else 0,
        on_host=on_host,
        cache_on_host=options.get("kv-offload") is False and not on_host,
    )


def _own(instance: Llama) -> Gguf | None:
    return models.on_host(instance.host, instance.path).get("gguf")


def _known(host: Host, path: str) -> Gguf | None:
    """What the host says of a file; of the folder that it was brought to, where it is one of a model."""
    found = models.on_host(host, path).get("gguf")
    if found is None:
        inside = (models.on_host(host, each.path).get("gguf") for each in models.sources(host.wants))
        found = next((each for each in inside if each and each["file"] == path), None)
    return found


def brought(instance: Llama, option: str, value: str) -> str:
    """The file of a model of model_sources, or the one in a folder; any other text as it is."""
    host, place = instance.host, value
    if not value.startswith("/"):
        if not (models.HUB_NAME.fullmatch(value) or models.GGUF_NAME.fullmatch(value)):
            return value
        source = next((each for each in models.sources(host.wants) if each.model == value), None)
        if source is None:
            seen, expected = (
                f"{value} in {option}, which nothing brings",
                "a file, or a model of model_sources",
            )
            remedy = f"Add {value} to model_sources: a server downloads nothing by itself"
            host.findings.add("llama.option", seen, expected, remedy=remedy)
            return value
        place = source.path
        instance.note("model", f"{option}: {place}", f"where {value} is brought to", "model_sources")
    known = models.on_host(host, place).get("gguf")
    return (known["file"] if known else None) or place
