# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp as an engine: its memory as llama-server logs it, its back ends, its options, and the choice
between engines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import tiny_gguf as tiny
from plugin_utils.test_confined import KEYS, lines, rendered

from ansible_collections.amdgpu.fleet.plugins.filter.plan import plan_questions
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import read_part, read_schema
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.llama_cpp import fit
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.quadlet import for_podman

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
FILE = "/srv/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT = {"name": "chat", "engine": "llama_cpp", "model": FILE}
LLAMA = read_part("llama_cpp")


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """The facts of a file with the header of SmolLM2-135M-Instruct."""
    return tiny.facts(tmp_path_factory.mktemp("gguf"), FILE, 30)


@pytest.fixture
def serve(make_plan, smollm2):
    """serve(host, {option of the instance}, variable=...) -> the plan of a host with that file."""

    def make(host="strix-halo-128", given=None, change=None, **wants):
        def there(gpus, rocm):
            rocm["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": []}
            path = {"exists": True, "directory": False, "model": False, "place": FILE, "gguf": smollm2}
            rocm["paths"][FILE] = path
            if change:
                change(gpus, rocm)

        return make_plan(host, there, serve_instances=[{**CHAT, **(given or {})}], **wants)

    return make


def found(plan, identifier):
    return [sentence(finding) for finding in plan["findings"] if finding["id"] == identifier]


# --- memory, against what llama-server 0.7.0 logs for SmolLM2-135M-Instruct at -lv 4


@pytest.mark.parametrize(
    ("settings", "logged"),
    [
        (fit.Settings(context=8192, slots=4, unified=True), 180.0),
        (fit.Settings(context=4096, slots=1), 90.0),
        (fit.Settings(context=4096, slots=1, key_type="q8_0", value_type="q8_0"), 47.81),
        (fit.Settings(context=4096, slots=4), 90.0),
        (fit.Settings(context=3000, slots=3), 67.5),
        (fit.Settings(context=2048, slots=2), 45.0),
    ],
)
def test_the_cache_is_what_llama_server_logs(smollm2, settings, logged):
    assert fit.cache_bytes(smollm2, settings) / MIB == pytest.approx(logged, rel=0.001)


def test_the_weights_are_what_llama_server_logs(smollm2):
    real = {**smollm2, "weights_bytes": 96_576_768}
    assert fit.need(real, fit.Settings(4096, 1)).weights / MIB == pytest.approx(92.10, rel=0.001)


def test_a_window_holds_its_reach_and_the_batch(smollm2):
    sliding = {**smollm2, "key_width": 0, "value_width": 0, "window": 512, "window_key_width": 100,
               "window_value_width": 100}  # fmt: skip
    one = fit.Settings(context=65536, slots=1)
    assert fit.cache_bytes(sliding, one) == 1024 * 200 * 2
    assert fit.cache_bytes(sliding, fit.Settings(65536, 4, unified=True)) == (4 * 512 + 512) * 200 * 2
    assert fit.cache_bytes(sliding, fit.Settings(65536, 1, whole_window=True)) == 65536 * 200 * 2


def test_the_largest_context_fits_and_the_next_one_does_not(smollm2):
    asked = fit.Settings(context=0, slots=2)
    budget = 800 * MIB
    largest = fit.largest_context(smollm2, asked, budget)
    assert 0 < largest < 2 * 8192
    assert fit.need(smollm2, fit.Settings(largest, 2)).total <= budget
    assert fit.need(smollm2, fit.Settings(largest + 2 * 256, 2)).total > budget
    assert fit.largest_context(smollm2, asked, MIB) == 0


def test_what_does_not_fit_is_said_before_anything_is_deployed(serve, smollm2):
    def large(_gpus, rocm):
        rocm["paths"][FILE]["gguf"] = {**smollm2, "weights_bytes": 900 << 30}

    assert "900.0 GiB" in found(serve(change=large), "serve.weights_do_not_fit")[0]
    plan = serve(given={"options": {"ctx-size": 1 << 24, "parallel": 1}})
    assert "Set ctx-size in options of the instance chat to 8192 or less" in found(
        plan, "serve.context_does_not_fit")[0]  # fmt: skip


# --- what is launched


