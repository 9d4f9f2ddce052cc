# SPDX-License-Identifier: GPL-3.0-or-later
"""A real completion over HTTP from each kind of deployment, who may ask for one, and what is left of a server
that ends. In this order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from testbed import inside

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
UNITS = {
    "container": "/etc/containers/systemd/vllm-tiny.container",
    "podman": "/etc/systemd/system/vllm-tiny.service",
    "venv": "/etc/systemd/system/vllm-tiny.service",
}
URLS = {
    "container": "http://127.0.0.1:8000",
    "podman": "http://127.0.0.1:8000",
    "venv": "http://10.77.0.32:8000",
}
TOKEN, KEY, VARIABLE = "planted-token", "planted-key", "planted-secret"
BODY = json.dumps({"model": "tiny-llama", "prompt": "AMD GPUs are", "max_tokens": 4, "temperature": 0})


@pytest.fixture
def kind(host) -> str:
    return host.check_output("hostname").removeprefix("vllm-")


@pytest.fixture
def url(kind) -> str:
    return URLS[kind]


@pytest.fixture
def key(host, kind) -> str:
    return (
        ""
        if kind == "container"
        else host.file("/etc/vllm/tiny.secret").content_string.strip().partition("=")[2]
    )


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess:
    command = ["ansible-playbook", playbook, "-i", INVENTORY, *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def until(what, seconds: float = 60):
    """What comes back as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not so after {seconds} s: {what}"
        time.sleep(0.5)
    return found


def shown(host) -> dict[str, str]:
    return dict(
        line.split("=", 1)
        for line in host.check_output("systemctl show vllm-tiny").splitlines()
        if "=" in line
    )


def test_a_completion(host, url, key):
    answer = host.check_output(
        "curl -sS --fail-with-body -H 'Authorization: Bearer %s' --json %s %s/v1/completions", key, BODY, url
    )
    assert json.loads(answer)["usage"]["completion_tokens"] == 4


def test_the_unit_is_enabled_and_runs(host):
    unit = host.service("vllm-tiny")
    assert unit.is_running
    show = shown(host)
    assert show["UnitFileState"] in ("enabled", "generated") and show["NRestarts"] == "0"


def test_it_listens_where_it_was_asked_to(host, url):
    addresses = [line.split()[3] for line in host.check_output("ss -Hltn sport = :8000").splitlines()]
    assert addresses == [url.removeprefix("http://")]


def test_nothing_of_rocm_on_the_cpu(host, kind):
    text = host.file(UNITS[kind]).content_string + host.file("/etc/vllm/tiny.env").content_string
    assert not [
        word
        for word in ("/dev/kfd", "ROCM", "HSA_", "SYS_PTRACE", "sys_ptrace", "SupplementaryGroups")
        if word in text
    ]


def test_keys_of_podman_that_the_host_knows(host, kind):
    if kind == "venv":
        return
    version = host.check_output("podman --version").split()[2]
    text = host.file(UNITS[kind]).content_string
    if kind == "podman":
        assert version.startswith("4.3.") and "[Container]" not in text
        assert " --pull=never " in text and " --stop-timeout=70 " in text and "\nTimeoutStopSec=100\n" in text
    else:
        assert (
            version.startswith("5.4.")
            and "\nStopTimeout=60\n" in text
            and "\nPull=never\n" in text
            and "PodmanArgs=-" not in text
        )
    assert host.check_output("podman inspect --format '{{.Config.StopTimeout}}' vllm-tiny") == (
        "70" if kind == "podman" else "60"
    )


def test_the_key_is_asked_for(host, kind, url, key):
    if kind == "container":
        assert not host.file("/etc/vllm/tiny.secret").exists
        return
    assert len(key) == 40 if kind == "venv" else key == KEY
    assert host.check_output("curl -s -o /dev/null -w '%%{http_code}' %s/v1/models", url) == "401"
    assert host.file("/etc/vllm/tiny.secret").mode == 0o600


def test_the_server_has_the_secret_variable(host, kind):
    main = (
        host.check_output("podman inspect --format '{{.State.Pid}}' vllm-tiny")
        if kind != "venv"
        else shown(host)["MainPID"]
    )
    assert (
        f"STORE_SECRET={VARIABLE}" in host.check_output(f"tr '\\0' '\\n' < /proc/{main}/environ").splitlines()
    )
    assert host.file("/etc/vllm/_all.secret").mode == 0o600


