# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model section of a plan: where each model comes from, and where it lies on the host."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from . import mirror
from .catalog import Catalog
from .engines import pins
from .facts import ModelPath
from .host import Host
from .wants import INVENTORY, ModelSource, Wants, WantsError

CLIENTS = "/opt/amdgpu-fleet"
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# One quantization of a GGUF repository, or one file of it.
GGUF_NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*):(?P<quantization>\w[\w.-]{0,127})")
REVISION = re.compile(r"[\w.][\w.-]{0,254}")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Paths that need no quotes or escapes in a unit and in a volume of Podman.
MODEL_PATH = re.compile(r"(?!.*/\.\.(/|$))/[\w./+@,=-]+")
NOTHING = t.cast(ModelPath, {})


class Wrong(t.NamedTuple):
    """What is in the way of a model."""

    seen: str
    expected: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Source:
    """One model that is wanted: where it comes from and where it lies."""

    model: str
    archive: str
    sha256: str
    revision: str
    manifest: str
    # path (somebody put it there), archive, hub, or unknown.
    kind: str
    path: str
    # Its name on the Hub, and which quantization of it.
    repository: str = ""
    quantization: str = ""

    @property
    def fetched(self) -> bool:
        """Whether it is this collection that brings it."""
        return self.kind in ("archive", "hub")

    @property
    def places(self) -> list[str]:
        """Where it lies, and where one that is fetched lies until it is whole."""
        return [self.path, *([f"{self.path}.partial"] if self.fetched else [])]


@dataclasses.dataclass(frozen=True)
class Fetch(Source):
    """A model that the role fetches or checks."""

    # Whether its weights have names and an index that it can be held to.
    weights: bool = True
    # safetensors or gguf.
    format: str = "safetensors"


@dataclasses.dataclass(frozen=True)
class ModelPlan:
    """What the role model applies. Where ``change`` is false it has nothing to do."""

    state: str
    fetch: list[Fetch] = dataclasses.field(default_factory=list)
    remove: list[str] = dataclasses.field(default_factory=list)
    change: bool = False
    endpoint: str = ""
    client: str = ""
    client_package: str = ""
    client_python: str = ""
    pip_arguments: str = ""


def sources(wants: Wants) -> list[Source]:
    """Every model that is wanted, once."""
    listed = {source.model: source for source in wants.model_sources}
    if len(listed) < len(wants.model_sources):
        raise WantsError("model_sources: a model stands there twice. Keep one of them.")
    names = dict.fromkeys([*listed, *(server.model for server in wants.serve_instances)])
    return [_source(wants, listed.get(name) or ModelSource(name)) for name in names]


def path_of(wants: Wants, model: str) -> str:
    """Where a model lies on the host, now or once it was fetched."""
    return next(source.path for source in sources(wants) if source.model == model)


def _source(wants: Wants, source: ModelSource) -> Source:
    name, archive, revision = source.model, source.archive, source.revision
    where = f"model_sources: {name}"
    if archive and (not SHA256.fullmatch(source.sha256) or not archive.startswith("/") or revision):
        raise WantsError(
            f"{where}: an archive is a path on the host and has a sha256 of 64 digits, and no revision. "
            "Correct it."
        )
    if revision and not REVISION.fullmatch(revision):
        raise WantsError(
            f"{where}: {revision!r} is not a branch, tag or commit. Correct it in the inventory."
        )
    if name.startswith("/"):
        if archive or revision:
            raise WantsError(
                f"{where}: a path is taken as it is. Give the model a name, such as Qwen/Qwen3-8B, to have "
                "it fetched."
            )
        return Source(**dataclasses.asdict(source), kind="path", path=name)
    one = GGUF_NAME.fullmatch(name)
    repository, quantization = (one["repository"], one["quantization"]) if one else (name, "")
    kind = "hub" if HUB_NAME.fullmatch(repository) else "unknown"
    if archive and NAME.fullmatch(repository):
        kind = "archive"
    # Another revision is another folder: the one that is served stays until the unit has changed.
    mark = source.sha256[:12] if archive else revision
    path = f"{wants.model_directory.rstrip('/')}/{repository}"
    # Units and volumes take no colon, and no name of a repository has a plus.
    path += f"+{quantization}" if quantization else ""
    path += f"@{mark}" if mark else ""
    return Source(
        **dataclasses.asdict(source), kind=kind, path=path, repository=repository, quantization=quantization
    )


def questions(wants: Wants, catalog: Catalog) -> list[str]:
    """The paths that the facts must look at."""
    paths = {path for source in sources(wants) for path in (*source.places, source.archive) if path}
    return sorted(
        paths.union(*(_staged(wants, needed) for needed in catalog.vllm["tokenizer_files"].values()))
    )


def _staged(wants: Wants, needed: t.Mapping[str, t.Any]) -> list[str]:
    folder = wants.model_tiktoken_directory.rstrip("/")
    return [f"{folder}/{name}" for name in needed["files"]] if folder else []


def on_host(host: Host, path: str) -> ModelPath:
    """The facts about a model path that was asked for, empty where there are none."""
    return host.system["paths"].get(path, NOTHING)


def folders(host: Host, path: str) -> list[str]:
    """The folder that a server is given for a model, and those in which other files of it lie."""
    facts = on_host(host, path)
    others = facts.get("elsewhere", [])
    # Links count from where the folder is.
    return [facts["place"], *others] if others else [path]


