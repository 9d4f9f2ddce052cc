# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside vLLM's image: what vLLM's own parser and its table of variables make of command lines. No
server is started.

Standard input:  {name: {"arguments": [MODEL, "--config", "CONFIG"], "config": YAML text, "environment":
{...}, "show": [...]}} Standard output: {"version", "options": [...], "variables": [...], "json": [...],
"json_or_word": [...], "cases": {...}} Each case: {"exit", "error", "options", "variables", "unknown"}
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
answer = sys.stdout
sys.stdout = sys.stderr  # libraries print while they are imported

from importlib.metadata import version  # noqa: E402

from vllm import envs  # noqa: E402
from vllm.entrypoints.cli.serve import ServeSubcommand  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402

parser = FlexibleArgumentParser()
serve = ServeSubcommand()
serve_parser = serve.subparser_init(parser.add_subparsers(dest="subparser"))


def parsed(arguments, config, show):
    """The exit code (0 where the server would start), what was said, and the value of each option of
    ``show``."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        words = ["serve", *(file.name if word == "CONFIG" else word for word in arguments)]
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                namespace = parser.parse_args(words)
                serve.validate(namespace)
        except SystemExit as error:
            return {"exit": error.code, "error": said.getvalue()[-600:], "options": {}}
        except (ValueError, TypeError) as error:
            return {"exit": 1, "error": repr(error)[:600], "options": {}}
    return {
        "exit": 0,
        "error": "",
        "options": {name: getattr(namespace, name, "no such option") for name in show},
    }


def read(environment):
    """The value vLLM reads for each VLLM_* variable, and the names it does not read."""
    unknown = [
        name for name in environment if name.startswith("VLLM_") and name not in envs.environment_variables
    ]
    before = dict(os.environ)
    os.environ.update(environment)
    values = {}
    for name in environment:
        if name in envs.environment_variables:
            try:
                values[name] = envs.environment_variables[name]()
            except ValueError as error:
                values[name] = f"refused: {error}"
    os.environ.clear()
    os.environ.update(before)
    return {"variables": values, "unknown": unknown}


def refuses(action, text):
    """What an option says to a value, nothing where it takes it."""
    try:
        action.type(text)
    except Exception as error:  # noqa: BLE001 - each kind of option has its own
        return str(error)
    return ""


valued = {
    option[2:]: action
    for action in serve_parser._actions
    for option in [name for name in action.option_strings if name[:2] == "--"][:1]
    if action.nargs != 0 and action.type
}
broken = {name: refuses(action, '{"x": }') for name, action in valued.items()}
of_json = [
    name
    for name, said in broken.items()
    if any(word in said for word in ("Invalid JSON", "function loads", "Expecting value"))
]
results = {}
for name, case in json.load(sys.stdin).items():
    results[name] = {**parsed(case["arguments"], case["config"], case["show"]), **read(case["environment"])}
json.dump(
    {
        "version": version("vllm"),
        "options": sorted(
            option[2:] for option in serve_parser._option_string_actions if option.startswith("--")
        ),
        "json": [name for name in of_json if refuses(valued[name], "word")],
        "json_or_word": [name for name in of_json if not refuses(valued[name], "word")],
        "variables": sorted(envs.environment_variables),
        "cases": results,
    },
    answer,
    default=repr,
)
