# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image to build: a recipe of the catalog, resolved for a set of GPUs, as the template of its
Containerfile reads it. Nothing here looks at a host."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from .catalog import Catalog
from .mirror import address_below, image_from

LABEL = "io.amdgpu-fleet.build"
GFX = re.compile(r"gfx[0-9a-f]{3,4}")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]*[a-z0-9]")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Where the build sees folders of wheels, and the wheel with the kernels.
LINKS, KERNELS = "/run/amdgpu-fleet-links", "/run/amdgpu-fleet-kernels"
Entry = t.Dict[str, t.Any]


class BuildError(ValueError):
    """A recipe that does not exist, or values that it cannot be built with. The message says what can."""


@dataclasses.dataclass(frozen=True)
class Base:
    """The image that the build begins from."""

    image: str
    # As the catalog or the inventory names it, with its digest where one is known.
    name: str
    # Where it is fetched from: the name, or the same in the mirror's registry.
    pull: str
    manager: str
    python: str
    system_python: bool
    build: list[str]
    run: list[str]
    tcmalloc: str


@dataclasses.dataclass(frozen=True)
class Build:
    """All that the template of a Containerfile needs, and what the module image_build is given."""

    recipe: str
    variant: str
    engine: str
    title: str
    template: str
    gfx: list[str]
    base: Base
    source: Entry
    parts: dict[str, Entry]
    wheel_mounts: list[str]
    tools: list[str]
    sdk: Entry
    device: str
    compiles: bool
    kernels: str
    kernels_wheel: dict[str, str]
    torch: str
    backend: str
    environment: dict[str, str]
    tcmalloc: str
    image: str
    labels: dict[str, str]
    # Of the host, read-only.
    mounts: list[dict[str, str]]
    # What a step reads from its environment, and what is no input of the image.
    exports: dict[str, str]
    # GiB that one job of a step takes.
    steps: dict[str, float]
    reserve_gib: float
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Request:
    """The variables of the role that say what is built."""

    recipe: str
    variant: str = ""
    gfx: t.Sequence[str] = ()
    # What the fleet has, for where nobody names any.
    fleet_gfx: t.Sequence[str] = ()
    base: str = ""
    base_digest: str = ""
    name: str = ""
    tcmalloc: bool = False
    environment: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    kernels_wheel: str = ""
    kernels_wheel_sha256: str = ""
    find_links: t.Sequence[str] = ()
    no_index: bool = False
    mirror: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def plan(request: Request, catalog: Catalog) -> Build:
    """The build, or a BuildError in one sentence."""
    builds: Entry = catalog.builds
    recipe = _recipe(request, builds)
    gfx = _gfx(request, recipe)
    parts, notes = _parts(recipe, builds, gfx)
    base = _base(request, recipe, builds)
    source = _named(builds, recipe["source"], "") if "source" in recipe else {}
    wheel = _kernels_wheel(request, recipe)
    version = source.get("release") or source.get("version") or recipe.get("version", "")
    title = (
        f"{request.recipe}{f' ({request.variant})' if request.variant else ''}, {', '.join(gfx) or 'no GPU'}"
    )
    environment = {**recipe.get("environment", {}), **request.environment}
    for name in environment:
        if not VARIABLE.fullmatch(name):
            raise BuildError(f"build_environment: {name!r} is no name of a variable")
    memory = builds["memory"]
    return Build(
        recipe=request.recipe,
        variant=request.variant,
        engine=recipe["engine"],
        title=title,
        template=recipe["template"],
        gfx=gfx,
        base=base,
        source=source,
        parts=parts,
        wheel_mounts=[
            f"type=bind,from={name},source=/wheels,target=/wheels/{name}" for name in (*parts, "vllm")
        ],
        tools=builds["tools"],
        sdk=builds["sdk"],
        device=recipe.get("device", ""),
        compiles=recipe.get("device") != "empty",
        kernels=recipe.get("kernels", "source"),
        kernels_wheel=wheel,
        torch=recipe.get("torch", ""),
        backend=recipe.get("backend", ""),
        environment={name: _quoted(name, value) for name, value in environment.items()},
        tcmalloc=base.tcmalloc if request.tcmalloc else "",
        image=request.name or _image(request, gfx, str(version)),
        labels=_labels(request, builds, base, {recipe["engine"]: source, **parts}, gfx),
        mounts=_mounts(request, wheel),
        exports=_exports(request, builds, recipe.get("torch_index", "")),
        steps={
            step: float(memory["steps"][part.get("step", step)]["gib"])
            for step, part in {recipe["engine"]: source, **parts}.items()
        },
        reserve_gib=float(memory["reserve_gib"]),
        notes=[*notes, *([recipe["note"]] if recipe.get("note") else [])],
    )


