# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of Ansible that is forked from a process which has imported everything, held to one of the program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from play_server import CONFIGURED, PlayServer

ROOT = Path(__file__).resolve().parents[2]
PLAY = [{
    "name": "One of everything", "hosts": "all", "gather_facts": False, "tasks": [
        {"name": "A module", "ansible.builtin.command": "cat {{ playbook_dir }}/read", "changed_when": False, "register": "read"},
        {"name": "What is of this run", "ansible.builtin.debug": {
            "msg": "{{ read.stdout }} {{ lookup('env', 'OF_THE_RUN') }} {{ here }}"}},
        {"name": "A template of the collection", "ansible.builtin.debug": {"msg": "{{ 2 | amdgpu.fleet.batch }}"}},
        {"name": "An end", "ansible.builtin.fail": {"msg": "{{ missing }}"}},
    ],
}]  # fmt: skip


def test_it_prints_and_leaves_what_the_program_does(tmp_path: Path, ansible: PlayServer) -> None:
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAY, sort_keys=False))
    (tmp_path / "read").write_text("text of a file")
    words = [
        *(str(tmp_path / "play.yml"), "-i", "box,", "-c", "local", "-e", "here=there"),
        *("-e", f"ansible_python_interpreter={sys.executable}"),
    ]
    own = {"OF_THE_RUN": "of the environment"}
    seen = []
    for forked in (False, True):
        if forked:
            done = ansible.run("ansible-playbook", *words, env=own)
        else:
            done = subprocess.run(
                [str(Path(sys.executable).with_name("ansible-playbook")), *words], cwd=ROOT,
                env={**os.environ, **CONFIGURED, **own}, capture_output=True, text=True, check=False,
            )  # fmt: skip
        seen.append((done.returncode, done.stdout, done.stderr))
    program, fork = seen
    assert fork[0] == program[0]
    assert fork[1].splitlines() == program[1].splitlines()
    assert fork[2] == program[2]
    assert program[0] == 2 and "text of a file of the environment there" in program[1]


def test_another_configuration_is_read(tmp_path: Path, ansible: PlayServer) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\ninventory = hosts\n")
    (tmp_path / "hosts").write_text("of_this_one\n")
    for config, hosts in (
        (str(tmp_path / "ansible.cfg"), "of_this_one"),
        (CONFIGURED["ANSIBLE_CONFIG"], "box"),
    ):
        words = () if hosts == "of_this_one" else ("-i", "box,")
        done = ansible.run("ansible", "all", "--list-hosts", *words, env={"ANSIBLE_CONFIG": config})
        assert done.stdout.split()[-1] == hosts, done.stdout + done.stderr
