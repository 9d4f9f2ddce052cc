# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program many times without paying for its imports each time.

Most of the time of a short program is Python starting and importing. So one process of each test worker imports once,
and each run is a fork of it: with an environment, a folder, standard streams and an end of its own, and nothing of
one run is seen by the next. `module_server.py` runs modules this way, `play_server.py` Ansible itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STANDARD = (0, 1, 2)
Request = dict[str, Any]


class ForkServer:
    """The process that forks, and who asks it; `ask` may be called by several threads at once."""

    def __init__(self, script: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.address = str(folder / f"{script.stem}.socket")
        # It ends when its standard input does, so that none is left behind by a test worker that was killed.
        self.process = subprocess.Popen(
            [sys.executable, str(script), self.address],
            env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", f"{script.stem} did not start"

    def stop(self) -> None:
        self.process.communicate()

    def ask(
        self, request: Request, stdin: str, env: Mapping[str, str], cwd: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` returns of a program that does what is asked for."""
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(tempfile.TemporaryFile()) for _number in STANDARD]
            streams[0].write(stdin.encode())
            streams[0].seek(0)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.address)
                socket.send_fds(connection, [b"f"], [stream.fileno() for stream in streams])
                text = json.dumps({**request, "env": dict(env), "cwd": cwd})
                connection.sendall(text.encode() + b"\n")
                with connection.makefile("r") as answer:
                    pid = int(answer.readline())
                    connection.settimeout(timeout)
                    try:
                        returncode = int(answer.readline())
                    except TimeoutError:
                        os.kill(pid, signal.SIGKILL)
                        raise subprocess.TimeoutExpired(str(request), timeout) from None
            texts = []
            for stream in streams[1:]:
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        return subprocess.CompletedProcess([str(request)], returncode, *texts)


def serve(address: str, become: Callable[[Request], None]) -> None:
    """Fork for each request and do it; tell the asker the process and, later, how it ended."""
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
                    pid = _fork(connection, become)
                    connection.sendall(b"%d\n" % pid)
                    events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                    continue
                pid, connection = key.data
                _pid, status = os.waitpid(pid, 0)
                events.unregister(key.fileobj)
                os.close(key.fd)
                with connection, contextlib.suppress(OSError):  # who asked may have given up
                    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _fork(connection: socket.socket, become: Callable[[Request], None]) -> int:
    _data, streams, _flags, _address = socket.recv_fds(connection, 1, len(STANDARD))
    text = b""
    while not text.endswith(b"\n"):
        text += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        try:
            _run(json.loads(text), streams, become)
        finally:
            os._exit(70)  # not reached: a child must never go on as a second server
    for stream in streams:
        os.close(stream)
    return pid


def _run(request: Request, streams: list[int], become: Callable[[Request], None]) -> None:
    """The forked process: as a program that was just started would find the world."""
    for target, stream in zip(STANDARD, streams, strict=True):
        os.dup2(stream, target)
    os.closerange(len(STANDARD), 256)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    code = 0
    try:
        become(request)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
