# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Ansible as a process of its own without paying for its imports each time.

`python play_server.py SOCKET` imports what ansible-playbook and the beginning of a run import; each run is a fork of it,
as `fork_server.py` does it, and goes the whole way of the program, from its arguments on. What differs: the imports are
done, and modules are packed once for all runs. Ansible reads its configuration when it is imported, so a run with
another configuration is the program itself.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fork_server import ForkServer, Request, serve

ROOT = Path(__file__).resolve().parents[2]
# The configuration that runs share.
CONFIGURED = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
PLUGINS = (
    *("callback.default", "connection.local", "shell.sh", "strategy.linear", "vars.host_group_vars"),
    *("filter.core", "filter.mathstuff", "filter.urls", "filter.urlsplit", "test.core", "test.files", "test.mathstuff"),
    *("action.normal", "action.set_fact", "action.fail", "action.group_by", "action.add_host", "action.debug"),
    *("inventory.auto", "inventory.host_list", "inventory.ini", "inventory.script", "inventory.yaml"),
)  # fmt: skip
PACKED = "ansiballz_cache"


class PlayServer:
    def __init__(self, folder: Path) -> None:
        (folder / PACKED).mkdir()
        self.folder = folder
        self.server = ForkServer(Path(__file__), folder, {**of_the_machine(os.environ), **CONFIGURED})

    def stop(self) -> None:
        self.server.stop()

    def run(
        self, program: str, *arguments: object, env: Mapping[str, str] | None = None, cwd: Path = ROOT,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """run("ansible-playbook", "site.yml", env={...}): what `subprocess.run` returns of it. `env` comes on top of the
        environment of the tests and of CONFIGURED."""
        words = [str(word) for word in arguments]
        environment = {**os.environ, **CONFIGURED, **(env or {})}
        if configuration(environment) == CONFIGURED:
            request = {"program": program, "arguments": words, "packed": str(self.folder / PACKED)}
            return self.server.ask(request, "", environment, str(cwd), timeout)
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *words], cwd=cwd, env=environment, timeout=timeout,
            capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def configuration(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("ANSIBLE_")}


def of_the_machine(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("ANSIBLE_")}


def _import_all() -> None:
    importlib.import_module("ansible.plugins.loader").init_plugin_loader()
    for program in ("playbook", "inventory", "adhoc"):
        importlib.import_module(f"ansible.cli.{program}")
    for plugin in PLUGINS:
        importlib.import_module(f"ansible.plugins.{plugin}")
    for action in ("report", "host_facts"):
        importlib.import_module(f"ansible_collections.amdgpu.fleet.plugins.action.{action}")


def _become(request: Request) -> None:
    constants = importlib.import_module("ansible.constants")
    cli = importlib.import_module("ansible.cli")
    # Done, and a second time is refused.
    cli.init_plugin_loader = lambda *_paths: None  # type: ignore[attr-defined]
    program = request["program"]
    name = program.partition("-")[2] or "adhoc"
    sys.argv = [str(Path(sys.executable).with_name(program)), *request["arguments"]]
    # Each call has a folder of its own.
    above = Path(constants.DEFAULT_LOCAL_TMP).parent
    folder = Path(tempfile.mkdtemp(prefix=f"ansible-local-{os.getpid()}", dir=above))
    (folder / PACKED).symlink_to(request["packed"])
    constants.DEFAULT_LOCAL_TMP = str(folder)
    try:
        importlib.import_module(f"ansible.cli.{name}").main(sys.argv)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # The tests' own folder is none of Ansible's.
    del sys.path[0]
    _import_all()
    serve(sys.argv[1], _become)
