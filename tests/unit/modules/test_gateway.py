# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's configuration in the HAProxy of the distribution, and its servers taken out of service and
back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.amdgpu.fleet.plugins.filter.gateway import replicas as replicas_filter
from ansible_collections.amdgpu.fleet.plugins.module_utils import _gateway as gateway
from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import QUESTIONS, TRANSCRIPTIONS

ROLE = Path(__file__).resolve().parents[3] / "roles/gateway"
HAPROXY = shutil.which("haproxy") or ("/usr/sbin/haproxy" if os.path.exists("/usr/sbin/haproxy") else None)
needs_haproxy = pytest.mark.skipif(
    not HAPROXY or os.geteuid() != 0, reason="needs HAProxy (the test bed installs it) and root"
)
KEY, REPLICA_KEY = "key-of-a-client", "key-of-the-replicas"
ONE = {"name": "one", "address": "10.0.0.1", "port": 8000}


def template(name: str, **given) -> str:
    files = [yaml.safe_load((ROLE / folder / "main.yml").read_text()) for folder in ("defaults", "vars")]
    trusted = {
        key: trust_as_template(value) if isinstance(value, str) else value
        for values in files
        for key, value in values.items()
    }
    variables = {**trusted, **given, "ansible_search_path": [str(ROLE)]}
    expression = trust_as_template("{{ lookup('ansible.builtin.template', '" + name + "') }}")
    return Templar(loader=DataLoader(), variables=variables).template(expression)


def configuration(folder: Path, **given) -> Path:
    """The role's haproxy.cfg with all its files below a folder, keys included."""
    folder.mkdir(exist_ok=True)
    text = template("haproxy.cfg.j2", __gateway_configuration=str(folder), **given)
    text = text.replace("/run/amdgpu-gateway", str(folder)).replace("/var/lib/amdgpu-gateway", str(folder))
    (folder / "api_keys").write_text(KEY + "\n")
    (folder / "replica_key").write_text(f"replica {REPLICA_KEY}\n")
    (folder / "server-state").write_text("1\n")  # as the unit does
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return path


def validate(path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([HAPROXY, "-c", "-f", path], capture_output=True, text=True, check=False)


@needs_haproxy
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"gateway_replicas": [ONE, {"name": "two", "address": "fd00::2"}]},
        {"gateway_address": "::1", "gateway_replicas": [ONE]},
        {"gateway_address": "0.0.0.0", "gateway_api_keys": [KEY], "gateway_replica_key": REPLICA_KEY},
        {"gateway_paths": ["/v1/audio/", "/v1/models"], "gateway_balance": "random", "gateway_timeout": 7200},
    ],
    ids=["nothing", "replicas", "ipv6", "keys", "choices"],
)
def test_haproxy_takes_the_configuration_without_a_warning(tmp_path, given):
    result = validate(configuration(tmp_path, **given))
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr and "ALERT" not in result.stderr


@needs_haproxy
def test_haproxy_takes_a_certificate(tmp_path):
    pem = tmp_path / "gateway.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=gw",
            "-keyout",
            tmp_path / "key",
            "-out",
            tmp_path / "crt",
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text((tmp_path / "crt").read_text() + (tmp_path / "key").read_text())
    assert (
        validate(configuration(tmp_path, gateway_tls_certificate=str(pem), gateway_replicas=[ONE])).returncode
        == 0
    )
    pem.write_text("no certificate")
    assert validate(configuration(tmp_path, gateway_tls_certificate=str(pem))).returncode != 0


def test_no_key_stands_in_the_configuration():
    text = template("haproxy.cfg.j2", gateway_api_keys=[KEY], gateway_replica_key=REPLICA_KEY) + template(
        "gateway.service.j2"
    )
    assert KEY not in text and REPLICA_KEY not in text and "/etc/amdgpu-gateway/api_keys" in text


