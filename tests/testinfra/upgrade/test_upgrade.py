# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades of two real engines behind the gateway, while clients ask without a break. The tests build on each
other, in this order."""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
import testinfra

from testbed import processes

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
GATEWAY = "10.77.0.52"
CLIENT_KEY, REPLICA_KEY = "key-of-a-client", "key-of-the-replicas"
NAMES = ("upgrade-a", "upgrade-b")
testinfra_hosts = ["ansible://upgrade-gateway"]


def ask(path: str, body: dict | None = None, key: str | None = CLIENT_KEY) -> tuple[int, str]:
    connection = http.client.HTTPConnection(GATEWAY, 8080, timeout=120)
    try:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        connection.request(
            "POST" if body else "GET", path, body=json.dumps(body) if body else None, headers=headers
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Load:
    """Clients that ask for short completions, every other one streamed, from `with` to its end."""

    def __init__(self, clients: int = 2) -> None:
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self.stop = threading.Event()
        self.clients = [threading.Thread(target=self.run, args=(number,)) for number in range(clients)]

    def run(self, number: int) -> None:
        while not self.stop.is_set():
            number += 1
            stream = bool(number % 2)
            body = {
                "model": "tiny-llama",
                "prompt": "AMD GPUs are",
                "max_tokens": 6,
                "stream": stream,
                "ignore_eos": True,
            }
            started = time.monotonic()
            try:
                status, text = ask("/v1/completions", body)
                right = (
                    text.rstrip().endswith("data: [DONE]")
                    if stream
                    else json.loads(text)["usage"]["completion_tokens"] == 6
                )
                if status != 200 or not right:
                    self.failures.append(f"{status} {text[-300:]}")
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.failures.append(repr(error))
            self.latencies.append(time.monotonic() - started)
            time.sleep(0.3)

    def __enter__(self) -> Load:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_error) -> None:
        self.stop.set()
        for client in self.clients:
            client.join()
        print(
            f"{len(self.latencies)} requests, {len(self.failures)} failed, slowest "
            f"{max(self.latencies, default=0):.2f} s"
        )


def command(playbook: str, *arguments: str, **variables) -> list[str]:
    return [
        "ansible-playbook",
        f"playbooks/{playbook}.yml",
        "-i",
        INVENTORY,
        *arguments,
        "-e",
        json.dumps(variables),
    ]


def play(playbook: str, *arguments: str, **variables) -> subprocess.CompletedProcess:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    asked = command(playbook, *arguments, **variables)
    return subprocess.run(
        asked, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


upgrade = functools.partial(play, "upgrade")
gateway = functools.partial(play, "gateway")


def flat(result: subprocess.CompletedProcess) -> str:
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


def replica(name: str):
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def started() -> dict[str, str]:
    """When the unit of each replica was last started."""
    command = "systemctl show --property=ActiveEnterTimestampMonotonic --value vllm-tiny"
    return {name: replica(name).check_output(command) for name in NAMES}


def options() -> list[str]:
    return [replica(name).check_output("cat /etc/vllm/tiny.yaml /etc/vllm/tiny.env") for name in NAMES]


def caches() -> list[set[str]]:
    """What was downloaded and compiled."""
    places = (
        "/var/cache/vllm-tiny $(podman volume inspect --format '{{.Mountpoint}}' vllm-tiny-cache 2>/dev/null)"
    )
    return [
        set(
            replica(name)
            .check_output(f"find -L {places} -type f -printf '%i %p\\n' 2>/dev/null || true")
            .splitlines()
        )
        for name in NAMES
    ]


def environments() -> str:
    return replica("upgrade-a").check_output(
        "cd /opt/vllm && readlink current && grep ^ExecStart= /etc/systemd/system/vllm-tiny.service"
    )


def servers(host) -> dict[str, tuple[str, str]]:
    """The state of each server: what HAProxy says, and its administrative flags."""
    script = (
        "import socket,sys\n"
        "def ask(line):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect('/run/amdgpu-gateway/admin.sock'); s.sendall(line "
        "+ b'\\n')\n"
        "    return b''.join(iter(lambda: s.recv(65536), b'')).decode()\n"
        "flags = {l.split()[3]: l.split()[6] for l in ask(b'show servers state replicas').splitlines()[2:] "
        "if l}\n"
        "for l in ask(b'show stat').splitlines():\n"
        "    f = l.split(',')\n"
        "    if f[0] == 'replicas' and f[1] != 'BACKEND': print(f[1], f[17].replace(' ', '_'), flags[f[1]])\n"
    )
    return {
        line.split()[0]: tuple(line.split()[1:])
        for line in host.check_output("python3 -c %s", script).splitlines()
    }


BOTH_UP = dict.fromkeys(NAMES, ("UP", "0"))


def test_who_may_ask_for_what(host):
    assert servers(host) == BOTH_UP
    assert ask("/v1/models")[0] == 200 and ask("/health", key=None)[0] == 200
    assert [ask(path)[0] for path in ("/metrics", "/docs", "/tokenize", "/invocations", "/load")] == [404] * 5
    assert [ask("/v1/models", key=key)[0] for key in (None, "wrong", REPLICA_KEY)] == [401] * 3


def test_keys_are_shown_to_nobody(host):
    seen = host.check_output("cat /etc/amdgpu-gateway/haproxy.cfg /etc/systemd/system/amdgpu-gateway.service; ps axww -o args; "
                             "journalctl --no-pager; systemctl show amdgpu-gateway")  # fmt: skip
    assert CLIENT_KEY not in seen and REPLICA_KEY not in seen
    assert [host.file(f"/etc/amdgpu-gateway/{name}").mode for name in ("api_keys", "replica_key")] == [
        0o600,
        0o600,
    ]
    assert (
        host.file("/run/amdgpu-gateway/admin.sock").mode == 0o600
        and host.file("/run/amdgpu-gateway").mode == 0o700
    )
    assert [line.split()[3] for line in host.check_output("ss -Hltn sport = :8080").splitlines()] == [
        f"{GATEWAY}:8080"
    ]
    assert host.service("amdgpu-gateway").is_enabled and not host.service("haproxy").is_running


def test_a_bad_configuration_leaves_the_old_one(host):
    before = host.check_output("cat /etc/amdgpu-gateway/haproxy.cfg")
    result = gateway(gateway_tls_certificate="/etc/ssl/none.pem")
    assert (
        result.returncode == 2
        and "/etc/ssl/none.pem" in flat(result)
        and "nothing was changed" in flat(result)
    ), result.stdout
    assert host.check_output("cat /etc/amdgpu-gateway/haproxy.cfg") == before
    assert ask("/v1/models")[0] == 200


def test_another_key_is_taken_up_and_breaks_off_nothing(host):
    with Load() as load:
        result = gateway(gateway_api_keys=[CLIENT_KEY, "another-key"])
        assert result.returncode == 0, result.stdout
        assert ask("/v1/models", key="another-key")[0] == 200
    assert load.failures == [] and len(load.latencies) > 10
    assert host.check_output("systemctl show --property=NRestarts --value amdgpu-gateway") == "0"


def test_check_mode_says_what_would_happen_and_does_nothing(host):
    before = started(), options()
    result = upgrade("--check", "--diff", vllm_options={"max-num-seqs": 24})
    assert result.returncode == 0, result.stdout
    assert "max-num-seqs: 24" in result.stdout and "upgrade-b: drain" in result.stdout
    assert (started(), options()) == before and servers(host) == BOTH_UP


def test_nothing_is_drained_where_a_plan_fails(host):
    before = started()
    result = upgrade(serve_kind="quadlet", vllm_options={"max-num-seqs": 24})
    assert result.returncode == 2, result.stdout
    assert "TASK [Drain" not in result.stdout and "Podman 4.4 or later" in flat(result)
    assert started() == before and servers(host) == BOTH_UP


def test_a_key_is_not_changed_host_by_host(host):
    """The gateway sends one key to all replicas."""
    before = started()
    result = upgrade(serve_api_key="key-of-tomorrow")
    assert result.returncode == 2 and "serves tiny with another key than serve_api_key" in flat(result), (
        result.stdout
    )
    assert started() == before and servers(host) == BOTH_UP and ask("/v1/models")[0] == 200


def test_an_upgrade_loses_no_request(host):
    before, compiled = started(), caches()
    with Load() as load:
        result = upgrade(
            vllm_options={"max-num-seqs": 24}, vllm_environment={"VLLM_LOGGING_LEVEL": "WARNING"}
        )
    assert result.returncode == 0, result.stdout + result.stderr
    after = started()
    assert all(before[name] != after[name] for name in NAMES)
    assert all(compiled) and all(old <= new for old, new in zip(compiled, caches(), strict=True))
    assert all("max-num-seqs: 24" in text and "VLLM_LOGGING_LEVEL=WARNING" in text for text in options())
    assert load.failures == [] and len(load.latencies) > 100
    assert servers(host) == BOTH_UP
    assert re.search(r"^upgrade-a .* serving", result.stdout, re.M) and re.search(
        r"^upgrade-b .* serving", result.stdout, re.M
    )
    assert not replica("upgrade-a").file("/var/lib/amdgpu-fleet/before-upgrade.tar").exists


def test_a_second_run_restarts_nothing(host):
    before = started()
    result = upgrade(vllm_options={"max-num-seqs": 24}, vllm_environment={"VLLM_LOGGING_LEVEL": "WARNING"})
    assert result.returncode == 0, result.stdout
    assert started() == before and not re.search(r"changed=[1-9]", result.stdout), result.stdout


def test_an_upgrade_that_was_broken_off_is_brought_to_an_end(host):
    """The controller dies while the server is stopped: the host is drained, and what it served with is
    kept."""
    first, other = NAMES
    saved = "/var/lib/amdgpu-fleet/before-upgrade.tar"
    before, wants = (
        started(),
        {"vllm_options": {"max-num-seqs": 25}, "vllm_environment": {"VLLM_LOGGING_LEVEL": "WARNING"}},
    )
    # The gateway cannot do without the other one meanwhile.
    asked = command("upgrade", "--limit", first, **wants)
    controller = subprocess.Popen(asked, cwd=REPOSITORY, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 200
        while replica(first).service("vllm-tiny").is_running:
            assert controller.poll() is None and time.monotonic() < deadline, "it was not stopped"
            time.sleep(0.2)
    finally:
        processes.kill(controller.pid)
        controller.wait()
    assert servers(host)[first] != BOTH_UP[first]
    kept = replica(first).file(saved)
    assert kept.mode == 0o600 and "etc/vllm/tiny.yaml" in replica(first).check_output(
        f"tar --list --file {saved}"
    )
    result = upgrade("--limit", first, **wants)
    assert result.returncode == 0, result.stdout
    after = started()
    assert after[first] != before[first] and after[other] == before[other]
    assert (
        "max-num-seqs: 25" in options()[0]
        and servers(host) == BOTH_UP
        and not replica(first).file(saved).exists
    )


def test_a_broken_version_ends_with_the_old_one_and_loses_no_request(host):
    first, other = NAMES
    before = options()
    when = started()
    served = environments()
    # In an environment of its own.
    packages = ["vllm==0.32.0+cpu", "torch==2.13.0+cpu", "numpy"]
    with Load() as load:
        result = upgrade(
            vllm_options={"max-num-seqs": 24, "dtype": "float17"},
            # The plan knows that vLLM refuses it. What is tested is what follows where somebody insists.
            plan_accept=["vllm.option"],
            vllm_packages=packages,
            serve_check_interval=300,
        )
    assert result.returncode == 2, result.stdout
    words = flat(result)
    assert f"{first}: Verify | ask for a completion:" in words and "float17" in words, result.stdout
    assert "The previous version was put back and serves." in words
    assert load.failures == [] and len(load.latencies) > 50
    assert options() == before and started()[other] == when[other]
    assert (
        environments() == served and len(replica(first).check_output("ls -d /opt/vllm/*-cpu-*").split()) == 2
    )
    assert servers(host) == BOTH_UP
    assert re.search(rf"^{first} .* FAILED", result.stdout, re.M) and re.search(
        rf"^{other} .* waiting", result.stdout, re.M
    )
    # Nothing of it is left: the next boot starts the old one, and nobody asks it for completions.
    for path in (
        "/etc/systemd/system/inference-check-tiny.timer",
        "/usr/local/lib/amdgpu-fleet/inference_check.py",
    ):
        assert not replica(first).file(path).exists
    assert not replica(first).service("inference-check-tiny.timer").is_running
    assert replica(first).run("systemctl is-enabled vllm-tiny").stdout.strip() in ("enabled", "generated")
    assert not replica(first).file("/var/lib/amdgpu-fleet/before-upgrade.tar").exists


def test_tls(host, tmp_path):
    certificate = tmp_path / "gateway.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]
    names = ["-subj", "/CN=gateway", "-addext", f"subjectAltName=IP:{GATEWAY}"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(certificate)]
    subprocess.run([*request, *names, *files], capture_output=True, check=True)
    path = "/etc/ssl/private/gateway.pem"
    whole = certificate.read_text() + (tmp_path / "key.pem").read_text()
    host.check_output("umask 077; mkdir -p /etc/ssl/private; printf %%s %s >%s", whole, path)
    result = gateway(gateway_tls_certificate=path)
    assert result.returncode == 0, result.stdout
    connection = http.client.HTTPSConnection(
        GATEWAY, 8080, timeout=30, context=ssl.create_default_context(cafile=str(certificate))
    )
    connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {CLIENT_KEY}"})
    assert connection.getresponse().status == 200
    with pytest.raises((OSError, http.client.HTTPException)):
        ask("/v1/models")  # without TLS


def test_the_gateway_can_be_taken_away(host):
    result = gateway("--check", "--diff", gateway_state="absent")
    assert result.returncode == 0 and "amdgpu-gateway.service" in result.stdout, result.stdout
    assert host.service("amdgpu-gateway").is_running
    assert gateway(gateway_state="absent").returncode == 0
    assert not host.check_output("ss -Hltn sport = :8080")
    assert (
        host.run("systemctl cat amdgpu-gateway").rc != 0
        and not host.file("/etc/amdgpu-gateway/haproxy.cfg").exists
    )
    # Clients have the keys, and other services may use the package.
    assert host.file("/etc/amdgpu-gateway/api_keys").exists and host.package("haproxy").is_installed
    again = gateway(gateway_state="absent")
    assert again.returncode == 0 and not re.search(r"changed=[1-9]", again.stdout), again.stdout
