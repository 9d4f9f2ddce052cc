# Written by amdgpu.fleet
"""Waits until a server computes nothing, for systemd before it stops one whose engine breaks off what runs. It says
what it does, and never keeps the server from being stopped: it ends with 0 whatever it sees."""

import argparse
import sys

from inference import Server, api_key_of, wait_until_idle

INTERVAL = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=60, help="how long it waits")
    parser.add_argument("--key-file", help="the file of variables that has the key")
    options = parser.parse_args()

    def tell(running: int) -> None:
        print(f"{running} requests run: waiting up to {options.seconds:.0f} s until they are answered", flush=True)

    key = None
    try:
        key = api_key_of(options.key_file)
        idle = wait_until_idle(Server(options.url, key, timeout=5), options.seconds, INTERVAL, tell)
        problem = idle.seen if idle.last is None else None
    except (ValueError, OSError) as error:
        problem = str(error)
    if problem is not None:
        # A server may repeat the key in what it answers.
        print(f"not waited for: {problem.replace(key, '(the key)') if key else problem}", file=sys.stderr)
    elif idle.last:
        print(f"{idle.last} requests are broken off: they did not end within {options.seconds:.0f} s", file=sys.stderr)
    else:
        print(f"nothing runs after {idle.waited_seconds:.1f} s" if idle.first else "nothing runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
