# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the role kubernetes, held to what a cluster accepts and to the plan that they are made of."""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path

import pytest
import tiny_gguf
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_schema import check, pod_of
from plans import said

from ansible_collections.amdgpu.fleet.plugins.filter.kubernetes import kubernetes_objects
from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_model
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_names as names
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import kubernetes_volumes

REPOSITORY = Path(__file__).resolve().parents[3]
CHAT = {"name": "chat", "model": "/srv/models/chat"}
ONE = {"serve_instances": [CHAT]}
FOLDER = {"exists": True, "directory": True, "model": True, "weights_bytes": 50 << 30}


@pytest.fixture
def make(read_facts):
    """make("mi300x-8", **wants) -> what the filter makes of the host."""

    def objects(host: str, change=None, name: str = "", **wants) -> dict:
        facts = read_facts(host)
        for instance in wants.get("serve_instances", []):
            facts["amd_host"]["paths"].setdefault(instance["model"], dict(FOLDER))
        if change:
            change(facts)
        return kubernetes_objects(facts, {"serve_kind": "kubernetes", **wants}, name or host)

    return objects


def of_kind(objects: dict, kind: str) -> list[dict]:
    return [each for each in [*objects["shared"], *objects["own"]] if each["kind"] == kind]


def only(objects: dict, kind: str) -> dict:
    (found,) = of_kind(objects, kind)
    return found


def container(objects: dict) -> dict:
    return only(objects, "ServingRuntime")["spec"]["containers"][0]


def before_the_stop(objects: dict) -> list[str]:
    command: list[str] = container(objects)["lifecycle"]["preStop"]["exec"]["command"]
    return command


def value(objects: dict, name: str) -> str | dict:
    (found,) = [each for each in container(objects)["env"] if each["name"] == name]
    return found.get("value") or found["valueFrom"]


def check_all(objects: dict) -> None:
    every = [*objects["shared"], *objects["own"]]
    assert every
    for manifest in every:
        check(manifest, every)
    # A file says what the object is, and has no other reading.
    loaded = [yaml.safe_load(text) for path, text in objects["files"].items() if path.endswith(".yaml")]
    assert all(manifest in loaded for manifest in every)


CASES = {
    "mi300x": ("mi300x-8", ONE),
    "tensor parallel": ("mi300x-8", {"serve_instances": [{**CHAT, "options": {"tensor-parallel-size": 8}}]}),
    "cpx": ("mi300x-8-cpx-nps4", {**ONE, "kubernetes_resource_strategy": "mixed"}),
    "one each": ("mi300x-8", {"serve_instances": [{**CHAT, "count": 8}]}),
    "halo": ("strix-halo-128", ONE),
    "rdna4": ("rx9070xt", ONE),
    "openshift": ("mi300x-8", {**ONE, "kubernetes_flavor": "openshift", "devices_mode": "0666"}),
    "daemonset": ("mi300x-8", {**ONE, "kubernetes_device_plugin": "daemonset", "kubernetes_taint": True}),
    "claims": (
        "mi300x-8",
        {
            "serve_instances": [{**CHAT, "model": "/var/lib/amdgpu-fleet/models/chat"}],
            "kubernetes_model_claim": "models",
            "kubernetes_cache_class": "fast",
        },
    ),
    "exposed": (
        "mi300x-8",
        {"serve_instances": [{**CHAT, "host": "10.0.0.9"}], "serve_api_key": "0123456789abcdef"},
    ),
    "no gpu": ("no-gpu", ONE),
}


@pytest.mark.parametrize(("host", "wants"), CASES.values(), ids=CASES)
def test_a_cluster_accepts_the_objects(make, host, wants):
    check_all(make(host, **wants))


