# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runtime socket of HAProxy: what its servers do, and the state an operator wants them in."""

from __future__ import annotations

import csv
import socket
from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.amdgpu.fleet.plugins.module_utils._inference import LARGEST, within

# Bits of srv_admin_state (HAProxy's management guide, "show servers state").
MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
DRAIN = 0x08 | 0x10


class GatewayError(Exception):
    """HAProxy cannot be asked, or refuses; the text is a whole sentence."""


class Server(NamedTuple):
    """One server as HAProxy sees it."""

    name: str
    state: str  # what an operator asked for: ready, drain or maint
    health: str  # what the health check says: UP, DOWN, UP 1/2 ...
    sessions: int  # requests that run or wait for this server
    backend: str  # those that have the same model

    @property
    def takes_requests(self) -> bool:
        return self.state == "ready" and self.health.startswith(("UP", "no check"))


Ask = Callable[[str], str]


def socket_at(path: str, timeout: float = 10) -> Ask:
    """A function that sends one command and returns the answer."""

    def ask(command: str) -> str:
        pieces: list[bytes] = []
        try:
            with within(timeout), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
                stream.settimeout(timeout)
                stream.connect(path)
                stream.sendall(command.encode() + b"\n")
                while sum(map(len, pieces)) <= LARGEST:
                    piece = stream.recv(65536)
                    if not piece:
                        return b"".join(pieces).decode("utf-8", "replace")
                    pieces.append(piece)
        except OSError as error:
            raise GatewayError(
                f"HAProxy does not answer at {path} ({error.strerror or error}). Is the gateway running, and "
                f"is become set?"
            ) from error

        raise GatewayError(f"What answers at {path} has no end, so it is not HAProxy. Correct socket.")

    return ask


def _belongs(name: str, backend: str) -> bool:
    """Whether a backend is this one, or one of those that it has for each model."""
    return name == backend or name.startswith(f"{backend}.")


def servers(ask: Ask, backend: str) -> dict[str, Server]:
    """All servers of a backend, or of its backends for each model, by name."""
    states = admin_states(ask("show servers state"), backend)
    found = {}
    try:
        lines = list(csv.DictReader(ask("show stat").lstrip("# ").splitlines()))
    except csv.Error as error:
        raise GatewayError(f"HAProxy's statistics cannot be read ({error}).") from error
    backends = {line.get("pxname") or "" for line in lines}
    if not any(_belongs(each, backend) for each in backends):
        raise GatewayError(f"HAProxy has no backend {backend}. Apply the role gateway to it first.")
    for line in lines:
        name, where = line.get("svname") or "", line.get("pxname") or ""
        if not _belongs(where, backend) or name in ("FRONTEND", "BACKEND"):
            continue
        try:
            sessions = int(line["scur"] or 0) + int(line["qcur"] or 0)
            found[name] = Server(name, states[name], line["status"].strip(), sessions, where)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GatewayError(
                f"HAProxy's statistics of {where}/{name} cannot be read ({error!r})."
            ) from error
    return found


def admin_states(text: str, backend: str) -> dict[str, str]:
    """``ready``, ``drain`` or ``maint`` of each server of a backend, from ``show servers state``."""
    lines = text.splitlines()
    header = next((line[1:].split() for line in lines if line.startswith("# ")), None)
    if header is None:
        raise GatewayError(
            f"HAProxy has no backend {backend} ({text.strip() or 'no answer'}). Apply the role gateway to it "
            f"first."
        )
    found = {}
    for line in lines:
        fields = dict(zip(header, line.split()))
        if line.startswith("#") or len(fields) < len(header) - 1:
            continue
        try:
            if not _belongs(fields["be_name"], backend):
                continue
            flags = int(fields["srv_admin_state"])
            found[fields["srv_name"]] = (
                "maint" if flags & MAINTENANCE else "drain" if flags & DRAIN else "ready"
            )
        except (KeyError, ValueError) as error:
            raise GatewayError(
                f"HAProxy's states of the servers of {backend} cannot be read ({error!r})."
            ) from error
    return found


def chosen(servers: dict[str, Server], names: list[str], backend: str, must_exist: bool) -> list[Server]:
    """The servers of these names, as far as there are any."""
    selected = [servers[name] for name in names if name in servers]
    if must_exist and not selected:
        listed = ", ".join(servers) or "none"
        raise GatewayError(
            f"{backend} has no server {' or '.join(names)}; it has {listed}. Correct gateway_replicas and "
            f"apply the role gateway."
        )
    return selected


def refusal(servers: dict[str, Server], names: list[str], keep: int) -> str | None:
    """Why servers must not be taken out of service together, or ``None``. Only servers of one backend can do
    each other's work."""
    for backend in dict.fromkeys(servers[name].backend for name in names):
        here = [server for server in servers.values() if server.backend == backend]
        others = [server for server in here if server.name not in names]
        left = [other.name for other in others if other.takes_requests]
        # One that takes none already is not missed.
        missed = [server.name for server in here if server.name in names and server.takes_requests]
        if missed and len(left) < keep:
            return (
                f"Without {' and '.join(missed)}, {len(left)} of {len(others)} other servers would take "
                f"requests ({', '.join(left) or 'none'}), "
                f"and {keep} must. Bring the others up first, or lower keep."
            )
    return None


def set_state(ask: Ask, server: Server, state: str) -> None:
    """Ask for a state; HAProxy says nothing where it obeys."""
    said = ask(f"set server {server.backend}/{server.name} state {state}").strip()
    if said:
        raise GatewayError(f"HAProxy refuses to set {server.backend}/{server.name} to {state}: {said}")
