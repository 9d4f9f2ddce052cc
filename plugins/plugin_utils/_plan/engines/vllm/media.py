# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client can have a server fetch: images, sound and video by their address, and files of the host
(vLLM's docs/usage/security.md)."""

from __future__ import annotations

import typing as t

from . import checkpoint
from .checkpoint import Vllm

DOMAINS = "allowed-media-domains"
REDIRECTS = "VLLM_MEDIA_URL_ALLOW_REDIRECTS"
LOCAL = "allowed-local-media-path"
# Folders that hold more than media.
TOO_MUCH = ("", "/root", "/home", "/etc", "/var", "/srv", "/proc", "/sys", "/run", "/dev", "/opt", "/usr")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check(instance: Vllm, arguments: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> None:
    """Warn where clients of other hosts choose addresses that this host asks."""
    server, findings = instance.server, instance.host.findings
    path = str(arguments.get(LOCAL) or "")
    if path and path.rstrip("/") in TOO_MUCH:
        remedy = f"Name a folder that holds nothing but media in {LOCAL} of {server.name}"
        findings.add("vllm.media", f"{LOCAL} {path}", "a folder of media", severity="fail", remedy=remedy)
    shape = checkpoint.shape(instance)
    if server.host in LOOPBACK or not (shape and shape.get("vision_heads")):
        return
    remedy = f"Set {DOMAINS} of {server.name} to the hosts that media may come from; [media.invalid] is none"
    if not arguments.get(DOMAINS):
        findings.add("vllm.media", f"no {DOMAINS}", "the hosts that media may come from", remedy=remedy)
    elif environment.get(REDIRECTS) not in ("0", "false", "False"):
        remedy = f"Set {REDIRECTS} of {server.name} to 0"
        findings.add("vllm.media", "redirects followed to any host", f"{REDIRECTS}=0", remedy=remedy)
