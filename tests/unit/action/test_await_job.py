# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin await_job, with real jobs of Ansible on this machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml


@pytest.fixture
def run(tmp_path, ansible):
    def play(command: str, jid: str = "{{ job.ansible_job_id }}") -> subprocess.CompletedProcess[str]:
        tasks = [
            {"name": "Start", "ansible.builtin.shell": command, "async": 60, "poll": 0, "register": "job"},
            {
                "name": "Wait",
                "amdgpu.fleet.await_job": {
                    "jid": jid,
                    "folder": str(tmp_path / "it"),
                    "what": "Qwen/Qwen3-8B",
                },
                "register": "done",
            },
            {
                "name": "Say",
                "ansible.builtin.debug": {"msg": "{{ done.stdout }}, changed: {{ done.changed }}"},
            },
        ]
        book = tmp_path / "play.yml"
        book.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        given = json.dumps({"ansible_python_interpreter": sys.executable})
        return ansible.run("ansible-playbook", book, "-i", "localhost,", "-c", "local", "-e", given)

    return play


def test_it_says_how_far_it_is_and_returns_what_the_task_returned(run, tmp_path):
    folder = tmp_path / "it"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache/expected_bytes").write_text(str(5 << 30))
    with (folder / "weights").open("wb") as file:
        file.truncate(3 << 30)
    # It has to be at work still at the first look, on a busy machine too.
    done = run("sleep 12; echo whole")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "localhost: Qwen/Qwen3-8B: 3.0 of 5.0 GiB" in done.stdout and "whole, changed: True" in done.stdout


def test_a_folder_that_is_not_there_yet(run):
    done = run("sleep 12; echo whole")
    assert done.returncode == 0 and "Qwen/Qwen3-8B: started" in done.stdout, done.stdout + done.stderr


def test_a_task_that_fails_fails_here(run):
    done = run("echo the line broke >&2; exit 3")
    assert done.returncode == 2 and "the line broke" in done.stdout, done.stdout + done.stderr


def test_a_job_that_is_not_there(run):
    done = run("true", jid="j1.2")
    assert done.returncode == 2 and "could not find job" in done.stdout + done.stderr
