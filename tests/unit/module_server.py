# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules as processes of their own without paying for the imports each time.

A module is a program: it reads standard input, writes standard output and ends. Tests run it as one, some of
them end it in the middle. Most of the time of such a process is Python starting and importing Ansible. So one
process of each test worker imports once, and each run of a module is a fork of it: with an environment,
a folder, standard streams and an end of its own, and nothing of one run is seen by the next.

`python module_server.py SOCKET` is that process; `ModuleServer` starts it and asks it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = "ansible_collections.amdgpu.fleet.plugins"
MODULES = f"{PACKAGE}.modules"
STANDARD = (0, 1, 2)
_KILLED: Any = None


class ModuleServer:
    """Runs modules; `run` may be called by several threads at once."""

    def __init__(self, folder: Path, collections_path: Path) -> None:
        self.address = str(folder / "socket")
        environment = {**os.environ, "PYTHONPATH": str(collections_path)}
        command = [sys.executable, __file__, self.address]
        # It ends when its standard input does, so that none is left behind by a test worker that was killed.
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the module server did not start"

    def stop(self) -> None:
        self.process.communicate()

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
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(tempfile.TemporaryFile()) for _number in STANDARD]
            streams[0].write(stdin.encode())
            streams[0].seek(0)
            request = {
                "module": module, "env": dict(env), "cwd": os.getcwd(), "kill_at": kill_at, "keep": keep
            }  # fmt: skip
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.address)
                socket.send_fds(connection, [b"f"], [stream.fileno() for stream in streams])
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("r") as answer:
                    pid = int(answer.readline())
                    connection.settimeout(timeout)
                    try:
                        returncode = int(answer.readline())
                    except TimeoutError:
                        os.kill(pid, signal.SIGKILL)
                        raise subprocess.TimeoutExpired(module, timeout) from None
            texts = []
            for stream in streams[1:]:
                stream.seek(0)
                texts.append(stream.read().decode())
        return subprocess.CompletedProcess([module], returncode, *texts)


def serve(address: str) -> None:
    """Fork for each request; tell the asker the process and, later, how it ended."""
    _import_all()
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as events:
        listener.bind(address)
        listener.listen()
        events.register(listener, selectors.EVENT_READ)
        events.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _mask in events.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    connection, _peer = listener.accept()
                    pid = _fork(connection)
                    connection.sendall(b"%d\n" % pid)
                    events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                    continue
                pid, connection = key.data
                _pid, status = os.waitpid(pid, 0)
                events.unregister(key.fileobj)
                os.close(key.fd)
                with connection, contextlib.suppress(OSError):  # who asked may have given up
                    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _import_all() -> None:
    # The collection itself must use nothing that goes.
    warnings.filterwarnings("error", category=DeprecationWarning, module=r"ansible_collections\.")
    importlib.import_module("ansible.module_utils.basic")
    utilities = importlib.import_module(f"{PACKAGE}.module_utils")
    for found in pkgutil.walk_packages(utilities.__path__, f"{utilities.__name__}."):
        importlib.import_module(found.name)


def _fork(connection: socket.socket) -> int:
    _data, streams, _flags, _address = socket.recv_fds(connection, 1, len(STANDARD))
    text = b""
    while not text.endswith(b"\n"):
        text += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        try:
            _become(json.loads(text), streams)
        finally:
            os._exit(70)  # not reached: a child must never go on as a second server
    for stream in streams:
        os.close(stream)
    return pid


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """The forked process: as `python -m MODULE` would find the world."""
    for target, stream in zip(STANDARD, streams, strict=True):
        os.dup2(stream, target)
    os.closerange(len(STANDARD), 256)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[:0] = [path for path in request["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [request["module"]]
    code = 0
    try:
        if request["kill_at"] is None:
            runpy.run_module(request["module"], run_name="__main__")
        else:
            _KILLED.run(request["module"], request["kill_at"], request["keep"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    # A module must not find the tests' own folder.
    sys.path[0] = str(Path(__file__).parent / "modules")
    _KILLED = importlib.import_module("killed")
    del sys.path[0]
    serve(sys.argv[1])