def test_keys_and_tokens_are_shown_to_nobody(host, kind, key):
    places = (
        "cat /proc/*/cmdline /etc/systemd/system/* /run/systemd/generator/* /etc/vllm/*.yaml /etc/vllm/*.env"
    )
    root = host.run(
        f"{places} 2>/dev/null | tr '\\0' '\\n'; systemctl show '*'; journalctl --no-pager; ps axww -o args"
    )
    other = host.run(
        'runuser -u nobody -- sh -c \'cat /proc/*/environ /proc/*/cmdline | tr "\\0" "\\n"\' 2>/dev/null'
    )
    assert "vllm" in root.stdout and "vllm" in other.stdout
    for secret in filter(None, (key, TOKEN, VARIABLE)):
        assert secret not in root.stdout and secret not in other.stdout
        # What holds it on the disk, and what of that somebody else can read.
        search = f"grep -rlFs --exclude-dir=overlay {secret} /etc /run /tmp /var /root"
        holding = host.run(search).stdout.split()
        # No model comes from a Hub here, so nothing needs the token.
        own = {key: ["/etc/vllm/tiny.secret"], VARIABLE: ["/etc/vllm/_all.secret"]}.get(secret, [])
        assert [path for path in holding if path.startswith(("/etc/", "/tmp/", "/root/"))] == own
        assert host.run(f"runuser -u nobody -- {search}").stdout == ""


@pytest.mark.parametrize("arguments", [(), ("--check", "-e", "@SECRETS")], ids=["run", "check"])
def test_a_whole_run_shows_no_key_however_much_it_says(host, kind, key, arguments, tmp_path):
    """Facts, results, differences and the report; in check mode with a key and a token that differ from those
    in use."""
    others = {"serve_api_key": "other-planted-key", "model_hf_token": "other-planted-token"}
    others["serve_secret_environment"] = {"STORE_SECRET": "other-planted-variable"}
    (tmp_path / "secrets.json").write_text(json.dumps(others))
    words = [word.replace("SECRETS", str(tmp_path / "secrets.json")) for word in arguments]
    report = ("-e", f"report_directory={tmp_path}/report")
    result = play(
        "playbooks/site.yml", "--tags", "serve", "--limit", f"vllm-{kind}", "--diff", "-vvv", *words, *report
    )
    assert result.returncode == 0, result.stdout[-4000:]
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert "amd_host" in result.stdout and "planted" not in "".join(pages) and (pages or arguments)
    # What was meant is asked for: nothing else would show that the run is about keys.
    assert not arguments or "Configure | write keys and tokens, for root alone" in result.stdout
    for secret in filter(
        None,
        (key, KEY, TOKEN, VARIABLE, "other-planted-key", "other-planted-token", "other-planted-variable"),
    ):
        assert secret not in result.stdout + result.stderr + "".join(pages)


def test_the_service_is_bound_to_the_node_that_was_asked_for(host, kind):
    if kind != "venv":
        return
    show = dict(
        line.split("=", 1)
        for line in host.check_output("systemctl show vllm-tiny").splitlines()
        if "=" in line
    )
    assert (show["CPUAffinity"], show["NUMAPolicy"], show["NUMAMask"]) == ("0-63", "preferred", "0")


