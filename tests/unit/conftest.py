# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share: modules and Ansible run as processes, and the facts that modules find on emulated
hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from module_server import MODULES, ModuleServer
from play_server import PlayServer

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def collections_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ansible_collections/amdgpu/fleet: the checkout itself or a link to it."""
    if REPOSITORY.parts[-3:] == ("ansible_collections", "amdgpu", "fleet"):
        return REPOSITORY.parents[2]
    base = tmp_path_factory.mktemp("collections")
    namespace = base / "ansible_collections" / "amdgpu"
    namespace.mkdir(parents=True)
    (namespace / "fleet").symlink_to(REPOSITORY)
    return base


@pytest.fixture(scope="session")
def module_server(tmp_path_factory: pytest.TempPathFactory, collections_path: Path) -> Iterator[ModuleServer]:
    server = ModuleServer(tmp_path_factory.mktemp("server"), collections_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayServer]:
    server = PlayServer(tmp_path_factory.mktemp("play"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def find_facts(module_server: ModuleServer) -> Callable[..., dict[str, Any]]:
    """find_facts("gpu_facts", root) -> the facts that the module finds below that root, without the machine's
    environment."""

    def find(name: str, root: Path, **more: object) -> dict[str, Any]:
        arguments = {"root": str(root), "_ansible_remote_tmp": str(root), **more}
        done = module_server.run(
            f"{MODULES}.{name}", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), {"PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)["ansible_facts"]
        return facts

    return find