def test_a_key_is_asked_for_beyond_loopback():
    assert "known_key" not in template("haproxy.cfg.j2")
    assert "known_key" in template("haproxy.cfg.j2", gateway_address="10.0.0.9")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("gateway_address", ""),
        ("gateway_address", "*"),
        ("gateway_address", "gateway.example.net"),
        ("gateway_address", "127.0.0.1\n    bind 0.0.0.0:1"),
        ("gateway_port", 0),
        ("gateway_port", 65536),
        ("gateway_replicas", [ONE, ONE]),
        ("gateway_replicas", [{**ONE, "name": "a b"}]),
        ("gateway_replicas", [{**ONE, "name": "one\n"}]),
        ("gateway_replicas", [{**ONE, "address": "10.0.0.1 backup"}]),
        ("gateway_replicas", [{**ONE, "port": 70000}]),
        ("gateway_paths", []),
        ("gateway_paths", ["v1/models"]),
        ("gateway_paths", ["/"]),
        ("gateway_paths", ["/v1/../metrics"]),
        ("gateway_paths", ["/v1 -m found"]),
        ("gateway_tls_certificate", "certs/gw.pem"),
        ("gateway_tls_certificate", "/etc/gw.pem verify none"),
        ("gateway_api_keys", ["short"]),
        ("gateway_api_keys", [KEY, "with a space in it"]),
        ("gateway_api_keys", [KEY + "\n"]),
        ("gateway_replica_key", "two\nlines-of-key"),
    ],
)
def test_what_haproxy_would_misread_is_named_and_no_key_is_shown(variable, value):
    checks = yaml.safe_load(template("checks.yml.j2", **{variable: value}))
    wrong = [check for check in checks if not check["that"]]
    assert {check["variable"] for check in wrong} == {variable}
    assert all(check["expected"] for check in wrong)
    assert "with a space" not in str(wrong) and "lines-of" not in str(wrong)


def test_what_fits_passes():
    replicas = [
        ONE,
        {"name": "gpu-2.example.net", "address": "gpu-2.example.net"},
        {"name": "v6", "address": "fd00::1", "port": 1},
    ]
    given = {
        "gateway_address": "fd00::9",
        "gateway_replicas": replicas,
        "gateway_api_keys": [KEY],
        "gateway_tls_certificate": "/etc/ssl/gw.pem",
    }
    assert all(check["that"] for check in yaml.safe_load(template("checks.yml.j2", **given)))


# --- requests


