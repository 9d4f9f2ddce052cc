# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks of the engines themselves, for each server that is wanted: with its model, its key, and the
program of its own environment or container."""

from __future__ import annotations

import dataclasses
import shlex
import typing as t

from .host import Host
from .serve import ServePlan, ServerPlan

# A container has a file system of its own: the result comes back as the end of what is printed.
IN_CONTAINER = (
    'f=$(mktemp -d) && "$@" --result-dir "$f" --result-filename b.json && cat "$f/b.json" && rm -r "$f"'
)
# Images of servers may have the server alone: the shell's own answer to a program that is missing says so.
FIRST_OF = (
    'for each in {programs}; do if command -v "$each" > /dev/null; then exec "$each" "$@"; fi; done; exit 127'
)
# Tokens of a context that are left free: a random prompt can come out a little longer than asked for.
SPARE = 32


@dataclasses.dataclass(frozen=True)
class EngineTest:
    """What one server adds to a test of the catalog."""

    server: str
    programs: list[str]
    command: list[str]
    # The file below the folder of logs that has the result; empty where it is printed.
    output: str
    environment: dict[str, str]
    secret_file: str


def engine_tests(
    host: Host, serve: ServePlan, entry: t.Mapping[str, t.Any], load: t.Mapping[str, int]
) -> list[EngineTest]:
    """``entry``: of the catalog; ``load``: how much is asked for at this level."""
    found = []
    for server in serve.instances:
        # Containers of another account are not root's to look into, and a worker answers nobody.
        apart = server.kind != "venv" and serve.user and serve.user["name"] not in ("", "root")
        if server.engine != entry["engine"] or server.worker or not server.completes or apart:
            continue
        if entry["group"] == "model":
            words = {"model": _model_file(host, server)}
            command = [_filled(word, words) for word in entry["command"]]
            venv = server.kind == "venv"
            found.append(_plain(server, command) if venv else _in_image(host, server, entry, command))
        else:
            found.append(_benchmark(server, entry["command"], load))
    return found


def _plain(server: ServerPlan, command: list[str]) -> EngineTest:
    return EngineTest(server.name, [], command, "", {}, "")


def _in_image(host: Host, server: ServerPlan, entry: t.Mapping[str, t.Any], command: list[str]) -> EngineTest:
    """In a container of its own, which has what that of the server has: the server is stopped meanwhile."""
    programs = host.catalog.acceptance["tools"][entry["tool"]]["programs"]
    places = [*server.devices, *server.launch.devices]
    argv = [
        *("{program}", "run", "--rm", "--pull=never", "--network=none", f"--timeout={entry['timeout']}"),
        *("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--cap-add=DAC_OVERRIDE"),
        "--security-opt=no-new-privileges",
        *([] if server.confined else ["--security-opt=label=disable"]),
        *(f"--device={place}" for place in places),
        *(f"--group-add={group}" for group in server.groups),
        *(f"--env={name}={value}" for name, value in server.environment.items()),
        *(f"--volume={path}:{path}:ro" for path in server.read_only),
        *shlex.split(host.wants.serve_podman_arguments),
        *("--entrypoint=sh", server.image, "-c", FIRST_OF.format(programs=" ".join(programs)), "benchmark"),
    ]
    return EngineTest(server.name, ["podman"], [*argv, *command[1:]], "", {}, "")


def _benchmark(server: ServerPlan, words: t.Sequence[str], load: t.Mapping[str, int]) -> EngineTest:
    values = {
        "url": server.url,
        "served_name": server.served_name,
        "model": server.model,
        **{key: str(value) for key, value in _cut(server, load).items()},
    }
    arguments = [_filled(word, values) for word in words]
    start = server.launch.command
    # What starts the engine's command line, as it starts the server.
    program = start[: start.index("serve")] if "serve" in start else start
    if server.kind == "venv":
        output = f"{server.name}.json"
        # Its own folder has it: what that is called on the host the module knows.
        place = ["--result-dir", "{output}", "--result-filename", output]
        return EngineTest(
            server=server.name,
            programs=program[:1],
            command=["{program}", *program[1:], *arguments, *place],
            output=output,
            environment={"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
            secret_file=server.secret_file,
        )
    container = server.unit.rpartition(".")[0]
    return EngineTest(
        server=server.name,
        programs=["podman"],
        command=[
            *("{program}", "exec", "--env", "OPENAI_API_KEY", "--env", "HF_HUB_OFFLINE=1", container),
            *("sh", "-c", IN_CONTAINER, "benchmark", *(program or ["vllm"]), *arguments),
        ],
        output="",
        environment={},
        secret_file=server.secret_file,
    )


def _cut(server: ServerPlan, load: t.Mapping[str, int]) -> dict[str, int]:
    """The load, with lengths that the context of the server has room for."""
    context = server.options.get("max-model-len")
    if not isinstance(context, int) or isinstance(context, bool):
        return dict(load)
    room = max(context - SPARE, 2)
    if load["input"] + load["generated"] <= room:
        return dict(load)
    return {**load, "input": max(room * 2 // 3, 1), "generated": max(room // 3, 1)}


def _model_file(host: Host, server: ServerPlan) -> str:
    """The file that llama.cpp is given, of a folder too."""
    known = host.system["paths"].get(server.model)
    gguf = known["gguf"] if known else None
    return (gguf["file"] if gguf else None) or server.model


def _filled(word: str, values: t.Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word
