# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubernetes.core sent to a stand-in for the API of a cluster, what it kept, drain and return of a node, and
the playbook site around a real reboot. The tests build on each other, in this order."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import testinfra

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
LAYOUT = EPHEMERAL / "handover"
KUBECTL = EPHEMERAL / "kubectl"
KUBECONFIG = json.loads((EPHEMERAL / "kubeconfig").read_text(encoding="utf-8"))
API = KUBECONFIG["clusters"][0]["cluster"]["server"]
SERVICES = f"{API}/apis/serving.kserve.io/v1beta1/namespaces/amdgpu-fleet/inferenceservices"
RACK = f"{API}/api/v1/nodes/kube-rack"
NODE = f"{API}/api/v1/nodes/kube-node"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "chat-1",
        "namespace": "amdgpu-fleet",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "chat", "uid": "1"}],
    },
    "spec": {
        "nodeName": "kube-rack",
        "containers": [{"name": "c"}],
        "volumes": [{"name": "shm", "emptyDir": {}}],
    },
    "status": {"phase": "Running"},
}
OF_NODE = {
    **POD,
    "metadata": {
        "name": "network-1",
        "namespace": "kube-system",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "network", "uid": "2"}],
    },
    "spec": {"nodeName": "kube-rack", "containers": [{"name": "c"}]},
}
testinfra_hosts = ["ansible://kube-rack"]


def ask(url: str, method: str = "GET", body: object = None, content: str = "application/json") -> dict:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": content}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def sent() -> list[dict]:
    return ask(f"{API}/_requests")["requests"]