def test_vulkan_gets_the_render_node_alone(serve):
    plan = serve()
    (install,), (server,) = plan["serve"]["installs"], plan["serve"]["instances"]
    assert (install["accelerator"], install["variant"], install["kind"]) == ("vulkan", "vulkan", "quadlet")
    assert server["devices"] == ["/dev/dri/renderD128"]
    assert server["groups"] and not server["rocm"]
    assert server["unit"] == "llama-cpp-chat.service"
    launch = server["launch"]
    assert launch["command"] == ["/app/llama-server"]
    assert (launch["api_key_variable"], launch["health_path"], launch["no_restart"]) == (
        "LLAMA_API_KEY",
        "/health",
        [1],
    )
    variables = server["environment"]
    assert variables["LLAMA_ARG_MODEL"] == FILE and server["read_only"] == [FILE]
    assert variables["LLAMA_ARG_DEVICE"] == "Vulkan0" and variables["LLAMA_ARG_N_GPU_LAYERS"] == "all"
    assert variables["LLAMA_ARG_ENDPOINT_METRICS"] == "1" and variables["LLAMA_ARG_UI"] == "0"
    # On unified memory a cache of prompts takes from the GPU.
    assert (variables["LLAMA_ARG_CACHE_RAM"], variables["LLAMA_ARG_LOAD_MODE"]) == ("0", "none")
    assert (variables["LLAMA_ARG_CTX_SIZE"], variables["LLAMA_ARG_N_PARALLEL"]) == ("32768", "4")
    assert server["memory"]["verdict"] == "fits"


def test_hip_gets_kfd_too_and_the_cpu_gets_nothing(serve):
    hip = serve(llama_cpp_backend="hip")["serve"]["instances"][0]
    assert hip["devices"][0] == "/dev/kfd" and hip["environment"]["LLAMA_ARG_DEVICE"] == "ROCm0"
    cpu = serve("no-gpu")["serve"]["instances"][0]
    assert (cpu["devices"], cpu["groups"], cpu["variant"]) == ([], [], "cpu")
    assert "LLAMA_ARG_DEVICE" not in cpu["environment"]


def test_an_image_of_ones_own_starts_the_program_by_its_name(serve):
    plan = serve(llama_cpp_image="localhost/llama-cpp:debian")
    assert plan["serve"]["instances"][0]["launch"]["command"] == ["llama-server"]
    assert found(plan, "llama.moving_tag") == []
    assert "Set llama_cpp_image_digest" in found(serve(), "llama.moving_tag")[0]


def test_a_program_of_the_host(serve):
    def program(_gpus, rocm):
        rocm["programs"]["/usr/bin/llama-server"] = "/usr/bin/llama-server"

    plan = serve(change=program, serve_kind="venv")
    (install,), (server,) = plan["serve"]["installs"], plan["serve"]["instances"]
    assert (install["venv"], install["container"], install["present"]) == (None, None, True)
    assert server["launch"]["command"] == ["/usr/bin/llama-server"]
    assert server["launch"]["cache_environment"] == {"MESA_SHADER_CACHE_DIR": "mesa"}
    missing = found(serve(serve_kind="venv"), "llama.program")[0]
    assert "libggml0-backend-vulkan mesa-vulkan-drivers" in missing


def test_the_questions_name_images_and_the_program():
    asked = plan_questions({"serve_instances": [{**CHAT, "engine": "auto"}]})
    assert FILE in asked["paths"] and "/usr/bin/llama-server" in asked["programs"]
    assert any("llama.cpp" in image for image in asked["images"])
    assert any("vllm" in image for image in asked["images"])


def test_the_unit_holds_what_the_back_end_needs_and_nothing_else(serve):
    plan = serve()
    (server,) = plan["serve"]["instances"]
    unit = for_podman(rendered(plan, "server.container.j2", server), "5.4", KEYS)
    assert lines(unit, "AddDevice") == ["/dev/dri/renderD128"]
    assert lines(unit, "Entrypoint") == ["/app/llama-server"] and lines(unit, "Exec") == []
    assert lines(unit, "AddCapability") == ["DAC_OVERRIDE"]
    assert f"{FILE}:{FILE}:ro" in lines(unit, "Volume")
    assert "llama-cpp-chat-cache:/var/cache/llama-cpp" in lines(unit, "Volume")
    assert lines(unit, "StopTimeout") == ["20"] and lines(unit, "RestartPreventExitStatus") == ["1"]
    exposed = serve(given={"host": "10.0.0.5"})["serve"]
    unit = rendered({"serve": exposed}, "server.container.j2", exposed["instances"][0])
    assert "/etc/llama-cpp/chat.secret" in lines(unit, "EnvironmentFile")
    check = rendered({"serve": exposed}, "inference-check.service.j2", exposed["instances"][0])
    assert "--key-variable LLAMA_API_KEY" in check


