# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool that holds the catalog's table of GPUs against those that Debian ships."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/refresh_gpu_ids.py"

CATALOG = """
products:
  - pci_id: "1002:7550"
    product: AMD Radeon RX 9070 XT
    revisions: {"c0": AMD Radeon RX 9070 XT, "c3": AMD Radeon RX 9070}
  - {pci_id: "1002:1586", product: AMD Radeon 8060S (Strix Halo)}
  - {pci_id: "1002:74b6", product: AMD Instinct MI308X VF}
  - {pci_id: "1002:686a", product: AMD Radeon Graphics (Vega 10)}
"""
LIBDRM = """# List of AMDGPU IDs
1.0.0
7550,\tC0,\tAMD Radeon RX 9070 XT
7550,\tC3,\tAMD Radeon (TM) RX 9070
1586,\tC1,\tAMD Radeon 8060S Graphics
74B6,\t00,\tAMD Instinct MI308X
686A,\t00,\tAMD Radeon Pro Something 7
"""
PCI_IDS = """
1001  Kolter Electronic
\t7551  Navi 48 [of another vendor]
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t1586  Strix Halo [Radeon Graphics / Radeon 8050S Graphics / Radeon 8060S Graphics]
\t\t1002 1586  a board
\t4150  RV350 [Radeon 9550/9600/X1050 Series]
\t7550  Navi 48 [Radeon RX 9070/9070 XT/9070 GRE]
\tab40  Navi 48 HDMI/DP Audio Controller
\t1478  Navi 10 XL Upstream Port of PCI Express Switch
1003  ULSI Systems
\t7552  Navi 48 [of another vendor]
"""


@pytest.fixture
def compare(tmp_path):
    def run(libdrm: str = LIBDRM, pci_ids: str = PCI_IDS) -> subprocess.CompletedProcess[str]:
        files = {"--catalog": CATALOG, "--libdrm": libdrm, "--pci-ids": pci_ids}
        command = [sys.executable, str(TOOL)]
        for option, text in files.items():
            path = tmp_path / option.strip("-")
            path.write_text(text)
            command += [option, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_what_is_in_the_catalog_is_not_printed(compare):
    result = compare()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7551,\tC0,\tAMD Radeon AI PRO R9700", "1002:7551 revision c0 is not in the catalog. libdrm calls it AMD Radeon AI PRO R9700."),
        ("7550,\tC2,\tAMD Radeon RX 9070 GRE", "1002:7550 revision c2 is not in the catalog. libdrm calls it AMD Radeon RX 9070 GRE."),
        ("1586,\tD5,\tAMD Radeon 8040S Graphics", "1002:1586 revision d5 is AMD Radeon 8060S (Strix Halo) in the catalog. "
         "libdrm calls it AMD Radeon 8040S Graphics."),
    ],
)  # fmt: skip
def test_a_board_of_libdrm_that_the_catalog_lacks_or_names_differently(compare, line, said):
    result = compare(libdrm=f"{LIBDRM}{line}\n")
    assert (result.returncode, result.stdout) == (1, f"{said}\n")


def test_a_chip_of_pci_ids_that_the_catalog_lacks(compare):
    result = compare(pci_ids=PCI_IDS.replace("\t1478", "\t7590  Navi 44 [Radeon RX 9060 XT]\n\t1478"))
    assert result.stdout == "1002:7590 is not in the catalog. pci.ids calls it Navi 44 [Radeon RX 9060 XT].\n"


def test_one_revision_with_two_names_is_known_by_either(compare):
    assert compare(libdrm=f"{LIBDRM}7550,\tC3,\tAMD Radeon RX 9070D\n").stdout == ""


def test_a_table_that_is_not_there_is_named(tmp_path):
    missing = str(tmp_path / "amdgpu.ids")
    result = subprocess.run(
        [sys.executable, str(TOOL), "--libdrm", missing], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr == f"{missing} is missing: install the package libdrm-common, or name the file.\n"
