# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the README of every role from its argument specification and its metadata.

Galaxy takes no role without one. With --check nothing is written; the exit code is 1 when a README is not current.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import jinja2
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
import render_docs  # noqa: E402 - beside this file

ROOT = render_docs.ROOT
TEMPLATE = Path(__file__).resolve().parent / "role_readme.md.j2"
# Galaxy shows a README away from the repository, so that relative links would lead nowhere.
REPOSITORY = "https://github.com/amdgpu-fleet/amdgpu.fleet/blob/main"

# What a user of the role alone would set first.
EXAMPLES: dict[str, dict[str, Any]] = {
    "plan": {"plan_accept": ["rocm.unlisted"]},
    "kernel": {"kernel_arguments_present": ["pcie_aspm=off"], "kernel_gtt_gib": 96},
    "firmware": {"firmware_policy": "managed"},
    "driver": {"driver_policy": "dkms", "driver_hold": True},
    "rocm": {"rocm_userspace": "runtime"},
    "devices": {"devices_users": ["alice"], "devices_cdi": True},
    "partition": {"partition_compute": "CPX", "partition_memory": "NPS4"},
    "model": {"model_sources": [{"model": "Qwen/Qwen3-14B-AWQ", "revision": "main"}]},
    "serve": {"serve_instances": [{"name": "chat", "model": "Qwen/Qwen3-14B-AWQ"}]},
    "build": {"build_recipe": "vllm-strix", "build_push": "registry.example.net/fleet/vllm:0.33.0-gfx1151"},
    "gateway": {"gateway_replicas": [{"name": "rack1", "address": "192.0.2.11"}]},
    "mirror": {"mirror_directory": "/srv/mirror", "mirror_max_size": "900G"},
    "acceptance": {"acceptance_level": "full", "acceptance_install": True},
    "monitor": {"monitor_address": "192.0.2.11"},
    "slurm": {"slurm_controller": "head1", "slurm_features": ["nvme"]},
    "report": {"report_directory": "/srv/fleet/reports"},
    "kubernetes": {"kubernetes_directory": "/srv/gitops/fleet", "kubernetes_flavor": "openshift"},
}
PLATFORMS = {
    "EL": "RHEL and its like",
    "SLES": "SUSE Linux Enterprise",
    "opensuse": "openSUSE",
    "ArchLinux": "Arch",
}


class Indented(yaml.SafeDumper):
    """Lists are indented below their key, as ansible-lint asks for."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def metadata(role: str) -> dict[str, Any]:
    return render_docs.load(f"roles/{role}/meta/main.yml")


def platforms(role: str) -> list[str]:
    """Distributions of the role's metadata, for people."""
    names = []
    for platform in metadata(role)["galaxy_info"]["platforms"]:
        versions = " ".join(version for version in platform["versions"] if version != "all")
        names.append(f"{PLATFORMS.get(platform['name'], platform['name'])} {versions}".strip())
    return names


def asks_for_reboots(role: str) -> bool:
    """Whether the role sets <role>_reboot_required."""
    return any(
        f"{role}_reboot_required" in path.read_text(encoding="utf-8")
        for path in (ROOT / "roles" / role / "tasks").rglob("*.yml")
    )


def render() -> dict[Path, str]:
    """The text of every README."""
    specifications = render_docs.arguments()
    names = {name for spec in specifications.values() for name in spec["options"]}
    environment = jinja2.Environment(  # noqa: S701 - Markdown; `prose` escapes what needs it
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    helpers = (
        render_docs.code,
        render_docs.described,
        render_docs.head,
        render_docs.of_type,
        render_docs.row,
    )
    environment.globals |= {helper.__name__: helper for helper in helpers}
    environment.globals |= {"prose": render_docs.Prose(names), "repository": REPOSITORY}
    environment.filters["code"] = render_docs.code
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    pages = {}
    for role, spec in specifications.items():
        example = EXAMPLES.get(role)
        text = template.render(
            name=role,
            spec=spec,
            needs_plan=bool(metadata(role)["dependencies"]),
            platforms=platforms(role),
            reboots=asks_for_reboots(role),
            example=yaml.dump(example, Dumper=Indented, sort_keys=False).rstrip() if example else "",
        )
        pages[ROOT / "roles" / role / "README.md"] = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return pages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a README is not current"
    )
    options = parser.parse_args()
    stale = [
        (path, text)
        for path, text in render().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if options.check:
            print(f"{path.relative_to(ROOT)} is not current: run {render_docs.COMMAND}", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
