# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp's server behind the protocol of the engines."""

from __future__ import annotations

import posixpath
import typing as t

import yaml

from ... import model as models
from ...catalog import Catalog
from ...facts import Gpu
from ...host import Host
from ...wants import Server, Wants
from ..protocol import Cache, Image, Instance, Launch, Links, Own, Packages, Questions, Together, Venv
from . import backend, beside, builds, memory, options, packages, router
from .builds import LlamaBuild
from .options import CONFIGURATION

# What drivers compile at first use.
SHADERS, SHADER_CACHE = "MESA_SHADER_CACHE_DIR", "/var/cache/llama-cpp"
# It answers no request that is under way once it is told to stop: it is told when none is, and to wait longer
# afterwards would save none.
DRAIN_SECONDS, STOP_SECONDS = 60, 20


class LlamaCpp:
    """See ``Engine``."""

    name = "llama_cpp"
    title = "llama.cpp"
    documentation = "https://github.com/ggml-org/llama.cpp"
    unit_prefix = "llama-cpp"
    configuration = CONFIGURATION
    format = "gguf"

    def questions(self, wants: Wants, catalog: Catalog, servers: t.Sequence[Server]) -> Questions:
        named = [{**wants.llama_cpp_options, **server.options} for server in servers]
        return Questions(
            paths=[
                path
                for each in named
                for path in beside.files(
                    [*catalog.llama_cpp["paths"], *_models(each)], {**each, **_models(each)}
                )
            ],
            images=builds.candidates(wants, catalog),
            programs=[builds.program(wants, catalog)],
        )

    def gpus(self, host: Host) -> list[Gpu]:
        return backend.gpus(host)

    def has_code(self, host: Host) -> bool:
        return True

    def libraries(self, catalog: Catalog) -> list[str]:
        return [str(pattern) for pattern in catalog.llama_cpp["libraries"]["paths"]]

    def images_for(self, catalog: Catalog, gfx: str) -> list[str]:
        return builds.images_for(catalog, gfx)

    def own(self, wants: Wants) -> Own:
        return Own(image=bool(wants.llama_cpp_image or wants.llama_cpp_image_archive), packages=True)

    def build(self, host: Host, accelerator: str) -> LlamaBuild | None:
        return builds.build_for(host)

    def share(self, wants: Wants, server: Server) -> float | None:
        return server.memory_share or None

    def check_host(self, host: Host, build: LlamaBuild, kind: str) -> None:
        builds.check_host(host, build, kind)

    def runs_bare(self, host: Host, build: LlamaBuild) -> bool:
        return builds.runs_bare(host, build)

    def image(self, host: Host, build: LlamaBuild) -> Image:
        return builds.image(host, build)

    def venv(self, host: Host, build: LlamaBuild) -> Venv | None:
        return None

    def packages(self, host: Host, build: LlamaBuild) -> Packages | None:
        if not (packages.wanted(host) and packages.offered(host)):
            return None
        return packages.plan(host, build.backend, build.version, build.number)

    def left_behind(self, host: Host) -> list[str]:
        return packages.left_behind(host)

    def links(self, host: Host, build: LlamaBuild) -> Links:
        return Links()

    def ports(self, wants: Wants, server: Server) -> list[int]:
        return []

    def together(self, host: Host, server: Server) -> Together | None:
        if server.nodes:
            seen, remedy = f"nodes {server.nodes}", f"Remove nodes of {server.name}, or take the engine vllm"
            host.findings.add("llama.option", seen, "one host for a server", remedy=remedy)
        return None

    def launch(self, instance: Instance[LlamaBuild], together: Together | None) -> Launch:
        asked = memory.choose_context(instance, beside.resolve(instance, options.of_instance(instance)))
        options.check_cache(instance, options.settings(instance, asked))
        backend.warn(instance, asked)
        variables = options.environment(instance, asked)
        if instance.container:
            variables[SHADERS] = SHADER_CACHE
        beside.check(instance, asked)
        named = beside.files(instance.host.catalog.llama_cpp["paths"], asked)
        several = "models" in asked
        if several:
            router.check(instance, asked)
            named += [path for path in asked["models"].values() if path.startswith("/")]
        drained = (router.metrics(asked) if several else ["/metrics"]) if asked.get("metrics") else []
        return Launch(
            command=[
                instance.build.entrypoint if instance.container else instance.build.program,
                *options.arguments(instance, asked),
            ],
            # It reads its environment; this is for people, but for the router.
            configuration=router.preset(asked, options.file_of(instance))
            if several
            else yaml.safe_dump(asked, sort_keys=True, width=10_000, allow_unicode=True),
            configuration_path=options.configuration_path(instance),
            environment=variables,
            cache_environment={SHADERS: "mesa"},
            read_only=_read_only(instance, named),
            caches=[Cache("cache", SHADER_CACHE)],
            seed=None,
            api_key_variable="LLAMA_API_KEY",
            told_version=f"b{instance.build.number}",
            served_name=str(asked["alias"]),
            probe=_probe(instance, asked),
            health_path="/health",
            metrics_path="/metrics",
            drain_paths=drained,
            stop_timeout=STOP_SECONDS,
            drain_timeout=DRAIN_SECONDS if drained else 0,
            # A wrong option, a model that cannot be loaded, a port that is taken.
            no_restart=[1],
            shm_size="64m",
            devices=[],
            capabilities=[],
            host_network=False,
            memory=memory.of_instance(instance, asked),
            options=asked,
            nodes=None,
        )

    def check_variable(self, host: Host, build: LlamaBuild, name: str) -> None:
        options.check_name(host, name)

    def loads_unindexed(self, wants: Wants, server: Server) -> bool:
        return False


def _models(named: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Further models that an inventory names; nobody looked yet what they are."""
    given = named.get("models")
    return {f"models.{name}": value for name, value in given.items()} if isinstance(given, dict) else {}


def _read_only(instance: Instance[LlamaBuild], named: list[str]) -> list[str]:
    """The model first: the file alone, or its folder where more than it is read."""
    known = options.model_of(instance)
    folders = models.folders(instance.host, instance.path)
    if known and known["files"] > 1 and instance.path.endswith(".gguf"):
        folders = [posixpath.dirname(instance.path)]
    folders += [beside.mount(instance, path) for path in named]
    outer = [path for path in folders if not any(path.startswith(f"{each}/") for each in folders)]
    return list(dict.fromkeys(outer))


def _probe(instance: Instance[LlamaBuild], asked: t.Mapping[str, t.Any]) -> str:
    if instance.server.probe != "auto":
        return instance.server.probe
    if asked.get("rerank"):
        return "health"
    return "embed" if asked.get("embeddings") else "completion"
