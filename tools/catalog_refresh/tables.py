# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM lists by name: quantization methods, attention backends, parsers."""

from __future__ import annotations

import ast

from .source import Source, keys, strings

PARSERS = {
    "tool": ("tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER"),
    "reasoning": ("reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER"),
}


def quantization(source: Source) -> list[str]:
    """The methods that the ROCm platform lists."""
    return strings(source.value("platforms/rocm.py", "supported_quantization"))


def attention(source: Source) -> list[str]:
    """The members of the list of attention backends."""
    for node in ast.walk(source.tree("v1/attention/backends/registry.py")):
        if isinstance(node, ast.ClassDef) and node.name == "AttentionBackendEnum":
            return [
                part.targets[0].id
                for part in node.body
                if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name)
            ]
    return []


def rocm_attention(source: Source) -> list[str]:
    """Those of them that the ROCm platform names."""
    named = {
        node.attr
        for node in ast.walk(source.tree("platforms/rocm.py"))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "AttentionBackendEnum"
    }
    return [name for name in attention(source) if name in named or name.startswith("ROCM_")]


def parsers(source: Source, kind: str) -> list[str]:
    return keys(source.value(*PARSERS[kind]))
