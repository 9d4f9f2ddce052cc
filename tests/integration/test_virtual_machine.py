# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios in a virtual machine, which need minutes without KVM: `make test-vm` runs them."""

from __future__ import annotations

import subprocess

import pytest
from scenarios import REPOSITORY, VM, run

LIMIT_SECONDS = 3000


@pytest.mark.vm
@pytest.mark.parametrize("scenario", VM)
def test_virtual_machine(scenario: str) -> None:
    possible = subprocess.run(
        [REPOSITORY / "molecule/shared/vm", "check"], capture_output=True, text=True, check=False
    )
    if possible.returncode:
        pytest.skip(possible.stderr.strip())
    run(scenario, LIMIT_SECONDS)
