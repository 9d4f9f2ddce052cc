# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of Podman with holes, and what Podman 6 does without."""

from __future__ import annotations

import pytest
from plans import said

SERVED = [{"name": "a", "model": "/srv/models/m"}]


def with_podman(version: str, **user):
    def change(_gpus: dict, rocm: dict) -> None:
        facts = {"version": version, "quadlet": version.rpartition(".")[0], "init": True}
        rocm["podman"] = {**rocm["podman"], **facts, "images": [], "image_digests": {}}
        if user:
            base = {
                "name": "fleet", "uid": 1000, "home": "/home/fleet", "subordinate_ids": True, "linger": True,
                "lowest_port": 1024,
            }  # fmt: skip
            rocm["user"] = {**base, **user}

    return change


@pytest.mark.parametrize("version", ["6.0.0", "6.0.1", "6.1.1"])
def test_a_release_with_holes_is_told(make_plan, version):
    (sentence,) = said(
        make_plan("mi300x-8", with_podman(version), serve_instances=SERVED), "serve.podman_release"
    )
    assert f"Podman {version}" in sentence and "6.1.2 or later" in sentence and "CVE-2025-11395" in sentence


@pytest.mark.parametrize(
    ("version", "wants"),
    # Distributions mend older series under their old number; without a container nobody asks.
    [("6.1.2", {}), ("6.2.0", {}), ("5.4.2", {}), ("4.3.1", {}), ("6.0.0", {"serve_kind": "venv"})],
)
def test_another_one_is_not(make_plan, version, wants):
    plan = make_plan("mi300x-8", with_podman(version), serve_instances=SERVED, **wants)
    assert said(plan, "serve.podman_release") == []


@pytest.mark.parametrize(
    ("version", "commands", "told"),
    [("6.1.2", ["slirp4netns"], True), ("6.1.2", ["pasta"], False), ("5.4.2", ["slirp4netns"], False)],
)
def test_without_root_podman_6_needs_pasta(make_plan, version, commands, told):
    user = {"commands": ["newuidmap", "newgidmap", "crun", *commands]}
    plan = make_plan("mi300x-8", with_podman(version, **user), serve_instances=SERVED, serve_user="fleet")
    assert any("without pasta" in sentence for sentence in said(plan, "serve.user")) is told