def test_the_service_is_confined(host, kind):
    if kind != "venv":
        return
    show = shown(host)
    wanted = {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "tmpfs",
        "PrivateTmp": "yes",
        "PrivateDevices": "no",
        "DevicePolicy": "closed",
        "NoNewPrivileges": "yes",
        "ProtectKernelTunables": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelLogs": "yes",
        "ProtectControlGroups": "yes",
        "ProtectClock": "yes",
        "RestrictRealtime": "yes",
        "RestrictSUIDSGID": "yes",
        "LockPersonality": "yes",
        # numba, which vLLM imports, makes code at run time.
        "MemoryDenyWriteExecute": "no",
        "CapabilityBoundingSet": "",
        "UMask": "0077",
        "LimitMEMLOCK": "infinity",
        "LimitNOFILE": "1048576",
        "OOMPolicy": "stop",
        "KillMode": "mixed",
        "RestartPreventExitStatus": "2",
        "TimeoutStopUSec": "1min",
    }
    # What is empty is not shown.
    assert {name: show.get(name, "") for name in wanted} == wanted
    assert set(show["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"}
    assert {"mbind", "pidfd_getfd", "sched_setaffinity"} <= set(
        show["SystemCallFilter"].split()
    ) and "mount" not in show["SystemCallFilter"].split()
    # A user that exists only while the service runs: systemd takes its number from this range.
    assert 61184 <= int(host.check_output(f"stat -c %u /proc/{show['MainPID']}")) <= 65519


def test_a_timer_asks_for_completions(host, kind, url, key):
    timer, check = "inference-check-tiny.timer", "inference-check-tiny.service"
    if kind == "podman":
        assert (
            host.run(f"systemctl cat {timer}").rc != 0 and not host.file("/usr/local/lib/amdgpu-fleet").exists
        )
        return
    assert host.service(timer).is_running
    host.check_output(f"systemctl start {check}")
    said = host.check_output(f"journalctl --no-pager --output=cat --unit {check}")
    assert f"{url} serves tiny-llama: 4 tokens, the first after " in said
    assert not key or key not in said + host.check_output(f"systemctl show {check}; systemctl cat {check}")


def test_what_was_compiled_is_kept(host, kind):
    """In a place that outlives the process, the container and the environment."""
    folder = (
        "/var/cache/vllm-tiny"
        if kind == "venv"
        else host.check_output("podman volume inspect --format '{{.Mountpoint}}' vllm-tiny-cache")
    )
    assert int(host.check_output(f"find -L {folder} -type f | wc -l")) > 0


def test_a_container_reaches_nothing_of_another_instance(host, kind):
    """Tried from inside. On the host without Quadlet the bed needs --privileged, which is no container of ours."""
    if kind != "container":
        return
    host.check_output(
        "install -m 600 /dev/null /etc/vllm/other.secret && echo VLLM_API_KEY=planted-other-key >/etc/vllm/other.secret "
        "&& podman volume create vllm-other-cache && "
        "touch $(podman volume inspect --format '{{.Mountpoint}}' vllm-other-cache)/planted-other-cache"
    )
    other = host.run("PLANTED_OTHER=1 sh -c 'sleep 600 </dev/null >/dev/null 2>&1 & echo $!'").stdout.strip()
    tried = host.check_output("podman exec vllm-tiny sh -c %s", inside.script(inside.OF_CONTAINER))
    host.check_output(f"kill {other}; podman volume rm vllm-other-cache; rm /etc/vllm/other.secret")
    got = [name for name, reached in inside.answers(tried).items() if reached]
    assert inside.answers(tried).keys() == inside.OF_CONTAINER.keys(), tried
    assert got == ["reads-its-own-options", "writes-into-its-memory"]
    status = host.check_output("podman exec vllm-tiny cat /proc/1/status")
    # DAC_OVERRIDE alone, a filter of calls, and no way to more.
    for line in ("CapEff:\t0000000000000002", "CapBnd:\t0000000000000002", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert f"\n{line}\n" in status, status


def test_a_service_reaches_nothing_of_another_instance(host, kind):
    """Tried by a second unit, which differs from the first one in its name and in what it runs."""
    if kind != "venv":
        return
    main, text = shown(host)["MainPID"], host.file(UNITS[kind]).content_string
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("EnvironmentFile=", "Restart", "ExecStartPre="))
    ]
    attempts = inside.script(inside.OF_SERVICE).replace("$", "$$")
    start = f"Environment=OTHER={main}\nExecStart=/bin/sh -c '{attempts}'"
    other = re.sub(r"(?m)^ExecStart=.*$", lambda _match: start, "\n".join(lines)).replace(
        "Type=exec", "Type=oneshot"
    )
    # What is reached for keeps its name; what is the unit's own does not.
    other = re.sub(r"(%[CS]/|Directory=)vllm-tiny", r"\1vllm-other", other)
    script = (
        "cat >/run/systemd/system/vllm-other.service <<'EOF'\n"
        + other
        + "\nEOF\nsystemctl daemon-reload; systemctl start vllm-other"
    )
    done = host.run("sh -c %s", script)
    said = host.check_output("journalctl --no-pager --output=cat --unit vllm-other.service")
    host.check_output(
        "rm -r /run/systemd/system/vllm-other.service /var/lib/private/vllm-other; "
        "rm -rf /var/lib/vllm-other /var/cache/vllm-other /var/cache/private/vllm-other; systemctl daemon-reload"
    )
    assert done.rc == 0 and inside.answers(said).keys() == inside.OF_SERVICE.keys(), done.stderr + said
    assert [name for name, reached in inside.answers(said).items() if reached] == ["writes-its-own-state"]


def test_podman_is_asked_before_a_unit_is_replaced(host, kind, tmp_path):
    """An image by a name that Quadlet takes for that of a unit, which is not there."""
    if kind != "container":
        return
    host.check_output("podman tag localhost/vllm-cpu:0.32.0 localhost/vllm-cpu:0.image")
    before = host.file(UNITS[kind]).content_string, shown(host)["MainPID"]
    wrong = {"vllm_image": "localhost/vllm-cpu:0.image", "vllm_version": "0.32.0"}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    for mode in (["--check"], []):
        result = play(
            "molecule/vllm/converge.yml", "--limit", "vllm-container", "-e", f"@{tmp_path}/wrong.json", *mode
        )
        words = re.sub(r"\s+", " ", result.stdout).replace("''", "'")
        assert (
            result.returncode == 2 and "Podman 5.4.2 refuses" in words and "0.image was not found" in words
        ), result.stdout
        assert "nothing was changed" in words
    assert (host.file(UNITS[kind]).content_string, shown(host)["MainPID"]) == before


