# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror of a site in the nginx of the distribution, in front of a Hub that redirects and asks for a token."""

from __future__ import annotations

import hashlib
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
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[2] / "roles/mirror"
NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else None)
needs_nginx = pytest.mark.skipif(
    not NGINX or os.geteuid() != 0, reason="needs nginx (the test bed installs it) and root"
)
TOKEN = "hf_of_somebody"  # noqa: S105 - of the stand-in
DIGEST = f"sha256:{'5' * 64}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Three stretches of 16 MiB, the last one short.
WEIGHTS = hashlib.sha256(b"weights").digest() * ((40 << 20) // 32)
FILES = {"model.safetensors": WEIGHTS, "config.json": b'{"a": 1}', "empty": b""}


@dataclass
class Outside:
    """What the sources were asked for and what they sent."""

    asked: list[str] = field(default_factory=list)
    sent: int = 0
    page: bytes = b"first"
    # After so many bytes an answer is cut off, once.
    cut: int = 0
    tokens: list[str] = field(default_factory=list)

    @property
    def etag(self) -> str:
        return f'"{self.page.decode()}"'


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _source(outside: Outside, other: int) -> type[BaseHTTPRequestHandler]:
    class Source(BaseHTTPRequestHandler):
        """The Hub, whose files lie at another host, an index of wheels, and packages."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            outside.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
            if path.startswith("/cdn/"):
                outside.tokens.append(self.headers.get("Authorization", ""))
                self._send(FILES[path.rpartition("/")[2]], etag='"of-the-cdn"')
            elif "/resolve/" in path:
                self._resolve(path)
            elif path.startswith("/api/"):
                link = f'<http://{self.headers["Host"]}/api/next>; rel="next"'
                self._send(b"[]", {"Link": link})
            elif path.startswith("/simple/"):
                host = self.headers["Host"]
                text = f'<a href="http://{host}/files/a-1.whl">a</a><a href="/root/b-1.whl">b</a><a href="../../c-1.whl">c</a>'
                self._send(text.encode(), {"Content-Type": "text/html"})
            elif path.endswith("InRelease"):
                if self.headers.get("If-None-Match") == outside.etag:
                    self._plain(304)
                else:
                    self._send(outside.page, etag=outside.etag)
            elif path.endswith((".deb", ".whl")):
                self._send(path.encode() * 1000)
            elif path == "/token":
                token = "of-alice" if self.headers.get("Authorization") == "Basic alice" else "of-nobody"
                self._send(json.dumps({"token": token, "asked": self.path}).encode())
            elif path.startswith("/v2/"):
                self._image(path)
            else:
                self._plain(404)

        def _image(self, path: str) -> None:
            """One image for everybody, and one of Alice's."""
            allowed = ["Bearer of-alice"] if "/private/" in path else ["Bearer of-alice", "Bearer of-nobody"]
            if self.headers.get("Authorization") not in allowed:
                self._plain(401, {"WWW-Authenticate": 'Bearer realm="http://elsewhere/token"'})
            elif "/blobs/" in path:
                self._plain(
                    307,
                    {
                        "Location": f"http://127.0.0.1:{other}/cdn/model.safetensors?signature={time.monotonic_ns()}"
                    },
                )
            else:
                self._send(b"{}", {"Docker-Content-Digest": DIGEST})

        do_HEAD = do_GET

        def _resolve(self, path: str) -> None:
            if "gated" in path and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._plain(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Ask for access first."})
                return
            name = path.rpartition("/")[2]
            if path.startswith("/o/old/"):
                self._plain(307, {"Location": path.replace("/o/old/", "/o/gated/")})
            elif name not in FILES:
                self._plain(404, {"X-Error-Code": "EntryNotFound"})
            else:
                known = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{name}"', "X-Xet-Hash": "f00",
                         "X-Linked-Size": str(len(FILES[name]))}  # fmt: skip
                signed = f"http://127.0.0.1:{other}/cdn/{name}?signature={time.monotonic_ns()}"
                self._plain(302, {**known, "Location": signed})

        def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()

        def _send(self, data: bytes, headers: dict[str, str] | None = None, etag: str = '"1"') -> None:
            known, status = {"ETag": etag, "Content-Type": "application/x", **(headers or {})}, 200
            span = self.headers.get("Range", "").removeprefix("bytes=")
            if span and not data:
                self._plain(416)
                return
            if span:
                first, last = (
                    int(span.split("-")[0]),
                    min(int(span.split("-")[1] or len(data)), len(data) - 1),
                )
                known["Content-Range"], status = f"bytes {first}-{last}/{len(data)}", 206
                data = data[first : last + 1]
            self.send_response(status)
            for name, value in {**known, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if outside.cut and len(data) > outside.cut:
                data, outside.cut = data[: outside.cut], 0
                self.close_connection = True
            outside.sent += len(data)
            self.wfile.write(data)

        def log_message(self, *_words: object) -> None:
            pass

    return Source


@dataclass
class Mirror:
    """A running mirror and what is behind it."""

    url: str
    outside: Outside
    folder: Path
    start: object = None

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)


def variables(folder: Path, **given: object) -> dict[str, object]:
    files = [yaml.safe_load((ROLE / name / "main.yml").read_text()) for name in ("defaults", "vars")]
    own = {
        "inventory_hostname": "store",
        "mirror_directory": str(folder / "kept"),
        "__mirror_run": str(folder),
        "__mirror_seen": {"results": [{}, {"stat": {"exists": False}}]},
        **given,
    }
    trusted = {
        key: trust_as_template(value) if isinstance(value, str) else value
        for values in files
        for key, value in values.items()
    }
    return {**trusted, **own, "ansible_search_path": [str(ROLE)]}


def template(name: str, folder: Path, **given: object) -> str:
    expression = trust_as_template("{{ lookup('ansible.builtin.template', '" + name + "') }}")
    return str(Templar(loader=DataLoader(), variables=variables(folder, **given)).template(expression))


def configuration(folder: Path, **given: object) -> Path:
    text = template("nginx.conf.j2", folder, **given)
    text = text.replace("syslog:server=unix:/dev/log,nohostname,tag=amdgpu_mirror", f"{folder}/access.log")
    for name in ("kept", "state"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "resolver.conf").write_text("")
    path = folder / "nginx.conf"
    path.write_text(f"user root;\n{text}")
    return path


def catalog(port: int) -> dict[str, object]:
    here = f"http://127.0.0.1:{port}"
    return {
        "mirror": {
            "hub": {"address": here},
            "pip_index": {"address": f"{here}/simple", "files": f"{here}/files"},
            "files": {"repo.radeon.com": {"address": f"{here}/amd"}},
            "registries": {
                "docker.io": {"address": here, "token": f"{here}/token"},
                "quay.io": {"token": ""},
            },
        }
    }


@pytest.fixture
def mirror(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mirror]:
    outside, port, hub, cdn = Outside(), _port(), _port(), _port()
    servers = [ThreadingHTTPServer(("127.0.0.1", each), _source(outside, cdn)) for each in (hub, cdn)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    path = configuration(
        tmp_path,
        mirror_address="127.0.0.1",
        mirror_port=port,
        plan_catalog=catalog(hub),
        mirror_min_free="1M",
        mirror_networks=getattr(request, "param", ["127.0.0.1"]),
    )
    assert NGINX
    with subprocess.Popen([NGINX, "-e", "stderr", "-c", str(path)]) as process:
        try:
            started = Mirror(f"http://127.0.0.1:{port}", outside, tmp_path)
            end = time.monotonic() + 60
            while True:
                try:
                    assert started.get("/health")[0] in (200, 403)
                    break
                except urllib.error.URLError:
                    assert time.monotonic() < end and process.poll() is None
                    time.sleep(0.1)
            yield started
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            for server in servers:
                server.shutdown()
                server.server_close()


def resolve(name: str, model: str = "open", revision: str = COMMIT) -> str:
    return f"/hub/o/{model}/resolve/{revision}/{name}"


@needs_nginx
def test_a_commit_crosses_the_line_once_and_its_redirect_is_followed_inside(mirror: Mirror) -> None:
    head = mirror.get(resolve("model.safetensors"), "HEAD")
    assert head[0] == 200 and head[2]["Content-Length"] == str(len(WEIGHTS)) and "Location" not in head[2]
    assert head[2]["X-Repo-Commit"] == COMMIT and head[2]["X-Linked-Etag"] == '"model.safetensors"'
    # With it the client would fetch from elsewhere.
    assert "X-Xet-Hash" not in head[2]
    for _host in range(3):
        status, body, _headers = mirror.get(resolve("model.safetensors"))
        assert status == 200 and body == WEIGHTS
    assert mirror.outside.sent == len(WEIGHTS)
    status, body, headers = mirror.get(resolve("model.safetensors"), Range="bytes=20000000-20000009")
    assert (status, body) == (206, WEIGHTS[20000000:20000010])
    assert headers["Content-Range"] == f"bytes 20000000-20000009/{len(WEIGHTS)}"
    assert mirror.outside.sent == len(WEIGHTS)
    assert mirror.get(resolve("empty"))[:2] == (200, b"")


@needs_nginx
def test_hosts_that_ask_at_once_cost_one_transfer(mirror: Mirror) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(mirror.get(resolve("model.safetensors"))[1]))
        for _host in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [body == WEIGHTS for body in found] == [True] * 3
    assert mirror.outside.sent == len(WEIGHTS)


@needs_nginx
def test_a_gated_model_is_given_to_those_alone_whom_the_hub_lets_have_it(mirror: Mirror) -> None:
    path = resolve("model.safetensors", "gated")
    for _host in range(2):
        assert mirror.get(path, Authorization=f"Bearer {TOKEN}")[1] == WEIGHTS
    # Once for two hosts, and their token went to the Hub alone.
    assert mirror.outside.sent == len(WEIGHTS) and set(mirror.outside.tokens) == {""}
    for headers in ({}, {"Authorization": "Bearer hf_of_another"}):
        status, body, answer = mirror.get(path, **headers)
        assert status == 401 and WEIGHTS[:64] not in body
        assert answer["X-Error-Code"] == "GatedRepo" and answer["X-Error-Message"] == "Ask for access first."
    # Under its name of before it is as closed.
    assert mirror.get(resolve("config.json", "old"), Authorization=f"Bearer {TOKEN}")[0] == 200
    assert mirror.get(resolve("config.json", "old"), Authorization="Bearer hf_of_another")[0] == 401
    assert mirror.get(resolve("none.json", "gated"), Authorization=f"Bearer {TOKEN}")[0] == 404
    logs = "".join(path.read_text(errors="replace") for path in mirror.folder.glob("*.log"))
    assert TOKEN not in logs and "signature" not in logs
    kept = b"".join(path.read_bytes()[:4096] for path in mirror.folder.glob("kept/**/*") if path.is_file())
    assert TOKEN.encode() not in kept


@needs_nginx
def test_what_names_a_branch_is_asked_for_each_time(mirror: Mirror) -> None:
    for _host in range(2):
        assert mirror.get(resolve("config.json", revision="main"))[1] == FILES["config.json"]
        assert mirror.get("/hub/api/models/o/open/revision/main")[0] == 200
        time.sleep(2.1)
    asked = [line for line in mirror.outside.asked if "/main" in line]
    assert len(asked) >= 4, asked
    # The listing goes on at the mirror.
    assert (
        mirror.get("/hub/api/models/o/open/tree/main")[2]["Link"]
        == f'<{mirror.url}/hub/api/next>; rel="next"'
    )


@needs_nginx
def test_pages_of_the_index_lead_to_the_mirror_and_wheels_are_kept(mirror: Mirror) -> None:
    page = mirror.get("/pip/simple/a/")[1].decode()
    assert (
        page
        == '<a href="/pip/files/a-1.whl">a</a><a href="/pip/root/root/b-1.whl">b</a><a href="../../c-1.whl">c</a>'
    )
    for path in ("/pip/files/a-1.whl", "/pip/root/root/b-1.whl", "/pip/c-1.whl"):
        first = mirror.get(path)
        assert first[0] == 200 and mirror.get(path)[1] == first[1]
    assert [line.split()[1] for line in mirror.outside.asked if ".whl" in line] == [
        "/files/a-1.whl",
        "/root/b-1.whl",
        "/c-1.whl",
    ]


@needs_nginx
def test_an_index_of_packages_is_held_to_its_source_and_packages_are_kept(mirror: Mirror) -> None:
    index = "/files/repo.radeon.com/dists/noble/InRelease"
    assert mirror.get(index)[1] == b"first"
    time.sleep(2.1)
    before = mirror.outside.sent
    assert mirror.get(index)[1] == b"first" and mirror.outside.sent == before
    mirror.outside.page = b"second"
    time.sleep(2.1)
    assert mirror.get(index)[1] == b"second"
    for _host in range(3):
        assert mirror.get("/files/repo.radeon.com/pool/a%2Bb_1.deb")[0] == 200
    assert [line.split()[1] for line in mirror.outside.asked if ".deb" in line] == ["/amd/pool/a%2Bb_1.deb"]


@needs_nginx
def test_nothing_but_the_sources_is_fetched_and_nothing_is_changed(mirror: Mirror) -> None:
    for path in ("/files/example.org/x", "/files/169.254.169.254/x", "/http/127.0.0.1/", "/hub/../x", "/"):
        assert mirror.get(path)[0] in (400, 404), path
    assert mirror.get(resolve("config.json"), "POST")[0] == 405
    assert mirror.outside.asked == []


@needs_nginx
def test_a_line_that_breaks_costs_a_stretch(mirror: Mirror) -> None:
    mirror.outside.cut = 10 << 20
    with pytest.raises(Exception):
        mirror.get(resolve("model.safetensors"))
    assert mirror.get(resolve("model.safetensors"))[1] == WEIGHTS
    assert mirror.outside.sent <= len(WEIGHTS) + (16 << 20)


@needs_nginx
def test_a_full_disk_is_said_and_what_is_kept_is_served(mirror: Mirror) -> None:
    assert mirror.get(resolve("config.json"))[0] == 200
    (mirror.folder / "state/full").touch()
    status, body, headers = mirror.get(resolve("model.safetensors"))
    sentence = f"The disk of the mirror store is full: {mirror.folder}/kept has less than 1M free"
    assert status == 507 and json.loads(body)["error"].startswith(sentence)
    assert headers["X-Error-Message"].startswith(sentence)
    assert mirror.get("/health")[0] == 507
    assert mirror.get(resolve("config.json"))[0] == 200
    (mirror.folder / "state/full").unlink()
    assert mirror.get(resolve("model.safetensors"))[1] == WEIGHTS


@needs_nginx
def test_an_image_crosses_the_line_once_and_is_for_those_whom_its_registry_lets_have_it(
    mirror: Mirror,
) -> None:
    status, _body, headers = mirror.get("/v2/")
    realm = f"{mirror.url}/v2/token"
    assert status == 401 and headers["WWW-Authenticate"] == f'Bearer realm="{realm}",service="amdgpu-mirror"'
    tokens = {}
    for who, shown in (("nobody", {}), ("alice", {"Authorization": "Basic alice"})):
        scope = "scope=repository%3Adocker.io%2Fvllm%2Fvllm-openai-rocm%3Apull&service=amdgpu-mirror"
        answer = json.loads(mirror.get(f"/v2/token?{scope}", **shown)[1])
        # The registry has it under its own name.
        assert (
            answer["asked"]
            == "/token?service=registry.docker.io&scope=repository:vllm%2Fvllm-openai-rocm:pull"
        )
        tokens[who] = {"Authorization": f"Bearer {answer['token']}"}
    assert mirror.get("/v2/", **tokens["nobody"])[0] == 200
    tag = mirror.get("/v2/docker.io/vllm/vllm-openai-rocm/manifests/v1", **tokens["nobody"])
    assert tag[0] == 200 and tag[2]["Docker-Content-Digest"] == DIGEST
    for _host in range(2):
        for who in tokens.values():
            assert mirror.get(f"/v2/docker.io/vllm/vllm-openai-rocm/blobs/{DIGEST}", **who)[1] == WEIGHTS
    assert mirror.outside.sent < len(WEIGHTS) + 1000
    private = f"/v2/docker.io/private/image/blobs/{DIGEST}"
    assert mirror.get(private, **tokens["alice"])[1] == WEIGHTS
    for shown in (tokens["nobody"], {}):
        status, body, _headers = mirror.get(private, **shown)
        assert status == 401 and WEIGHTS[:64] not in body
    # A registry that asks nobody, and one that the catalog does not have.
    assert json.loads(mirror.get("/v2/token?scope=repository:quay.io/a/b:pull")[1]) == {"token": "none"}
    assert mirror.get("/v2/token?scope=repository:example.org/a/b:pull")[0] == 404
    assert mirror.get("/v2/example.org/a/manifests/v1", **tokens["alice"])[0] == 404


def refused(folder: Path, **given: object) -> list[str]:
    checks = yaml.safe_load(template("checks.yml.j2", folder, **given))
    return [f"{check['variable']}: {check['expected']}" for check in checks if not check["that"]]


def test_the_defaults_are_right(tmp_path: Path) -> None:
    assert refused(tmp_path, mirror_directory="/var/cache/amdgpu-mirror") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mirror_address": "store; }"}, "mirror_address: write one IP address"),
        ({"mirror_port": 70000}, "mirror_port: 70000 is not a port"),
        ({"mirror_url": "http://m/x"}, "mirror_url: .* is not http"),
        ({"mirror_url": "https://m:8090"}, "mirror_url: .* contradict each other"),
        (
            {"mirror_url": "http://m:8090", "mirror_tls_certificate": "/c", "mirror_tls_key": "/k"},
            "mirror_url: .* contradict",
        ),
        ({"mirror_tls_certificate": "/c.pem"}, "mirror_tls_key: certificate and key belong together"),
        ({"mirror_ca": "/c d"}, "mirror_ca: .* is not an absolute path"),
        ({"mirror_directory": "/var"}, "mirror_directory: .* is not a folder of its own"),
        ({"mirror_directory": "/srv/../etc"}, "mirror_directory: .* is not a folder of its own"),
        ({"mirror_networks": []}, "mirror_networks: nobody could ask"),
        ({"mirror_networks": ["all; deny"]}, "mirror_networks: .* is neither an address nor a network"),
        ({"mirror_resolvers": ["dns.example"]}, "mirror_resolvers: .* is not an IP address"),
        ({"mirror_max_size": "much"}, "mirror_max_size: .* is not a size"),
        ({"mirror_min_free": "1M"}, "mirror_min_free: .* write 64M or more"),
        ({"mirror_keep_days": 0}, "mirror_keep_days: 0 is not a number of days"),
    ],
)
def test_what_nginx_would_take_for_something_else_is_refused(tmp_path: Path, given: dict, said: str) -> None:
    [found] = refused(tmp_path, **{"mirror_directory": "/srv/mirror", **given})
    assert re.match(said, found), found


