# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory held to the roles' argument specifications and to what later roles can work with.

A value that a role would stop at half-way is refused here, before anything is touched.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import functools
import ipaddress
import re
import shlex
import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ...module_utils._model import shape
from . import credentials, forms, options
from .catalog import read_yaml
from .credentials import NAME as SECRET_NAME
from .forms import CORRECT
from .wants import Member, Mirror, ModelSource, Server, Wants, WantsError

ROLES = Path(__file__).resolve().parents[3] / "roles"
# How the role kubernetes works, not what it makes.
HANDOVER = tuple(
    f"kubernetes_{name}"
    for name in ("state", "directory", "apply", "kubeconfig", "context", "force_conflicts", "wait_timeout")
)
# Set by the roles themselves, or of no concern to a plan.
NOT_WANTS = ("plan_host", "serve_api_key", "model_hf_token", "report_directory", "report_title", *HANDOVER)
# Of the playbooks: of no concern to a plan, but worth a word when one is misspelt. The last line is what they
# remember in a run.
OF_PLAYBOOKS = (
    *(
        "fleet_hosts",
        "fleet_serial",
        "fleet_max_fail_percentage",
        "fleet_reboot_timeout",
        "fleet_show_plan",
        "fleet_fail_on",
    ),
    *("fleet_keep", "fleet_drain_timeout"),
    *("handover_path", "handover_apply", "fleet_drain", "fleet_return_timeout", "fleet_way_back"),
    *(
        "fleet_failure",
        "fleet_stopped",
        "fleet_rebooted",
        "fleet_started",
        "fleet_findings_before",
        "fleet_workstation",
        "fleet_this_machine",
        "fleet_reports",
        "fleet_teardown",
        "fleet_hosts_default",
        "fleet_serial_default",
        "fleet_serving",
        "fleet_gpu_health",
    ),
)

SECRETS = {
    "VLLM_API_KEY": "serve_api_key",
    "LLAMA_API_KEY": "serve_api_key",
    "HF_TOKEN": "model_hf_token",
    "HUGGING_FACE_HUB_TOKEN": "model_hf_token",
}
IMAGES = {
    "vllm_image": "docker.io/vllm/vllm-openai-rocm:v0.33.0",
    "llama_cpp_image": "ghcr.io/ggml-org/llama.cpp:server-vulkan",
}
ENVIRONMENTS = ("vllm_environment", "llama_cpp_environment")
# Names of before 1.0.0.
RENAMED = {
    f"vllm_{name}": f"serve_{name}"
    for name in (
        *("instances", "accelerator", "kind", "user", "secret_environment", "api_key", "node_address"),
        *("podman_arguments", "start_timeout", "idle_memory_percent", "check_interval", "purge", "state"),
    )
}
# More than the partitions of any host.
MOST_SERVERS = 128
# What a number can be: less or more would stop a role half-way, after others have changed the host.
RANGES = {
    "kernel_gtt_gib": (0, 1 << 20),
    "model_timeout": (1, 1 << 31),
    "serve_start_timeout": (1, 1 << 31),
    "serve_check_interval": (0, 1 << 31),
    "serve_idle_memory_percent": (0, 100),
    "kubernetes_cache_gib": (1, 1 << 20),
    "kubernetes_user_id": (1, 1 << 31),
    "acceptance_max_age": (0, 36500),
}
LINE = re.compile(r"[^\x00-\x1f\x7f\x85\u2028\u2029]*")
NUMA = re.compile(r"auto|none|[0-9]{1,3}")
HOST = re.compile(r"[A-Za-z0-9.:*-]*")
DROPIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.cfg")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Podman keeps an image under its whole name, so it never finds a shortened one.
IMAGE = re.compile(r"(localhost|[\w-]+([.:][\w-]+)+)/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})")


@functools.cache
def specification() -> dict[str, t.Any]:
    """The options of every role, as their ``meta/argument_specs.yml`` define them."""
    options: dict[str, t.Any] = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        options.update(read_yaml(path)["argument_specs"]["main"]["options"])
    return {name: option for name, option in options.items() if name not in NOT_WANTS}


