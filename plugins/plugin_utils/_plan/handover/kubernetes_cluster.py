# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts share: the namespace, what offers GPUs to the scheduler, and the settings of a pool of nodes."""

from __future__ import annotations

import posixpath
import typing as t
import urllib.parse

from ..host import Host
from .kubernetes_manifest import Manifest, Part
from .kubernetes_plan import HostSettings, KubernetesPlan

NAME = "amdgpu-fleet"
SELECTOR = "amdgpu.fleet/gpu"
KUBELET = "/var/lib/kubelet/device-plugins"
# Version of the configuration that the Machine Config Operator takes.
IGNITION = "3.2.0"


def manifests(host: Host, plan: KubernetesPlan) -> list[Manifest]:
    """The objects that this host needs and others may need too."""
    wants = host.wants
    found = [
        Manifest(
            "v1",
            "Namespace",
            plan.namespace,
            {},
            labels={"pod-security.kubernetes.io/enforce": "restricted"},
        )
    ]
    if host.gpus and wants.kubernetes_device_plugin == "operator":
        found.append(_device_config(host))
    elif host.gpus and wants.kubernetes_device_plugin == "daemonset":
        found += [_device_plugin(host), *_labeller(host)]
    if plan.settings:
        found += _machine_config(wants.kubernetes_pool, plan.settings)
    return found


def _device_config(host: Host) -> Manifest:
    wants, known = host.wants, host.catalog.kubernetes
    ours = wants.kubernetes_driver_owner == "host"
    # The operator's own default is to build a driver.
    driver: Part = {"enable": not ours}
    if not ours and wants.driver_release:
        driver["version"] = wants.driver_release
    tolerations = _tolerations(wants.kubernetes_taint)
    plugin: Part = {
        "enableDevicePlugin": True,
        "devicePluginArguments": {"resource_naming_strategy": wants.kubernetes_resource_strategy},
        "enableNodeLabeller": True,
        "nodeLabellerArguments": list(known["operator"]["labels"]),
    }
    if tolerations:
        plugin |= {"devicePluginTolerations": tolerations, "nodeLabellerTolerations": tolerations}
    spec: Part = {
        "driver": driver,
        "devicePlugin": plugin,
        # Partitions and metrics of these hosts are the fleet's.
        "configManager": {"enable": False},
        "metricsExporter": {"enable": False},
        "selector": {SELECTOR: "true"},
    }
    namespace = known["operator"]["namespaces"][wants.kubernetes_flavor]
    return Manifest("amd.com/v1alpha1", "DeviceConfig", NAME, {"spec": spec}, namespace)


def _tolerations(taint: bool) -> list[Part]:
    return [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if taint else []


def _daemon(host: Host, name: str, container: Part, volumes: t.Mapping[str, str], more: Part) -> Manifest:
    """A pod on every node that has GPUs. It sees the host: it is a part of the cluster, not of the fleet's
    servers."""
    labels = {"app.kubernetes.io/name": name}
    pod: Part = {
        **more,
        "nodeSelector": {SELECTOR: "true"},
        "priorityClassName": "system-node-critical",
        "tolerations": [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        ],
        "containers": [
            {
                "name": name,
                **container,
                "volumeMounts": [
                    {"name": volume, "mountPath": path, "readOnly": path == "/sys"}
                    for volume, path in volumes.items()
                ],
            }
        ],
        "volumes": [
            {"name": volume, "hostPath": {"path": path, "type": "Directory"}}
            for volume, path in volumes.items()
        ],
    }
    spec = {
        "selector": {"matchLabels": labels},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    namespace = host.catalog.kubernetes["device_plugin"]["namespace"]
    return Manifest("apps/v1", "DaemonSet", name, {"spec": spec}, namespace)


def _device_plugin(host: Host) -> Manifest:
    container: Part = {
        "image": host.catalog.kubernetes["device_plugin"]["image"],
        "args": [f"-resource_naming_strategy={host.wants.kubernetes_resource_strategy}"],
        # It opens the devices to ask for their state.
        "securityContext": {"privileged": True},
    }
    volumes = {"device-plugins": KUBELET, "sys": "/sys"}
    return _daemon(host, f"{NAME}-device-plugin", container, volumes, {"automountServiceAccountToken": False})


def _labeller(host: Host) -> list[Manifest]:
    known, name = host.catalog.kubernetes, f"{NAME}-node-labeller"
    namespace = known["device_plugin"]["namespace"]
    container: Part = {
        "image": known["device_plugin"]["labeller_image"],
        "workingDir": "/root",
        "command": ["./k8s-node-labeller"],
        "args": [f"-{label}" for label in known["labels"]],
        "env": [{"name": "DS_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "securityContext": {"privileged": True},
    }
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["watch", "get", "list", "update"]}]
    group = "rbac.authorization.k8s.io"
    binding: Part = {
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    return [
        Manifest("v1", "ServiceAccount", name, {}, namespace),
        Manifest(f"{group}/v1", "ClusterRole", name, {"rules": rules}),
        Manifest(f"{group}/v1", "ClusterRoleBinding", name, binding),
        _daemon(host, name, container, {"sys": "/sys", "dev": "/dev"}, {"serviceAccountName": name}),
    ]


def _machine_config(pool: str, settings: HostSettings) -> list[Manifest]:
    """Arguments and files of the nodes of a pool. The operator of the cluster drains and reboots them."""
    files = []
    if settings.sysctl:
        lines = [f"{name} = {value}" for name, value in settings.sysctl.items()]
        files.append(_file("/etc/sysctl.d/90-amdgpu-fleet.conf", lines))
    if settings.blacklist:
        lines = [f"blacklist {module}" for module in settings.blacklist]
        files.append(_file("/etc/modprobe.d/amdgpu-blacklist.conf", lines))
    if not settings.arguments and not files:
        return []
    config: Part = {"ignition": {"version": IGNITION}, **({"storage": {"files": files}} if files else {})}
    return [
        Manifest(
            "machineconfiguration.openshift.io/v1",
            "MachineConfig",
            f"99-{pool}-{NAME}",
            {"spec": {"kernelArguments": settings.arguments, "config": config}},
            labels={"machineconfiguration.openshift.io/role": pool},
        )
    ]


def _file(path: str, lines: t.Sequence[str]) -> Part:
    text = "".join(f"{line}\n" for line in ["# Written by amdgpu.fleet", *lines])
    source = f"data:,{urllib.parse.quote(text)}"
    return {
        "path": posixpath.normpath(path),
        "mode": 0o644,
        "overwrite": True,
        "contents": {"source": source},
    }
