# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM behind the protocol of the engines."""

from __future__ import annotations

import typing as t

import yaml

from ... import model
from ...catalog import Catalog
from ...facts import Gpu
from ...host import Host
from ...wants import Server, Wants
from ..protocol import Cache, Image, Instance, Launch, Links, Own, Questions, Seed, Together, Venv
from . import (
    builds,
    checkpoint,
    classes,
    drafting,
    environment,
    foresight,
    kernels,
    media,
    memory,
    nodes,
    options,
    recipe_use,
    refusals,
    tasks,
)
from .builds import VllmBuild

# For the engine processes to end, once vLLM waited for the last requests (--shutdown-timeout).
STOP_SECONDS = 60
CONFIGURATION = "/etc/vllm"
# vLLM looks below these, in a service without a container.
SERVICE_CACHES = {
    "HF_HOME": "huggingface",
    "VLLM_CACHE_ROOT": "",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "FLYDSL_RUNTIME_CACHE_DIR": "flydsl",
}


class Vllm:
    """See ``Engine``."""

    name = "vllm"
    title = "vLLM"
    documentation = "https://docs.vllm.ai"
    unit_prefix = "vllm"
    configuration = CONFIGURATION
    format = "safetensors"

    def gpus(self, host: Host) -> list[Gpu]:
        return host.gpus

    def has_code(self, host: Host) -> bool:
        return builds.has_code(host)

    def libraries(self, catalog: Catalog) -> list[str]:
        return [str(pattern) for pattern in catalog.vllm["libraries"]["paths"]]

    def images_for(self, catalog: Catalog, gfx: str) -> list[str]:
        return builds.images_for(catalog, gfx)

    def own(self, wants: Wants) -> Own:
        return Own(bool(wants.vllm_image_archive or wants.vllm_image), bool(wants.vllm_pip_arguments))

    def questions(self, wants: Wants, catalog: Catalog, servers: t.Sequence[Server]) -> Questions:
        known = [build for build in builds.candidates(wants, catalog).values() if build]
        asked = [options.named(wants, server) for server in servers]
        return Questions(
            paths=[path for named in asked for path in options.paths(catalog, named)],
            images=sorted({build.image for build in known if build.image}),
            search_paths=sorted({build.venv for build in known}),
            programs=sorted({build.python for build in known}),
        )

    def build(self, host: Host, accelerator: str) -> VllmBuild | None:
        build = builds.build_for(accelerator, host.wants, host.catalog)
        if build is None:
            builds.unknown(host, accelerator)
        return build

    def share(self, wants: Wants, server: Server) -> float | None:
        return memory.asked_share(options.named(wants, server))

    def check_host(self, host: Host, build: VllmBuild, kind: str) -> None:
        builds.check_host(host, build, kind)

    def runs_bare(self, host: Host, build: VllmBuild) -> bool:
        return not any(builds.misfits(host, build))

    def image(self, host: Host, build: VllmBuild) -> Image:
        return builds.image(host, build)

    def venv(self, host: Host, build: VllmBuild) -> Venv:
        return builds.environment(host, build)

    def packages(self, host: Host, build: VllmBuild) -> None:
        return None

    def left_behind(self, host: Host) -> list[str]:
        return []

    def links(self, host: Host, build: VllmBuild) -> Links:
        return builds.links(host, build)

    def ports(self, wants: Wants, server: Server) -> list[int]:
        return nodes.ports(nodes.master_port(wants, server)) if server.nodes else []

    def together(self, host: Host, server: Server) -> Together | None:
        return nodes.together(host, server)

    def launch(self, instance: Instance[VllmBuild], together: Together | None) -> Launch:
        host, rocm = instance.host, instance.build.rocm
        if rocm:
            _check_architecture(instance)
        asked = options.asked_of(instance), environment.asked_of(instance)
        used = recipe_use.of_instance(instance, *asked)
        variables = environment.of_instance(instance, together, used)
        arguments = options.of_instance(instance, together, used)
        launched = refusals.Launched(instance, arguments, variables)
        foresight.check(launched)
        drafting.check(launched)
        media.check(instance, arguments, variables)
        if rocm:
            backend = recipe_use.backend(instance, arguments, variables)
            if backend:
                arguments[recipe_use.BACKEND] = backend
            refusals.check(launched)
            kernels.check(launched)
            environment.check_visible(instance, variables)
        named = options.paths(host.catalog, arguments)
        options.check_named(instance, named)
        devices = instance.devices.number * (len(together.hosts) if together else 1)
        table = memory.of_instance(memory.Asked(instance, arguments, variables, devices))
        if table.get("max_num_seqs"):
            arguments["max-num-seqs"] = table["max_num_seqs"]
        rdma = "NCCL_IB_HCA" in variables
        file = f"{CONFIGURATION}/{instance.name}.yaml"
        read_only = _read_only(instance, variables, named)
        where = f"{CONFIGURATION}/config.yaml" if instance.container else file
        start = ["serve", read_only[0], "--config", where]
        bare = [f"{instance.build.venv}/bin/python", "-m", "vllm.entrypoints.cli.main", *start]
        return Launch(
            # AMD's own images start a shell, vLLM's start this.
            command=["vllm", *start] if instance.container else bare,
            configuration=yaml.safe_dump(arguments, sort_keys=True, width=10_000, allow_unicode=True),
            configuration_path=where,
            environment=variables,
            cache_environment=SERVICE_CACHES,
            read_only=read_only,
            caches=[Cache("huggingface", "/root/.cache/huggingface"), Cache("cache", environment.KEPT)],
            seed=_seed(instance, variables),
            api_key_variable="VLLM_API_KEY",
            told_version=instance.build.version,
            served_name=_first(arguments.get("served-model-name")) or instance.path,
            probe=_probe(instance, arguments),
            health_path="/health",
            metrics_path="/metrics",
            drain_paths=["/metrics"],
            stop_timeout=_shutdown_timeout(arguments) + STOP_SECONDS,
            drain_timeout=0,
            # A wrong option ends vLLM with 2.
            no_restart=[2],
            shm_size="64g" if devices > 1 else "8g",
            devices=["/dev/infiniband"] if rdma and together else [],
            capabilities=["IPC_LOCK"] if rdma and together else [],
            host_network=together is not None,
            memory=table,
            options=arguments,
            nodes=together,
        )

    def check_variable(self, host: Host, build: VllmBuild, name: str) -> None:
        environment.check_variable(host, build, name)

    def loads_unindexed(self, wants: Wants, server: Server) -> bool:
        asked = options.named(wants, server)
        return asked.get("load-format", "auto") not in ("auto", "safetensors", "pt")