def normalize(variables: t.Mapping[str, t.Any]) -> Wants:
    """Every want with its type and default. Variables that merely begin like ours are left alone."""
    _check_names(variables)
    # First of all: other messages quote what does not fit.
    held = credentials.find(variables)
    if held:
        raise WantsError(held)
    plain = _validated(variables)
    _check_plain(plain)
    _check_secrets(variables.get("__secrets", {}))
    for name, example in IMAGES.items():
        if plain[name] and not IMAGE.fullmatch(plain[name]):
            raise WantsError(f"{name}: {plain[name]!r} lacks its registry or its tag. Write it as {example}.")
    if not DROPIN.fullmatch(plain["kernel_dropin"]):
        raise WantsError(
            f"kernel_dropin: {plain['kernel_dropin']!r} is not a file name that ends in .cfg. {CORRECT}"
        )
    for instance in plain["serve_instances"]:
        _check_instance(instance)
    entries = [server for instance in plain["serve_instances"] for server in servers(instance)]
    for name in ("vllm_options", "llama_cpp_options"):
        plain[name] = options.read(plain[name], name)
    _check_quotes(plain["serve_podman_arguments"])
    _check_environments(plain)
    if variables.get("fleet_fail_on", "fail") not in ("fail", "warn", "never"):
        raise WantsError(
            f"fleet_fail_on: {variables['fleet_fail_on']!r} is none of fail, warn and never. {CORRECT}"
        )
    profiles = plain["plan_catalog"].get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(entry, dict) for entry in profiles.values()):
        raise WantsError(f"plan_catalog.profiles: {profiles!r} is not a mapping of profiles. {CORRECT}")
    groups = _plain(variables.get("__inventory_nodes", {}), "inventory_nodes")
    own = {field.name for field in dataclasses.fields(Wants)}
    typed: dict[str, t.Any] = {
        **{name: value for name, value in plain.items() if name in own},
        "plan_mirror": Mirror(**plain["plan_mirror"]),
        "model_sources": [
            ModelSource(**{name: value or "" for name, value in source.items()})
            for source in plain["model_sources"]
        ],
        "serve_instances": [Server(**entry) for entry in entries],
        "inventory_nodes": {
            group: [Member(**member) for member in members] for group, members in groups.items()
        },
    }
    return Wants(**typed)


def _check_names(variables: t.Mapping[str, t.Any]) -> None:
    """A misspelt name would be ignored in silence."""
    options = specification()
    for name in variables:
        if name in options or name in NOT_WANTS or name in OF_PLAYBOOKS:
            continue
        if name in RENAMED:
            raise WantsError(f"{name} is called {RENAMED[name]} now. Rename it in the inventory.")
        close = difflib.get_close_matches(name, (*options, *OF_PLAYBOOKS), n=1, cutoff=0.85)
        if close:
            raise WantsError(f"{name} is not a variable of amdgpu.fleet. Did you mean {close[0]}?")