class Replica(ThreadingHTTPServer):
    """What vLLM is to the gateway: /health, and answers that take as long as a test says."""

    daemon_threads = True

    def __init__(self, name: str, pem: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        if pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            # The handshake is for the thread of the request: one that fails must not end the server.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.name, self.delay, self.well, self.read = name, 0.0, True, 0
        self.asked: list[tuple[str, str | None]] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    server: Replica
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments) -> None:
        pass

    def reply(self, code: int, text: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(200 if self.server.well else 503)
            return
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        time.sleep(self.server.delay)
        self.reply(200, self.server.name)

    def do_POST(self) -> None:
        self.server.read += len(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Haproxy:
    """A running gateway, with two replicas if nothing else is said."""

    def __init__(
        self,
        folder: Path,
        short: dict[str, str] | None = None,
        pem: Path | None = None,
        health: str = "UP",
        task: str = "generate",
        more: dict[str, dict] | None = None,
        **given,
    ) -> None:
        """``more``: names of other replicas, each with what else stands in its entry."""
        self.folder, self.port = folder, free_port()
        self.replicas = {name: Replica(name, pem) for name in more or ("one", "two")}
        servers = [
            {
                "name": name,
                "address": "127.0.0.1",
                "tls_name": "replica.example",
                "port": replica.server_port,
                "task": task,
                **(more or {}).get(name, {}),
            }
            for name, replica in self.replicas.items()
        ]
        path = configuration(folder, gateway_port=self.port, gateway_replicas=servers, **given)
        # A dead replica is seen soon; the interval itself stays longer than a busy machine keeps HAProxy
        # waiting, as it limits each check.
        path.write_text(path.read_text().replace("fastinter 500ms", "fastinter 100ms"))
        for long, instead in (short or {}).items():
            path.write_text(path.read_text().replace(long, instead))
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([HAPROXY, "-W", "-db", "-f", path], stdout=self.log, stderr=self.log)
        self.ask = gateway.socket_at(str(folder / "admin.sock"))
        self.wait(
            lambda: all(server.health == health for server in gateway.servers(self.ask, "replicas").values())
        )

    def wait(self, condition) -> None:
        # Long, because a busy machine is slow; a HAProxy that has ended is not waited for.
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(gateway.GatewayError, OSError):
                if condition():
                    return
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.folder / "log"
            ).read_text()
            time.sleep(0.05)

    def request(
        self, path: str, key: str | None = KEY, body: str | None = "{}", scheme: str = "Bearer"
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Authorization": f"{scheme} {key}"} if key else {}
        connection.request("POST" if body else "GET", path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def reload(self) -> None:
        self.process.send_signal(signal.SIGUSR2)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        for replica in self.replicas.values():
            replica.close()


@pytest.fixture
def running(tmp_path):
    with contextlib.closing(
        Haproxy(tmp_path / "gateway", gateway_api_keys=[KEY], gateway_replica_key=REPLICA_KEY)
    ) as found:
        yield found


@pytest.fixture
def server(running, run_module):
    def run(name: str, state: str, **arguments):
        places = {
            "socket": str(running.folder / "admin.sock"),
            "state_file": str(running.folder / "server-state"),
        }
        names = name.split("+")
        result = run_module(
            "gateway_server",
            **{"servers": names, "state": state, "timeout": 5, "interval": 0.05, **places, **arguments},
        )
        for key in ("before", "after"):  # of a single server without its name
            if len(result.get(key, {})) == 1:
                result[key] = next(iter(result[key].values()))
        return result

    return run


@needs_haproxy
def test_paths_and_keys(running):
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/models?x=1"):
        assert running.request(path)[0] == 200
    denied = ("/metrics", "/docs", "/openapi.json", "/invocations", "/tokenize", "/v1/load_lora_adapter", "/", "//v1/models",
              "/v1/completions/../../metrics", "/v1/completions/%2e%2e/metrics", "/v1/models/", "/V1/models")  # fmt: skip
    for path in denied:
        status, text = running.request(path)
        assert status == 404 and json.loads(text)["error"]["code"] == 404, path
    for key, scheme in (
        (None, ""),
        ("wrong", "Bearer"),
        (KEY, "Basic"),
        (KEY + "x", "Bearer"),
        ("", "Bearer"),
        (f"x {KEY}", "Bearer"),
    ):
        status, text = running.request("/v1/completions", key=key, scheme=scheme)
        assert status == 401 and json.loads(text)["error"]["code"] == 401, (key, scheme)
    assert running.request("/v1/completions", scheme="bearer")[0] == 200
    seen = [entry for replica in running.replicas.values() for entry in replica.asked]
    assert len(seen) == 4 and {key for _path, key in seen} == {f"Bearer {REPLICA_KEY}"}
    assert {path for path, _key in seen} <= {"/v1/completions", "/v1/chat/completions", "/v1/models?x=1"}


@needs_haproxy
def test_the_gateway_is_well_while_one_replica_is(running):
    assert running.request("/health", key=None, body=None)[0] == 200
    running.replicas["one"].well = False
    running.wait(lambda: gateway.servers(running.ask, "replicas")["one"].health.startswith("DOWN"))
    assert running.request("/health", key=None, body=None)[0] == 200
    assert {running.request("/v1/models")[1] for _each in range(6)} == {"two"}
    running.replicas["two"].well = False
    running.wait(lambda: running.request("/health", key=None, body=None)[0] == 503)


@needs_haproxy
def test_a_replica_that_is_gone_before_the_health_check_sees_it_costs_no_request(running):
    running.replicas["one"].close()
    assert [running.request("/v1/completions") for _each in range(4)] == [(200, "two")] * 4


@needs_haproxy
def test_a_request_that_was_sent_is_not_sent_again(running):
    """A replica that dies over a prompt: the prompt is not computed a second time."""
    for replica in running.replicas.values():
        replica.delay = -1  # the handler ends with an error, and the connection with it
        replica.handle_error = lambda *_arguments: None
    assert running.request("/v1/completions")[0] == 502
    assert sum(len(replica.asked) for replica in running.replicas.values()) == 1


# --- the module


@needs_haproxy
def test_drain_and_back(running, server):
    seen = server("one", "drain", _check=True)
    assert seen["changed"] and seen["before"]["state"] == "ready" and seen["after"]["state"] == "drain"
    assert gateway.servers(running.ask, "replicas")["one"].state == "ready"
    assert server("one", "drain")["changed"]
    assert not server("one", "drain")["changed"] and not server("one", "drain", _check=True)["changed"]
    assert {running.request("/v1/models")[1] for _each in range(6)} == {"two"}
    back = server("one", "ready")
    assert (
        back["changed"]
        and back["before"]["state"] == "drain"
        and back["after"] == {"state": "ready", "health": "UP", "sessions": 0}
    )
    assert back["diff"] == {"before": "one: drain\n", "after": "one: ready\n"}
    assert not server("one", "ready")["changed"]
    assert {running.request("/v1/models")[1] for _each in range(6)} == {"one", "two"}


@needs_haproxy
def test_drain_waits_for_the_last_request(running, server):
    for replica in running.replicas.values():
        replica.delay = 1.5
    answers: list = []
    clients = [
        threading.Thread(target=lambda: answers.append(running.request("/v1/completions")))
        for _each in range(4)
    ]
    for client in clients:
        client.start()
    running.wait(lambda: sum(len(replica.asked) for replica in running.replicas.values()) == 4)
    result = server("one", "drain")
    assert (
        result["before"]["sessions"] == 2
        and result["after"]["sessions"] == 0
        and 0.5 < result["waited_seconds"] < 5
    )
    for client in clients:
        client.join()
    assert [status for status, _text in answers] == [200] * 4


@needs_haproxy
def test_a_request_that_does_not_end_leaves_the_server_in_service(running, server):
    running.replicas["one"].delay = running.replicas["two"].delay = 8

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # the gateway is gone before the answer
            running.request("/v1/completions")

    for _each in range(2):
        threading.Thread(target=ask, daemon=True).start()
    running.wait(lambda: len(running.replicas["one"].asked) == 1)
    result = server("one", "drain", timeout=1)
    assert (
        result["failed"]
        and "still has 1 requests after 1 s, so it was put back into service" in result["msg"]
    )
    assert gateway.servers(running.ask, "replicas")["one"].state == "ready"


@needs_haproxy
def test_the_last_server_is_kept(running, server):
    assert server("one", "drain")["changed"]
    for check in (True, False):
        refused = server("two", "drain", _check=check)
        assert (
            refused["failed"]
            and "0 of 1 other servers would take requests (none), and 1 must" in refused["msg"]
        )
    assert gateway.servers(running.ask, "replicas")["two"].state == "ready"
    assert server("two", "maint", keep=0)["after"]["state"] == "maint"


@needs_haproxy
def test_maintenance_is_somebodys_decision(running, server):
    assert server("two", "maint")["changed"]
    for state in ("drain", "ready"):
        kept = server("two", state, leave_maintenance=True)
        assert not kept["changed"] and kept["after"]["state"] == "maint"
    assert server("two", "ready")["after"]["state"] == "ready"


@needs_haproxy
def test_several_servers_of_a_host(running, server):
    """A host knows the names it may have; the gateway knows which of them it has."""
    result = server("one+one.tiny", "drain")
    assert result["changed"] and result["after"]["state"] == "drain"
    assert (
        server("one+two", "drain")["failed"]
        and gateway.servers(running.ask, "replicas")["two"].state == "ready"
    )
    both = server("one+two", "drain", keep=0)
    assert both["changed"] and {each["state"] for each in both["after"].values()} == {"drain"}
    assert both["diff"] == {"before": "one: drain\ntwo: ready\n", "after": "one: drain\ntwo: drain\n"}
    assert server("one+two", "ready")["changed"]
    assert server("three", "drain", must_exist=False)["after"] == {}


@needs_haproxy
def test_ready_waits_for_the_health_check(running, server):
    assert server("one", "drain")["changed"]
    running.replicas["one"].well = False
    running.wait(lambda: gateway.servers(running.ask, "replicas")["one"].health.startswith("DOWN"))
    late = server("one", "ready", timeout=1)
    assert late["failed"] and re.search(r"one is DOWN.* after 1 s", late["msg"])
    threading.Timer(1, lambda: setattr(running.replicas["one"], "well", True)).start()
    assert server("one", "ready")["after"]["health"] == "UP"


@needs_haproxy
def test_what_is_drained_stays_so_when_haproxy_is_reloaded_and_no_request_is_lost(running, server):
    assert server("one", "drain")["changed"]
    failures, stop = [], threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                answer = running.request("/v1/completions")
            except OSError as error:
                answer = (0, str(error))
            if answer != (200, "two"):
                failures.append(answer)

    clients = [threading.Thread(target=load) for _each in range(4)]
    for client in clients:
        client.start()
    old = running.ask("show info").split("Pid: ")[1].split()[0]
    running.reload()
    running.wait(lambda: running.ask("show info").split("Pid: ")[1].split()[0] != old)
    time.sleep(1)
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert gateway.servers(running.ask, "replicas")["one"].state == "drain"
    assert server("one", "ready")["changed"]


@needs_haproxy
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"server": "three+four"}, "has no server three or four; it has one, two"),
        ({"backend": "others"}, "HAProxy has no backend others"),
        (
            {"socket": "/nowhere/admin.sock"},
            "HAProxy does not answer at /nowhere/admin.sock (No such file or directory)",
        ),
    ],
)
def test_what_is_not_there(server, arguments, words):
    result = server(arguments.pop("server", "one"), "drain", **arguments)
    assert result["failed"] and words in result["msg"]


