# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module as the process it is on a host: JSON on standard input, JSON on standard output.

run_module("kernel_args", present=["iommu=pt"], root=str(tmp_path)) -> the result as a dict. run_module(...,
_check=True, _diff=True, _env={"PATH": ...}) sets check mode, diff mode and the environment. The result of a
module that failed is returned too ("failed": True); a traceback or a missing answer fails the test.

emulated("mi300x-8", gpus=[...]) -> the root of an emulated host, its description changed if need be.
amd_gpus(root), amd_rocm(root), amd_host(root) -> the fact of that name, as gpu_facts, rocm_facts or host_facts
finds it there. host_facts(root) -> all three, from one execution.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from module_server import MODULES, ModuleServer

from testbed.tree import load_host, write_tree

RunModule = Callable[..., "dict[str, Any]"]


@pytest.fixture
def run_module(
    module_server: ModuleServer, collections_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunModule:
    remote_tmp = tmp_path_factory.mktemp("remote")

    def run(
        _name: str,
        _check: bool = False,
        _diff: bool = True,
        _env: dict[str, str] | None = None,
        _timeout: float = 60,
        **arguments: Any,
    ) -> dict[str, Any]:
        arguments.update(_ansible_check_mode=_check, _ansible_diff=_diff, _ansible_remote_tmp=str(remote_tmp))
        # No test asks a server that a public authority vouches for, and reading all of them takes most of a request.
        environment = {**os.environ, "SSL_CERT_FILE": os.devnull, **(_env or {})}
        # Stand-ins of programs that the module starts import the collection too.
        search = [str(collections_path), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        environment["PYTHONPATH"] = os.pathsep.join(search)
        process = module_server.run(
            f"{MODULES}.{_name}",
            json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            environment,
            timeout=_timeout,
        )
        assert "Traceback" not in process.stderr, process.stderr
        try:
            result = json.loads(process.stdout)
        except ValueError:
            pytest.fail(f"{_name} gave no JSON: rc {process.returncode}\n{process.stdout}\n{process.stderr}")
        assert isinstance(result, dict)
        json.dumps(
            result, ensure_ascii=False
        ).encode()  # Ansible refuses an answer that holds half a character
        assert bool(result.get("failed")) == (process.returncode != 0), result
        return result

    return run


@pytest.fixture
def emulated(tmp_path: Path) -> Callable[..., Path]:
    def build(name: str = "mi300x-8", **changes: object) -> Path:
        write_tree({**load_host(name), **changes}, tmp_path)
        return tmp_path

    return build


@pytest.fixture
def amd_gpus(run_module: RunModule) -> RunModule:
    def facts(root: Path, **options: Any) -> dict[str, Any]:
        return run_module("gpu_facts", root=str(root), **options)["ansible_facts"]["amd_gpus"]

    return facts


@pytest.fixture
def amd_rocm(run_module: RunModule) -> RunModule:
    def facts(root: Path, **options: Any) -> dict[str, Any]:
        return run_module("rocm_facts", root=str(root), **options)["ansible_facts"]["amd_rocm"]

    return facts


@pytest.fixture
def host_facts(run_module: RunModule) -> RunModule:
    def facts(root: Path, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = run_module("host_facts", root=str(root), **options)["ansible_facts"]
        return found

    return facts


@pytest.fixture
def amd_host(host_facts: RunModule) -> RunModule:
    def facts(root: Path, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = host_facts(root, **options)["amd_host"]
        return found

    return facts