def _validated(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The variables with the types and defaults of the argument specifications."""
    options = specification()
    asked = {name: _plain(value, name) for name, value in variables.items() if name in options}
    # A text would become a mapping.
    if not isinstance(asked.get("serve_secret_environment", {}), dict):
        raise WantsError(f"serve_secret_environment is not a mapping. {CORRECT}")
    forms.check(options, asked)
    try:
        result = ArgumentSpecValidator(options).validate(asked)
    except (OverflowError, TypeError, ValueError) as error:  # an infinite number, and it does not say which
        raise WantsError(f"{_unreadable(options, asked)}: {error}. {CORRECT}") from error
    if result.error_messages:
        raise WantsError(f"{result.error_messages[0]}. {CORRECT}")
    return dict(result.validated_parameters)


def _check_secrets(faults: t.Mapping[str, t.Any]) -> None:
    """What the role plan found wrong with keys; their values do not travel."""
    for name, fault in faults.items():
        if fault and fault is not True:
            raise WantsError(f"{name} {fault}")
        if fault is False:
            raise WantsError(f"{name} is not a text. Put it in quotes, or remove it where there is none.")


def _check_instance(instance: dict[str, t.Any]) -> None:
    """One entry of ``serve_instances``; its options are spelt as the engine spells them afterwards."""
    name = "serve_instances[]"
    if not _address(instance["host"]):
        raise WantsError(f"{name}.host: {instance['host']!r} is not an address. {CORRECT}")
    if not LINE.fullmatch(instance["served_name"]):
        raise WantsError(f"{name}.served_name: {instance['served_name']!r} is not one line. {CORRECT}")
    instance["options"] = options.read(instance["options"], f"{name}.options")
    _check_environment(instance["environment"], f"{name}.environment")
    _check_size(instance)
    if not 0 < instance["count"] <= MOST_SERVERS:
        raise WantsError(f"{name}.count: {instance['count']} is not 1 to {MOST_SERVERS}. {CORRECT}")
    if instance["nodes"] and instance["count"] > 1:
        raise WantsError(
            f"{name}.count: {instance['name']} is served by several hosts, so it is one. "
            "Remove count or nodes."
        )
    if not NUMA.fullmatch(instance["numa"]):
        raise WantsError(
            f"{name}.numa: {instance['numa']!r} is neither auto nor none nor a number. {CORRECT}"
        )


def _check_environments(plain: dict[str, t.Any]) -> None:
    for name in ENVIRONMENTS:
        _check_environment(plain[name], name)
    secret = plain["serve_secret_environment"]
    _check_environment(secret, "serve_secret_environment", secret=True)
    open_ones = [
        *(plain[name] for name in ENVIRONMENTS),
        *(entry["environment"] for entry in plain["serve_instances"]),
    ]
    for environment in open_ones:
        for name in environment.keys() & secret.keys():
            raise WantsError(
                f"serve_secret_environment: {name} stands in another environment too. Keep one of them."
            )


def servers(instance: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The servers that one entry of ``serve_instances`` stands for; ``share``: which of how many equal parts
    of the devices each has."""
    count, port = int(instance.get("count", 1)), int(instance.get("port", 8000))
    if count <= 1:
        return [{**instance, "share": (0, 1)}]
    return [
        {**instance, "name": f"{instance['name']}-{at}", "port": port + at, "share": (at, count)}
        for at in range(count)
    ]


def _unreadable(options: dict[str, t.Any], asked: dict[str, t.Any]) -> str:
    for name, value in asked.items():
        try:
            ArgumentSpecValidator(options).validate({name: value})
        except (OverflowError, TypeError, ValueError):
            return name
    return ", ".join(asked)


def _address(host: str) -> bool:
    """Whether it may be listened on: a name, ``*``, or an address that is none but by its digits alone."""
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
    return bool(HOST.fullmatch(host))


def _check_plain(wants: dict[str, t.Any]) -> None:
    for name, (least, most) in RANGES.items():
        if not least <= wants[name] <= most:
            raise WantsError(f"{name}: {wants[name]} is not {least} to {most}. {CORRECT}")
    for name, value in wants["kernel_sysctl"].items():
        if (
            isinstance(value, bool)
            or not isinstance(value, (str, int, float))
            or not LINE.fullmatch(str(value))
            or not str(value).strip()
        ):
            raise WantsError(
                f"kernel_sysctl: {name} is {value!r}, and neither a number nor one line of text. {CORRECT}"
            )


def _check_size(instance: dict[str, t.Any]) -> None:
    if not 0 <= instance["memory_share"] <= 1:
        raise WantsError(
            f"serve_instances[].memory_share: {instance['memory_share']} is not a share of the memory, "
            f"0 to 1. {CORRECT}"
        )
    if not 0 <= instance["weights_gib"] < 1 << 20:
        raise WantsError(
            f"serve_instances[].weights_gib: {instance['weights_gib']} cannot be the size of a model in GiB. "
            f"Correct it."
        )
    if instance["model_config"] and shape(instance["model_config"]) is None:
        needed = "num_hidden_layers and num_attention_heads"
        raise WantsError(
            f"serve_instances[].model_config: {needed} are missing or are no numbers. Copy them from the "
            f"model's config.json."
        )


def _plain(value: t.Any, path: str) -> t.Any:
    """The value in plain mappings and lists, its keys checked.

    Ansible's own containers carry every variable of the host along, and the validator copies what it is
    given: 0.4 s each time. YAML reads an unquoted ``1``, ``on`` or ``~`` in front of a colon as something
    else than text.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise WantsError(f"{path}: the key {key!r} is not a text. Put it in quotes.")
        return {key: _plain(entry, f"{path}.{key}") for key, entry in value.items()}
    if isinstance(value, datetime.date):
        return value.isoformat()  # what YAML makes of an unquoted 2026-11-21
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{path}[]") for entry in value]
    return value


def _check_quotes(arguments: str) -> None:
    """systemd splits them as a shell does, and starts no unit where it cannot."""
    try:
        shlex.split(arguments)
    except ValueError as error:
        fault = f"serve_podman_arguments: {arguments!r} has a quote without an end. {CORRECT}"
        raise WantsError(fault) from error


def _check_environment(environment: dict[str, t.Any], path: str, secret: bool = False) -> None:
    for name, value in environment.items():
        if name in SECRETS:
            raise WantsError(
                f"{path}: {name} does not belong there. Set {SECRETS[name]}, which is written where only "
                f"root can read it."
            )
        # The name of a file is no secret.
        if SECRET_NAME.fullmatch(name) and not secret and not str(value).startswith("/"):
            raise WantsError(
                f"{path}: {name} would be readable by every user. Set it in serve_secret_environment."
            )
        if secret and value is not None and (not isinstance(value, str) or value != value.strip()):
            raise WantsError(
                f"{path}.{name}: the value must be a text in quotes without blanks around it. {CORRECT}"
            )
        if not VARIABLE.fullmatch(name):
            raise WantsError(f"{path}: {name!r} cannot be the name of a variable. {CORRECT}")
        # systemd and Podman read quotes and backslashes of such a file differently.
        if str(value)[:1] in ("'", '"') or "\\" in str(value):
            raise WantsError(
                f"{path}.{name}: the value must not begin with a quote or hold a backslash. {CORRECT}"
            )
        if isinstance(value, (dict, list)) or re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", str(value)):
            raise WantsError(
                f"{path}.{name}: the value must be one line of text. Write lists and mappings as JSON in "
                f"quotes."
            )