def test_what_is_started_is_what_a_unit_would_start(make, make_plan):
    unit = make_plan("mi300x-8", serve_kind="podman", **ONE)["serve"]["instances"][0]
    objects = make("mi300x-8", **ONE)
    launch, pod = unit["launch"], container(objects)
    assert [*pod["command"], *pod["args"]] == launch["command"]
    assert only(objects, "ConfigMap")["data"]["configuration"] == launch["configuration"]
    given = {each["name"]: each.get("value") for each in pod["env"]}
    moved = {name for name, text in launch["environment"].items() if text.startswith("/root/")}
    assert moved and all(given[name].startswith("/cache/") for name in moved)
    rest = {name: text for name, text in launch["environment"].items() if name not in moved}
    assert rest.items() <= given.items()
    assert pod["image"] == unit["image"]
    mounts = {each["mountPath"]: each for each in pod["volumeMounts"]}
    assert mounts[launch["configuration_path"]]["subPath"] == "configuration"
    assert mounts[CHAT["model"]]["readOnly"]


def test_the_pod_has_the_time_that_the_plan_gives_it(make):
    pod = container(make("mi300x-8", serve_start_timeout=1805, **ONE))
    probe = pod["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 1810
    assert {each["httpGet"]["path"] for name, each in pod.items() if name.endswith("Probe")} == {"/health"}
    assert {each["httpGet"]["port"] for name, each in pod.items() if name.endswith("Probe")} == {8000}
    stopping = [{**CHAT, "options": {"shutdown-timeout": 120}}]
    spec = only(make("mi300x-8", serve_instances=stopping), "InferenceService")["spec"]["predictor"]
    # What it waits before it is told to stop, vLLM's own time, and what systemd gives a unit beyond both.
    assert spec["terminationGracePeriodSeconds"] == 5 + 60 + 120 + 60 + 30


def test_requests_are_answered_before_the_server_is_told_to_stop(make):
    objects = make("mi300x-8", **ONE)
    command = before_the_stop(objects)
    program = command[1]
    assert command == ["sh", program, "5", "60", "VLLM_API_KEY", "http://127.0.0.1:8000/metrics"]
    (mount,) = [each for each in container(objects)["volumeMounts"] if each["mountPath"] == program]
    text = only(objects, "ConfigMap")["data"][mount["subPath"]]
    assert text == (REPOSITORY / "roles/serve/files/pod_drain.sh").read_text(encoding="utf-8")
    # The time before the stop is part of the time that the pod has.
    grace = only(objects, "InferenceService")["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert grace >= int(command[2]) + int(command[3]) + 60 + 30


@pytest.mark.parametrize(
    ("host", "wants", "resource", "each", "node"),
    [
        ("mi300x-8", ONE, "amd.com/gpu", "8", 8),
        ("mi300x-8", {"serve_instances": [{**CHAT, "gpus": [2, 3]}]}, "amd.com/gpu", "2", 8),
        ("mi300x-8-cpx-nps4", ONE, "amd.com/gpu", "64", 64),
        ("mi300x-8-cpx-nps4", CASES["cpx"][1], "amd.com/cpx_nps4", "64", 64),
        # The mode that the plan sets, not the one of now.
        (
            "mi300x-8",
            {**CASES["cpx"][1], "partition_compute": "CPX", "partition_memory": "NPS4"},
            *("amd.com/cpx_nps4", "64", 64),
        ),
        ("strix-halo-128", ONE, "amd.com/gpu", "1", 1),
        ("rx9070xt", {**ONE, "kubernetes_resource_strategy": "mixed"}, "amd.com/gpu", "1", 1),
    ],
)
def test_devices_are_counted_by_the_partition_mode(make, make_plan, host, wants, resource, each, node):
    objects = make(host, **wants)
    wanted = container(objects)["resources"]
    assert wanted["limits"] == {resource: each}
    assert {name: count for name, count in wanted["requests"].items() if name != "memory"} == wanted["limits"]
    assert make_plan(host, serve_kind="kubernetes", **wants)["kubernetes"]["resources"] == {resource: node}
    annotations = only(objects, "InferenceService")["metadata"]["annotations"]
    told = json.loads(annotations.get("serving.kserve.io/gpu-resource-types", "[]"))
    assert told == ([] if resource == "amd.com/gpu" else [resource])


def test_an_apu_asks_for_the_memory_of_its_host(make):
    assert container(make("strix-halo-128", **ONE))["resources"]["requests"]["memory"] == "50Gi"
    assert "memory" not in container(make("mi300x-8", **ONE))["resources"]["requests"]


def test_openshift_chooses_the_user_and_others_do_not(make):
    def pod(**wants) -> dict:
        service = only(make("mi300x-8", **ONE, **wants), "InferenceService")
        return service["spec"]["predictor"]["securityContext"]

    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod(kubernetes_flavor="openshift") == restricted
    # Nodes of mode 0660 are for the groups of the host.
    assert pod() == {
        **restricted,
        "runAsUser": 10001,
        "runAsGroup": 0,
        "fsGroup": 10001,
        "supplementalGroups": [44, 106],
    }
    assert "supplementalGroups" not in pod(devices_mode="0666")


def test_keys_are_named_and_never_written(make):
    objects = make(
        "mi300x-8",
        serve_instances=[{**CHAT, "host": "10.0.0.9"}],
        serve_api_key="sk-0123456789abcdef",
        serve_secret_environment={"HF_TOKEN_OF_US": "hf_0123456789abcdef"},
    )
    assert value(objects, "VLLM_API_KEY") == {
        "secretKeyRef": {"name": "amdgpu-fleet", "key": "api-key-chat-mi300x-8"}
    }
    assert value(objects, "HF_TOKEN_OF_US") == {
        "secretKeyRef": {"name": "amdgpu-fleet", "key": "HF_TOKEN_OF_US"}
    }
    assert objects["keys"] == ["api-key-chat-mi300x-8"]
    assert not of_kind(objects, "Secret") and "0123456789abcdef" not in json.dumps(objects)


def test_llama_cpp_through_the_same(make, tmp_path):
    path = "/srv/models/small/small.gguf"
    tiny_gguf.write(tmp_path / path[1:], tiny_gguf.llama(), tiny_gguf.layers_of(30))
    gguf = _gguf_model.of_path(Tree(str(tmp_path)), path)

    def there(facts: dict) -> None:
        known = {"exists": True, "directory": False, "model": False, "place": path}
        facts["amd_host"]["paths"][path] = {**known, "gguf": gguf}

    server = {"name": "small", "engine": "llama_cpp", "model": path}
    objects = make("strix-halo-128", there, serve_instances=[server])
    check_all(objects)
    assert before_the_stop(objects)[2:] == ["5", "60", "LLAMA_API_KEY", "http://127.0.0.1:8000/metrics"]
    routed = {**server, "options": {"models": {"ö": path}}}
    assert before_the_stop(make("strix-halo-128", there, serve_instances=[routed]))[5:] == [
        "http://127.0.0.1:8000/metrics?model=small&autoload=false",
        "http://127.0.0.1:8000/metrics?model=%C3%B6&autoload=false",
    ]
    # Without its numbers nobody can wait for them.
    silent = make("strix-halo-128", there, serve_instances=[{**server, "options": {"metrics": False}}])
    assert "lifecycle" not in container(silent) and set(only(silent, "ConfigMap")["data"]) == {
        "configuration"
    }
    check_all(silent)
    assert value(objects, "LLAMA_ARG_MODEL") == path and value(objects, "LLAMA_ARG_HOST") == "0.0.0.0"
    assert value(objects, "MESA_SHADER_CACHE_DIR").startswith("/cache")
    assert value(objects, "LLAMA_API_KEY")["secretKeyRef"]["key"] == f"api-key-{objects['services'][0]}"
    # Volumes are folders.
    (volume,) = of_kind(objects, "PersistentVolume")
    assert volume["spec"]["local"]["path"] == "/srv/models/small"
    assert container(objects)["resources"]["limits"] == {"amd.com/gpu": "1"}


# What each character means to YAML, to Kubernetes' $(NAME), and to the templates of KServe.
HOSTILE = "a: b # c 'd' \"e\" $(HOME) $$x {{.Name}} {{`x`}} - !!python/object &a *b %"


def expand(word: str) -> str:
    """What the kubelet and KServe make of a word that holds no reference."""
    word = word.replace("{{`{{`}}", "\0")
    assert "{{" not in word
    word = word.replace("\0", "{{")
    assert "$(" not in word.replace("$$", "")
    return word.replace("$$", "$")


@pytest.mark.parametrize("text", [HOSTILE, "yes", "1e3", "~", "0x10", "2026-01-01", " ", "ü€", "- x", "=1"])
def test_values_arrive_as_they_were(make, text):
    instance = {**CHAT, "served_name": text, "environment": {"OWN_VALUE": text}}
    objects = make("mi300x-8", serve_instances=[instance], plan_accept=["vllm.environment"])
    assert expand(value(objects, "OWN_VALUE")) == text
    files = [yaml.safe_load(each) for path, each in objects["files"].items() if path.endswith(".yaml")]
    (runtime,) = [each for each in files if each.get("kind") == "ServingRuntime"]
    assert runtime == only(objects, "ServingRuntime")
    (configuration,) = [each for each in files if each.get("kind") == "ConfigMap"]
    assert yaml.safe_load(configuration["data"]["configuration"])["served-model-name"] == text


@given(st.lists(st.text(max_size=80), min_size=1, max_size=3), st.integers(20, 63))
def test_any_name_becomes_one_that_fits(parts, longest):
    made_name = names.name(*parts, longest=longest)
    assert names.FITS.fullmatch(made_name) and len(made_name) <= longest


@given(
    st.lists(
        st.tuples(st.text("aA-_.1é", max_size=4), st.text("aA-_.1é", max_size=4)), unique=True, max_size=40
    )
)
def test_two_things_never_share_a_name(pairs):
    assert len({names.name(*pair) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize(
    "host", ["GPU_Rack.Example.COM", "10.0.0.7", "x" * 200, "ü", "a--b", "node-12345678"]
)
def test_hosts_of_any_name(make, host):
    wants = {**ONE, "kubernetes_node_name": "node-1", "kubernetes_namespace": "n" * 40}
    objects = make("mi300x-8", name=host, **wants)
    check_all(objects)
    assert all("/" not in part and ".." not in part for path in objects["files"] for part in path.split("/"))


def test_servers_of_one_name_on_two_hosts_are_two(make):
    first, second = (make("mi300x-8", name=name, **ONE)["services"] for name in ("rack-1", "rack.1"))
    assert first == ["chat-rack-1"] and first != second


def test_the_driver_has_one_owner(make_plan, make):
    def config(**wants) -> dict:
        return only(make("mi300x-8", **ONE, **wants), "DeviceConfig")["spec"]["driver"]

    assert config() == {"enable": False}
    both = make_plan("mi300x-8", serve_kind="kubernetes", kubernetes_driver_owner="operator", **ONE)
    (told,) = said(both, "kubernetes.driver_owner")
    assert "kubernetes_driver_owner to host" in told and "driver_policy none" in told
    assert config(kubernetes_driver_owner="operator", driver_policy="none") == {"enable": True}
    without = {"kubernetes_device_plugin": "daemonset", "driver_policy": "none"}
    plan = make_plan(
        "mi300x-8", serve_kind="kubernetes", kubernetes_driver_owner="operator", **ONE, **without
    )
    assert said(plan, "kubernetes.driver_owner")


def test_kernel_arguments_of_openshift_are_the_clusters(make_plan, make):
    wants = {**ONE, "serve_kind": "kubernetes", "kubernetes_flavor": "openshift"}
    before = make_plan("mi300x-8", **ONE)["kernel"]
    plan = make_plan("mi300x-8", **wants)
    assert before["present"] and not plan["kernel"]["present"] and not plan["kernel"]["sysctl"]
    assert plan["kubernetes"]["settings"]["arguments"] == before["present"]
    operator = {"kubernetes_driver_owner": "operator", "driver_policy": "none", "kubernetes_pool": "amd-gpu"}
    machine = only(make("mi300x-8", **wants, **operator), "MachineConfig")
    assert machine["metadata"]["name"] == "99-amd-gpu-amdgpu-fleet"
    assert machine["spec"]["kernelArguments"] == before["present"]
    files = {
        each["path"]: urllib.parse.unquote(each["contents"]["source"].removeprefix("data:,"))
        for each in machine["spec"]["config"]["storage"]["files"]
    }
    assert "blacklist amdgpu\n" in files["/etc/modprobe.d/amdgpu-blacklist.conf"]
    assert "kernel.numa_balancing = 0\n" in files["/etc/sysctl.d/90-amdgpu-fleet.conf"]
    assert not of_kind(make("mi300x-8", **ONE), "MachineConfig")


def test_a_host_that_boots_an_image_gets_a_file_for_it(make):
    def bootc(facts: dict) -> None:
        refused = {
            "system": "bootc",
            "reason": "an image",
            "where": "the Containerfile",
            "whole": True,
            "units": True,
        }
        facts["amd_host"]["boot"] |= {"loader": None, "refused": refused}

    files = make("mi300x-8", bootc, **ONE)["files"]
    text = files["hosts/mi300x-8/node/60-amdgpu-fleet.toml"]
    assert 'kargs = ["' in text and "iommu=pt" in text


@pytest.mark.parametrize(
    ("host", "wants", "identifier"),
    [
        ("strix-halo-128", {"kubernetes_flavor": "openshift"}, "kubernetes.openshift_kernel"),
        ("mi300x-8", {"serve_instances": [{**CHAT, "port": 80}]}, "kubernetes.port"),
        (
            "mi300x-8",
            {"serve_instances": [{**CHAT, "host": "10.0.0.9"}], "kubernetes_secret": ""},
            "kubernetes.api_key",
        ),
        ("mi300x-8", {"kubernetes_model_claim": "models"}, "kubernetes.model_claim"),
        (
            "mi300x-8",
            {
                "serve_instances": [
                    {**CHAT, "gpus": [0], "options": {"gpu-memory-utilization": 0.4}},
                    {**CHAT, "name": "small", "port": 8001, "options": {"gpu-memory-utilization": 0.4}},
                ]
            },
            "kubernetes.devices",
        ),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(make_plan, ids, host, wants, identifier):
    plan = make_plan(host, **{**ONE, "serve_kind": "kubernetes", **wants})
    assert identifier in ids(plan), plan["findings"]
    assert identifier not in ids(make_plan("mi300x-8", serve_kind="kubernetes", **ONE))


def test_units_that_hold_the_gpus_are_named(make_plan, ids):
    def unit(_gpus: dict, host: dict) -> None:
        host["serve_units"] = ["/etc/containers/systemd/vllm-chat.container"]

    plan = make_plan("mi300x-8", unit, serve_kind="kubernetes", **ONE)
    assert ids(plan) == ["kubernetes.units"]
    # They are not taken away behind the back of those who use them.
    assert plan["serve"]["stale"] == [] and plan["serve"]["instances"] == []


def test_mixed_modes_need_names_of_their_own(make_plan, ids):
    def mixed(gpus: dict, _rocm: dict) -> None:
        gpus["gpus"][0] |= {"compute_partition": "CPX", "partitions": 8}

    assert "kubernetes.strategy" in ids(make_plan("mi300x-8", mixed, serve_kind="kubernetes", **ONE))
    wants = {**ONE, "serve_kind": "kubernetes", "kubernetes_resource_strategy": "mixed"}
    plan = make_plan("mi300x-8", mixed, **wants)
    assert plan["kubernetes"]["resources"] == {"amd.com/cpx_nps1": 8, "amd.com/spx_nps1": 7}


def test_a_host_that_serves_itself_has_no_objects(read_facts):
    with pytest.raises(AnsibleFilterError, match="Set serve_kind to kubernetes"):
        kubernetes_objects(read_facts("mi300x-8"), {"serve_instances": []}, "rack")
    with pytest.raises(AnsibleFilterError, match="kubernetes_namespace: 'Bad_'"):
        wants = {"serve_kind": "kubernetes", "kubernetes_namespace": "Bad_"}
        kubernetes_objects(read_facts("mi300x-8"), wants, "rack")


def test_a_changed_configuration_is_another_pod(make):
    def mark(**options) -> str:
        runtime = only(make("mi300x-8", serve_instances=[{**CHAT, "options": options}]), "ServingRuntime")
        return runtime["spec"]["annotations"]["amdgpu.fleet/configuration"]

    assert mark() == mark() != mark(**{"max-model-len": 4096})


@pytest.mark.parametrize(
    ("size", "quantity"), [("64g", "64Gi"), ("64m", "64Mi"), ("8G", "8Gi"), ("512k", "512Ki")]
)
def test_sizes_of_podman_are_quantities(size, quantity):
    assert kubernetes_volumes.quantity(size) == quantity


def test_the_validation_sees_what_is_wrong(make):
    """A check that accepts everything would prove nothing."""
    objects = make("mi300x-8", **ONE)
    every = [*objects["shared"], *objects["own"]]

    def spoilt(kind: str, spoil) -> None:
        copy = json.loads(json.dumps(every))
        (found,) = [each for each in copy if each["kind"] == kind]
        spoil(found)
        with pytest.raises(Exception, match="."):
            for manifest in copy:
                check(manifest, copy)

    spoilt("InferenceService", lambda each: each["spec"]["predictor"].update(volumesx=[]))
    spoilt(
        "InferenceService",
        lambda each: each["spec"]["predictor"]["securityContext"].update(runAsNonRoot="yes"),
    )
    spoilt("ServingRuntime", lambda each: each["spec"].update(supportedModelFormat=[]))
    spoilt("ServingRuntime", lambda each: each["spec"]["containers"][0]["startupProbe"].update(httpget={}))
    spoilt("DeviceConfig", lambda each: each["spec"].update(nodeLabeller={}))
    spoilt("PersistentVolume", lambda each: each["spec"].update(accessMode=["ReadOnlyMany"]))
    assert pod_of(only(objects, "InferenceService"), only(objects, "ServingRuntime"))["spec"]["containers"]


def test_the_example_of_the_page_is_what_is_written(make):
    files = make("strix-halo-128", name="halo-1", **ONE)["files"]
    page = (REPOSITORY / "docs/kubernetes.md").read_text(encoding="utf-8").partition("## A whole example")[2]
    shown = dict(re.findall(r"^`([^`]+)`:\n\n```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert set(shown) == set(files)
    for path, text in files.items():
        assert shown[path] == text, f"put this into docs/kubernetes.md below {path}:\n{text}"


def test_an_archive_is_no_image_of_a_registry(make_plan, ids):
    def archive(_gpus: dict, host: dict) -> None:
        host["paths"]["/srv/vllm.tar"] = {"exists": True, "directory": False}

    wants = {
        "serve_instances": [CHAT, {**CHAT, "name": "two"}],
        "vllm_image": "localhost/vllm:1",
        "vllm_image_archive": "/srv/vllm.tar",
    }
    assert (
        ids(make_plan("mi300x-8", archive, serve_kind="kubernetes", **wants)).count("kubernetes.archive") == 1
    )


def test_a_mirror_without_tls_is_a_word_on_what_nodes_pull_from(make_plan, ids):
    mirror = {"registry": "store:8090", "registry_keeps_host": True, "registry_tls": False, "closed": False}
    wants = {"serve_instances": [CHAT], "serve_kind": "kubernetes"}
    assert "mirror.registry_clear" in ids(make_plan("mi300x-8", plan_mirror=mirror, **wants), "warn")
    assert "mirror.registry_clear" not in ids(
        make_plan("mi300x-8", plan_mirror={**mirror, "registry_tls": True}, **wants), "warn"
    )


def test_a_claim_takes_the_place_of_the_models_of_the_host(make, make_plan):
    host, wants = CASES["claims"]
    pod = container(make(host, **wants))
    (mount,) = [each for each in pod["volumeMounts"] if each["name"] == "models"]
    assert (mount["mountPath"], mount["subPath"]) == ("/var/lib/amdgpu-fleet/models/chat", "chat")
    # Nothing is fetched to the host, and nothing is missed there.
    hub = {"serve_instances": [{"name": "chat", "model": "Qwen/Qwen3-8B"}]}
    assert not make_plan(host, serve_kind="kubernetes", kubernetes_model_claim="models", **hub)["model"][
        "fetch"
    ]
    assert make_plan(host, serve_kind="kubernetes", **hub)["model"]["fetch"]
