# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin show, run by Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = "gpu01  8x mi300x\n  café: [1, 2] 100 % {x}\n\n"


@pytest.fixture
def show(tmp_path):
    """Run the plugin for a host that does not exist: no connection is opened."""
    settings = f"[defaults]\ncollections_path = {REPOSITORY / '.collections'}\nnocolor = true\n"
    (tmp_path / "ansible.cfg").write_text(settings, encoding="utf-8")
    environment = dict(os.environ, ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"), LC_ALL="C.UTF-8")

    def run(arguments: dict, *options: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(Path(sys.executable).with_name("ansible")),
            "all",
            "--inventory=no-such-host.invalid,",
            *options,
        ]
        command += ["--module-name=amdgpu.fleet.show", f"--args={json.dumps(arguments)}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("options", [[], ["--check"]], ids=["real", "check"])
def test_the_text_is_shown_as_it_is(show, options):
    done = show({"text": TEXT}, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n" + TEXT.rstrip("\n") + "\n" in done.stdout and '"changed": false' in done.stdout


def test_a_text_is_needed(show):
    done = show({"msg": "x"})
    assert done.returncode == 2 and "missing required arguments: text" in done.stdout + done.stderr