# --- the inventory


def test_replicas_of_the_inventory():
    hostvars = {
        "a": {
            "serve_instances": [
                {"name": "llama", "model": "x", "host": "10.0.0.1"},
                {"name": "qwen", "model": "y", "host": "10.0.0.1", "port": 8001},
            ]
        },
        "b": {"serve_instances": [{"name": "llama", "model": "x", "host": "10.0.0.2", "port": "9000"}]},
    }
    assert replicas_filter(["a", "b"], hostvars, "llama") == [
        {"name": "a", "address": "10.0.0.1", "port": 8000},
        {"name": "b", "address": "10.0.0.2", "port": 9000},
    ]
    assert [each["name"] for each in replicas_filter(["a"], hostvars)] == ["a.llama", "a.qwen"]


def test_hosts_that_serve_together_are_one_replica():
    each = {
        "serve_instances": [{"name": "big", "model": "x", "host": "10.0.0.1", "nodes": "rack"}],
        "groups": {"rack": ["a", "b"]},
    }
    assert replicas_filter(["a", "b"], {"a": each, "b": each}, "big") == [
        {"name": "a", "address": "10.0.0.1", "port": 8000}
    ]


@needs_haproxy
@pytest.mark.parametrize(("task", "status"), [("generate", 404), ("pooling", 200)])
def test_paths_follow_the_task_of_the_replicas(tmp_path, task, status):
    """Whatever a server is asked whether it works, clients may ask too."""
    asked = {path for questions in QUESTIONS.values() for path, _body in questions}
    paths = asked - {"/v1/embeddings", TRANSCRIPTIONS}
    assert paths == {"/score", "/classify", "/pooling"}
    with contextlib.closing(Haproxy(tmp_path / "gateway", task=task, gateway_api_keys=[KEY])) as running:
        for path in (*sorted(paths), "/v1/rerank", "/rerank", "/v2/rerank", "/v1/score", "/v2/embed"):
            assert running.request(path)[0] == status, path
            assert running.request(path, key=None)[0] == (401 if status == 200 else status), path
        for path in ("/metrics", "/tokenize", "/invocations", "/pooling/x", "/v1/load_lora_adapter"):
            assert running.request(path)[0] == 404, path


