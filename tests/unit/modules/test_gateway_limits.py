# SPDX-License-Identifier: GPL-3.0-or-later
"""What one client may ask of the gateway, and whom the gateway believes that it is a replica."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
from pathlib import Path

import pytest
import yaml
from test_gateway import KEY, Haproxy, needs_haproxy, template

pytestmark = needs_haproxy


@pytest.fixture
def gateway_with(tmp_path):
    """gateway_with(gateway_max_body_mib=1) -> a gateway that runs, ended with the test."""
    with contextlib.ExitStack() as opened:

        def start(**given) -> Haproxy:
            return opened.enter_context(
                contextlib.closing(Haproxy(tmp_path / "gateway", gateway_api_keys=[KEY], **given))
            )

        yield start


def asked(running: Haproxy) -> int:
    return sum(len(replica.asked) for replica in running.replicas.values())


def send(running: Haproxy, headers: dict[str, str], body: bytes = b"") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/completions")
        for name, value in {"Authorization": f"Bearer {KEY}", **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        with contextlib.suppress(OSError):  # it is refused before it is sent
            connection.send(body)
        return connection.getresponse().status


def test_a_body_is_no_larger_than_allowed_and_says_its_length(gateway_with):
    running = gateway_with(gateway_max_body_mib=1)
    mib = 1 << 20
    assert send(running, {"Content-Length": str(mib)}, b"x" * mib) == 200
    assert send(running, {"Content-Length": str(mib + 1)}) == 413
    # Lengths that are small again to whoever reads 32 or 64 bits of them.
    for length in ((1 << 32) + 5, (1 << 62) + 5):
        assert send(running, {"Content-Length": str(length)}) == 413
    assert send(running, {"Content-Length": str((1 << 64) + 5)}) in (400, 413)
    assert send(running, {"Transfer-Encoding": "chunked"}, b"1\r\nx\r\n0\r\n\r\n") == 411
    assert asked(running) == 1


def test_a_body_of_any_size_where_that_is_asked_for(gateway_with):
    running = gateway_with(gateway_max_body_mib="0")
    assert send(running, {"Content-Length": "7"}, b"x" * 7) == 200


def test_keys_cannot_be_guessed_without_end(gateway_with):
    running = gateway_with(gateway_max_refusals_per_source=5)
    seen = [running.request("/v1/models", key=f"guess-number-{number}")[0] for number in range(8)]
    assert seen == [401] * 5 + [429] * 3
    # Nor is the right one told from the wrong ones, and the state of the gateway is no secret.
    assert running.request("/v1/models")[0] == 429 and asked(running) == 0
    assert running.request("/health", key=None, body=None)[0] == 200


def test_wrong_keys_are_not_counted_where_all_clients_come_from_one_address(gateway_with):
    running = gateway_with(gateway_max_refusals_per_source="0")
    assert {running.request("/v1/models", key=f"guess-number-{number}")[0] for number in range(80)} == {401}
    assert running.request("/v1/models")[0] == 200


def test_requests_of_one_source_are_limited_where_that_is_asked_for(gateway_with):
    running = gateway_with(gateway_max_requests_per_source="6")
    seen = [running.request("/v1/models")[0] for _number in range(9)]
    assert seen == [200] * 6 + [429] * 3 and asked(running) == 6


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("gateway_max_body_mib", -1),
        ("gateway_max_body_mib", "much"),
        ("gateway_max_refusals_per_source", -1),
        ("gateway_max_requests_per_source", 1 << 40),
        ("gateway_max_connections", 0),
        ("gateway_max_connections_per_source", 0),
        ("gateway_timeout", 0),
        ("gateway_replica_ca", "ca.pem"),
        ("gateway_replica_ca", "/etc/ca.pem verify none"),
        ("gateway_replicas", [{"name": "a", "address": "a.example", "tls_name": "a b"}]),
    ],
)
def test_limits_that_are_none_are_named(variable, value):
    checks = yaml.safe_load(template("checks.yml.j2", **{variable: value}))
    assert {check["variable"] for check in checks if not check["that"]} == {variable}


# --- TLS to the replicas


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def certificate(folder: Path, name: str) -> Path:
    """A certificate for a name, signed by itself; its key is in the same file."""
    key, crt, both = folder / f"{name}.key", folder / f"{name}.crt", folder / f"{name}.pem"
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, "-keyout", key, "-out", crt)
    both.write_text(crt.read_text() + key.read_text())
    return both


@pytest.mark.parametrize("shown", ["replica.example", "other.example", None])
def test_a_replica_is_held_to_its_certificate(gateway_with, tmp_path, shown):
    """Of the right name; of another name, by an authority that is trusted; and one that speaks in clear."""
    authority = tmp_path / "authority.pem"
    pems = [certificate(tmp_path, name) for name in ("replica.example", "other.example")]
    authority.write_text("".join(path.with_suffix(".crt").read_text() for path in pems))
    right = shown == "replica.example"
    running = gateway_with(
        gateway_replica_ca=str(authority),
        pem=tmp_path / f"{shown}.pem" if shown else None,
        health="UP" if right else "DOWN",
    )
    assert running.request("/v1/models")[0] == (200 if right else 503)
    assert bool(asked(running)) is right


def test_a_replica_of_an_unknown_authority_is_none(gateway_with, tmp_path):
    known = certificate(tmp_path, "known.example").with_suffix(".crt")
    pem = certificate(tmp_path, "replica.example")
    running = gateway_with(gateway_replica_ca=str(known), pem=pem, health="DOWN")
    assert running.request("/v1/models")[0] == 503 and asked(running) == 0
