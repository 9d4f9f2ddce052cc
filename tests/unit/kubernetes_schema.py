# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects held to what an API server would hold them to.

Kinds of Kubernetes itself are validated by kubernetes-validate, strictly. Of the kinds of others the keys that
their definitions have are listed here; the pod that comes of a runtime and a service is validated as a pod.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils

VERSION = "1.34"
# It reads the same megabytes of schema for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
# kserve v0.20.0, config/crd/full: ServingRuntime.spec without what is a pod's.
RUNTIME = {
    *("affinity", "annotations", "builtInAdapter", "containers", "disabled", "grpcDataEndpoint"),
    *("grpcEndpoint", "hostIPC", "httpDataEndpoint", "imagePullSecrets", "labels", "multiModel"),
    *("nodeSelector", "protocolVersions", "replicas", "schedulerName", "storageHelper"),
    *("supportedModelFormats", "tolerations", "volumes", "workerSpec"),
}
FORMAT = {"name": str, "version": str, "autoSelect": bool, "priority": int}
# The same, InferenceService.spec.predictor beside the fields of a pod.
PREDICTOR = {
    *("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling"),
    *("deploymentStrategy", "timeout", "canaryTrafficPercent", "containerConcurrency", "batcher", "logger"),
    *("annotations", "labels", "storageUris", "storageContainerName", "workerSpec", "model"),
}
# ROCm/gpu-operator v1.5.1, DeviceConfig.spec.
DEVICE_CONFIG: dict[str, set[str]] = {
    "driver": {"enable", "version", "blacklist", "image", "driverType", "tolerations", "upgradePolicy"},
    "devicePlugin": {
        *("devicePluginArguments", "devicePluginImage", "devicePluginTolerations", "enableDevicePlugin"),
        *("enableNodeLabeller", "hostNetwork", "kubeletSocketPath", "nodeLabellerArguments"),
        *("nodeLabellerImage", "nodeLabellerTolerations", "upgradePolicy"),
    },
    "configManager": {"enable", "config", "image", "selector", "configManagerTolerations"},
    "metricsExporter": {"enable", "port", "serviceType", "nodePort", "prometheus", "config", "tolerations"},
    "selector": set(),
}
MACHINE_CONFIG = {"kernelArguments", "kernelType", "extensions", "osImageURL", "config"}
# What KServe calls an InferenceService.
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check(manifest: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Raise where a cluster would refuse the object. ``others``: objects that it refers to."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    check_metadata(manifest["metadata"])
    if kind == "ServingRuntime":
        _check_runtime(manifest["spec"])
    elif kind == "InferenceService":
        runtime = next(each for each in others if each["kind"] == "ServingRuntime" and _runs(manifest, each))
        _check_service(name, manifest, runtime)
    elif kind == "DeviceConfig":
        for part, keys in manifest["spec"].items():
            assert part in DEVICE_CONFIG, part
            assert part == "selector" or set(keys) <= DEVICE_CONFIG[part], keys
    elif kind == "MachineConfig":
        assert set(manifest["spec"]) <= MACHINE_CONFIG
        assert all(isinstance(each, str) for each in manifest["spec"]["kernelArguments"])
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def check_metadata(metadata: dict[str, Any]) -> None:
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, VERSION, strict=True
    )
    label = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
    for value in metadata.get("labels", {}).values():
        assert label.fullmatch(value) and len(value) <= 63, value
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", metadata["name"]) and len(metadata["name"]) <= 63


def pod_of(service: dict[str, Any], runtime: dict[str, Any]) -> dict[str, Any]:
    """The pod that KServe makes of both, as far as ours use what it merges."""
    predictor = service["spec"]["predictor"]
    spec = {key: value for key, value in predictor.items() if key not in PREDICTOR}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "merged"},
        "spec": {**spec, "containers": runtime["spec"]["containers"]},
    }


def _runs(service: dict[str, Any], runtime: dict[str, Any]) -> bool:
    return service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]


def _check_runtime(spec: dict[str, Any]) -> None:
    assert set(spec) <= RUNTIME, set(spec) - RUNTIME
    for each in spec["supportedModelFormats"]:
        assert all(isinstance(value, FORMAT[key]) for key, value in each.items())
        assert not each["autoSelect"], "another service would find it"
    assert [each["name"] for each in spec["containers"]] == ["kserve-container"]


def _check_service(name: str, service: dict[str, Any], runtime: dict[str, Any]) -> None:
    assert SERVICE_NAME.fullmatch(name)
    # Labels and addresses that KServe makes of it.
    namespace = service["metadata"]["namespace"]
    assert len(f"isvc.{name}-predictor") <= 63 and len(f"{name}-{namespace}") <= 63
    model = service["spec"]["predictor"]["model"]
    assert set(model) <= {"modelFormat", "runtime"}
    assert any(
        model["modelFormat"]["name"] == each["name"] for each in runtime["spec"]["supportedModelFormats"]
    )
    pod = pod_of(service, runtime)
    kubernetes_validate.validate(pod, VERSION, strict=True)
    _check_restricted(pod["spec"])
    container = pod["spec"]["containers"][0]
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted <= {each["name"] for each in pod["spec"]["volumes"]}
    paths = [each["mountPath"] for each in container["volumeMounts"]]
    assert len(paths) == len(set(paths))
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), "an API server refuses a variable twice"


def _check_restricted(spec: dict[str, Any]) -> None:
    """The Pod Security Standard "restricted", of which OpenShift's restricted-v2 asks the same."""
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert not {"hostIPC", "hostPID", "hostNetwork"} & set(spec)
    assert all(set(each) & {"configMap", "emptyDir", "persistentVolumeClaim"} for each in spec["volumes"])
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False and "privileged" not in context
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "runAsUser" not in context