def test_the_task_of_a_replica_is_that_of_its_options():
    hostvars = {
        "a": {
            "serve_instances": [
                {"name": "rank", "options": {"runner": "pooling"}},
                {"name": "chat", "port": 8001},
            ]
        }
    }
    assert [each.get("task") for each in replicas_filter(["a"], hostvars)] == ["pooling", None]


def test_an_entry_of_several_servers_is_several_replicas():
    hostvars = {"a": {"serve_instances": [{"name": "chat", "model": "x", "host": "10.0.0.1", "count": 2}]}}
    assert replicas_filter(["a"], hostvars, "chat") == [
        {"name": "a.chat-0", "address": "10.0.0.1", "port": 8000},
        {"name": "a.chat-1", "address": "10.0.0.1", "port": 8001},
    ]


@pytest.mark.parametrize(
    ("hostvars", "words"),
    [
        ({"a": {}, "b": {}}, "no serve_instances for a"),
        ({}, "no a for a"),
        ({"a": {"serve_instances": []}, "b": {}}, "a has no instance"),
        ({"a": {"serve_instances": [{"name": "x"}]}, "b": {}}, "the instance x of a listens on 127.0.0.1"),
        *(({"a": {"serve_instances": wrong}, "b": {}}, "serve_instances of a is not a list of instances") for wrong in (
            None, 5, "abc", {"name": "x"}, [1], [{"model": "x"}], [{"name": "x", "host": "10.0.0.1", "port": "x"}],
            [{"name": "x", "count": None}], [{"name": "x", "port": float("inf")}],
        )),
    ],
)  # fmt: skip
def test_an_inventory_that_has_no_replicas(hostvars, words):
    with pytest.raises(AnsibleFilterError, match=words):
        replicas_filter(["a", "b"], hostvars)


