# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory that does not fit, in a real run of the playbook site: one sentence for each host, no traceback, and
nothing runs on the host but what reads it."""

from __future__ import annotations

import re
import sys

import yaml

# Writes down which modules run, and runs them.
INTERPRETER = """\
#!{python}
import os, re, subprocess, sys
done = subprocess.run([{python!r}, *sys.argv[1:]], stdin=sys.stdin, capture_output=True, text=True)
with open({log!r}, "a") as log:
    log.write(("amd_host" if "amd_host" in done.stdout else "other: " + done.stdout[:200]) + "\\n")
sys.stdout.write(done.stdout)
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""
PASSWORD = "hunter2-of-somebody"
BAD = {
    "type": ({"serve_podman_arguments": ["--cpus=4"]}, "serve_podman_arguments is a list, and must be a text"),
    "range": ({"serve_start_timeout": -1}, "serve_start_timeout: -1 is not 1 to"),
    "name": ({"serve_instancs": []}, "serve_instancs is not a variable of amdgpu.fleet. Did you mean serve_instances"),
    "contradiction": ({"model_sources": [{"model": "a/b"}, {"model": "a/b"}]}, "a model stands there twice"),
    "line": ({"serve_podman_arguments": "--cpus=4\nMemory=9g"}, "serve_podman_arguments"),
    "password": ({"driver_repository_uri": f"https://robot:{PASSWORD}@mirror.example"}, "driver_repository_uri holds a password"),
}  # fmt: skip


def test_a_run_with_an_inventory_that_does_not_fit(tmp_path, ansible):
    log = tmp_path / "modules"
    interpreter = tmp_path / "python3"
    interpreter.write_text(INTERPRETER.format(python=sys.executable, log=str(log)))
    interpreter.chmod(0o755)
    common = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": str(interpreter),
    }
    hosts = {name: {**common, **variables} for name, (variables, _words) in BAD.items()}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    done = ansible.run(
        *("ansible-playbook", "playbooks/site.yml", "-vvv", "--diff", "-i", tmp_path / "hosts.yml"),
        *("-e", f"report_directory={tmp_path / 'reports'}"),
        env={"COLUMNS": "400"}, timeout=600,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in said, said[-4000:]
    table = done.stdout[done.stdout.index("HOST ") :]
    flat = re.sub(r"\s+", " ", table)
    for name, (_variables, words) in BAD.items():
        assert words in flat, (name, table)
    # Verbose, with differences and a report.
    pages = "".join(path.read_text() for path in (tmp_path / "reports").rglob("*.*"))
    assert PASSWORD not in said + pages and "robot" not in said + pages
    # Each host was read, and nothing else ran there.
    assert log.read_text().splitlines() == ["amd_host"] * len(BAD)
