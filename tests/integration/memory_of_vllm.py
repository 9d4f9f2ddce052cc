# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside vLLM's image: starts the engine of each case as `vllm serve` would, and tells the cache size
that it logs. No server listens.

Standard input:  {name: {"arguments": [MODEL, "--config", "CONFIG"], "config": YAML text, "environment":
{...}}} Standard output: {name: {"tokens": int or null, "longest": int or null, "log": the end of what was
logged}}

``longest`` is the context that vLLM names when it refuses a longer one.

A child is forked for each case, so that the libraries, which take ten seconds, are imported once.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import traceback

# The engine in this process: the log is then complete, and no second process imports everything again.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries print while they are imported

from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.entrypoints.cli.serve import ServeSubcommand  # noqa: E402
from vllm.usage.usage_lib import UsageContext  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402
from vllm.v1.engine.llm_engine import LLMEngine  # noqa: E402

SIZE = re.compile(r"KV cache size: ([\d,]+) tokens")
LONGEST = re.compile(r"the estimated maximum model length is (\d+)")
parser = FlexibleArgumentParser()
ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))


def start(case):
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # the image has one of its own
    os.environ.update(case["environment"])
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(case["config"])
        file.flush()
        namespace = parser.parse_args(
            ["serve", *(file.name if word == "CONFIG" else word for word in case["arguments"])]
        )
    namespace.model = namespace.model_tag
    LLMEngine.from_engine_args(
        AsyncEngineArgs.from_cli_args(namespace), usage_context=UsageContext.OPENAI_API_SERVER
    )


def fork(case, log):
    child = os.fork()
    if not child:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            start(case)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return child


cases = json.load(sys.stdin)
results, names = {}, list(cases)
# Two at a time: the machines that run this have few processors.
for pair in (names[at : at + 2] for at in range(0, len(names), 2)):
    logs = {name: tempfile.TemporaryFile("w+") for name in pair}  # noqa: SIM115 - both are open at a time
    for child in [fork(cases[name], logs[name]) for name in pair]:
        os.waitpid(child, 0)
    for name, log in logs.items():
        log.seek(0)
        text = log.read()
        size, longest = SIZE.search(text), LONGEST.search(text)
        results[name] = {
            "tokens": int(size.group(1).replace(",", "")) if size else None,
            "longest": int(longest.group(1)) if longest else None,
            "log": text[-3000:],
        }
json.dump(results, answer)
answer.flush()