@pytest.mark.parametrize("kind", ["quadlet", "podman", "venv"])
def test_it_is_told_to_stop_when_nothing_runs(serve, kind):
    """llama-server 0.7.0 answers nothing more once it is told to."""

    def program(_gpus, rocm):
        rocm["programs"]["/usr/bin/llama-server"] = "/usr/bin/llama-server"

    plan = serve(given={"host": "10.0.0.5"}, serve_kind=kind, change=program)
    (server,) = plan["serve"]["instances"]
    name = "server.service.j2" if kind == "venv" else "server.container.j2"
    unit = rendered(plan, name, server)
    if kind != "venv":
        unit = for_podman(unit, "5.4" if kind == "quadlet" else None, KEYS)
    wait = (
        "-+/usr/bin/python3 /usr/local/lib/amdgpu-fleet/inference_drain.py http://10.0.0.5:8000 --seconds 60"
    )
    stops = lines(unit, "ExecStop")
    assert stops[0] == f"{wait} --key-file /etc/llama-cpp/chat.secret"
    # Podman's own comes after it: it would take the container from under it.
    assert [stop.split()[0] for stop in stops[1:]] == (["/usr/bin/podman"] if kind == "podman" else [])
    assert lines(unit, "TimeoutStopSec") == ["70"]
    silent = serve(given={"options": {"metrics": False}}, serve_kind=kind, change=program)
    assert "inference_drain" not in rendered(silent, name, silent["serve"]["instances"][0])


def test_a_share_of_the_gpu_is_the_budget(serve):
    whole, half = (serve(given=given) for given in ({}, {"memory_share": 0.5}))
    budgets = [plan["serve"]["instances"][0]["memory"]["budget_bytes"] for plan in (whole, half)]
    assert budgets[1] == budgets[0] // 2
    little = serve(given={"memory_share": 0.001, "options": {"ctx-size": 8192}})
    assert found(little, "serve.context_does_not_fit") or found(little, "serve.weights_do_not_fit")


# --- back ends


@pytest.mark.parametrize(
    ("gfx", "version", "backend"),
    [
        ("gfx1151", "", "vulkan"),
        ("gfx1030", "", "hip"),
        ("gfx942", "", "hip"),
        # Vulkan computes on the CPU there, and HIP is right in that build.
        ("gfx1151", "b9670", "hip"),
        ("gfx1201", "", "vulkan"),
    ],
)
def test_the_back_end_has_a_reason(serve, gfx, version, backend):
    def called(gpus, _rocm):
        gpus["gpus"][0]["gfx"] = gfx

    plan = serve(change=called, llama_cpp_version=version)
    assert plan["serve"]["installs"][0]["variant"] == backend
    (setting,) = [each for each in plan["settings"] if each["setting"] == "back end of llama.cpp"]
    assert setting["value"] == backend and setting["reason"]


@pytest.mark.parametrize(
    ("version", "refused"),
    [("b10039", False), ("b10040", True), ("b10874", True), ("b10875", False), ("0.7.0", False)],
)
def test_hip_that_mixes_answers_up_is_refused(serve, version, refused):
    told = found(serve(llama_cpp_backend="hip", llama_cpp_version=version), "llama.backend")
    assert bool(told) is refused
    assert not told or ("answers of other requests" in told[0] and "vulkan or cpu" in told[0])


def test_a_gpu_that_rocm_does_not_support_serves_through_vulkan(serve):
    def old(gpus, _rocm):
        gpus["gpus"][0].update(gfx="gfx906", supported=False, apu=False)

    plan = serve(change=old)
    server = plan["serve"]["instances"][0]
    assert server["variant"] == "vulkan" and server["devices"] == ["/dev/dri/renderD128"]
    asked = found(serve(change=old, llama_cpp_backend="hip"), "llama.backend")
    assert "ROCm does not support gfx906" in asked[0]


