# Written by amdgpu.fleet
"""Asks an OpenAI-compatible server for a completion, for a timer of systemd: a line that says how it went,
and 0 or 1."""

import argparse
import json
import os
import sys
import time

from inference import PROMPT, QUESTIONS, NoAnswer, Server


def note(options: argparse.Namespace, success: bool, seconds: float, result: "dict | None") -> None:
    """For the collector of the role monitor, which may read at any moment: never half of it."""
    if not options.status:
        return
    told = {
        "unit": options.unit,
        "model": options.model,
        "success": success,
        "timestamp_seconds": round(time.time(), 3),
        "seconds": round(seconds, 3),
        "interval_seconds": options.interval,
    }
    first = (result or {}).get("time_to_first_token_ms")
    if first is not None:
        told["first_token_seconds"] = first / 1000
    with open(f"{options.status}.tmp", "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(f"{options.status}.tmp", options.status)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for each answer")
    parser.add_argument(
        "--no-completion",
        action="store_true",
        help="the server embeds or classifies: its name and health must do",
    )
    parser.add_argument(
        "--question", default="completion", choices=["completion", *QUESTIONS], help="what the server is for"
    )
    parser.add_argument("--key-variable", default="API_KEY", help="the variable that has the key")
    parser.add_argument("--status", help="file that says for metrics how it went")
    parser.add_argument("--unit", default="", help="the unit that is asked, for that file")
    parser.add_argument(
        "--interval", type=float, default=0, help="seconds between two of these, for that file"
    )
    options = parser.parse_args()
    started = time.monotonic()
    key = os.environ.get(options.key_variable)  # not an argument, which everybody can see
    try:
        server = Server(options.url, key, options.timeout)
        server.healthy(options.timeout)
        models = server.models()
        if options.model not in models:
            raise NoAnswer(f"/v1/models: {', '.join(models) or 'nothing'}, not {options.model}")
        result, path = None, ""
        if options.question != "completion":
            path = f", asked at {server.ask(options.question, options.model, options.timeout)['path']}"
        elif not options.no_completion:
            result = server.completion(options.model, PROMPT, 4, options.timeout)
    except (NoAnswer, ValueError) as error:
        # A server may repeat the key in what it answers.
        text = str(error).replace(key, "(the key)") if key else str(error)
        print(f"{options.url} does not serve {options.model}: {text}", file=sys.stderr)
        note(options, False, time.monotonic() - started, None)
        return 1
    told = (
        ": {tokens} tokens, the first after {time_to_first_token_ms} ms".format(**result) if result else path
    )
    print(f"{server.url} serves {options.model}{told}")
    note(options, True, time.monotonic() - started, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