def _recipe(request: Request, builds: Entry) -> Entry:
    """The recipe of that name with its variant merged over it."""
    old = builds["replaced"].get(request.recipe)
    if old:
        raise BuildError(
            f"build_recipe: {request.recipe} ({old['was']}) is not built any more: {old['why']} "
            f"Take {old['by']}"
        )
    if request.recipe not in builds["recipes"]:
        raise BuildError(
            f"build_recipe: there is no recipe {request.recipe!r}. Recipes are {', '.join(builds['recipes'])}"
        )
    recipe: Entry = builds["recipes"][request.recipe]
    variants: Entry = recipe.get("variants", {})
    if not request.variant:
        return recipe
    if request.variant not in variants:
        known = f"It has {', '.join(variants)}" if variants else "It has none"
        raise BuildError(f"build_variant: {request.recipe} has no variant {request.variant!r}. {known}")
    return {**recipe, **variants[request.variant]}


def _gfx(request: Request, recipe: Entry) -> list[str]:
    known: list[str] = recipe["gfx"]
    wanted = list(dict.fromkeys(request.gfx))
    if not known:
        return []
    chosen = [gfx for gfx in known if gfx in (wanted or request.fleet_gfx)]
    if not wanted and not request.fleet_gfx:
        chosen = list(recipe["default_gfx"])
    strange = [gfx for gfx in wanted if gfx not in known]
    if strange:
        # vLLM's build drops such a name without a word.
        raise BuildError(
            f"build_gfx: {request.recipe} builds no code for {', '.join(strange)}. "
            f"It does for {', '.join(known)}"
        )
    if not chosen:
        seen = f"; the fleet has {', '.join(map(str, request.fleet_gfx))}" if request.fleet_gfx else ""
        raise BuildError(
            f"build_gfx: {request.recipe} is to be told the GPUs{seen}. It knows {', '.join(known)}"
        )
    return chosen


def _parts(recipe: Entry, builds: Entry, gfx: list[str]) -> tuple[dict[str, Entry], list[str]]:
    """What is compiled besides the engine, each for those of the GPUs that it has code for."""
    parts, notes = {}, []
    for name in recipe.get("parts", []):
        part = _named(builds, name, name)
        known = [each for each in gfx if each in part.get("gfx", gfx)]
        without = [each for each in gfx if each not in known]
        if without and part.get("wanted_by_name"):
            raise BuildError(
                f"build_gfx: {name} has no code for {', '.join(without)}, only for {', '.join(part['gfx'])}"
            )
        if without:
            notes.append(f"{name} has no code for {', '.join(without)}.")
        if known:
            parts[name] = {**part, "gfx": known}
    notes += [f"{each}: {text}." for each, text in recipe.get("warnings", {}).items() if each in gfx]
    return parts, notes


def _named(builds: Entry, key: str, name: str) -> Entry:
    source: Entry = builds["sources"][key]
    numbered = re.fullmatch(r"b(\d+)", source.get("commit", ""))
    return {
        **source,
        "name": name or key.partition("-")[0],
        "folder": source.get("folder", ""),
        "patches": source.get("patches", []),
        "number": numbered[1] if numbered else "0",
    }


def _base(request: Request, recipe: Entry, builds: Entry) -> Base:
    """A base by the name that the recipe knows, or any image that looks like the recipe's first one."""
    names: list[str] = recipe.get("bases", [])
    own: Entry = recipe["base"] if "base" in recipe else builds["bases"][names[0]]
    image, digest = own["image"], own["digest"]
    if request.base in names:
        own = builds["bases"][request.base]
        image, digest = own["image"], own["digest"]
    elif request.base:
        if not IMAGE.fullmatch(request.base) or "/" not in request.base:
            known = f"is none of {', '.join(names)} and " if names else ""
            raise BuildError(
                f"build_base: {request.base!r} {known}no image with its registry, as in "
                f"docker.io/library/debian:13"
            )
        image, digest = request.base, None
    digest = request.base_digest or digest
    if digest and not DIGEST.fullmatch(digest):
        raise BuildError(f"build_base_digest: {digest!r} is not sha256: and 64 digits")
    name = f"{image.partition('@')[0]}@{digest}" if digest else image
    more: Entry = recipe.get("packages", {})
    needs_rocm = bool(recipe["gfx"])
    run = [*own["run"], *more.get("run", [])]
    if recipe["engine"] == "vllm" or needs_rocm:
        run += own.get("python_run", [])
    if needs_rocm:
        run += own.get("rocm_run", [])
    preload: Entry = own.get("tcmalloc", {})
    if request.tcmalloc:
        if not preload:
            raise BuildError(
                f"build_tcmalloc: what TCMalloc is called on the base of {request.recipe} is not known"
            )
        run.append(preload["package"])
    return Base(
        # A name of this build's own: it means the same image whether that came from a mirror or not.
        image=f"localhost/amdgpu-fleet/base:{hashlib.sha256(name.encode()).hexdigest()[:16]}",
        name=name,
        pull=name if name.startswith("localhost/") else image_from(request.mirror.get("registry", ""), name),
        manager=own["manager"],
        python=own["python"],
        system_python=own.get("system_python", False),
        build=[*own["build"], *more.get("build", [])],
        run=run,
        tcmalloc=preload.get("path", ""),
    )


