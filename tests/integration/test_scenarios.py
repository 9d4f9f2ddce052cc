# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Molecule scenario, from check mode on a bare host to the checks of tests/testinfra."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOGS = REPOSITORY / ".cache/logs"
SCENARIOS = sorted(path.parent.name for path in REPOSITORY.glob("molecule/*/molecule.yml"))
# The virtual machine needs minutes without KVM: `make test-vm` runs these.
VM = [name for name in SCENARIOS if name.startswith("vm")]
LIMIT_SECONDS = 1800
VM_LIMIT_SECONDS = 3000


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in VM])
def test_scenario(scenario: str) -> None:
    run(scenario, LIMIT_SECONDS)


@pytest.mark.vm
@pytest.mark.parametrize("scenario", VM)
def test_virtual_machine(scenario: str) -> None:
    possible = subprocess.run([REPOSITORY / "molecule/shared/vm", "check"], capture_output=True, text=True, check=False)
    if possible.returncode:
        pytest.skip(possible.stderr.strip())
    run(scenario, VM_LIMIT_SECONDS)


def run(scenario: str, seconds: int) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"molecule-{scenario}.log"
    with log.open("wb") as output:
        command = [REPOSITORY / ".venv/bin/molecule", "test", "--scenario-name", scenario]
        result = subprocess.run(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, timeout=seconds, check=False)
    text = log.read_text(encoding="utf-8", errors="replace")
    assert "no tests found" not in text, f"nothing checks scenario {scenario}"
    if result.returncode:
        tail = "\n".join(text.splitlines()[-80:])
        pytest.fail(f"molecule test --scenario-name {scenario} ended with {result.returncode}; the end of {log}:\n{tail}", pytrace=False)
