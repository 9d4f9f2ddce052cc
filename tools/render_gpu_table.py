# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write plugins/module_utils/_gpu_table.py from catalog/gpus.yml, so that hosts need no YAML to name a GPU.

With --check nothing is written; the exit code is 1 when the table is not current.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CATALOG = ROOT / "roles/plan/files/catalog" / "gpus.yml"
TABLE = ROOT / "plugins" / "module_utils" / "_gpu_table.py"

HEADER = '''\
# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AMD GPUs by PCI id and by gfx name.

Generated from catalog/gpus.yml: do not edit. To renew it: python tools/render_gpu_table.py
"""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """What a PCI id is. The product is the best known board of the id; REVISIONS has the others."""

    product: str
    gfx: str
    virtual_function: bool
    apu: bool


class Architecture(NamedTuple):
    """What a gfx name is. Supported means by the newest ROCm that the catalog knows."""

    family: str
    supported: bool


'''


def quoted(text: str) -> str:
    """A Python string literal in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render(catalog: dict) -> str:
    """The text of the module."""
    products = sorted(catalog["products"], key=lambda entry: entry["pci_id"])
    architectures = catalog["architectures"]
    lines = ["# vendor:device -> product, gfx, virtual function, APU", "PRODUCTS: dict[str, Product] = {"]
    for entry in products:
        fields = [
            quoted(entry["product"]),
            quoted(entry["gfx"]),
            str(entry["virtual_function"]),
            str(entry["apu"]),
        ]
        lines.append(f"    {quoted(entry['pci_id'])}: Product({', '.join(fields)}),")
    lines += [
        "}",
        "",
        "# (vendor:device, revision) -> product, where the revision decides",
        "REVISIONS: dict[tuple[str, str], str] = {",
    ]
    for entry in products:
        for revision, product in sorted(entry.get("revisions", {}).items()):
            lines.append(f"    ({quoted(entry['pci_id'])}, {quoted(revision)}): {quoted(product)},")
    lines += [
        "}",
        "",
        "# vendor:device -> further boards of the id, whose revision is not published",
        "OTHER_BOARDS: dict[str, tuple[str, ...]] = {",
    ]
    lines += [
        f"    {quoted(entry['pci_id'])}: ({', '.join(map(quoted, entry['other_boards']))},),"
        for entry in products
        if "other_boards" in entry
    ]
    lines += ["}", "", "# gfx -> family, supported by ROCm", "ARCHITECTURES: dict[str, Architecture] = {"]
    for gfx in sorted(architectures, key=lambda name: architectures[name]["kfd_target_version"]):
        entry = architectures[gfx]
        lines.append(
            f"    {quoted(gfx)}: Architecture({quoted(entry['family'])}, {entry['rocm'] == 'supported'}),"
        )
    lines += [
        "}",
        "",
        "# gfx -> whether GPU and CPU share one memory; one that is both, as gfx942, is not listed",
        "APUS: dict[str, bool] = {",
    ]
    lines += [
        f"    {quoted(gfx)}: {entry['apu']},"
        for gfx, entry in sorted(architectures.items(), key=lambda item: item[1]["kfd_target_version"])
        if entry["apu"] is not None
    ]
    lines += ["}", ""]
    return HEADER + "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the table is not current"
    )
    options = parser.parse_args()
    text = render(yaml.safe_load(CATALOG.read_text(encoding="utf-8")))
    current = TABLE.read_text(encoding="utf-8") if TABLE.exists() else None
    if text == current:
        return 0
    if options.check:
        print(
            f"{TABLE.relative_to(ROOT)} is not current: run python {Path(__file__).relative_to(ROOT)}",
            file=sys.stderr,
        )
        return 1
    TABLE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