def _kernels_wheel(request: Request, recipe: Entry) -> dict[str, str]:
    if recipe.get("kernels") != "wheel":
        return {}
    if not request.kernels_wheel:
        raise BuildError(
            f"build_kernels_wheel: the variant {request.variant} of {request.recipe} needs the wheel with "
            f"the kernels, a file on the build host"
        )
    name = request.kernels_wheel.rpartition("/")[2]
    version = re.match(r"vllm(?:_cpu)?-([0-9.]+)(?:[+-])", name)
    wanted = recipe["source"].partition("-")[2]
    if not name.endswith(".whl") or not version or version[1] != wanted:
        raise BuildError(f"build_kernels_wheel: {name} is no wheel of vLLM {wanted}, which the source is")
    return {"path": request.kernels_wheel, "name": name, "sha256": request.kernels_wheel_sha256}


def _mounts(request: Request, wheel: t.Mapping[str, str]) -> list[dict[str, str]]:
    mounts = [
        {"source": path, "target": f"{LINKS}/{number}"} for number, path in enumerate(request.find_links)
    ]
    if wheel:
        mounts.append({"source": wheel["path"], "target": f"{KERNELS}/{wheel['name']}"})
    return mounts


def _image(request: Request, gfx: list[str], version: str) -> str:
    words = [word for word in (version, request.variant, *gfx) if word]
    return f"localhost/amdgpu-fleet/{request.recipe}:{'-'.join(words)[:120] or 'latest'}"


def _labels(
    request: Request, builds: Entry, base: Base, sources: t.Mapping[str, Entry], gfx: list[str]
) -> dict[str, str]:
    labels = {
        "org.opencontainers.image.title": request.recipe,
        "org.opencontainers.image.base.name": base.name,
        f"{LABEL}.recipe": request.recipe,
        f"{LABEL}.gfx": " ".join(gfx) or "none",
    }
    if request.variant:
        labels[f"{LABEL}.variant"] = request.variant
    if gfx:
        labels |= {f"{LABEL}.rocm": builds["sdk"]["rocm"], f"{LABEL}.torch": builds["sdk"]["torch"]}
    for name, source in sources.items():
        if source:
            what = source["commit"] if source["kind"] == "git" else f"sha256:{source['sha256']}"
            labels[f"{LABEL}.source.{name}"] = (
                f"{source.get('url') or source['package']} {source.get('version', '')} {what}".replace(
                    "  ", " "
                )
            )
    return labels


def _exports(request: Request, builds: Entry, extra_index: str) -> dict[str, str]:
    """Variables of every step. They say where things come from; hashes and commits say what they are."""
    mirror, sdk = request.mirror, builds["sdk"]
    url, index = mirror.get("url", ""), mirror.get("pip_index", "")
    exports = {
        "ROCM_INDEX": address_below(url, sdk["index"]),
        "ROCM_EXTRA_INDEX": address_below(url, sdk["extra_index"]),
    }
    if index:
        exports["PIP_INDEX_URL"] = index
    if extra_index:
        exports["PIP_EXTRA_INDEX_URL"] = address_below(url, extra_index)
    hosts = sorted(
        {
            address.partition("://")[2].partition("/")[0].partition(":")[0]
            for address in (index, url)
            if address.startswith("http://")
        }
    )
    if hosts:
        exports["PIP_TRUSTED_HOST"] = " ".join(hosts)
    if request.find_links:
        exports["PIP_FIND_LINKS"] = " ".join(f"{LINKS}/{number}" for number in range(len(request.find_links)))
    if request.no_index:
        exports["PIP_NO_INDEX"] = "1"
    if url:
        exports |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{address_below(url, 'https://github.com/')}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://github.com/",
        }
    return exports


def _quoted(name: str, value: str) -> str:
    text = str(value)
    if re.search(r'["\\\n$]', text):
        raise BuildError(
            f"build_environment: {name} holds a quote, a backslash, a dollar or a line end, which a "
            f"Containerfile reads as its own"
        )
    return text