def tokenizer_files(host: Host, path: str) -> dict[str, t.Any] | None:
    """What the tokenizer of a model fetches by itself, as the catalog has it."""
    found = host.catalog.vllm["tokenizer_files"].get(on_host(host, path).get("model_type"))
    return t.cast("dict[str, t.Any] | None", found)


def client(catalog: Catalog) -> str:
    """The virtual environment of the Hub's client."""
    return f"{CLIENTS}/hub-{catalog.vllm['hub_client']['package'].rpartition('=')[2]}"


def hub(wants: Wants) -> str:
    """The address of the Hub; empty is the public one."""
    return wants.model_hub or wants.plan_mirror.hub


def section(host: Host, unchecked: t.Collection[str], formats: t.Mapping[str, str]) -> ModelPlan:
    """``unchecked``: models that an engine loads in a way that names and index say nothing about;
    ``formats``: what the engine of a served model loads."""
    wants = host.wants
    for name, path in (
        ("model_directory", wants.model_directory),
        ("model_tiktoken_directory", wants.model_tiktoken_directory or "/none"),
    ):
        if not MODEL_PATH.fullmatch(path):
            raise WantsError(
                f"{name}: {path!r} is not a path of letters, digits and . _ + @ , = -. Correct it."
            )
    wanted = sources(wants)
    if wants.model_state == "absent":
        places = [path for source in wanted if source.fetched for path in source.places]
        remove = [path for path in places if on_host(host, path).get("exists")]
        return ModelPlan(wants.model_state, remove=remove, change=bool(remove))
    if wants.serve_state == "absent":
        return ModelPlan(wants.model_state)
    if wants.serve_kind == "kubernetes" and wants.kubernetes_model_claim:
        return ModelPlan(wants.model_state)  # Models lie in a volume of the cluster.
    fetch = []
    for source in wanted:
        checked = source.model not in unchecked
        if _check(host, source, checked):
            form = _format(wants, source, formats)
            fetch.append(Fetch(**dataclasses.asdict(source), weights=checked, format=form))
        _check_staged(host, source)
    return ModelPlan(
        wants.model_state,
        fetch=fetch,
        change=bool(fetch),
        endpoint=hub(wants),
        client=client(host.catalog),
        client_package=host.catalog.vllm["hub_client"]["package"],
        client_python=wants.model_python,
        pip_arguments=mirror.pip_arguments(wants, wants.model_pip_arguments),
    )


def is_gguf(facts: ModelPath) -> bool:
    """Whether it is GGUF: many repositories of it have the config.json of the model that it was made of."""
    return bool(facts.get("gguf")) and not (facts.get("model") and facts.get("weights_bytes"))


def says_gguf(name: str) -> bool:
    """Whether the name of a model that is still to be fetched says that it is GGUF."""
    return "gguf" in name.lower() or bool(GGUF_NAME.fullmatch(name))


def _format(wants: Wants, source: Source, formats: t.Mapping[str, str]) -> str:
    said = "gguf" if says_gguf(source.model) or source.archive and "gguf" in source.archive else "safetensors"
    return formats.get(source.model, said)


def _check_staged(host: Host, source: Source) -> None:
    needed = tokenizer_files(host, source.path) or {"files": []}
    absent = [path for path in _staged(host.wants, needed) if not on_host(host, path).get("exists")]
    if absent:
        remedy = "Put the files there, or correct model_tiktoken_directory"
        seen = f"{', '.join(absent)}, which do not exist"
        host.findings.add("serve.model", seen, "the files of the tokenizer", remedy=remedy)


def _check(host: Host, source: Source, checked: bool) -> bool:
    """Hold one model to the host, and say whether the role must fetch or check it."""
    name, path = source.model, source.path
    facts = on_host(host, path)
    gguf = facts.get("gguf") if is_gguf(facts) else None
    whole = bool(facts.get("model")) and not (facts.get("missing") and checked)
    whole = not gguf["problem"] if gguf else whole
    odd = next((place for place in folders(host, path) if not MODEL_PATH.fullmatch(place)), None)
    if odd is not None:
        wrong = Wrong(
            repr(odd),
            "a path that a unit can hold as it is",
            f"Give model {name!r} a path of letters, digits and . _ + @ , = - only, for example by a bind "
            "mount",
        )
    elif source.kind == "unknown":
        wrong = Wrong(
            name,
            "a folder of the host or a name on the Hub",
            f"Set model {name!r} to an absolute path or to a name such as Qwen/Qwen3-8B, or give it an "
            "archive in model_sources",
        )
    elif source.kind == "path" and not whole:
        seen = "which does not exist"
        if facts.get("exists"):
            seen = f"which lacks {facts['missing']}" if facts.get("model") else "which has no config.json"
            seen = f"which {gguf['problem']}" if gguf else seen
        remedy = f"Put the model there, or correct model {name}"
        wrong = Wrong(f"{path}, {seen}", "a whole model: a folder with a config.json, or a GGUF file", remedy)
    elif source.kind == "archive" and not whole and not on_host(host, source.archive).get("exists"):
        remedy = f"Put the archive of {name} there, or correct archive in model_sources"
        wrong = Wrong(f"{source.archive}, which does not exist", "an archive of the model", remedy)
    else:
        if source.fetched:
            origin = source.archive or f"{hub(host.wants) or 'the Hub'}, revision {source.revision or 'main'}"
            host.note("model", name, path, f"from {origin}", INVENTORY)
            if source.kind == "hub":
                pins.check_model(host, name, source.revision)
        return not whole or bool(source.manifest and facts.get("checked_by") != source.manifest)
    host.findings.add("serve.model", wrong.seen, wrong.expected, remedy=wrong.remedy)
    return False
