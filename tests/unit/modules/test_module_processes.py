# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module is a program that starts by itself, as on a host; the other tests run forks of one that has
imported already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from module_server import MODULES, ModuleServer

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
# What has an action plugin runs on the controller: its file among the modules is documentation.
NAMES = sorted(
    {path.stem for path in (PLUGINS / "modules").glob("[a-z]*.py")}
    - {path.stem for path in (PLUGINS / "action").glob("*.py")}
)


@pytest.mark.parametrize("name", NAMES)
def test_a_process_of_its_own_answers_as_the_fork_does(
    name: str, module_server: ModuleServer, collections_path: Path
) -> None:
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {"no_such_option": 1}})
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(collections_path)}
    command = [sys.executable, "-m", f"{MODULES}.{name}"]
    alone = subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    fork = module_server.run(f"{MODULES}.{name}", given, environment)
    assert json.loads(alone.stdout)["failed"] and "no_such_option" in alone.stdout
    assert (fork.returncode, json.loads(fork.stdout)) == (alone.returncode, json.loads(alone.stdout))


@pytest.fixture
def program(collections_path: Path, module_server: ModuleServer, tmp_path: Path):
    """program(text) runs a text as if it were a module."""

    def run(text: str, **options) -> subprocess.CompletedProcess[str]:
        (tmp_path / "written_here.py").write_text(text)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
        return module_server.run("written_here", "in", environment, **options)

    return run


def test_streams_environment_and_end_are_those_of_a_process(program, tmp_path: Path) -> None:
    text = "import os, sys; print(sys.stdin.read(), sorted(os.environ)); print('e', file=sys.stderr); sys.exit(3)"
    done = program(text)
    assert (done.returncode, done.stdout, done.stderr) == (3, "in ['PATH', 'PYTHONPATH']\n", "e\n")
    done = program("print(1 / 0)")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert program("import os; os.kill(os.getpid(), 9)").returncode == -9


def test_nothing_of_one_run_is_seen_by_the_next(program) -> None:
    leave = "import os, sys, json; json.left = 1; os.environ['LEFT'] = '1'; os.chdir('/'); os.umask(0)"
    assert program(leave).returncode == 0
    look = "import os, json; print(hasattr(json, 'left'), 'LEFT' in os.environ, os.getcwd() == '/', os.umask(18))"
    umask = os.umask(0)
    os.umask(umask)
    assert program(look).stdout == f"False False False {umask}\n"


def test_a_run_that_does_not_end_is_ended(program) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        program("import time; time.sleep(600)", timeout=0.5)
    assert program("print('the server goes on')").stdout == "the server goes on\n"