@pytest.mark.parametrize(
    ("gfx", "given", "wants", "told"),
    [
        ("gfx1032", {}, {}, "three to four times slower"),
        ("gfx1032", {}, {"llama_cpp_version": "b9459"}, ""),
        ("gfx1201", {"cache-type-k": "q8_0"}, {}, "With a quantized cache prompts"),
        ("gfx1201", {}, {}, ""),
        ("gfx1201", {"cache-type-k": "q8_0"}, {"llama_cpp_backend": "hip"}, ""),
        # The Mesa of the host; an image brings its own.
        (
            "gfx1030",
            {"mmproj": FILE},
            {"serve_kind": "venv", "llama_cpp_backend": "vulkan"},
            "Mesa before 26.0.5",
        ),
        ("gfx1030", {"mmproj": FILE}, {"llama_cpp_backend": "vulkan"}, ""),
        ("gfx1030", {}, {"serve_kind": "venv", "llama_cpp_backend": "vulkan"}, ""),
    ],
)
def test_bugs_that_one_can_live_with_are_said_where_they_are(serve, gfx, given, wants, told):
    def called(gpus, _rocm):
        gpus["gpus"][0]["gfx"] = gfx

    said = found(serve(given={"options": given}, change=called, **wants), "llama.bug")
    assert bool(said) is bool(told)
    assert not said or told in said[0]


def test_an_unknown_release_is_refused(serve):
    assert "0.7.0, or a build such as b11669" in found(serve(llama_cpp_version="0.99.0"), "llama.release")[0]


# --- options


@pytest.mark.parametrize(
    ("options", "version", "told"),
    [
        ({"no-mmap": True}, "", "Use load-mode: none instead"),
        ({"no_mmap": True}, "", "Use load-mode: none instead"),
        ({"draft-max": 4}, "", "Use spec-draft-n-max instead"),
        ({"max-model-len": 4096}, "", "Remove max-model-len, or correct its name"),
        ({"load-mode": "none"}, "b9700", "Remove load-mode: it came with b10040"),
        ({"gpu-layers": "999x"}, "", "Correct the value of gpu-layers"),
        ({"cache-type-k": "q9_0"}, "", "expected f32 or f16 or bf16"),
        ({"parallel": 0}, "", "Correct the value of parallel"),
        ({"ctx-size": "8k"}, "", "Correct the value of ctx-size"),
        ({"tools": "all"}, "", "a shell of the host"),
        ({"rpc": "h:50052"}, "", "ask nobody for a key"),
        ({"hf-repo": "a/b"}, "", "the role model fetches"),
        ({"cache-type-v": "q8_0", "flash-attn": "off"}, "", "Remove flash-attn, or take cache-type-v f16"),
        ({"mmproj": "/nowhere/mmproj.gguf"}, "", "Put the file there"),
        ({"ngl": "999x"}, "", "Correct the value of gpu-layers"),
        ({"draft-n": 4}, "", "Use spec-draft-n-max instead"),
        ({"spec-ngram-size-n": 4}, "", "Use spec-ngram-simple-size-n instead"),
        ({"defrag-thold": 0.1}, "", "Remove defrag-thold: it has no effect any more"),
        ({"no-mmproj": True}, "", "Remove no-mmproj: mmproj: null does it"),
        ({"mcp-servers-json": "{}"}, "", "clients would start programs of the host"),
        ({"api-prefix": "/x"}, "", "the paths that prove its health would be others"),
        ({"ctx-sise": 4096}, "", "Remove ctx-sise: did you mean ctx-size?"),
        ({"temp": "hot"}, "", "expected a number"),
        ({"temp": float("nan")}, "", "expected a number"),
        ({"sleep-idle-seconds": -2}, "", "Correct the value of sleep-idle-seconds"),
        ({"override-kv": "a=str:x y"}, "", "expected words without blanks and quotes"),
        ({"samplers": "top_k;$(id)"}, "", "expected words without blanks and quotes"),
    ],
)
def test_a_wrong_option_is_refused_before_it_is_deployed(serve, options, version, told):
    plan = serve(given={"options": options}, llama_cpp_version=version)
    assert told in found(plan, "llama.option")[0]


