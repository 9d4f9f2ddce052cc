# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp's server of the test bed serves the real model: on the CPU, and on Vulkan by Mesa's llvmpipe. What the
plan claims of it is held against it: memory, options, and what it does when it is told to stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_model
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import read_part
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.llama_cpp import fit, router
from testbed import llama_cpp, real_model
from testbed.engine import MODELS
from testbed.hosts import LIMITS
from testbed.machine import LABEL, podman

# Not a time that a good server needs: one that does nothing is given up.
LONGEST_SECONDS = 900
REPOSITORY = Path(__file__).resolve().parents[2]
LLAMA = read_part("llama_cpp")
MIB = 1 << 20
STORY = {"prompt": "Once upon a time", "ignore_eos": True, "temperature": 0}


@dataclass
class Server:
    """A container that serves."""

    name: str
    url: str

    def get(self, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=LONGEST_SECONDS) as answer:
            return json.load(answer)

    def log(self) -> str:
        """What llama-server said; it writes to standard error."""
        return podman("exec", self.name, "cat", "/tmp/log", check=False)


@pytest.fixture(scope="module", params=["cpu", "vulkan"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    llama_cpp.prepare()
    real_model.prepare()
    vulkan = request.param == "vulkan"
    name = f"{LABEL}-llama-{request.param}"
    port = 18080 + vulkan
    # A server does not start on a device that it does not have.
    device = "--device Vulkan0 --gpu-layers 99" if vulkan else "--device none"
    words = f"llama-server --model {real_model.GGUF} --host 127.0.0.1 --port {port} --ctx-size 512 --parallel 1 {device} --metrics --log-verbosity 4"
    environment = [f"--env={key}={value}" for key, value in llama_cpp.VULKAN.items()] if vulkan else []
    podman("rm", "--force", "--ignore", "--time=2", name)
    podman(
        "run", "--detach", f"--name={name}", f"--label={LABEL}=test", "--privileged", *LIMITS, "--network=host", *environment,
        f"--volume={MODELS}:/srv/models:ro", "--entrypoint=sh", llama_cpp.IMAGE, "-c", f"exec {words} >/tmp/log 2>&1",
    )  # fmt: skip
    made = Server(name, f"http://127.0.0.1:{port}")
    try:
        _wait(made)
        yield made
    finally:
        podman("rm", "--force", "--time=2", name)


def _wait(server: Server) -> None:
    started = time.monotonic()
    while True:
        try:
            assert server.get("/health")["status"] == "ok"
            return
        except (urllib.error.URLError, ConnectionError):
            running = podman("inspect", "--format={{.State.Running}}", server.name).strip()
            assert running == "true", "llama-server ended"
            assert time.monotonic() - started < LONGEST_SECONDS, server.log()
        time.sleep(0.5)


def test_it_knows_the_capital_of_france(server: Server) -> None:
    body = {
        "messages": [{"role": "user", "content": real_model.QUESTION}],
        "temperature": 0,
        "max_tokens": 16,
    }
    answer = server.get("/v1/chat/completions", body)
    assert real_model.ANSWER in answer["choices"][0]["message"]["content"], answer


def test_vulkan_is_mesas_llvmpipe(server: Server) -> None:
    """A device that is a CPU is hidden unless it is named, so the CPU's server must see none."""
    devices = podman("exec", server.name, "llama-server", "--list-devices")
    assert ("Vulkan0: llvmpipe" in devices) is server.name.endswith("vulkan"), devices


# --- what the plan computes and what llama-server logs


def logged(text: str, what: str) -> float:
    """Bytes of all buffers of a kind, but for what the host maps of a model that a device holds."""
    found = re.findall(rf"(\w+) {what} buffer size = +([0-9.]+) MiB", text)
    device = [(name, size) for name, size in found if name.startswith("Vulkan0")]
    return sum(float(size) for _name, size in device or found) * MIB


def test_the_fit_is_what_it_logs(server: Server) -> None:
    known = _gguf_model.of_path(Tree(), str(real_model.FILE))
    assert known is not None and known["problem"] is None
    vulkan = server.name.endswith("vulkan")
    need = fit.need(known, fit.Settings(context=512, slots=1), fit.Beside(on_host=not vulkan))  # type: ignore[arg-type]
    log = server.log()
    assert need.weights == pytest.approx(logged(log, "model"), rel=0.03), log
    assert need.cache == pytest.approx(logged(log, "KV"), rel=0.03), log
    # What is left for the rest is more than the rest.
    assert 0 < logged(log, "compute") < need.compute, log
    listed = server.get("/v1/models")["data"][0]["meta"]
    assert listed["size"] == known["total_bytes"]


def test_a_draft_without_a_type_is_loaded_and_not_asked(server: Server) -> None:
    """Why the plan says the type; with it, the memory is that of two models."""
    known = _gguf_model.of_path(Tree(), str(real_model.FILE))
    assert known is not None
    words = f"--model {real_model.GGUF} --spec-draft-model {real_model.GGUF} --ctx-size 512 --parallel 1 --device none"
    said = {}
    for kind in ("", "--spec-type draft-simple"):
        # It ends when it is told to, which is as soon as it serves.
        shell = (f"llama-server {words} {kind} --port 18090 --log-verbosity 4 >/tmp/draft 2>&1 & "
                 "until grep -q 'listening on' /tmp/draft || ! kill -0 $!; do sleep 0.2; done; kill $!; wait $!; cat /tmp/draft")  # fmt: skip
        said[kind] = podman("exec", server.name, "sh", "-c", shell, check=False)
    assert "no implementations specified" in said[""], said[""]
    log = said["--spec-type draft-simple"]
    assert "no implementations specified" not in log, log
    beside = fit.Beside(on_host=True, draft=known)  # type: ignore[arg-type]
    need = fit.need(known, fit.Settings(context=512, slots=1), beside)  # type: ignore[arg-type]
    assert need.weights == pytest.approx(logged(log, "model"), rel=0.03), log
    assert need.cache == pytest.approx(logged(log, "KV"), rel=0.03), log


@contextlib.contextmanager
def router_of(server: Server, most: int) -> Iterator[Server]:
    """A router of two models in the container of a server, with the configuration that the plan writes and its
    environment; ``most``: how many are loaded at a time."""
    asked = {"alias": "first", "models": {"second": real_model.GGUF}, "models-max": most}
    text = router.preset(asked, real_model.GGUF)
    port = 18092 + server.name.endswith("vulkan")
    environment = {
        "LLAMA_ARG_MODELS_PRESET": "/tmp/preset", "LLAMA_ARG_MODELS_MAX": str(most),
        "LLAMA_ARG_MODELS_AUTOLOAD": str(int(most < 2)), "LLAMA_ARG_CTX_SIZE": "1024", "LLAMA_ARG_N_PARALLEL": "2",
        "LLAMA_ARG_DEVICE": "none", "LLAMA_ARG_HOST": "127.0.0.1", "LLAMA_ARG_PORT": str(port), "LLAMA_ARG_OFFLINE": "1",
        "LLAMA_ARG_ENDPOINT_METRICS": "1",
    }  # fmt: skip
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    shell = f"cat >/tmp/preset; {words} llama-server >/tmp/router 2>&1 & echo $! >/tmp/router.pid"
    podman("exec", "--interactive", server.name, "sh", "-c", shell, stdin=text)
    routed = Server(server.name, f"http://127.0.0.1:{port}")
    try:
        _wait(routed)
        yield routed
    finally:
        stop_router(server)


def stop_router(server: Server) -> None:
    """As systemd does: it is told, and waited for."""
    # The first process of the container takes no notice of its end, so what is left of it stays as a zombie.
    stop = (
        "status=/proc/$(cat /tmp/router.pid)/status; kill $(cat /tmp/router.pid) 2>/dev/null; "
        "while [ -e $status ] && ! grep -q 'State:.Z' $status; do sleep 0.1; done"
    )
    podman("exec", server.name, "sh", "-c", stop)


def states(routed: Server) -> dict[str, str]:
    return {each["id"]: each["status"]["value"] for each in routed.get("/v1/models")["data"]}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < LONGEST_SECONDS, what
        time.sleep(0.1)


# A router has no device of its own, and its models compute on the CPU here.
ON_CPU = pytest.mark.parametrize("server", ["cpu"], indirect=True)


@ON_CPU
def test_a_router_loads_what_its_file_names_and_serves_each_by_its_name(server: Server) -> None:
    with router_of(server, 1) as routed:
        assert set(states(routed)) == {"first", "second"} and states(routed)["second"] == "unloaded"
        for name in ("first", "second"):
            body = {"model": name, "prompt": "Paris is", "max_tokens": 2}
            assert routed.get("/v1/completions", body)["usage"]["completion_tokens"] == 2
        # One at a time was asked for.
        assert states(routed)["second"] == "loaded" and states(routed)["first"] != "loaded"
        with pytest.raises(urllib.error.HTTPError):
            routed.get("/v1/completions", {"model": "third", "prompt": "x", "max_tokens": 1})


class Asked:
    """Requests to models of a router, each in a thread of its own."""

    def __init__(self, routed: Server, wanted: int) -> None:
        self.routed, self.wanted = routed, wanted
        self.answers: list[object] = []
        self.threads: list[threading.Thread] = []

    def ask(self, model: str) -> None:
        body = {**STORY, "model": model, "max_tokens": self.wanted}

        def run() -> None:
            try:
                self.answers.append(self.routed.get("/v1/completions", body)["usage"]["completion_tokens"])
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.answers.append(error)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def join(self) -> list[object]:
        for thread in self.threads:
            thread.join(LONGEST_SECONDS)
        return self.answers


def running(routed: Server, model: str) -> int:
    """What the model of a router computes, by its own numbers."""
    try:
        with urllib.request.urlopen(
            f"{routed.url}/metrics?model={model}&autoload=false", timeout=60
        ) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError:
        return 0
    return int(float(re.findall(r"^llamacpp:requests_processing (\S+)", text, re.M)[0]))


# What a unit runs before the signal, and what a pod does.
HOW = pytest.mark.parametrize("how", ["unit", "pod"])


def wait_and_stop(server: Server, routed: Server, drain: Path, how: str = "unit") -> str:
    """What systemd does, or the kubelet: first the program that waits, then the signal."""
    pages = [routed.url + path for path in router.metrics({"alias": "first", "models": {"second": ""}})]
    commands = {
        "unit": [sys.executable, drain, routed.url, "--seconds", str(LONGEST_SECONDS)],
        "pod": [
            "sh",
            REPOSITORY / "roles/serve/files/pod_drain.sh",
            "0",
            str(LONGEST_SECONDS),
            "NO_KEY",
            *pages,
        ],
    }
    done = subprocess.run(
        commands[how], capture_output=True, text=True, timeout=2 * LONGEST_SECONDS, check=True
    )
    stop_router(server)
    assert done.stderr == "", done
    return done.stdout


@ON_CPU
@HOW
def test_a_router_under_load_answers_all_before_it_is_told_to_stop(
    server: Server, drain: Path, how: str
) -> None:
    with router_of(server, 2) as routed:
        wait_for(lambda: set(states(routed).values()) == {"loaded"}, "both models loaded")
        asked = Asked(routed, long_request(server)["n_predict"] // 3)
        for model in ("first", "second", "first", "second"):
            asked.ask(model)
        wait_for(lambda: running(routed, "first") == running(routed, "second") == 2, "all four run")
        said = wait_and_stop(server, routed, drain, how)
        assert how == "pod" or ("4 requests run: waiting up to" in said and "nothing runs after" in said), (
            said
        )
        assert asked.join() == [asked.wanted] * 4


@ON_CPU
@HOW
def test_a_request_that_waits_for_its_model_is_answered_too(server: Server, drain: Path, how: str) -> None:
    """With room for one model the router shows nobody a request for the other one, until it loads it."""
    with router_of(server, 1) as routed:
        wait_for(lambda: states(routed)["first"] == "loaded", "the first model loaded")
        asked = Asked(routed, long_request(server)["n_predict"] // 2)
        asked.ask("first")
        wait_for(lambda: running(routed, "first") == 1, "the first request runs")
        asked.ask("second")
        wait_for(
            lambda: "queued" in podman("exec", server.name, "cat", "/tmp/router"), "the second one waits"
        )
        said = wait_and_stop(server, routed, drain, how)
        assert how == "pod" or "nothing runs after" in said, said
        assert asked.join() == [asked.wanted] * 2


@ON_CPU
def test_asking_a_router_loads_no_model(server: Server, drain: Path) -> None:
    with router_of(server, 1) as routed:
        wait_for(lambda: states(routed)["first"] == "loaded", "the first model loaded")
        assert wait_and_stop(server, routed, drain) == "nothing runs\n"
        assert "second" not in "".join(
            line
            for line in podman("exec", server.name, "cat", "/tmp/router").splitlines()
            if "spawning" in line
        )


# --- options


def options_of(text: str) -> dict[str, tuple[str | None, bool]]:
    """Every long option of ``--help``, with its variable, and whether it was removed."""
    found: dict[str, tuple[str | None, bool]] = {}
    names: list[str] = []
    about: list[str] = []
    for line in [*text.splitlines(), "-"]:
        if re.match(r"-(?!----)", line):
            variable = re.search(r"\(env: (\w+)\)", " ".join(about))
            gone = "the argument has been removed" in " ".join(about)
            found.update(dict.fromkeys(names, (variable.group(1) if variable else None, gone)))
            # The column of descriptions begins at 40, unless the names go beyond it.
            head = line[:40] if line[38:40] == "  " else line
            names = re.findall(r"(?:^|[ ,])--([a-z][\w.-]*)", head)
            about = [line[40:]]
        else:
            about.append(line.strip())
    return found


def test_the_catalog_is_what_this_release_takes(server: Server) -> None:
    shown = options_of(podman("exec", server.name, "llama-server", "--help"))
    assert len(shown) > 200
    if f"({LLAMA['default_release']}" not in f"({llama_cpp.llama_cpp_version()}":
        pytest.fail(
            f"the image has llama.cpp {llama_cpp.llama_cpp_version()}: give the catalog its release and options"
        )
    for name, entry in LLAMA["options"].items():
        assert shown[name] == (entry.get("variable"), False), name
        assert entry.get("negative", f"--{name}").lstrip("-") in shown
    for name in LLAMA["removed"]:
        assert name not in shown or shown[name][1] or name in ("model-draft", "webui", "no-webui"), name
    known = {*LLAMA["options"], *LLAMA["aliases"], *LLAMA["removed"], *LLAMA["refused"]}
    # Presets download; llama-completion's own do nothing in a server.
    left = {name for name in shown if name not in known and name.removeprefix("no-") not in known}
    assert {name for name in left if not re.fullmatch(OF_NO_USE, name)} <= NOT_OF_A_SERVER
    assert {name for name, (_variable, gone) in shown.items() if gone} <= set(LLAMA["removed"])


# Presets, old names of switches, and the threads of a draft.
OF_NO_USE = r".*-(default|spec)|.*webui.*|spec-draft-(cpu|prio|poll).*|(cpu|prio|poll)-.*draft"
# What a server has no use for, or what only llama-cli and its like read.
NOT_OF_A_SERVER = {
    *(
        "usage",
        "completion-bash",
        "cache-list",
        "escape",
        "no-escape",
        "control-vector",
        "reverse-prompt",
    ),
    *(
        "control-vector-scaled",
        "control-vector-layer-range",
        "grammar",
        "grammar-file",
        "json-schema",
        "verbose",
    ),
    *(
        "json-schema-file",
        "logit-bias",
        "lookup-cache-static",
        "lookup-cache-dynamic",
        "log-verbose",
        "hf-token",
    ),
    *(
        "sampler-seq",
        "sampling-seq",
        "dry-sequence-breaker",
        "adaptive-target",
        "adaptive-decay",
        "cpu-mask-batch",
    ),
    *("cpu-range-batch", "cpu-strict-batch", "spec-synth-len", "spec-synth-rates"),
}


# --- stopping under load


@pytest.fixture
def drain(tmp_path: Path) -> Path:
    """The program of the role, as it lies on a host."""
    shutil.copy(REPOSITORY / "plugins/module_utils/_inference.py", tmp_path / "inference.py")
    shutil.copy(REPOSITORY / "roles/serve/files/inference_drain.py", tmp_path)
    return tmp_path / "inference_drain.py"


def long_request(server: Server) -> dict:
    """One that takes about eight seconds, however fast or busy this machine is."""
    first = server.get("/completion", {**STORY, "n_predict": 4})
    return {**STORY, "n_predict": min(max(8, int(first["timings"]["predicted_per_second"] * 8)), 480)}


def ask(server: Server, body: dict, answers: list[object]) -> threading.Thread:
    """The request, in a thread of its own, that runs when this returns."""

    def run() -> None:
        try:
            answers.append(server.get("/completion", body)["tokens_predicted"])
        except (OSError, ValueError) as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    started = time.monotonic()
    while not any(slot["is_processing"] for slot in server.get("/slots")):  # type: ignore[attr-defined]
        assert thread.is_alive() and time.monotonic() - started < LONGEST_SECONDS, answers
        time.sleep(0.1)
    return thread


def test_requests_are_answered_before_it_is_told_to_stop(server: Server, drain: Path) -> None:
    answers: list[object] = []
    body = long_request(server)
    thread = ask(server, body, answers)
    command = [sys.executable, drain, server.url, "--seconds", str(LONGEST_SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    assert "1 requests run: waiting up to" in done.stdout and "nothing runs after" in done.stdout, done
    thread.join(LONGEST_SECONDS)
    assert answers == [body["n_predict"]]


def test_what_runs_is_broken_off_where_nobody_waits(server: Server) -> None:
    """Why units wait. It is the last test: the server ends."""
    answers: list[object] = []
    thread = ask(server, long_request(server), answers)
    podman("kill", "--signal=TERM", server.name)
    podman("rm", "--force", "--time=3", server.name)
    thread.join(LONGEST_SECONDS)
    assert len(answers) == 1 and isinstance(answers[0], OSError), answers
