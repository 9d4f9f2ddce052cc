# Written by amdgpu.fleet
"""Asks an OpenAI-compatible server for a completion, for a timer of systemd: a line that says how it went,
and 0 or 1."""

import argparse
import os
import sys

from inference import NoAnswer, Server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for each answer")
    parser.add_argument("--no-completion", action="store_true", help="the server embeds or classifies: its name and health must do")
    parser.add_argument("--key-variable", default="API_KEY", help="the variable that has the key")
    options = parser.parse_args()
    key = os.environ.get(options.key_variable)  # not an argument, which everybody can see
    try:
        server = Server(options.url, key, options.timeout)
        server.healthy(options.timeout)
        models = server.models()
        if options.model not in models:
            raise NoAnswer(f"/v1/models: {', '.join(models) or 'nothing'}, not {options.model}")
        result = None if options.no_completion else server.completion(options.model, "AMD GPUs are", 4, options.timeout)
    except (NoAnswer, ValueError) as error:
        # A server may repeat the key in what it answers.
        text = str(error).replace(key, "(the key)") if key else str(error)
        print(f"{options.url} does not serve {options.model}: {text}", file=sys.stderr)
        return 1
    told = ": {tokens} tokens, the first after {time_to_first_token_ms} ms".format(**result) if result else ""
    print(f"{server.url} serves {options.model}{told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