def test_right_options_reach_the_server(serve):
    asked = {"no-mmproj-offload": True, "flash-attn": True, "cache-type-k": "q8_0", "parallel": 2,
             "fit": False,
             "chat-template-kwargs": '{"enable_thinking": false}', "cache-ram": None}  # fmt: skip
    plan = serve(given={"options": asked})
    assert found(plan, "llama.option") == []
    variables = plan["serve"]["instances"][0]["environment"]
    assert variables["LLAMA_ARG_MMPROJ_OFFLOAD"] == "0" and variables["LLAMA_ARG_FLASH_ATTN"] == "on"
    assert variables["LLAMA_ARG_FIT"] == "off" and variables["LLAMA_ARG_N_PARALLEL"] == "2"
    assert variables["LLAMA_ARG_CHAT_TEMPLATE_KWARGS"] == '{"enable_thinking": false}'
    assert "LLAMA_ARG_CACHE_RAM" not in variables
    old = serve(given={"options": {"load-mode": None}}, llama_cpp_version="b9700", llama_cpp_backend="hip")
    assert found(old, "llama.option") == []
    variables = old["serve"]["instances"][0]["environment"]
    assert variables["LLAMA_ARG_NO_MMAP"] == "1" and "LLAMA_ARG_LOAD_MODE" not in variables


def test_names_that_an_option_has_besides_are_the_option(serve):
    asked = {"ngl": 20, "np": 2, "n-predict": 64, "no-kv-offload": True, "fa": "off", "reranking": False}
    plan = serve(given={"options": asked})
    assert found(plan, "llama.option") == []
    variables = plan["serve"]["instances"][0]["environment"]
    assert variables["LLAMA_ARG_N_GPU_LAYERS"] == "20" and variables["LLAMA_ARG_N_PARALLEL"] == "2"
    assert variables["LLAMA_ARG_N_PREDICT"] == "64" and variables["LLAMA_ARG_KV_OFFLOAD"] == "0"
    assert variables["LLAMA_ARG_FLASH_ATTN"] == "off" and variables["LLAMA_ARG_RERANKING"] == "0"
    # The cache is in the memory of the host then.
    assert plan["serve"]["instances"][0]["memory"]["kv_bytes"] == 0


@pytest.mark.parametrize(
    ("options", "probe"),
    [
        ({}, "completion"), ({"embedding": True}, "embed"), ({"embeddings": False}, "completion"),
        # Its answer to a pair is another one than vLLM's, and nobody has seen it here.
        ({"reranking": True, "embeddings": True}, "health"),
    ],
)  # fmt: skip
def test_a_server_is_asked_what_its_options_make_it_for(serve, options, probe):
    assert serve(given={"options": options})["serve"]["instances"][0]["launch"]["probe"] == probe
    own = serve(given={"options": options, "probe": "health"})
    assert own["serve"]["instances"][0]["launch"]["probe"] == "health"


def test_an_option_without_a_variable_stands_on_the_command_line(serve):
    asked = {"sleep-idle-seconds": 600, "warmup": False, "special": True, "ignore-eos": False}
    plan = serve(given={"options": asked})
    assert found(plan, "llama.option") == []
    (server,) = plan["serve"]["instances"]
    words = ["--sleep-idle-seconds", "600", "--no-warmup", "--special"]
    assert server["launch"]["command"] == ["/app/llama-server", *words]
    unit = for_podman(rendered(plan, "server.container.j2", server), "5.4", KEYS)
    assert lines(unit, "Exec") == [" ".join(words)]


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("LLAMA_ARG_CTX_SIZE", "Set ctx-size in options"),
        # The option is not called as its variable is.
        ("LLAMA_ARG_N_PARALLEL", "Set parallel in options"),
        ("LLAMA_ARG_THINK", "Set reasoning-format in options"),
        ("LLAMA_ARG_NO_KV_OFFLOAD", "Set kv-offload: false in options"),
        ("LLAMA_ARG_NO_MMAP", "Set no-mmap in options"),
        ("MTMD_BACKEND_DEVICE", "Set mmproj-device in options"),
        ("LLAMA_ARG_CTXSIZE", "no option has this name"),
    ],
)
def test_a_variable_that_stands_for_an_option_is_refused(serve, variable, told):
    for name in ("llama_cpp_environment", "serve_secret_environment"):
        plan = serve(**{name: {variable: "1"}})
        assert told in found(plan, "llama.option")[0]


