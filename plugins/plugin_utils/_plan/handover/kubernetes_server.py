# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server as a ServingRuntime and an InferenceService of KServe, without Knative.

What is started, with which variables, and how it is asked whether it answers is the ``Launch`` of its engine.
Nothing here knows an engine. The runtime has all of it, for KServe concatenates arguments of both objects.
"""

from __future__ import annotations

import json
import typing as t

from ..host import Host
from ..model import on_host
from ..serve import ServerPlan
from . import kubernetes_names as names
from . import kubernetes_volumes as volumes
from .kubernetes import requested
from .kubernetes_manifest import Manifest, Part
from .kubernetes_plan import KubernetesPlan

# The name that KServe looks for.
CONTAINER = "kserve-container"
PROBE_SECONDS = 10
# What systemd gives a unit beyond the time that its engine asks for.
GRACE = 30
# Seconds until everybody knows that a pod that ends gets no more requests; and for how long those that it has
# are waited for, where its engine does not say more.
ENDPOINTS, DRAIN_SECONDS = 5, 60
TAINT = "amd.com/gpu"


def manifests(host: Host, plan: KubernetesPlan, server: ServerPlan) -> list[Manifest]:
    """The objects of one server."""
    name = names.server(server.name, host.name, plan.namespace)
    mounted = volumes.of_server(host, plan, server, name)
    labels = {"amdgpu.fleet/server": name}
    openshift = host.wants.kubernetes_flavor == "openshift"
    runtime = Manifest(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        name,
        {"spec": _runtime(host, plan, server, mounted)},
        plan.namespace,
        labels={**labels, **({"opendatahub.io/dashboard": "true"} if openshift else {})},
        annotations={"openshift.io/display-name": _title(host, server)} if openshift else {},
    )
    visibility = "exposed" if openshift else ""
    visibility = visibility if server.exposed else "cluster-local"
    service = Manifest(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        name,
        {"spec": {"predictor": _predictor(host, plan, server, mounted)}},
        plan.namespace,
        labels={**labels, **({"networking.kserve.io/visibility": visibility} if visibility else {})},
        annotations=_annotations(host, plan, server),
    )
    return [*mounted.manifests, runtime, service]


def secret_key(name: str) -> str:
    """Where the API key of a server stands in the Secret."""
    return f"api-key-{name}"


def _title(host: Host, server: ServerPlan) -> str:
    return f"{server.title} {server.version} serving {server.served_name} on {host.name}"


def _annotations(host: Host, plan: KubernetesPlan, server: ServerPlan) -> dict[str, str]:
    annotations = {
        # Not the default of a cluster, which may be Knative.
        "serving.kserve.io/deploymentMode": "RawDeployment",
        # CPU says nothing about a server on GPUs.
        "serving.kserve.io/autoscalerClass": "none",
    }
    unknown = sorted(
        set(requested(plan, server)) - set(host.catalog.kubernetes["resources"]["known_to_kserve"])
    )
    if unknown:
        annotations["serving.kserve.io/gpu-resource-types"] = json.dumps(unknown)
    return annotations


def _runtime(host: Host, plan: KubernetesPlan, server: ServerPlan, mounted: volumes.Volumes) -> Part:
    launch = server.launch
    metrics = {"path": launch.metrics_path, "port": str(server.port)}
    return {
        "annotations": {
            **{f"prometheus.kserve.io/{name}": value for name, value in metrics.items()},
            # A pod reads its configuration once: another one is a reason to replace it.
            "amdgpu.fleet/configuration": mounted.digest,
        },
        "multiModel": False,
        # Named by its one InferenceService; selected by no other.
        "supportedModelFormats": [{"name": server.title, "version": "1", "autoSelect": False}],
        "containers": [
            {
                "name": CONTAINER,
                "image": server.image,
                "imagePullPolicy": "IfNotPresent",
                "command": [_literal(word) for word in launch.command[:1]],
                "args": [_literal(word) for word in launch.command[1:]],
                "env": _environment(host, plan, server),
                "ports": [{"containerPort": server.port, "protocol": "TCP"}],
                "resources": _resources(host, plan, server),
                **_probes(host, server),
                **_drained(server),
                "securityContext": _confined(),
                "volumeMounts": mounted.mounts,
            }
        ],
    }


def _predictor(host: Host, plan: KubernetesPlan, server: ServerPlan, mounted: volumes.Volumes) -> Part:
    wants, launch = host.wants, server.launch
    predictor: Part = {
        "minReplicas": 1,
        "maxReplicas": 1,
        # A second pod beside the first would wait for GPUs that the first one has.
        "deploymentStrategy": {"type": "Recreate"},
        "automountServiceAccountToken": False,
        "securityContext": _pod_security(host, server),
        "nodeSelector": {"kubernetes.io/hostname": plan.node},
        "tolerations": [{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": _drain_seconds(server) + launch.stop_timeout + GRACE,
        "volumes": mounted.volumes,
        "model": {
            "modelFormat": {"name": server.title, "version": "1"},
            "runtime": names.server(server.name, host.name, plan.namespace),
        },
    }
    if wants.kubernetes_pull_secrets:
        predictor["imagePullSecrets"] = [{"name": name} for name in wants.kubernetes_pull_secrets]
    if launch.seed:
        program = f"{volumes.PROGRAMS}/{launch.seed.program}"
        predictor["initContainers"] = [
            {
                "name": "seed",
                "image": server.image,
                "command": [launch.seed.interpreter],
                "args": [program, volumes.moved(server, launch.seed.folder)],
                "env": [{"name": "HOME", "value": volumes.CACHE}],
                "securityContext": _confined(),
                "volumeMounts": [
                    {"name": "cache", "mountPath": volumes.CACHE},
                    volumes.program_mount(launch.seed.program),
                ],
            }
        ]
    return predictor


def _drain_seconds(server: ServerPlan) -> int:
    """How long a pod waits before its server is told to stop."""
    return ENDPOINTS + max(server.launch.drain_timeout, DRAIN_SECONDS) if server.launch.drain_paths else 0


def _drained(server: ServerPlan) -> Part:
    """An engine that is told to stop breaks off what runs, and requests come until all know of the end."""
    launch = server.launch
    if not launch.drain_paths:
        return {}
    seconds = [str(ENDPOINTS), str(_drain_seconds(server) - ENDPOINTS)]
    pages = [f"http://127.0.0.1:{server.port}{path}" for path in launch.drain_paths]
    command = ["sh", f"{volumes.PROGRAMS}/{volumes.DRAIN}", *seconds, launch.api_key_variable, *pages]
    return {"lifecycle": {"preStop": {"exec": {"command": command}}}}


def _environment(host: Host, plan: KubernetesPlan, server: ServerPlan) -> list[Part]:
    """Those of the launch, with caches where the pod can write, and keys by reference alone."""
    wants, launch = host.wants, server.launch
    caches = {
        name: f"{volumes.CACHE}/{folder}".rstrip("/") for name, folder in launch.cache_environment.items()
    }
    # The user of the pod has no entry in passwd, where programs would look for these.
    user = {"HOME": volumes.CACHE, "USER": "amdgpu-fleet", "LOGNAME": "amdgpu-fleet"}
    own = {name: volumes.moved(server, value) for name, value in launch.environment.items()}
    variables: list[Part] = [
        {"name": name, "value": _literal(value)} for name, value in {**user, **caches, **own}.items()
    ]
    if wants.kubernetes_secret:
        key = secret_key(names.server(server.name, host.name, plan.namespace))
        variables.append(_from_secret(wants.kubernetes_secret, launch.api_key_variable, key))
        secret = [name for name, value in wants.serve_secret_environment.items() if value is not None]
        variables += [_from_secret(wants.kubernetes_secret, name, name) for name in secret]
    return variables


def _literal(word: str) -> str:
    """A word that nobody expands: Kubernetes reads ``$(NAME)``, and KServe templates."""
    return word.replace("$", "$$").replace("{{", "{{`{{`}}")


def _from_secret(secret: str, variable: str, key: str) -> Part:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(host: Host, plan: KubernetesPlan, server: ServerPlan) -> Part:
    """Devices are requested as they are limited: a part of one cannot be had. On an APU the weights lie
    in the memory of the host, which a scheduler would give to others."""
    devices = {name: str(count) for name, count in requested(plan, server).items()}
    apu = any(gpu["apu"] for gpu in host.gpus if gpu["index"] in server.device_counts)
    weights = (on_host(host, server.model).get("weights_bytes") or 0) if apu else 0
    memory = {"memory": f"{-(-weights // volumes.GIB)}Gi"} if weights else {}
    return {"requests": {**devices, **memory}, "limits": devices} if devices else {}


def _probes(host: Host, server: ServerPlan) -> dict[str, Part]:
    """A server opens its port long before its model is loaded: only the page for health tells."""
    asked = {"httpGet": {"path": server.launch.health_path, "port": server.port}, "timeoutSeconds": 5}
    attempts = -(-host.wants.serve_start_timeout // PROBE_SECONDS)
    return {
        "startupProbe": {**asked, "periodSeconds": PROBE_SECONDS, "failureThreshold": max(attempts, 1)},
        "readinessProbe": {**asked, "periodSeconds": PROBE_SECONDS, "failureThreshold": 3},
        "livenessProbe": {**asked, "periodSeconds": PROBE_SECONDS, "failureThreshold": 12},
    }


def _confined() -> Part:
    """What the restricted rules of Kubernetes and of OpenShift ask for."""
    return {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _pod_security(host: Host, server: ServerPlan) -> Part:
    """OpenShift gives each namespace users and groups of its own and admits no others. Elsewhere an image
    whose user is root needs another one."""
    context: Part = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if host.wants.kubernetes_flavor == "openshift":
        return context
    user = host.wants.kubernetes_user_id
    context |= {"runAsUser": user, "runAsGroup": 0, "fsGroup": user}
    groups = t.cast("list[int]", server.groups if host.wants.devices_mode == "0660" else [])
    return {**context, "supplementalGroups": groups} if groups else context
