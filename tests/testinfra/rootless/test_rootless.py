# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine in a container that no root runs: in the service of an account that is not logged in, also after
a reboot. In this order."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from testbed.hosts import reboot

REPOSITORY = Path(__file__).resolve().parents[3]
URL = "http://10.77.0.66:8000"
BODY = json.dumps({"model": "tiny-llama", "prompt": "AMD GPUs are", "max_tokens": 4, "temperature": 0})
PODMAN = "runuser -u fleet -- env --chdir=/ HOME=/var/lib/containers/fleet XDG_RUNTIME_DIR=/run/user/$(id -u fleet) podman"


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [
        "ansible-playbook",
        f"playbooks/{playbook}.yml",
        "-i",
        os.environ["MOLECULE_INVENTORY_FILE"],
        *arguments,
    ]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400, check=False)


def complete(host) -> int | None:
    key = host.file("/etc/vllm/tiny.secret").content_string.strip().partition("=")[2]
    answer = host.run(
        "curl -sS --fail-with-body -H 'Authorization: Bearer %s' --json %s %s/v1/completions", key, BODY, URL
    )
    return json.loads(answer.stdout)["usage"]["completion_tokens"] if answer.rc == 0 else None


def test_a_completion(host):
    assert complete(host) == 4


def test_nothing_of_it_is_root(host):
    """The engine, the server and what forwards the port belong to the account, or to one of its subordinate
    ids."""
    group = host.check_output("systemctl show --property=ControlGroup --value vllm-tiny.service")
    processes = host.check_output(f"find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} +").split()
    assert len(processes) >= 4
    owners = set(
        host.check_output(f"stat --format=%U {' '.join(f'/proc/{process}' for process in processes)}").split()
    )
    assert owners == {"fleet"}
    assert host.check_output("podman ps --quiet") == ""
    assert host.check_output(f"{PODMAN} ps --format '{{{{.Names}}}}'") == "vllm-tiny"


def test_the_key_is_read_by_root_and_stands_in_no_command(host):
    secret = host.file("/etc/vllm/tiny.secret")
    key = secret.content_string.strip().partition("=")[2]
    assert (secret.user, secret.mode, len(key)) == ("root", 0o600, 40)
    assert host.run("runuser -u fleet -- cat /etc/vllm/tiny.secret").rc != 0
    assert key not in host.check_output("ps -eo args") + host.check_output("systemctl show vllm-tiny.service")
    assert host.check_output("curl -s -o /dev/null -w '%%{http_code}' %s/v1/models", URL) == "401"
    server = host.check_output(f"{PODMAN} inspect --format '{{{{.State.Pid}}}}' vllm-tiny")
    assert (
        "STORE_SECRET=planted-secret"
        in host.check_output(f"tr '\\0' '\\n' < /proc/{server}/environ").splitlines()
    )


def test_the_log_is_in_the_journal_of_the_unit(host):
    journal = host.check_output("journalctl --no-pager --output=cat --unit vllm-tiny.service")
    assert "Application startup complete" in journal
    # The CPU build has no AITER whose folder could be copied; that it was looked for in the image is to be
    # seen.
    assert "aiter has no jit here: nothing to copy" in journal


def test_another_secret_variable_restarts_the_server(host):
    result = play(
        "site",
        "--tags",
        "serve",
        "-e",
        json.dumps({"serve_secret_environment": {"STORE_SECRET": "another-secret"}}),
        "-vvv",
    )
    assert result.returncode == 0 and complete(host) == 4, result.stdout
    assert "another-secret" not in result.stdout and "planted-secret" not in result.stdout
    server = host.check_output(f"{PODMAN} inspect --format '{{{{.State.Pid}}}}' vllm-tiny")
    assert (
        "STORE_SECRET=another-secret"
        in host.check_output(f"tr '\\0' '\\n' < /proc/{server}/environ").splitlines()
    )


def test_its_container_may_do_nothing_that_was_not_shown_to_be_needed(host):
    """`podman exec` of the account is refused from outside of the service's control group, so the kernel is asked."""
    server = host.check_output(f"{PODMAN} inspect --format '{{{{.State.Pid}}}}' vllm-tiny")
    status = host.check_output(f"cat /proc/{server}/status")
    for line in ("CapEff:\t0000000000000002", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert f"\n{line}\n" in status, status
    options = host.check_output(f"grep -E ' / ' /proc/{server}/mounts").split()[3].split(",")
    assert "ro" in options, options


def test_it_serves_again_after_a_reboot_without_a_login(host):
    assert host.file("/var/lib/systemd/linger/fleet").exists
    reboot("rootless-desk")
    deadline = time.monotonic() + 300
    while complete(host) != 4:
        assert time.monotonic() < deadline, host.run(
            "journalctl --no-pager --lines=40 --unit vllm-tiny.service"
        ).stdout
        time.sleep(2)


def test_no_engine_outlives_the_server_that_was_killed(host, engines):
    server = host.check_output(f"{PODMAN} inspect --format '{{{{.State.Pid}}}}' vllm-tiny")
    before = engines()
    assert before
    host.check_output(f"kill -9 {server}")
    deadline = time.monotonic() + 20
    while before & engines():
        assert time.monotonic() < deadline, host.check_output("ps -eo pid,ppid,args")
        time.sleep(0.5)
    host.run("systemctl kill --signal=KILL vllm-tiny")
    host.check_output("systemctl stop vllm-tiny")
    assert not engines() and host.run("pgrep -u fleet -f 'conmon|pasta'").stdout == ""


def test_removal_leaves_the_account_its_images_and_keys(host):
    done = play("teardown", "--tags", "serve")
    assert done.returncode == 0, done.stdout
    assert not host.file("/etc/vllm/_all.secret").exists
    assert (
        not host.file("/etc/systemd/system/vllm-tiny.service").exists
        and not host.file("/etc/vllm/tiny.yaml").exists
    )
    assert host.file("/etc/vllm/tiny.secret").exists and host.user("fleet").exists
    assert host.check_output(f"{PODMAN} images --format '{{{{.Repository}}}}'") == "localhost/vllm-cpu"
