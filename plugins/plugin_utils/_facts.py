# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host may answer to a module that reads it: its own facts and whether that went well, nothing
else."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless

# What Ansible itself says of a module that ran, or did not.
OF_ANSIBLE = (
    *("changed", "failed", "unreachable", "skipped", "skip_reason", "msg", "exception", "rc", "invocation"),
    *("module_stdout", "module_stderr", "warnings", "deprecations", "diff", "stdout", "stderr"),
    "_ansible_parsed",
)


def ours(result: t.Mapping[str, t.Any], *names: str) -> dict[str, t.Any]:
    """The result without what nobody asked for: a compromised host answers with variables of the operator, or
    with hosts for the inventory."""
    kept = {name: value for name, value in result.items() if name in OF_ANSIBLE}
    facts = result.get("ansible_facts")
    facts = facts if isinstance(facts, dict) else {}
    own = {name: _harmless.everywhere(facts[name]) for name in names if isinstance(facts.get(name), dict)}
    if own:
        kept["ansible_facts"] = own
    return kept