# --- a HAProxy that misbehaves

HEADER = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
STATES = HEADER + "".join(
    f"1 replicas {number} {name} 127.0.0.1 2 {{{name}}}\n" for number, name in enumerate("abc")
)
STAT = "# pxname,svname,qcur,scur,status\n" + "".join(f"replicas,{name},0,0,UP\n" for name in "abc")


class Socket(threading.Thread):
    """The runtime socket of a HAProxy with the servers a, b and c, all of them ready."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.flags = dict.fromkeys("abc", "0")
        self.states, self.stat, self.refuses = STATES, STAT, ""
        self.trickle, self.flood = False, False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _address = self.listener.accept()
                threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream: socket.socket) -> None:
        with stream, contextlib.suppress(OSError):
            command = stream.recv(1000).decode().split()
            for _piece in range(300 if self.trickle else 0):
                stream.sendall(b" ")
                time.sleep(0.1)
            for _piece in range(100 if self.flood else 0):
                stream.sendall(b" " * 65536)
            stream.sendall(self.answer(command).encode())

    def answer(self, command: list[str]) -> str:
        if command[:2] == ["set", "server"]:
            name = command[2].partition("/")[2]
            if name == self.refuses:
                return "No such server.\n"
            self.flags[name] = {"ready": "0", "drain": "8", "maint": "1"}[command[4]]
            return "\n"
        return self.states.format(**self.flags) if "state" in command else self.stat

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def odd(tmp_path, run_module):
    haproxy = Socket(tmp_path / "odd.sock")

    def run(names, state="drain", **arguments):
        places = {"socket": str(tmp_path / "odd.sock"), "state_file": str(tmp_path / "state")}
        return run_module(
            "gateway_server",
            servers=list(names),
            state=state,
            **{"timeout": 2, "interval": 0.05, **places, **arguments},
        )

    haproxy.gateway_server = run
    yield haproxy
    haproxy.close()


def test_a_server_that_is_refused_leaves_no_other_drained(odd, tmp_path):
    odd.refuses = "b"
    result = odd.gateway_server("ab")
    assert result["failed"] and "HAProxy refuses to set replicas/b to drain: No such server." in result["msg"]
    remembered = (tmp_path / "state").read_text()
    assert set(odd.flags.values()) == {"0"} and " 0\n" in remembered and " 8\n" not in remembered


def test_a_state_file_that_cannot_be_written_leaves_nothing_drained(odd, tmp_path):
    (tmp_path / "state").mkdir()
    result = odd.gateway_server("a")
    assert (
        result["failed"]
        and result["msg"].count(str(tmp_path / "state")) == 1
        and set(odd.flags.values()) == {"0"}
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "states",
            STATES.replace("srv_admin_state", "srv_other_state"),
            "states of the servers of replicas cannot be read",
        ),
        ("states", STATES.replace("{a}", "zz"), "states of the servers of replicas cannot be read"),
        ("stat", STAT.replace("0,0,UP", "0,0", 1), "statistics of replicas/a cannot be read"),
        ("stat", STAT + "replicas,c,0,0," + "U" * 200000 + "\n", "statistics cannot be read (field larger"),
    ],
)
def test_answers_that_make_no_sense_are_a_sentence(odd, name, text, said):
    setattr(odd, name, text)
    assert said in odd.gateway_server("a")["msg"]


def test_an_answer_without_an_end(odd, tmp_path):
    odd.flood = True
    assert "has no end" in odd.gateway_server("a")["msg"]
    odd.flood, odd.trickle = False, True
    with pytest.raises(gateway.GatewayError, match="it took longer than 1 s"):
        gateway.socket_at(str(tmp_path / "odd.sock"), timeout=1)("show stat")


def test_an_interval_that_is_none(odd):
    assert odd.gateway_server("a", interval="-1")["msg"].startswith(
        "interval must be between 0 and 3600 seconds, not -1"
    )


@needs_haproxy
def test_one_source_cannot_take_all_connections(tmp_path):
    limited = Haproxy(tmp_path / "gateway", gateway_max_connections_per_source=5)

    def refused() -> bool:
        # Opened again for each try: HAProxy ends connections that say nothing for long.
        with contextlib.ExitStack() as held:
            for _number in range(5):
                held.enter_context(socket.create_connection(("127.0.0.1", limited.port)))
            stream = held.enter_context(socket.create_connection(("127.0.0.1", limited.port)))
            stream.settimeout(1)
            try:
                return stream.recv(1) == b""
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False

    with contextlib.closing(limited):
        limited.wait(refused)
        limited.wait(lambda: limited.request("/v1/completions")[0] == 200)


@needs_haproxy
def test_an_answer_may_take_longer_than_a_client_may_be_silent(tmp_path):
    quick = Haproxy(tmp_path / "gateway", short={"timeout client 30s": "timeout client 1s"})
    with contextlib.closing(quick):
        for replica in quick.replicas.values():
            replica.delay = 4
        assert "\n    timeout client 1s\n" in (quick.folder / "haproxy.cfg").read_text()
        assert quick.request("/v1/completions")[0] == 200


@needs_haproxy
def test_who_never_begins_the_handshake_is_let_go(tmp_path):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=gw"]
    subprocess.run(
        [*command, "-keyout", tmp_path / "key", "-out", tmp_path / "crt"], check=True, capture_output=True
    )
    pem = tmp_path / "gateway.pem"
    pem.write_text((tmp_path / "crt").read_text() + (tmp_path / "key").read_text())
    quick = Haproxy(
        tmp_path / "gateway",
        short={"timeout client 30s": "timeout client 1s"},
        gateway_tls_certificate=str(pem),
    )
    with contextlib.closing(quick), socket.create_connection(("127.0.0.1", quick.port)) as stream:
        stream.settimeout(60)
        assert stream.recv(1) == b""


@needs_haproxy
def test_nothing_is_upgraded_or_traced(running):
    for method, headers, status in (
        ("TRACE", {}, 405),
        ("GET", {"Upgrade": "websocket", "Connection": "Upgrade"}, 400),
        (
            "GET",
            {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__", "Connection": "Upgrade, HTTP2-Settings"},
            400,
        ),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        connection.request(method, "/v1/models", None, {"Authorization": f"Bearer {KEY}", **headers})
        assert connection.getresponse().status == status, method
        connection.close()
    assert not [entry for replica in running.replicas.values() for entry in replica.asked]


@needs_haproxy
def test_refusals_are_logged_and_keys_are_not(running):
    assert running.request("/v1/completions")[0] == 200
    assert running.request("/v1/models", key="wrong-key-of-somebody")[0] == 401
    assert running.request("/metrics")[0] == 404
    log = running.folder / "log"
    running.wait(lambda: " 404 " in log.read_text())
    text = log.read_text()
    assert " 401 " in text and "/v1/models" in text and "wrong-key-of-somebody" not in text
    assert "/v1/completions" not in text and KEY not in text