def test_a_misspelt_variable_is_said(serve):
    plan = serve(llama_cpp_environment={"GGML_VK_DISABLE_COOPMATS": "1", "GGML_VK_DISABLE_F16": "1"})
    (told,) = found(plan, "llama.environment")
    assert "GGML_VK_DISABLE_COOPMATS" in told and "call it GGML_VK_DISABLE_COOPMAT" in told
    assert plan["serve"]["instances"][0]["environment"]["GGML_VK_DISABLE_F16"] == "1"


def test_a_key_does_not_stand_in_an_environment(serve):
    plan = serve(llama_cpp_environment={"LLAMA_API_KEY": "x"})
    assert "Set serve_api_key" in found(plan, "inventory.variable")[0]


# --- one engine or the other


# What an engine is, and where its files lie. Everything else is the same by whatever engine.
OF_AN_ENGINE = {
    *("engine", "title", "documentation", "version", "variant", "unit", "unit_file", "configuration_file"),
    *(
        "environment_file",
        "secret_file",
        "shared_secret_file",
        "image",
        "launch",
        "environment",
        "memory",
        "options",
    ),
}
# Vulkan needs no ROCm, and so not its device.
OF_A_BACK_END = {"rocm", "devices", "variant"}
# Where the file of the model lies.
OF_A_FORMAT = {"model", "read_only"}


@pytest.mark.parametrize("backend", ["vulkan", "hip"])
def test_the_engine_is_one_word_and_the_format_of_the_model(serve, make_plan, ids, backend):
    """Two inventories, which differ in the word for the engine and in the model."""
    common = {
        "name": "chat", "served_name": "smol", "host": "10.0.0.5", "port": 8123, "numa": "none", "probe": "health", "gpus": [0],
    }  # fmt: skip
    of_all = {
        "serve_start_timeout": 900, "serve_read_only": True, "serve_api_key": "a-key-of-16-letters", "serve_check_interval": 60,
        "serve_secret_environment": {"OTEL_TOKEN": "x"}, "llama_cpp_backend": backend,
    }  # fmt: skip

    def there(_gpus, rocm):
        rocm["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": []}

    llama = serve(given={**common, "engine": "llama_cpp", "model": FILE}, **of_all)
    entry = {**common, "engine": "vllm", "model": "/srv/models/smollm2"}
    vllm = make_plan("strix-halo-128", there, serve_instances=[entry], **of_all)
    assert ids(llama) == ids(vllm) == []
    first, second = llama["serve"]["instances"][0], vllm["serve"]["instances"][0]
    differ = {name for name in first if first[name] != second[name]}
    assert first.keys() == second.keys()
    assert differ <= OF_AN_ENGINE | OF_A_FORMAT | (OF_A_BACK_END if backend == "vulkan" else set())
    assert (first["engine"], second["engine"]) == ("llama_cpp", "vllm")
    assert llama.keys() == vllm.keys()
    # Nor does the rest of the plan differ: kernel, firmware, driver, ROCm, devices, partitions.
    for part in ("kernel", "firmware", "driver", "rocm", "devices"):
        assert llama[part] == vllm[part], part


@pytest.mark.parametrize(
    ("gfx", "gguf", "engine", "why"),
    [
        ("gfx1151", True, "llama_cpp", "the model is in gguf"),
        ("gfx1151", False, "vllm", "the model is in safetensors"),
        ("gfx1103", True, "llama_cpp", "vLLM has no code for gfx1103"),
        ("gfx906", True, "llama_cpp", "vLLM has no code for gfx906"),
        ("gfx1030", True, "llama_cpp", "vLLM has no code for gfx1030"),
        ("gfx1030", None, "llama_cpp", "vLLM has no code for gfx1030"),
        ("gfx942", True, "llama_cpp", "the model is in gguf"),
        ("gfx942", False, "vllm", "the model is in safetensors"),
        ("gfx1103", None, "llama_cpp", "vLLM has no code for gfx1103"),
        ("gfx1151", None, "vllm", "the first one that has code"),
    ],
)
def test_auto_chooses_with_a_reason(serve, gfx, gguf, engine, why):
    def change(gpus, rocm):
        gpus["gpus"][0]["gfx"] = gfx
        if gguf is None:
            rocm["paths"][FILE] = {"exists": False}
        elif not gguf:
            rocm["paths"][FILE].update(model=True, directory=True, gguf=None)

    given = {"engine": "auto"}
    if gguf is None:
        given["model"] = "Qwen/Qwen3-8B"

    def absent(gpus, rocm):
        change(gpus, rocm)
        rocm["paths"]["Qwen/Qwen3-8B"] = {"exists": False}

    plan = serve(given=given, change=absent)
    assert plan["serve"]["instances"][0]["engine"] == engine
    (setting,) = [each for each in plan["settings"] if each["setting"] == "chat engine"]
    assert why in setting["reason"]


