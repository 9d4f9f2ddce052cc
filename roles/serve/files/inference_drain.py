# Written by amdgpu.fleet
"""Waits until a server computes nothing, for systemd before it stops one whose engine breaks off what runs. It says
what it does, and never keeps the server from being stopped: it ends with 0 whatever it sees."""

import argparse
import sys
import time

from inference import NoAnswer, Server, api_key_of

INTERVAL = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=60, help="how long it waits")
    parser.add_argument("--key-file", help="the file of variables that has the key")
    options = parser.parse_args()
    key, started, first = None, time.monotonic(), None
    try:
        key = api_key_of(options.key_file)
        server = Server(options.url, key, timeout=5)
        while True:
            running = server.requests()
            waited = time.monotonic() - started
            if first is None and running:
                print(f"{running} requests run: waiting up to {options.seconds:.0f} s until they are answered", flush=True)
            first = running if first is None else first
            if not running:
                print(f"nothing runs after {waited:.1f} s" if first else "nothing runs")
                return 0
            if waited >= options.seconds:
                print(f"{running} requests are broken off: they did not end within {options.seconds:.0f} s", file=sys.stderr)
                return 0
            time.sleep(INTERVAL)
    except (NoAnswer, ValueError, OSError) as error:
        # A server may repeat the key in what it answers.
        text = str(error).replace(key, "(the key)") if key else str(error)
        print(f"not waited for: {text}", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(main())
