# SPDX-License-Identifier: GPL-3.0-or-later
"""Molecule scenarios, from check mode on a bare host to the checks of tests/testinfra."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
LOGS = REPOSITORY / ".cache/logs"
NAMES = sorted(path.parent.name for path in REPOSITORY.glob("molecule/*/molecule.yml"))
VM = [name for name in NAMES if name.startswith("vm")]


def _has_engine(name: str) -> bool:
    hosts = yaml.safe_load((REPOSITORY / "molecule" / name / "bed.yml").read_text(encoding="utf-8"))["hosts"]
    return any(host.get("engine") for host in hosts)


# Too long for `make test`: `make scenario S=NAME` runs one of them. docs/support-matrix.md says what was seen of it.
ALONE = ("accept", "build", "llama_packages", "mirror", "monitor", "several")
USUAL = [name for name in NAMES if name not in (*VM, *ALONE)]
# vLLM takes all of a small machine: of these one runs at a time. llama.cpp with a small model leaves room for another.
LIGHT = ("llama_cpp",)
ENGINE = [name for name in USUAL if _has_engine(name) and name not in LIGHT]
OTHERS = [name for name in USUAL if name not in ENGINE]


def run(scenario: str, seconds: int) -> None:
    """All of `molecule test`; the end of its log where it fails."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"molecule-{scenario}.log"
    with log.open("wb") as output:
        command = [REPOSITORY / ".venv/bin/molecule", "test", "--scenario-name", scenario]
        result = subprocess.run(
            command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, timeout=seconds, check=False
        )
    text = log.read_text(encoding="utf-8", errors="replace")
    assert "no tests found" not in text, f"nothing checks scenario {scenario}"
    if result.returncode:
        tail = "\n".join(text.splitlines()[-80:])
        pytest.fail(
            f"molecule test --scenario-name {scenario} ended with {result.returncode}; the end of "
            f"{log}:\n{tail}",
            pytrace=False,
        )
