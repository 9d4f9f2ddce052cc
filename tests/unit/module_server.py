# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules as processes of their own without paying for the imports each time.

A module is a program: it reads standard input, writes standard output and ends. Tests run it as one, some of
them end it in the middle. `python module_server.py SOCKET` is the process that forks for each of them, as
`fork_server.py` does it; `ModuleServer` starts it and asks it.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fork_server import ForkServer, Request, serve

PACKAGE = "ansible_collections.amdgpu.fleet.plugins"
MODULES = f"{PACKAGE}.modules"
_KILLED: Any = None


class ModuleServer:
    """Runs modules; `run` may be called by several threads at once."""

    def __init__(self, folder: Path, collections_path: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(collections_path)}
        self.server = ForkServer(Path(__file__), folder, environment)
        self.process = self.server.process

    def stop(self) -> None:
        self.server.stop()

    def run(
        self,
        module: str,
        stdin: str,
        env: Mapping[str, str],
        *,
        kill_at: int | None = None,
        keep: tuple[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run([python, "-m", module], input=stdin, env=env)` returns.

        With `kill_at` the process ends at that change of the host's files; with `keep` it leaves what lay below a
        folder at each of them. killed.py does both.
        """
        request = {"module": module, "kill_at": kill_at, "keep": keep}
        return self.server.ask(request, stdin, env, os.getcwd(), timeout)


def _import_all() -> None:
    # The collection itself must use nothing that goes.
    warnings.filterwarnings("error", category=DeprecationWarning, module=r"ansible_collections\.")
    importlib.import_module("ansible.module_utils.basic")
    utilities = importlib.import_module(f"{PACKAGE}.module_utils")
    for found in pkgutil.walk_packages(utilities.__path__, f"{utilities.__name__}."):
        importlib.import_module(found.name)
    # What they import themselves; each is executed anew when it is run.
    modules = importlib.import_module(MODULES)
    for found in pkgutil.iter_modules(modules.__path__, f"{MODULES}."):
        importlib.import_module(found.name)
        del sys.modules[found.name]


def _compile_expressions() -> None:
    """What `re` compiles when it is first asked, and keeps; it takes a quarter of a run of host_facts."""
    for name, module in list(sys.modules.items()):
        if not name.startswith(f"{PACKAGE}.") or not module.__file__:
            continue
        for call in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func).startswith("re.") and call.args):
                continue
            first = call.args[0]
            text = (
                getattr(module, first.id, None)
                if isinstance(first, ast.Name)
                else getattr(first, "value", None)
            )
            if isinstance(text, (str, bytes)):
                re.compile(text)


def _become(request: Request) -> None:
    """As `python -m MODULE` would find the world."""
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [request["module"]]
    if request["kill_at"] is None:
        runpy.run_module(request["module"], run_name="__main__")
    else:
        _KILLED.run(request["module"], request["kill_at"], request["keep"])


if __name__ == "__main__":
    # A module must not find the tests' own folder.
    sys.path[0] = str(Path(__file__).parent / "modules")
    _KILLED = importlib.import_module("killed")
    del sys.path[0]
    _import_all()
    _compile_expressions()
    serve(sys.argv[1], _become)
