# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator wants of one host: the variables of all roles, typed, with their defaults filled in.

The roles' argument specifications say what each one means; a test holds this file to them. ``checks`` makes
a ``Wants`` of an inventory, or says what does not fit.
"""

from __future__ import annotations

import dataclasses
import typing as t

# The source of a value that was asked for.
INVENTORY = "the inventory"

Value = t.Any
Values = t.Dict[str, t.Any]


class WantsError(ValueError):
    """A variable that does not exist or a value that does not fit; the message says what does."""


@dataclasses.dataclass(frozen=True)
class Mirror:
    """``plan_mirror``: where a site keeps what is fetched; empty where it keeps none."""

    url: str
    registry: str
    pip_index: str
    hub: str
    # Whether what the mirror does not have stops a host.
    closed: bool = True
    # Whether images lie below the name of their own registry, and whether they come by TLS.
    registry_keeps_host: bool = False
    registry_tls: bool = True

    def __bool__(self) -> bool:
        return any((self.url, self.registry, self.pip_index, self.hub))


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """One of ``model_sources``: where a model comes from."""

    model: str
    archive: str = ""
    sha256: str = ""
    revision: str = ""
    manifest: str = ""


@dataclasses.dataclass(frozen=True)
class Server:
    """One server of ``serve_instances``. An entry with a ``count`` stands for several of them."""

    name: str
    engine: str
    model: str
    served_name: str
    host: str
    port: int
    gpus: list[int]
    partitions: list[int]
    count: int
    nodes: str
    numa: str
    # Of its devices, for servers that share them; 0 takes all.
    memory_share: float
    weights_gib: float
    model_config: Values
    probe: str
    # auto, none, or the model whose recipe of vLLM's is used.
    recipe: str
    options: Values
    environment: Values
    # Which of how many equal parts of the devices it has.
    share: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Member:
    """A host of a group that serves one model together, and the address that the others reach it at."""

    name: str
    address: str


@dataclasses.dataclass(frozen=True)
class Wants:
    """Every variable of a role that the plan reads, under its own name."""

    plan_accept: list[str]
    plan_catalog: Values
    plan_mirror: Mirror
    plan_preflight: bool
    plan_acceptance: bool

    kernel_arguments_present: list[str]
    kernel_arguments_absent: list[str]
    kernel_opt_in: list[str]
    kernel_dropin: str
    kernel_gtt_gib: int
    kernel_sysctl: Values
    kernel_state: str

    firmware_policy: str
    firmware_version: str

    driver_policy: str
    driver_release: str
    driver_repository_uri: str
    driver_repository_key_url: str
    driver_repository_fingerprint: str
    driver_hold: bool
    driver_state: str

    rocm_version: str
    rocm_userspace: str
    rocm_repository_uri: str
    rocm_repository_key_url: str
    rocm_repository_fingerprint: str
    rocm_remove_legacy: bool
    rocm_state: str

    devices_users: list[str]
    devices_mode: str
    devices_cdi: bool
    devices_selinux: bool
    devices_state: str

    partition_compute: str
    partition_memory: str
    partition_stop_services: list[str]
    partition_state: str

    model_sources: list[ModelSource]
    model_directory: str
    model_hub: str
    model_hf_token_file: str
    model_exclude: list[str]
    model_tiktoken_directory: str
    model_python: str
    model_pip_arguments: str
    model_timeout: int
    model_state: str

    serve_instances: list[Server]
    serve_accelerator: str
    serve_kind: str
    serve_user: str
    serve_secret_environment: Values
    serve_podman_arguments: str
    serve_read_only: bool
    serve_node_address: str
    serve_start_timeout: int
    serve_idle_memory_percent: float
    serve_check_interval: int
    serve_purge: bool
    serve_state: str

    vllm_version: str
    vllm_variant: str
    vllm_image: str
    vllm_image_archive: str
    vllm_image_digest: str
    vllm_packages: list[str]
    vllm_pip_arguments: str
    vllm_python: str
    vllm_uv: str
    vllm_options: Values
    vllm_environment: Values

    llama_cpp_version: str
    llama_cpp_backend: str
    llama_cpp_build: str
    llama_cpp_image: str
    llama_cpp_image_archive: str
    llama_cpp_image_digest: str
    llama_cpp_program: str
    llama_cpp_repository_uri: str
    llama_cpp_repository_suite: str
    llama_cpp_repository_key_url: str
    llama_cpp_repository_fingerprint: str
    llama_cpp_options: Values
    llama_cpp_environment: Values

    kubernetes_flavor: str
    kubernetes_namespace: str
    kubernetes_node_name: str
    kubernetes_device_plugin: str
    kubernetes_driver_owner: str
    kubernetes_resource_strategy: str
    kubernetes_model_claim: str
    kubernetes_cache_gib: int
    kubernetes_cache_class: str
    kubernetes_secret: str
    kubernetes_pull_secrets: list[str]
    kubernetes_user_id: int
    kubernetes_taint: bool
    kubernetes_pool: str
    acceptance_level: str
    acceptance_required: str
    acceptance_max_age: int
    acceptance_tests: list[str]
    acceptance_skip: list[str]
    acceptance_thresholds: Values
    acceptance_peer: str

    # Not a variable: the members of the groups that instances name, from the inventory.
    inventory_nodes: dict[str, list[Member]]
