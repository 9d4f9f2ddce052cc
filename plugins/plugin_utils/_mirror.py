# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror of a site: what lies where on it, and how the other hosts are led there."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from urllib.parse import urlsplit

from ._plan.catalog import Catalog

GROUP = "mirror"
PORT = 8090
HUB, PIP, FILES = "hub", "pip", "files"


class MirrorError(ValueError):
    """An inventory that does not say where the mirror is; the text is a whole sentence with the remedy."""


@dataclasses.dataclass(frozen=True)
class Route:
    """What begins with ``path`` on the mirror comes from ``target``: scheme, host and path as a path."""

    path: str
    target: str
    # An expression for the path, and the address as pages write it.
    pattern: str
    address: str


@dataclasses.dataclass(frozen=True)
class Token:
    """What a request for a token begins with, and where it goes with the name of the repository behind it."""

    pattern: str
    target: str


def _route(path: str, address: str) -> Route:
    scheme, _separator, rest = address.partition("://")
    return Route(path, f"/{scheme}/{rest}/", f"^{re.escape(path)}", f"{address}/")


def routes(catalog: Catalog) -> list[Route]:
    """The longer path stands before the shorter one that it begins with."""
    known = catalog.mirror
    found = [_route("/hub/", known["hub"]["address"]), *_of_index(**known["pip_index"])]
    found += [_route(f"/files/{host}/", entry["address"]) for host, entry in sorted(known["files"].items())]
    return found + [
        _route(f"/v2/{name}/", f"{entry['address']}/v2")
        for name, entry in sorted(known["registries"].items())
    ]


def _of_index(address: str, files: str, **_source: str) -> list[Route]:
    """The index of Python packages, the host that its links lead to, and what it writes from its root."""
    if not address:
        return []
    index = urlsplit(address)
    root = f"{index.scheme}://{index.netloc}"
    return [
        _route("/pip/files/", files or root),
        _route("/pip/root/", root),
        _route("/pip/", address.rpartition("/")[0]),
    ]


def tokens(catalog: Catalog) -> list[Token]:
    """Where clients of each registry get what they show it; empty where it asks nobody."""
    found = []
    for name, entry in sorted(catalog.mirror["registries"].items()):
        # As a client writes it: repository:docker.io/vllm/vllm-openai-rocm:pull
        pattern = f"(?:^|&)scope=repository(?::|%3A){re.escape(name)}(?:/|%2F)"
        scheme, _separator, rest = entry["token"].partition("://")
        target = f"/{scheme}/{rest}?service={entry['service']}&scope=repository:" if entry["token"] else ""
        found.append(Token(pattern, target))
    return found


def base(name: str, variables: t.Mapping[str, t.Any]) -> str:
    """The address under which other hosts reach the mirror that has these variables."""
    given = variables.get("mirror_url")
    if given:
        parts = urlsplit(str(given))
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.path not in ("", "/")
        ):
            raise MirrorError(
                f"mirror_url of {name} is {str(given)[:120]!r}, and must be http:// or https:// with host "
                "and port alone. Correct it in the inventory."
            )
        return str(given).rstrip("/")
    host = str(variables.get("ansible_host") or name)
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if variables.get("mirror_tls_certificate") else "http"
    return f"{scheme}://{host}:{variables.get('mirror_port') or PORT}"


def _keeps_wheels(variables: t.Mapping[str, t.Any]) -> bool:
    """Whether ``plan_catalog`` of the mirror names an index; no catalog does."""
    found: t.Any = variables.get("plan_catalog")
    for name in ("mirror", "pip_index", "address"):
        found = found.get(name) if isinstance(found, t.Mapping) else None
    return bool(found)


def addresses(
    given: t.Mapping[str, t.Any], groups: t.Mapping[str, t.Sequence[str]], hostvars: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """``plan_mirror``: what the inventory gives, and for the rest the first host of the group ``mirror``."""
    members = [name for name in groups.get(GROUP, []) if hostvars[name].get("mirror_state") != "absent"]
    if not members:
        return dict(given)
    where = base(members[0], hostvars[members[0]])
    led: dict[str, t.Any] = {
        "url": f"{where}/{FILES}",
        "hub": f"{where}/{HUB}",
        "registry": where.partition("://")[2],
    }
    if _keeps_wheels(hostvars[members[0]]):
        led["pip_index"] = f"{where}/{PIP}/simple"
    # That there is a mirror does not say that the network has no way out besides.
    if not any(given.get(name) for name in led):
        led["closed"] = False
    if "registry" not in given:
        led.update(registry_keeps_host=True, registry_tls=where.startswith("https://"))
    return {**led, **given}
