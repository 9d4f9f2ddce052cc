# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose Python answers with more than it was asked for: real plays over a local connection."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

FORGED = {
    "report_directory": "/tmp/forged",
    "report_title": "forged",
    "inventory_hostname": "another",
    "fleet_keep": True,
    "fleet_rebooted": True,
    "ansible_host": "192.0.2.66",
}
# Runs the module as it was asked to and adds to its answer.
INTERPRETER = """\
#!{python}
import json, pathlib, subprocess, sys
pathlib.Path({ran!r}).touch()
done = subprocess.run([{python!r}, *sys.argv[1:]], stdin=sys.stdin, capture_output=True, text=True)
try:
    answer = json.loads(done.stdout)
except ValueError:
    sys.stdout.write(done.stdout)
else:
    answer.setdefault("ansible_facts", {{}}).update({forged!r})
    answer["add_host"] = {{"host_name": "forged.example", "groups": ["gateway"], "host_vars": {{}}}}
    print(json.dumps(answer))
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""


@pytest.fixture
def play(tmp_path, ansible):
    """play(tasks, **environment) -> the run of these tasks against the hostile host."""
    interpreter = tmp_path / "python3"
    interpreter.write_text(
        INTERPRETER.format(python=sys.executable, ran=str(tmp_path / "ran"), forged=FORGED)
    )
    interpreter.chmod(0o755)

    def run(*tasks: dict, **environment: str) -> subprocess.CompletedProcess:
        (tmp_path / "play.yml").write_text(
            yaml.safe_dump([{"hosts": "victim", "gather_facts": False, "tasks": list(tasks)}])
        )
        inventory = {"all": {"hosts": {"victim": {"ansible_connection": "local"}}}}
        inventory["all"]["hosts"]["victim"]["ansible_python_interpreter"] = str(interpreter)
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        return ansible.run(
            "ansible-playbook",
            tmp_path / "play.yml",
            "-i",
            tmp_path / "hosts.yml",
            env=environment,
            timeout=120,
        )

    return run


def test_its_facts_become_no_variables(play, tmp_path):
    names = [name for name in FORGED if name.startswith(("report", "fleet"))]
    seen = "{{ {'variables': query('ansible.builtin.varnames', '^(" + "|".join(names) + ")$'),"
    seen += " 'host': inventory_hostname, 'facts': ansible_facts.keys() | sort,"
    seen += (
        " 'hosts': groups['all'] | sort, 'where': hostvars['victim'].ansible_host | default('')} | to_json }}"
    )
    result = play(
        {"name": "GPUs", "amdgpu.fleet.gpu_facts": {"root": str(tmp_path)}},
        {"name": "ROCm", "amdgpu.fleet.rocm_facts": {"root": str(tmp_path)}},
        {"name": "Look", "amdgpu.fleet.show": {"text": seen}},
    )
    assert result.returncode == 0 and (tmp_path / "ran").exists(), result.stdout + result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith('{"variables"')]
    assert json.loads(line) == {
        "variables": [],
        "host": "victim",
        "facts": ["amd_gpus", "amd_rocm"],
        "hosts": ["victim"],
        "where": "",
    }


def test_nothing_runs_there_where_facts_become_variables(play, tmp_path):
    plan = {"name": "Plan", "ansible.builtin.import_role": {"name": "amdgpu.fleet.plan"}}
    result = play(plan, ANSIBLE_INJECT_FACT_VARS="true")
    assert result.returncode == 2 and "inject_facts_as_vars = false" in " ".join(result.stdout.split())
    assert not (tmp_path / "ran").exists()
    # The same host, not injected: the plan is made.
    assert "inject_facts_as_vars" not in play(plan).stdout and (tmp_path / "ran").exists()


def test_no_answer_of_any_module_becomes_a_variable(play):
    names = "^(" + "|".join(name for name in FORGED if name.startswith(("report", "fleet"))) + ")$"
    seen = (
        "{{ query('ansible.builtin.varnames', '"
        + names
        + "') | length }} {{ inventory_hostname }} {{ groups.all | join }}"
    )
    result = play(
        {"name": "Any module", "ansible.builtin.stat": {"path": "/"}},
        {"name": "Look", "amdgpu.fleet.show": {"text": seen}},
    )
    assert "0 victim victim" in result.stdout.splitlines()