def _first(names: t.Any) -> str:
    """Of several names, the one that answers have."""
    return str((names[0] if isinstance(names, list) and names else names) or "")


def _check_architecture(instance: Instance[VllmBuild]) -> None:
    """The build must have code for the GPUs of an instance, which are of one architecture."""
    host, build = instance.host, instance.build
    architectures = list(dict.fromkeys(str(gpu["gfx"]) for gpu in instance.devices.gpus)) or [host.gfx]
    if len(architectures) > 1:
        seen = f"{' and '.join(architectures)} for {instance.name}"
        expected = "GPUs of one architecture in an instance"
        host.findings.add("gpu.mixed", seen, expected, severity="fail")
    prebuilt = host.catalog.vllm["versions"].get(build.version, {}).get("prebuilt_gfx", [])
    image, catalog = host.wants.vllm_image, host.catalog
    own = image or host.wants.vllm_packages
    if host.gpus and builds.lacks(image, catalog, architectures[0]):
        covered = ", ".join(gfx for gfx in prebuilt if not builds.lacks(image, catalog, gfx))
        seen, expected = f"{image} on {architectures[0]}", "an image with code for it"
        host.findings.add("vllm.prebuilt", seen, expected, known=covered, gfx=architectures[0])
    elif host.gpus and architectures[0] not in prebuilt and not own:
        covered = ", ".join(prebuilt)
        host.findings.add(
            "vllm.prebuilt", architectures[0], "a prebuilt one", known=covered, gfx=architectures[0]
        )


def _read_only(instance: Instance[VllmBuild], variables: dict[str, str], named: list[str]) -> list[str]:
    """The folder of the model first. A path inside a folder that is mounted anyway is not mounted twice."""
    staged = instance.host.wants.model_tiktoken_directory
    folders = model.folders(instance.host, instance.path)
    mounted = [*folders, *([staged] if staged and staged in variables.values() else [])]
    return mounted + [path for path in named if not any(f"{path}/".startswith(f"{at}/") for at in mounted)]


def _seed(instance: Instance[VllmBuild], variables: dict[str, str]) -> Seed | None:
    """AITER compiles into the folder it was installed in, which goes with the container. Its copy in the
    volume is made once for each image."""
    folder = environment.aiter_cache(variables) if instance.container else ""
    return Seed("aiter_cache.py", "python3", "cache", folder) if folder else None


def _probe(instance: Instance[VllmBuild], arguments: dict[str, t.Any]) -> str:
    asked = instance.server.probe
    if asked != "auto":
        return asked
    name = classes.of_instance(instance, arguments)
    kind = classes.kind_of(instance, arguments)
    question = tasks.question(name, arguments, kind, checkpoint.labels(instance))
    if question != "completion":
        task = tasks.task(name, arguments, kind)
        instance.note("probe", question, f"a model for {task} answers no completions")
    return question


def _shutdown_timeout(arguments: dict[str, t.Any]) -> int:
    value = str(arguments.get("shutdown-timeout", 0))
    return int(value) if value.isdecimal() else 0
