# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator wants: the variables of all roles, held to the roles' own argument specifications."""

from __future__ import annotations

import difflib
import functools
import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.amdgpu.fleet.plugins.plugin_utils.catalog import read_yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
# Set by the roles themselves, or of no concern to a plan.
NOT_WANTS = ("plan_host", "vllm_api_key", "report_directory", "report_title")


class WantsError(ValueError):
    """A variable that does not exist or a value that does not fit; the message says what does."""


@functools.cache
def specification() -> dict[str, t.Any]:
    """The options of every role, as their ``meta/argument_specs.yml`` define them."""
    options: dict[str, t.Any] = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        options.update(read_yaml(path)["argument_specs"]["main"]["options"])
    return {name: option for name, option in options.items() if name not in NOT_WANTS}


def normalize(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """Every want with its type and default. Variables that merely begin like ours are left alone, misspelt ones are not."""
    known = specification()
    for name in variables:
        if name not in known and name not in NOT_WANTS:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if close:
                raise WantsError(f"{name} is not a variable of amdgpu.fleet. Did you mean {close[0]}?")
    given = {name: value for name, value in variables.items() if name in known}
    result = ArgumentSpecValidator(known).validate(given)
    if result.error_messages:
        raise WantsError(f"{result.error_messages[0]}. Correct it in the inventory.")
    wants = result.validated_parameters
    for instance in wants["vllm_instances"]:
        instance["options"] = {key.replace("_", "-"): value for key, value in instance["options"].items()}
    wants["vllm_options"] = {key.replace("_", "-"): value for key, value in wants["vllm_options"].items()}
    return wants