@needs_nginx
def test_with_a_certificate_it_answers_by_tls_alone(tmp_path: Path) -> None:
    port = _port()
    subject = ["-subj", "/CN=mirror.example", "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject],
        check=True,
        capture_output=True,
    )
    given = {
        "mirror_tls_certificate": "/c.pem",
        "mirror_tls_key": "/k.pem",
        "__mirror_credentials": str(tmp_path),
    }
    path = configuration(tmp_path, mirror_address="127.0.0.1", mirror_port=port, **given)
    assert NGINX
    with subprocess.Popen([NGINX, "-e", "stderr", "-c", str(path)]) as process:
        try:
            context = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
            context.check_hostname = False
            end = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(
                        f"https://127.0.0.1:{port}/health", context=context
                    ) as answer:
                        assert json.load(answer) == {"status": "ok"}
                    break
                except (ConnectionError, urllib.error.URLError):
                    assert time.monotonic() < end and process.poll() is None
                    time.sleep(0.1)
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_units_give_the_key_to_the_service_alone(tmp_path: Path) -> None:
    given = {
        "mirror_tls_certificate": "/etc/ssl/c.pem",
        "mirror_tls_key": "/etc/ssl/k.pem",
        "mirror_port": 443,
    }
    unit = template("mirror.service.j2", tmp_path, **given)
    assert (
        "LoadCredential=key:/etc/ssl/k.pem\n" in unit and "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit
    )
    plain = template("mirror.service.j2", tmp_path)
    assert (
        "LoadCredential" not in plain
        and "\nCapabilityBoundingSet=\n" in plain
        and "\nUser=amdgpu-mirror\n" in plain
    )


def test_a_resolver_comes_from_the_host_or_from_the_inventory(tmp_path: Path) -> None:
    script = template("resolver.sh.j2", tmp_path)
    (tmp_path / "resolv.conf").write_text(
        "# x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\noptions x\n"
    )
    for text, wanted in (
        (
            script.replace("/etc/resolv.conf", str(tmp_path / "resolv.conf")),
            "resolver 192.0.2.1 [2001:db8::1]  valid=300s;\n",
        ),
        (
            template("resolver.sh.j2", tmp_path, mirror_resolvers=["192.0.2.2", "::1"]),
            "resolver 192.0.2.2 [::1]  valid=300s;\n",
        ),
    ):
        subprocess.run(["sh", "-c", text], check=True)
        assert (tmp_path / "resolver.conf").read_text() == wanted


@needs_nginx
@pytest.mark.parametrize("mirror", [["192.0.2.0/24", "2001:db8::/32"]], indirect=True)
def test_others_than_the_known_networks_are_refused_everywhere(mirror: Mirror) -> None:
    for path in ("/health", "/v2/", resolve("config.json"), "/none"):
        assert mirror.get(path)[0] == 403, path
    assert mirror.outside.asked == []
