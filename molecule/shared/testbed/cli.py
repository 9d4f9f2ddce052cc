# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the test bed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import builds, closed, engine, hosts, images, llama_cpp, machine, needs, real_model, repository


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors a person can act on end in one sentence."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except (machine.BedError, ValueError) as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bed: interrupted; `bed down --all` removes what was started", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bed", description="Emulated AMD GPU hosts to test the collection on."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    prepare = commands.add_parser(
        "prepare", help="build images, key and package repository; what exists is kept"
    )
    prepare.add_argument(
        "--engine",
        action="store_true",
        help="also the engines and their models: vLLM's CPU wheels and image, llama.cpp's image",
    )
    prepare.set_defaults(run=_alone(_prepare))

    up = commands.add_parser("up", help="start the hosts of a bed file")
    up.add_argument("file", nargs="?", type=Path)
    up.add_argument("--host", action="append", default=[], metavar="NAME=DESCRIPTION:IMAGE:ADDRESS[:engine]")
    up.set_defaults(run=_alone(_up))

    down = commands.add_parser("down", help="remove the hosts of a bed file, or everything")
    down.add_argument("file", nargs="?", type=Path)
    down.add_argument("--all", action="store_true", help="all hosts, the network and the repository server")
    down.set_defaults(run=_alone(_down))

    execute = commands.add_parser("exec", help="run a command in a host: bed exec HOST -- COMMAND ...")
    execute.add_argument("name", metavar="HOST")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    execute.set_defaults(run=_exec)

    reboot = commands.add_parser("reboot", help="restart a host; its files stay")
    reboot.add_argument("name", metavar="HOST")
    reboot.set_defaults(run=lambda options: hosts.reboot(options.name))
    return parser


def _alone(command: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    def run(options: argparse.Namespace) -> None:
        with machine.exclusive():
            command(options)

    return run


def _prepare(options: argparse.Namespace) -> None:
    machine.install_tools()
    machine.CACHE.mkdir(parents=True, exist_ok=True)
    needs.check(needs.Demand(), machine.CACHE)
    images.ssh_key()
    repository.build()
    for name in images.RELEASES:
        if name not in images.SELDOM:
            images.image(name)
    if options.engine:
        engine.prepare()
        real_model.prepare()
        llama_cpp.prepare()
        closed.prepare()
        closed.shelve(real_model.ON_THE_HUB, [real_model.FILE], cut="60000000 1")
        builds.prepare()


def _up(options: argparse.Namespace) -> None:
    wanted = [*(hosts.read_bed(options.file) if options.file else []), *map(hosts.parse_host, options.host)]
    if not wanted:
        raise machine.BedError("nothing to start: give a bed file or --host")
    machine.install_tools()
    hosts.up(wanted)


def _down(options: argparse.Namespace) -> None:
    if options.all == bool(options.file):
        raise machine.BedError("give either a bed file or --all")
    hosts.down(None if options.all else hosts.read_bed(options.file))


def _exec(options: argparse.Namespace) -> int:
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    terminal = ["--tty"] if sys.stdin.isatty() else []
    command = [
        *machine.podman_prefix(),
        "podman",
        "exec",
        "--interactive",
        *terminal,
        f"{machine.LABEL}-{options.name}",
        *words,
    ]
    return subprocess.run(command, check=False).returncode
