# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host may answer to a module that reads it: its own facts and whether that went well, nothing
else."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.facts import AmdGpus, AmdHealth, AmdHost
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.facts_gpu import GpuDetails
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.facts_host import AmdRocm
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._shape import ShapeError, fitting


class Detailed(AmdGpus):
    """The fact with what ``detail: full`` adds."""

    gpus: list[GpuDetails]  # type: ignore[misc]


SHAPES: dict[str, t.Any] = {
    "amd_gpus": AmdGpus,
    "amd_rocm": AmdRocm,
    "amd_host": AmdHost,
    "amd_health": AmdHealth,
}
# What Ansible itself says of a module that ran, or did not, and of which type it is.
OF_ANSIBLE: dict[str, type] = {
    **dict.fromkeys(("changed", "failed", "unreachable", "skipped", "_ansible_parsed"), bool),
    **dict.fromkeys(("msg", "exception", "module_stdout", "module_stderr", "stdout", "stderr"), str),
    "skip_reason": str,
    "rc": int,
    "invocation": dict,
    "warnings": list,
    "deprecations": list,
}
# Of what a program said when it failed; the rest is noise.
LONGEST = 4000


def ours(result: t.Mapping[str, t.Any], *names: str) -> dict[str, t.Any]:
    """The result without what nobody asked for: a compromised host answers with variables of the operator, or
    with hosts for the inventory. Facts that are not what the module says they are make it a failure."""
    kept = {
        name: _said(value)
        for name, value in result.items()
        if name in OF_ANSIBLE and isinstance(value, OF_ANSIBLE[name])
    }
    if "msg" not in kept and result.get("failed"):
        kept["msg"] = "the module failed, and its message is no text"
    facts = result.get("ansible_facts")
    facts = facts if isinstance(facts, dict) else {}
    try:
        own = {
            name: _harmless.everywhere(_held(name, facts[name]))
            for name in names
            if isinstance(facts.get(name), dict)
        }
    except (ShapeError, RecursionError) as error:
        return {**kept, "failed": True, "msg": _harmless.line(_unfit(error))}
    if own:
        kept["ansible_facts"] = own
    return kept


def _held(name: str, fact: dict[str, t.Any]) -> t.Any:
    """The fact as its type says. One without a type here is held to its own by the caller."""
    return fitting(fact, _shape(name, fact), name) if name in SHAPES else fact


def _shape(name: str, fact: dict[str, t.Any]) -> t.Any:
    gpus = fact.get("gpus")
    full = isinstance(gpus, list) and any(isinstance(gpu, dict) and "firmware" in gpu for gpu in gpus)
    return Detailed if name == "amd_gpus" and full else SHAPES[name]


def _unfit(error: Exception) -> str:
    what = str(error) if isinstance(error, ShapeError) else "its facts are nested without an end"
    return (
        f"what the host answers does not fit: {what}. The module that ran there is not ours, or the host is "
        "not to be trusted: look at its Python, and at who was on it."
    )


def _warning(value: t.Any) -> t.Any:
    """The text of a warning: newer releases of Ansible wrap it."""
    return getattr(getattr(value, "event", None), "msg", value)


def _said(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return _harmless.text(value if len(value) <= LONGEST else f"{value[:LONGEST]} ...")
    if isinstance(value, list):
        return [_said(text) for text in map(_warning, value[:100]) if isinstance(text, str)]
    return _harmless.everywhere(value) if isinstance(value, dict) else value