@pytest.mark.parametrize("gfx", ["gfx1103", "gfx906", "gfx1030", "gfx803"])
def test_what_neither_can_serve_is_refused_with_what_would(serve, gfx):
    def change(gpus, rocm):
        gpus["gpus"][0]["gfx"] = gfx
        rocm["paths"][FILE].update(model=True, directory=True, gguf=None)

    told = found(serve(given={"engine": "auto"}, change=change), "serve.engine")
    assert f"in safetensors on {gfx}" in told[0] and "in gguf (llama.cpp)" in told[0]


@pytest.mark.parametrize(("gfx", "supported"), [("gfx906", False), ("gfx803", False), ("gfx1103", False)])
def test_a_gpu_that_rocm_knows_nothing_of_serves_gguf_by_itself(serve, ids, gfx, supported):
    """Through Vulkan, which needs its render node alone."""

    def old(gpus, _rocm):
        gpus["gpus"][0].update(gfx=gfx, supported=supported, apu=False)

    plan = serve(given={"engine": "auto"}, change=old)
    (server,) = plan["serve"]["instances"]
    assert (server["engine"], server["variant"], server["devices"]) == (
        "llama_cpp",
        "vulkan",
        ["/dev/dri/renderD128"],
    )


def test_a_repository_that_may_be_of_either_format_goes_to_the_engine_that_has_code(serve):
    """Which then asks for its own: what has none is refused before anything is fetched (test_model_gguf.py)."""

    def old(gpus, rocm):
        gpus["gpus"][0]["gfx"] = "gfx1103"

    plan = serve(given={"engine": "auto", "model": "Qwen/Qwen3-8B"}, change=old)
    assert [fetch["format"] for fetch in plan["model"]["fetch"]] == ["gguf"]


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp"])
def test_an_engine_that_is_named_must_load_the_format(serve, engine):
    def change(_gpus, rocm):
        if engine == "llama_cpp":
            rocm["paths"][FILE].update(model=True, directory=True, gguf=None)

    told = found(serve(given={"engine": engine}, change=change), "serve.engine")
    assert len(told) == 1 and "Set engine of chat to auto" in told[0]


def test_a_gguf_that_is_cut_off_is_not_served(serve, smollm2):
    def change(_gpus, rocm):
        rocm["paths"][FILE]["gguf"] = {**smollm2, "problem": "is cut off: a.gguf ends before its weights do"}

    assert "which is cut off" in found(serve(change=change), "serve.model")[0]


# --- data


def test_the_catalog_fits_its_schema():
    schema = read_schema("llama_cpp")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(LLAMA)) == []
    broken = json.loads(json.dumps(LLAMA))
    broken["options"]["ctx-size"]["variable"] = "CTX"
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(broken))


def test_the_catalog_holds_together():
    names = set(LLAMA["options"])
    assert not names & (set(LLAMA["removed"]) | set(LLAMA["refused"]) | set(LLAMA["aliases"]))
    assert set(LLAMA["aliases"].values()) <= names
    variables = [entry["variable"] for entry in LLAMA["options"].values() if "variable" in entry]
    assert len(variables) == len(set(variables))
    assert LLAMA["default_release"] in LLAMA["releases"]
    for entry in LLAMA["removed"].values():
        assert entry["replacement"].partition(":")[0] in names
    for entry in LLAMA["options"].values():
        assert entry["type"] != "word" or entry["values"]


def test_the_role_serve_names_no_engine():
    engine = re.compile(r"vllm|llama[-_.]?cpp|llama-server", re.IGNORECASE)
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "roles/serve").rglob("*"))
        if path.is_file()
        and path.name != "README.md"
        and path.parent.name not in ("defaults", "meta", "__pycache__")
    }
    assert len(texts) > 20
    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if engine.search(text)] == []
