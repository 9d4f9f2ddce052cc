# Written by amdgpu.fleet
"""Ends the server of this host when the one on another host of the same model ends, so that systemd starts all of them
anew.

An engine alone does not: with a worker gone its first host says that it is well and requests wait, with the first
host gone a worker waits for ever. So the first host listens, each worker holds a connection, and whoever
loses one kills the unit on its own host.
"""

import argparse
import contextlib
import select
import socket
import subprocess
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("unit", help="unit of the server on this host")
    parser.add_argument("address", help="address of the first host")
    parser.add_argument("port", type=int)
    parser.add_argument("--peers", nargs="*", help="addresses of the workers, on the first host")
    parser.add_argument("--source", default="", help="address of this host, on a worker")
    arguments = parser.parse_args()
    wait = listen if arguments.peers else connect
    print(f"{wait(arguments)}: {arguments.unit} is killed, to start together with the others", flush=True)
    subprocess.run(["systemctl", "kill", "--signal=SIGKILL", arguments.unit], check=True)


def listen(arguments: argparse.Namespace) -> str:
    """Returns when a connection of a worker ends."""
    family = socket.AF_INET6 if ":" in arguments.address else socket.AF_INET
    workers: dict[socket.socket, str] = {}
    with socket.create_server((arguments.address, arguments.port), family=family) as server:
        while True:
            for ready in select.select([server, *workers], [], [])[0]:
                if ready is not server:
                    # Nobody sends anything: what can be read is the end.
                    return f"{workers[ready]} is gone"
                stream, peer = server.accept()
                if peer[0] in arguments.peers:
                    watch(stream)
                    workers[stream] = peer[0]
                    print(f"{peer[0]} is there", flush=True)
                else:
                    stream.close()


def connect(arguments: argparse.Namespace) -> str:
    """Returns when the connection to the first host ends."""
    while True:
        try:
            stream = socket.create_connection(
                (arguments.address, arguments.port), timeout=5, source_address=(arguments.source, 0)
            )
            break
        except OSError:
            time.sleep(1)
    stream.settimeout(None)
    watch(stream)
    print(f"{arguments.address} is there", flush=True)
    with contextlib.suppress(OSError):
        stream.recv(1)
    return f"{arguments.address} is gone"


def watch(stream: socket.socket) -> None:
    """A host that loses its power says nothing: ask it every five seconds."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)):
        stream.setsockopt(socket.IPPROTO_TCP, option, value)


if __name__ == "__main__":
    main()
