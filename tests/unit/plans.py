# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of plans ask for and look at again and again."""

from __future__ import annotations

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence


def hub(model: str, configuration: dict, weights: float = 1, **more) -> dict:
    """An entry of ``serve_instances`` whose model is not on the host."""
    return {"name": "chat", "model": model, "model_config": configuration, "weights_gib": weights, **more}


def first(plan: dict) -> dict:
    return plan["serve"]["instances"][0]


def said(plan: dict, identifier: str) -> list[str]:
    """The sentences of all findings with this id."""
    return [sentence(finding) for finding in plan["findings"] if finding["id"] == identifier]


def found(plan: dict) -> dict[str, dict]:
    """The findings by their ids."""
    return {finding["id"]: finding for finding in plan["findings"]}


def release(identity: str, **pairs: str) -> dict[str, str]:
    """The os-release of a distribution, as a file of an emulated host."""
    lines = [
        f"ID={identity}",
        f'PRETTY_NAME="{identity}"',
        *(f'{key}="{text}"' for key, text in pairs.items()),
    ]
    return {"etc/os-release": "\n".join(lines) + "\n"}
