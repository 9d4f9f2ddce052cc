# Written by amdgpu.fleet
"""Waits until no other server of the same GPU loads, for systemd before it starts one: each shall measure the memory
that it will have. It says what it does, and never keeps the server from starting: it ends with 0 whatever it sees."""

import argparse
import subprocess
import sys
import time
import typing as t

from inference import NoAnswer, Server

PROPERTIES = ("Id", "ActiveState", "SubState", "NRestarts", "Job", "ActiveEnterTimestampMonotonic")
# One that ended this often while it was waited for will not come up.
MAX_RESTARTS = 3
# Seconds for one answer: a server that is ready gives it at once.
PATIENCE = 5


class Waiting:
    """The other servers, and what was seen of them since the first look."""

    def __init__(self, before: "dict[str, str]", beside: "dict[str, str]", seconds: float) -> None:
        self.before, self.urls, self.seconds = before, {**beside, **before}, seconds
        self.restarts: dict[str, int] = {}

    def for_what(self) -> "dict[str, str]":
        """The units that are still waited for, each with the reason."""
        states = units(list(self.urls))
        reasons = {unit: self.reason(unit, states.get(unit, {})) for unit in self.urls}
        return {unit: reason for unit, reason in reasons.items() if reason}

    def reason(self, unit: str, state: "dict[str, str]") -> str:
        active, sub = state.get("ActiveState", ""), state.get("SubState", "")
        ended = number(state.get("NRestarts")) - self.restarts.setdefault(unit, number(state.get("NRestarts")))
        if ended >= MAX_RESTARTS:
            return ""
        if active == "deactivating":
            return "it ends"
        if active in ("active", "reloading"):
            return "" if self.ready(unit) or self.overdue(state) else "it loads"
        # One that comes later waits itself before it starts: then each would wait for the other.
        if active == "activating" and (unit in self.before or sub in ("start", "start-post")):
            return "it starts"
        queued = active == "inactive" and state.get("Job", "0") not in ("", "0")
        return "it is about to start" if queued and unit in self.before else ""

    def ready(self, unit: str) -> bool:
        if not self.urls[unit]:
            return True
        try:
            Server(self.urls[unit], timeout=PATIENCE).healthy(PATIENCE)
        except NoAnswer:
            return False
        except ValueError as error:
            print(f"{unit} is not asked: {error}", file=sys.stderr)
        return True

    def overdue(self, state: "dict[str, str]") -> bool:
        """Whether it has run for so long without being ready that it does not load any more."""
        since = number(state.get("ActiveEnterTimestampMonotonic")) / 1e6
        return time.clock_gettime(time.CLOCK_MONOTONIC) - since > self.seconds


def number(text: "str | None") -> int:
    return int(text) if text and text.isdigit() else 0


def units(names: "list[str]") -> "dict[str, dict[str, str]]":
    """What systemd says of all of them, in one call."""
    command = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30, text=True)
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in done.stdout.strip().split("\n\n")
    ]
    return {block.get("Id", ""): block for block in blocks}


def pair(text: str) -> "tuple[str, str]":
    unit, _mark, url = text.partition("=")
    return unit, url


def wait(waiting: Waiting, interval: float, tell: "t.Callable[[str], None]") -> "dict[str, str]":
    """Until nobody is left to wait for, or the time is over: who is left then."""
    end = time.monotonic() + waiting.seconds
    told: dict[str, str] = {}
    while True:
        left = waiting.for_what()
        if left != told:
            for unit, reason in left.items():
                if told.get(unit) != reason:
                    tell(f"waiting for {unit} on the same GPU: {reason}")
            told = left
        if not left or time.monotonic() >= end:
            return left
        time.sleep(interval)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=pair, action="append", default=[], help="UNIT=URL of a server that comes first")
    parser.add_argument("--beside", type=pair, action="append", default=[], help="the same of one that comes later")
    parser.add_argument("--seconds", type=float, default=600, help="how long it waits")
    parser.add_argument("--interval", type=float, default=1, help="seconds between two looks")
    options = parser.parse_args()
    waiting = Waiting(dict(options.before), dict(options.beside), options.seconds)
    try:
        left = wait(waiting, options.interval, lambda text: print(text, flush=True))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"not waited for: {error}", file=sys.stderr)
        return 0
    for unit in left:
        print(f"{unit} is not ready after {options.seconds:.0f} s: not waited for any longer", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
