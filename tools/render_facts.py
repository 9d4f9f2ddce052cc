#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the RETURN documentation of rocm_facts, host_facts and gpu_health from the types of their facts.

Usage: tools/render_facts.py [--check]. The types stand in plugins/plugin_utils/_plan/facts_host.py,
facts_boot.py, facts_engines.py, facts_model.py and facts_health.py: a key, its type, and a comment that
describes it.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TYPES = ROOT / "plugins/plugin_utils/_plan/facts_host.py"
HEALTH_TYPES = TYPES.with_name("facts_health.py")
ACCEPTANCE_TYPES = TYPES.with_name("facts_acceptance.py")
ENGINE_TYPES = TYPES.with_name("facts_engines.py")
MODEL_TYPES = TYPES.with_name("facts_model.py")
BOOT_TYPES = TYPES.with_name("facts_boot.py")
FACTS = {
    "rocm_facts": {"amd_rocm": "AmdRocm"},
    "host_facts": {"amd_gpus": "", "amd_rocm": "", "amd_host": "AmdHost", "amd_health": ""},
    "gpu_health": {"amd_health": "AmdHealth"},
}
TITLES = {
    "amd_gpus": "The GPUs, as M(amdgpu.fleet.gpu_facts) returns them.",
    "amd_rocm": "ROCm and its driver, as M(amdgpu.fleet.rocm_facts) returns them.",
    "amd_host": "The rest of the host, and the answers to the options.",
    "amd_health": "The state of the GPUs, as M(amdgpu.fleet.gpu_health) returns it.",
}
PLAIN = {"str": "str", "int": "int", "bool": "bool", "float": "float"}
BEGIN = "ansible_facts:\n"

Field = tuple[str, str, str]


def read_types() -> dict[str, list[Field]]:
    """Each TypedDict: its keys with annotation and comment."""
    files = (TYPES, HEALTH_TYPES, ACCEPTANCE_TYPES, ENGINE_TYPES, MODEL_TYPES, BOOT_TYPES)
    return {name: fields for path in files for name, fields in _types_of(path).items()}


def _types_of(path: Path) -> dict[str, list[Field]]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, list[Field]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = [
                (entry.target.id, ast.unparse(entry.annotation), lines[entry.lineno - 1].partition("  # ")[2])
                for entry in node.body
                if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name)
            ]
    return found


def quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[:#{}\[\],&*!|>'%@`]", text) else text


def described(types: dict[str, list[Field]], name: str, indent: int) -> list[str]:
    """The lines of ``contains`` for the keys of a type."""
    pad, lines = " " * indent, []
    for key, annotation, comment in types[name]:
        if not comment:
            sys.exit(f"{name}.{key} has no comment in its line")
        nullable = annotation.endswith(" | None")
        kind = annotation.removesuffix(" | None")
        text = f"{comment.rstrip('.')}, or null." if nullable else comment
        listed = re.fullmatch(r"list\[(.+)\]", kind)
        mapped = re.fullmatch(r"dict\[str, (.+)\]", kind)
        inner = (listed or mapped).group(1) if listed or mapped else kind  # type: ignore[union-attr]
        words = [f"type: {'list' if listed else PLAIN.get(kind, 'dict')}"]
        if listed:
            words.append(f"elements: {'list' if inner.startswith('list[') else PLAIN.get(inner, 'dict')}")
        if inner not in types:
            lines += wrapped(f"{key}: {{description: {quoted(text)}, {', '.join(words)}}}", indent)
            continue
        lines += [f"{pad}{key}:", *wrapped(f"description: {quoted(text)}", indent + 2)]
        lines += [f"{pad}  {word}" for word in words]
        lines.append(f"{pad}  contains:")
        if mapped:
            # The keys of a mapping are names of the host.
            lines += [f"{pad}    NAME:", f"{pad}      description: Each of them.", f"{pad}      type: dict"]
            lines.append(f"{pad}      contains:")
        lines += described(types, inner, indent + (8 if mapped else 4))
    return lines


def wrapped(text: str, indent: int, width: int = 110) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def documentation(module: str) -> str:
    types = read_types()
    lines = [
        "ansible_facts:",
        "  description: The facts that are added.",
        "  returned: always",
        "  type: dict",
    ]
    lines.append("  contains:")
    for fact, name in FACTS[module].items():
        title = TITLES[fact] if module == "host_facts" else "What was found."
        lines += [f"    {fact}:", f"      description: {quoted(title)}", "      type: dict"]
        optional = module == "host_facts" and fact == "amd_health"
        lines.append(f"      returned: {'when O(health) is true' if optional else 'always'}")
        if name:
            lines += ["      contains:", *described(types, name, 8)]
    return "\n".join(lines) + "\n"


def main() -> int:
    stale = 0
    for module in FACTS:
        path = ROOT / f"plugins/modules/{module}.py"
        text = path.read_text(encoding="utf-8")
        start = text.index(f'RETURN = r"""\n{BEGIN}') + len('RETURN = r"""\n')
        end = text.index('"""', start)
        new = text[:start] + documentation(module) + text[end:]
        if new == text:
            continue
        stale = 1
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is not current: run tools/render_facts.py", file=sys.stderr)
        else:
            path.write_text(new, encoding="utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