def test_environments_that_served_before(host, kind):
    """One is kept to return to; what is older goes, what is not ours stays."""
    if kind != "venv":
        assert not host.file("/opt/vllm").exists
        return
    listed = set(host.check_output("ls -A /opt/vllm").split())
    name = Path(host.check_output("readlink /opt/vllm/current")).name
    assert f"ExecStart=/opt/vllm/{name}/bin/python" in host.file(UNITS[kind]).content_string
    assert listed == {name, "current", next(entry for entry in listed if entry.startswith("uv-"))}
    host.check_output(
        "cd /opt/vllm && mkdir 0.30.0-cpu 0.31.0-cpu mine && touch 0.30.0-cpu/pyvenv.cfg "
        "0.31.0-cpu/pyvenv.cfg mine/pyvenv.cfg "
        "&& ln -sfn 0.31.0-cpu current && ln -sfn 0.30.0-cpu previous"
    )
    started = shown(host)["MainPID"]
    for expected in ("changed=3", "changed=0"):
        result = play("molecule/vllm/converge.yml", "--limit", "vllm-venv")
        assert result.returncode == 0 and f" {expected} " in result.stdout, result.stdout
    assert shown(host)["MainPID"] == started
    assert (
        host.check_output("readlink /opt/vllm/current"),
        host.check_output("readlink /opt/vllm/previous"),
    ) == (name, "0.31.0-cpu")
    assert set(host.check_output("ls -A /opt/vllm").split()) == {*listed, "previous", "0.31.0-cpu", "mine"}
    host.check_output("rm -r /opt/vllm/mine")


def test_no_engine_is_left_when_the_unit_stops(host, engines):
    assert engines()
    host.check_output("systemctl stop vllm-tiny")
    assert not engines() and host.run("pgrep -f vllm.entrypoints").rc == 1
    assert host.check_output("ss -Hltn sport = :8000") == ""


def test_no_engine_outlives_the_server_that_was_killed(host, engines):
    """The server dies as it would for want of memory; vLLM alone leaves its engine behind with the memory of
    the GPU."""
    host.check_output("systemctl start vllm-tiny")
    before = until(engines, 300)
    server = host.check_output(f"ps -o ppid= -p {min(before, key=int)}").strip()
    host.check_output(f"kill -9 {server}")
    until(lambda: not before & engines(), 20)
    until(lambda: shown(host)["NRestarts"] == "1")
    # One that is just starting does not always listen.
    host.run("systemctl kill --signal=KILL vllm-tiny")
    host.check_output("systemctl stop vllm-tiny")
    assert not engines()


def test_the_check_of_a_server_that_is_gone_fails(host, kind, url):
    if kind == "podman":
        return
    assert not host.service("inference-check-tiny.timer").is_running
    assert host.run("systemctl start inference-check-tiny.service").rc != 0
    said = host.check_output(
        "journalctl --no-pager --output=cat --lines=20 --unit inference-check-tiny.service"
    )
    assert f"{url} does not serve tiny-llama: /health: [Errno 111] Connection refused" in said


def test_removal_leaves_models_and_keys(host, kind):
    result = play("playbooks/teardown.yml", "--tags", "serve", "--limit", f"vllm-{kind}")
    assert result.returncode == 0, result.stdout
    check = "/etc/systemd/system/inference-check-tiny"
    for path in (
        *UNITS.values(),
        "/etc/vllm/tiny.yaml",
        f"{check}.service",
        f"{check}.timer",
        "/usr/local/lib/amdgpu-fleet/inference.py",
    ):
        assert not host.file(path).exists
    assert host.run("systemctl cat vllm-tiny.service").rc != 0
    assert host.check_output("ls -A /opt/vllm 2>/dev/null || true") == ""
    assert host.file("/srv/models/tiny-llama/config.json").exists
    assert host.file("/etc/vllm/tiny.secret").exists is (kind != "container")


def test_a_purge_leaves_the_model_alone(host, kind):
    for expected in (r"changed=[1-9]", r"changed=0 "):
        result = play(
            "playbooks/teardown.yml", "--tags", "serve", "--limit", f"vllm-{kind}", "-e", "serve_purge=true"
        )
        assert result.returncode == 0 and re.search(rf"vllm-{kind} .*{expected}", result.stdout), (
            result.stdout
        )
    left = host.run(
        "ls -d /etc/vllm /var/cache/vllm* /var/cache/private/vllm* /var/lib/vllm* /var/lib/private/vllm* "
        "2>/dev/null"
    ).stdout
    assert left == "" and host.file("/srv/models/tiny-llama/config.json").exists
    if kind != "venv":
        assert "vllm" not in host.check_output("podman volume ls --quiet")
