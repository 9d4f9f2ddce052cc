# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model section of a plan: where each model comes from, and where it lies on the host."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import mirror
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY, WantsError

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

CLIENTS = "/opt/amdgpu-fleet"
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
REVISION = re.compile(r"[\w.-]+")
SHA256 = re.compile(r"[0-9a-f]{64}")
# What stands in a unit and in a volume of Podman without quotes or escapes.
MODEL_PATH = re.compile(r"(?!.*/\.\.(/|$))/[\w./+@,=-]+")


def sources(wants: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Every model that is wanted, once, with its ``path`` and its ``kind``: path, archive, hub, or
    unknown."""
    given = {source["model"]: source for source in wants["model_sources"]}
    if len(given) < len(wants["model_sources"]):
        raise WantsError("model_sources: a model stands there twice. Keep one of them.")
    names = [*given, *(instance["model"] for instance in wants["serve_instances"])]
    nothing = {"archive": "", "sha256": "", "revision": "", "manifest": ""}
    return [
        _source(wants, {"model": name, **nothing, **given.get(name, {})}) for name in dict.fromkeys(names)
    ]


def _source(wants: dict[str, t.Any], source: dict[str, t.Any]) -> dict[str, t.Any]:
    name, archive, revision = source["model"], source["archive"], source["revision"]
    where = f"model_sources: {name}"
    if archive and (not SHA256.fullmatch(source["sha256"]) or not archive.startswith("/") or revision):
        raise WantsError(
            f"{where}: an archive is a path on the host and has a sha256 of 64 digits, and no revision. "
            f"Correct it."
        )
    if revision and not REVISION.fullmatch(revision):
        raise WantsError(
            f"{where}: {revision!r} is not a branch, tag or commit. Correct it in the inventory."
        )
    if name.startswith("/"):
        if archive or revision:
            raise WantsError(
                f"{where}: a path is taken as it is. Give the model a name, such as Qwen/Qwen3-8B, to have "
                f"it fetched."
            )
        return {**source, "kind": "path", "path": name}
    kind = "archive" if archive and NAME.fullmatch(name) else "hub" if HUB_NAME.fullmatch(name) else "unknown"
    # Another revision is another folder: the one that is served stays until the unit has changed.
    mark = source["sha256"][:12] if archive else revision
    return {
        **source,
        "kind": kind,
        "path": f"{wants['model_directory'].rstrip('/')}/{name}{f'@{mark}' if mark else ''}",
    }


def place(wants: dict[str, t.Any]) -> None:
    """Give each instance the ``path`` where its model lies on the host, now or once it was fetched."""
    paths = {source["model"]: source["path"] for source in sources(wants)}
    for instance in wants["serve_instances"]:
        instance["path"] = paths[instance["model"]]


def questions(wants: dict[str, t.Any], catalog: Catalog) -> list[str]:
    """The paths that ``rocm_facts`` must look at."""
    paths = {path for source in sources(wants) for path in (*_places(source), source["archive"]) if path}
    return sorted(
        paths.union(*(_staged(wants, needed) for needed in catalog.vllm["tokenizer_files"].values()))
    )


def _places(source: dict[str, t.Any]) -> list[str]:
    """Where a model lies, and where one that is fetched lies until it is whole."""
    return [source["path"], *([f"{source['path']}.partial"] if source["kind"] in ("archive", "hub") else [])]


def _staged(wants: dict[str, t.Any], needed: dict[str, t.Any]) -> list[str]:
    folder = wants["model_tiktoken_directory"].rstrip("/")
    return [f"{folder}/{name}" for name in needed["files"]] if folder else []


def folders(host: Host, path: str) -> list[str]:
    """The folder that a server is given for a model, and those in which other files of it lie."""
    there = host.rocm["paths"].get(path, {})
    others = there.get("elsewhere", [])
    # Links count from where the folder is.
    return [there["place"], *others] if others else [path]


def tokenizer_files(host: Host, path: str) -> dict[str, t.Any] | None:
    """What the tokenizer of a model fetches by itself, as the catalog has it."""
    return host.catalog.vllm["tokenizer_files"].get(host.rocm["paths"].get(path, {}).get("model_type"))


def client(catalog: Catalog) -> str:
    """The virtual environment of the Hub's client."""
    return f"{CLIENTS}/hub-{catalog.vllm['hub_client']['package'].rpartition('=')[2]}"


def hub(wants: dict[str, t.Any]) -> str:
    """The address of the Hub; empty is the public one."""
    return wants["model_hub"] or wants["plan_mirror"]["hub"]


def section(host: Host) -> dict[str, t.Any]:
    """The section ``model`` of the plan. Where ``change`` is false the role has nothing to do."""
    wants = host.wants
    found = {"state": wants["model_state"], "fetch": [], "remove": [], "change": False}
    if not MODEL_PATH.fullmatch(wants["model_directory"]):
        raise WantsError(
            f"model_directory: {wants['model_directory']!r} is not a path of letters, digits and . _ + @ , = "
            f"-. Correct it."
        )
    staged = wants["model_tiktoken_directory"]
    if staged and not MODEL_PATH.fullmatch(staged):
        raise WantsError(
            f"model_tiktoken_directory: {staged!r} is not a path of letters, digits and . _ + @ , = -. "
            f"Correct it."
        )
    wanted = sources(wants)
    if wants["model_state"] == "absent":
        places = [
            path for source in wanted if source["kind"] in ("archive", "hub") for path in _places(source)
        ]
        found["remove"] = [path for path in places if host.rocm["paths"].get(path, {}).get("exists")]
        return {**found, "change": bool(found["remove"])}
    if wants["serve_state"] == "absent":
        return found
    for source in wanted:
        if _check(host, source):
            found["fetch"].append({**source, "weights": not _other_format(host, source["model"])})
        needed = tokenizer_files(host, source["path"])
        absent = [
            path
            for path in _staged(wants, needed or {"files": []})
            if not host.rocm["paths"].get(path, {}).get("exists")
        ]
        if absent:
            remedy = "Put the files there, or correct model_tiktoken_directory"
            host.findings.add(
                "serve.model",
                f"{', '.join(absent)}, which do not exist",
                "the files of the tokenizer",
                remedy=remedy,
            )
    return {
        **found,
        "change": bool(found["fetch"]),
        "endpoint": hub(wants),
        "client": client(host.catalog),
        "client_package": host.catalog.vllm["hub_client"]["package"],
        "client_python": wants["model_python"],
        "pip_arguments": mirror.pip_arguments(wants, wants["model_pip_arguments"]),
    }


def _check(host: Host, source: dict[str, t.Any]) -> bool:
    """Hold one model to what there is; whether the role must fetch or check it."""
    name, path = source["model"], source["path"]
    there = host.rocm["paths"].get(path, {})
    whole = there.get("model") and not (there.get("missing") and not _other_format(host, name))
    odd = next((place for place in folders(host, path) if not MODEL_PATH.fullmatch(place)), None)
    if odd is not None:
        remedy = f"Give model {name!r} a path of letters, digits and . _ + @ , = - only, for example by a bind mount"
        host.findings.add("serve.model", repr(odd), "a path that a unit can hold as it is", remedy=remedy)
    elif source["kind"] == "unknown":
        remedy = f"Set model {name!r} to an absolute path or to a name such as Qwen/Qwen3-8B, or give it an archive in model_sources"
        host.findings.add("serve.model", name, "a folder of the host or a name on the Hub", remedy=remedy)
    elif source["kind"] == "path" and not whole:
        seen = "which does not exist"
        if there.get("exists"):
            seen = f"which lacks {there['missing']}" if there.get("model") else "which has no config.json"
        remedy = f"Put the model there, or correct model {name}"
        host.findings.add(
            "serve.model", f"{path}, {seen}", "a folder with a config.json and all weights", remedy=remedy
        )
    elif (
        source["kind"] == "archive"
        and not whole
        and not host.rocm["paths"].get(source["archive"], {}).get("exists")
    ):
        remedy = f"Put the archive of {name} there, or correct archive in model_sources"
        host.findings.add(
            "serve.model",
            f"{source['archive']}, which does not exist",
            "an archive of the model",
            remedy=remedy,
        )
    else:
        if source["kind"] != "path":
            origin = (
                source["archive"]
                or f"{hub(host.wants) or 'the Hub'}, revision {source['revision'] or 'main'}"
            )
            host.note("model", name, path, f"from {origin}", INVENTORY)
        return not whole or bool(source["manifest"] and there.get("checked_by") != source["manifest"])
    return False


def _other_format(host: Host, model: str) -> bool:
    """Whether an instance loads the weights in a way that names and index say nothing about."""
    options = [
        instance["options"] for instance in host.wants["serve_instances"] if instance["model"] == model
    ]
    return any(
        {**host.wants["vllm_options"], **own}.get("load-format", "auto") not in ("auto", "safetensors", "pt")
        for own in options
    )