def play(playbook: str, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(".venv/bin/ansible-playbook", playbook, "-i", INVENTORY, *arguments),
            *("-e", json.dumps(variables)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def handover(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return play("playbooks/handover.yml", *arguments, fleet_hosts="trees", **variables)


def drain(what: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return play("molecule/kubernetes/drain.yml", bed_what=what, **variables)


def there(url: str) -> bool:
    try:
        ask(url)
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return False
    return True


def keys() -> dict[str, str]:
    return ask(f"{API}/api/v1/namespaces/amdgpu-fleet/secrets/amdgpu-fleet")["data"]


def test_the_layout_is_whole():
    done = subprocess.run([KUBECTL, "kustomize", LAYOUT], capture_output=True, text=True, check=True)
    kinds = [line.removeprefix("kind: ") for line in done.stdout.splitlines() if line.startswith("kind: ")]
    assert sorted(kinds) == sorted(
        [
            *("Namespace", "DeviceConfig"),
            *(
                (
                    "ConfigMap",
                    "InferenceService",
                    "PersistentVolume",
                    "PersistentVolumeClaim",
                    "ServingRuntime",
                )
                * 2
            ),
        ]
    )


def test_kubectl_takes_every_object():
    """Its client side alone: what the stand-in cannot check it does not."""
    cluster = ["--kubeconfig", EPHEMERAL / "kubeconfig", "--context", "bed"]
    command = [KUBECTL, *cluster, "apply", "--dry-run=client", "--validate=false"]
    done = subprocess.run([*command, "--kustomize", LAYOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and all(line.endswith("(dry run)") for line in lines), done.stdout


def test_the_cluster_has_what_the_files_say():
    names = [each["metadata"]["name"] for each in ask(SERVICES)["items"]]
    assert len(names) == 2 and all(
        (LAYOUT / "hosts").glob(f"*/inferenceservice-{name}.yaml") for name in names
    )
    node = ask(RACK)
    assert node["metadata"]["labels"]["amdgpu.fleet/gfx"] == "gfx942" and node["spec"]["podCIDR"]
    assert node["spec"]["taints"] == [{"key": "amd.com/gpu", "value": "present", "effect": "NoSchedule"}]
    assert ask(f"{API}/api/v1/nodes/halo.example")["metadata"]["labels"]["amdgpu.fleet/gfx"] == "gfx1151"


def test_objects_are_applied_on_the_server_and_under_a_name():
    applied = [each for each in sent() if each["method"] == "PATCH" and "amdgpu-fleet/" in each["path"]]
    of_servers = [each for each in applied if "/secrets/" not in each["path"]]
    assert of_servers and {each["type"] for each in of_servers} == {"application/apply-patch+yaml"}
    assert {each["query"]["fieldManager"] for each in of_servers} == {"amdgpu-fleet"}


def test_each_server_has_a_key_that_stands_nowhere_else():
    texts = "".join(path.read_text() for path in LAYOUT.rglob("*.yaml"))
    values = [base64.b64decode(value).decode() for value in keys().values()]
    assert len(set(values)) == 2 and all(len(value) == 40 and value not in texts for value in values)
    assert all(f"key: {name}" in texts for name in keys())


def test_check_mode_changes_nothing():
    before, objects = len(sent()), ask(SERVICES)
    done = handover("--check", vllm_options={"max-model-len": 4096})
    assert done.returncode == 0, done.stdout
    assert all(each["query"].get("dryRun") == "All" for each in sent()[before:]) and ask(SERVICES) == objects
    assert "changed=0" not in done.stdout.split("PLAY RECAP")[1].split("kube-rack")[1].splitlines()[0]


def test_what_somebody_else_set_is_not_overwritten():
    name = ask(SERVICES)["items"][0]["metadata"]["name"]
    body = {"spec": {"predictor": {"maxReplicas": 3}}}
    ask(f"{SERVICES}/{name}?fieldManager=somebody&force=true", "PATCH", body, "application/apply-patch+yaml")
    refused = handover()
    # Ansible escapes the quotes around the name.
    told = refused.stdout.replace("\\", "")
    assert refused.returncode != 0 and 'conflict with "somebody": .spec.predictor.maxReplicas' in told
    forced = handover(kubernetes_force_conflicts=True)
    assert forced.returncode == 0, forced.stdout
    assert ask(f"{SERVICES}/{name}")["spec"]["predictor"]["maxReplicas"] == 1


def test_a_node_is_drained_within_its_budgets_and_returned():
    ask(f"{API}/_objects", "PUT", [POD, OF_NODE])
    ask(f"{API}/_budgets", "PUT", {"chat-1": 1})
    done = drain("drain", fleet_drain_timeout=300)
    assert done.returncode == 0, done.stdout
    node = ask(RACK)
    assert node["spec"]["unschedulable"] and "amdgpu.fleet/cordoned" in node["metadata"]["annotations"]
    pods = f"{API}/api/v1/namespaces"
    assert not there(f"{pods}/amdgpu-fleet/pods/chat-1") and there(f"{pods}/kube-system/pods/network-1")
    back = drain("return", fleet_return_timeout=300)
    assert back.returncode == 0, back.stdout
    node = ask(RACK)
    assert not node["spec"]["unschedulable"] and not node["metadata"]["annotations"]


def test_a_budget_that_never_gives_way_stops_the_reboot_and_not_the_node():
    ask(f"{API}/_objects", "PUT", [POD])
    ask(f"{API}/_budgets", "PUT", {"chat-1": -1})
    done = drain("drain", fleet_drain_timeout=10)
    assert done.returncode != 0 and "Node kube-rack has amdgpu-fleet/chat-1 after 10 seconds" in done.stdout
    assert "disruption budget" in done.stdout and "fleet_drain_timeout" in done.stdout
    assert not ask(RACK)["spec"]["unschedulable"]
    ask(f"{API}/_budgets", "PUT", {})


def test_a_node_that_somebody_else_cordoned_stays_so():
    patch = "application/merge-patch+json"
    ask(RACK, "PATCH", {"spec": {"unschedulable": True}}, patch)
    for what in ("drain", "return"):
        done = drain(what, fleet_drain_timeout=300)
        assert done.returncode == 0, done.stdout
    node = ask(RACK)
    assert node["spec"]["unschedulable"] and not node["metadata"]["annotations"]
    ask(RACK, "PATCH", {"spec": {"unschedulable": False}}, patch)


def test_a_node_that_is_not_well_stays_cordoned():
    done = drain("drain", fleet_drain_timeout=300)
    assert done.returncode == 0, done.stdout
    status = {"conditions": [{"type": "Ready", "status": "False"}]}
    ask(RACK, "PATCH", {"status": status}, "application/merge-patch+json")
    left = drain("return", fleet_return_timeout=1)
    assert left.returncode != 0 and "Node kube-rack stays cordoned: it is not ready" in left.stdout
    assert ask(RACK)["spec"]["unschedulable"]
    status["conditions"][0]["status"] = "True"
    ask(RACK, "PATCH", {"status": status}, "application/merge-patch+json")
    assert drain("return", fleet_return_timeout=300).returncode == 0
    assert not ask(RACK)["spec"]["unschedulable"]


def test_one_host_is_taken_back():
    secrets = keys()
    done = handover("--limit", "kube-rack", kubernetes_state="absent")
    assert done.returncode == 0, done.stdout
    assert [each["metadata"]["labels"]["amdgpu.fleet/server"] for each in ask(SERVICES)["items"]] == [
        path.stem.removeprefix("inferenceservice-") for path in LAYOUT.rglob("inferenceservice-*.yaml")
    ]
    assert len(ask(SERVICES)["items"]) == 1 and not (LAYOUT / "hosts/kube-rack").exists()
    node = ask(RACK)
    assert not [name for name in node["metadata"]["labels"] if name.startswith("amdgpu.fleet/")]
    assert not node["spec"].get("taints")
    # Clients have the keys, and others the namespace.
    assert keys() == secrets and there(f"{API}/api/v1/namespaces/amdgpu-fleet")
    again = handover("--limit", "kube-rack", kubernetes_state="absent")
    assert again.returncode == 0 and "changed=0" in again.stdout.split("PLAY RECAP")[1]


def of_node(pod: dict) -> dict:
    """The same pod on the node that reboots."""
    return {**pod, "spec": {**pod["spec"], "nodeName": "kube-node"}}


def what_happened(requests: list[dict]) -> list[str]:
    """What was asked of the API about the node, one word each; what comes several times in a row is told once."""
    words: list[str] = []
    for each in requests:
        body = json.loads(each["body"]) if each["body"] else {}
        if each["path"].endswith("/eviction"):
            word = "evict"
        elif each["path"].endswith("/kube-node/status"):
            word = "up" if body["status"]["conditions"][0]["status"] == "True" else "down"
        elif each["path"].endswith("/kube-node") and "unschedulable" in body.get("spec", {}):
            word = "cordon" if body["spec"]["unschedulable"] else "uncordon"
        else:
            continue
        words += [] if words[-1:] == [word] else [word]
    return words


def site(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return play("playbooks/site.yml", "--limit=kube-node", "--diff", *arguments, **variables)


def node_when_up() -> dict:
    """The node, once its kubelet has come."""
    end = time.monotonic() + 120
    while (node := ask(NODE))["status"].get("allocatable", {}).get("amd.com/gpu") != "8":
        assert time.monotonic() < end, f"the kubelet did not come within 120 s: {node}"
        time.sleep(1)
    return node


def test_site_drains_the_node_reboots_it_and_returns_it():
    boot = node_when_up()["status"]["nodeInfo"]["bootID"]
    ask(f"{API}/_objects", "PUT", [of_node(POD), of_node(OF_NODE)])
    ask(f"{API}/_budgets", "PUT", {"chat-1": 1})
    before = len(sent())
    done = site(kernel_arguments_present=["nosmt"], fleet_drain_timeout=300)
    assert done.returncode == 0, done.stdout
    requests = sent()[before:]
    assert what_happened(requests) == ["cordon", "evict", "down", "up", "uncordon"]
    # The budget refused once, and the pod of the DaemonSet was asked for nothing.
    evicted = [each["path"] for each in requests if each["path"].endswith("/eviction")]
    assert evicted == ["/api/v1/namespaces/amdgpu-fleet/pods/chat-1/eviction"] * 2
    assert not there(f"{API}/api/v1/namespaces/amdgpu-fleet/pods/chat-1")
    assert there(f"{API}/api/v1/namespaces/kube-system/pods/network-1")
    node = ask(NODE)
    assert node["status"]["nodeInfo"]["bootID"] != boot
    assert not node["spec"]["unschedulable"] and not node["metadata"]["annotations"]
    host = testinfra.get_host(f"ansible://kube-node?ansible_inventory={INVENTORY}")
    assert "nosmt" in host.check_output("cat /proc/cmdline").split()


def test_a_budget_that_never_gives_way_keeps_the_host_from_its_reboot():
    boot = ask(NODE)["status"]["nodeInfo"]["bootID"]
    ask(f"{API}/_objects", "PUT", [of_node(POD)])
    ask(f"{API}/_budgets", "PUT", {"chat-1": -1})
    before = len(sent())
    done = site(kernel_arguments_present=["nosmt", "audit=0"], fleet_drain_timeout=10)
    ask(f"{API}/_budgets", "PUT", {})
    told = re.sub(r"\s+", " ", done.stdout)
    assert done.returncode == 2 and "Node kube-node has amdgpu-fleet/chat-1 after 10 seconds" in told
    assert "The host was not rebooted, and the node is in service as before." in told
    assert what_happened(sent()[before:]) == ["cordon", "evict", "uncordon"]
    node = ask(NODE)
    assert node["status"]["nodeInfo"]["bootID"] == boot and not node["spec"]["unschedulable"]
    assert not node["metadata"]["annotations"]
    assert there(f"{API}/api/v1/namespaces/amdgpu-fleet/pods/chat-1")
    host = testinfra.get_host(f"ansible://kube-node?ansible_inventory={INVENTORY}")
    assert "audit" not in host.check_output("cat /var/lib/amdgpu-fleet/rebooted")
