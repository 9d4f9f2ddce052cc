# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``kubernetes`` of the plan: what of a host is the cluster's, and what cannot go there.

It is there where ``serve_kind`` is kubernetes. The objects themselves are in ``kubernetes_objects``: they are
made when they are asked for, and are no part of the facts of a host.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .. import declarative
from ..assignment import devices_of
from ..facts import Gpu
from ..host import Host
from ..kernel import KernelPlan
from ..plan import Plan
from ..serve import ServerPlan
from ..wants import INVENTORY, WantsError
from . import kubernetes_names as names
from .kubernetes_plan import HostSettings, KubernetesPlan

KIND = "kubernetes"
# The lowest port that a process without a capability can listen on.
FIRST_PORT = 1024
LABELS = "amdgpu.fleet"


def section(host: Host, plan: Plan, planned: t.Mapping[int, int]) -> Plan:
    """The plan with its section, and without what the cluster does itself.

    ``planned``: how many devices each GPU shows once its mode is set."""
    wants = host.wants
    if wants.serve_kind != KIND:
        return plan
    openshift = wants.kubernetes_flavor == "openshift"
    settings = _settings(host, plan.kernel) if openshift else None
    left_out = _packages(plan) if openshift else []
    resource_of = {gpu["index"]: _resource(host, plan, gpu) for gpu in host.gpus}
    resources: dict[str, int] = {}
    for gpu in host.gpus:
        name = resource_of[gpu["index"]]
        resources[name] = resources.get(name, 0) + devices_of(gpu, planned)
    found = KubernetesPlan(
        node=_node(host),
        namespace=_namespace(host),
        labels=_labels(host, plan),
        taint=wants.kubernetes_taint,
        resources=resources,
        resource_of=resource_of,
        settings=settings,
        image_arguments=_image_arguments(host, plan.kernel),
        left_out=left_out,
    )
    host.note("kubernetes", "node", found.node, _why(wants.kubernetes_node_name), INVENTORY)
    _check_host(host, plan, found)
    for server in plan.serve.handed_over:
        _check_server(host, server)
    _check_devices(host, plan, found)
    if openshift:
        kernel = dataclasses.replace(
            plan.kernel, present=[], absent=[], module_options={}, sysctl={}, load_at_boot=None
        )
        plan = dataclasses.replace(plan, kernel=kernel).without_packages()
    return dataclasses.replace(plan, kubernetes=found)


def _why(asked: str) -> str:
    return "asked for" if asked else "the name in the inventory"


def _node(host: Host) -> str:
    node = host.wants.kubernetes_node_name or host.name.lower()
    if not names.NODE_FITS.fullmatch(node) or len(node) > 253:
        raise WantsError(
            f"kubernetes_node_name: {node!r} is not the name of a node (small letters, digits, - and .). "
            "Set it to what `kubectl get nodes` shows for this host."
        )
    return node


def _namespace(host: Host) -> str:
    namespace = host.wants.kubernetes_namespace
    if not names.NAMESPACE_FITS.fullmatch(namespace):
        raise WantsError(
            f"kubernetes_namespace: {namespace!r} is not a name of up to 40 small letters, digits and "
            "hyphens. Correct it in the inventory."
        )
    return namespace


def _settings(host: Host, kernel: KernelPlan) -> HostSettings:
    """Options of modules go onto the command line: the initramfs is not ours to build."""
    options = [
        f"{module}.{parameter}={value}"
        for module, parameters in kernel.module_options.items()
        for parameter, value in parameters.items()
    ]
    operator = host.wants.kubernetes_driver_owner == "operator"
    if kernel.absent:
        seen, expected = " ".join(kernel.absent), "no argument to remove"
        host.findings.add("kubernetes.absent_arguments", seen, expected)
    return HostSettings(
        arguments=[*kernel.present, *options],
        sysctl={name: str(value) for name, value in kernel.sysctl.items()},
        blacklist=["amdgpu"] if operator else [],
    )


def _image_arguments(host: Host, kernel: KernelPlan) -> str:
    refused = host.system["boot"]["refused"]
    if not refused or refused["system"] not in ("bootc", "composefs"):
        return ""
    options = [
        f"options {module} {parameter}={value}"
        for module, parameters in kernel.module_options.items()
        for parameter, value in parameters.items()
    ]
    needs = declarative.Needs(kernel.present, kernel.absent, options, [])
    return declarative.snippet("bootc", needs) if needs else ""


def _packages(plan: Plan) -> list[str]:
    wanted = [*plan.firmware.install, *plan.driver.install, *plan.rocm.install]
    return list(dict.fromkeys(package.partition("=")[0] for package in wanted))


def _mode(plan: Plan, gpu: Gpu) -> tuple[str, str]:
    """The partition mode of a GPU once the plan is applied; empty where it has none."""
    compute = plan.partition.compute or gpu["compute_partition"] or ""
    memory = plan.partition.memory or gpu["memory_partition"] or ""
    return compute.lower(), memory.lower()


def _resource(host: Host, plan: Plan, gpu: Gpu) -> str:
    """What AMD's device plugin calls the devices of a GPU."""
    known = host.catalog.kubernetes["resources"]
    compute, memory = _mode(plan, gpu)
    if host.wants.kubernetes_resource_strategy == "single" or not (compute and memory):
        return str(known["single"])
    return str(known["mixed"]).format(compute=compute, memory=memory)


def _labels(host: Host, plan: Plan) -> dict[str, str]:
    """What was detected, for schedulers and people. AMD's own labels are the node labeller's."""
    if not host.gpus:
        return {}
    products = dict.fromkeys(gpu["product"] or gpu["pci_id"] or "unknown" for gpu in host.gpus)
    modes = dict.fromkeys("-".join(part for part in _mode(plan, gpu) if part) for gpu in host.gpus)
    labels = {
        f"{LABELS}/gpu": "true",
        f"{LABELS}/gfx": host.gfx,
        f"{LABELS}/product": " and ".join(products),
        f"{LABELS}/gpus": str(len(host.gpus)),
    }
    if len(modes) == 1 and "" not in modes:
        labels[f"{LABELS}/partition"] = next(iter(modes))
    return {name: names.label(value) for name, value in labels.items()}


def _check_host(host: Host, plan: Plan, found: KubernetesPlan) -> None:
    wants, findings = host.wants, host.findings
    openshift = wants.kubernetes_flavor == "openshift"
    if host.system["serve_units"]:
        seen = ", ".join(host.system["serve_units"])
        findings.add("kubernetes.units", seen, "no unit that holds the GPUs")
    if wants.kubernetes_driver_owner == "operator" and (
        wants.driver_policy != "none" or wants.kubernetes_device_plugin != "operator"
    ):
        seen = (
            f"kubernetes_driver_owner operator, driver_policy {wants.driver_policy}, "
            f"kubernetes_device_plugin {wants.kubernetes_device_plugin}"
        )
        findings.add("kubernetes.driver_owner", seen, "one owner of the driver")
    unproven = host.catalog.kubernetes["unproven_on_openshift"]
    if openshift and host.gfx in unproven["gfx"]:
        seen, reason = f"{host.gfx} with kernel {host.system['kernel']['release']}", unproven["reason"]
        findings.add("kubernetes.openshift_kernel", seen, "a kernel that it is known to run on", why=reason)
    if found.left_out:
        seen = ", ".join(found.left_out)
        findings.add("kubernetes.packages", seen, "an image or operator that has them")
    if openshift and wants.devices_mode != "0666" and host.system["boot"]["loader"]:
        findings.add("kubernetes.device_mode", f"devices_mode {wants.devices_mode}", "0666")
    modes = {_mode(plan, gpu) for gpu in host.gpus}
    if len(modes) > 1 and wants.kubernetes_resource_strategy == "single":
        seen = " and ".join(sorted("-".join(mode).upper() for mode in modes))
        findings.add("kubernetes.strategy", seen, "kubernetes_resource_strategy mixed")
    parts = [gpu for gpu in host.gpus if _mode(plan, gpu)[0] not in ("", "spx") and gpu["numa_node"] is None]
    if parts:
        seen = f"GPU {', '.join(str(gpu['index']) for gpu in parts)} without a memory node"
        findings.add("kubernetes.partition_numa", seen, "a memory node for each GPU")


def _check_server(host: Host, server: ServerPlan) -> None:
    wants, findings = host.wants, host.findings
    if server.nodes:
        seen = f"nodes {server.nodes.group} for {server.name}"
        findings.add("kubernetes.several_hosts", seen, "one host for a server", instance=server.name)
    if server.port < FIRST_PORT:
        seen = f"{server.port} for {server.name}"
        findings.add("kubernetes.port", seen, f"{FIRST_PORT} or more", instance=server.name)
    if server.exposed and not wants.kubernetes_secret:
        seen = f"{server.host} for {server.name} and no kubernetes_secret"
        findings.add("kubernetes.api_key", seen, "a key", instance=server.name)
    if wants.kubernetes_model_claim:
        folder = wants.model_directory.rstrip("/")
        for path in server.read_only:
            if not path.startswith(f"{folder}/"):
                findings.add(
                    "kubernetes.model_claim",
                    path,
                    f"a path below {folder}",
                    claim=wants.kubernetes_model_claim,
                )


def _check_devices(host: Host, plan: Plan, found: KubernetesPlan) -> None:
    """Pods get whole devices: shares of the memory of one are nothing that a scheduler knows."""
    asked: dict[str, int] = {}
    for server in plan.serve.handed_over:
        for name, count in requested(found, server).items():
            asked[name] = asked.get(name, 0) + count
    for name, count in asked.items():
        if count > found.resources.get(name, 0):
            seen = f"{count} of {name} for all servers"
            findings = host.findings
            findings.add(
                "kubernetes.devices", seen, f"at most the {found.resources.get(name, 0)} of the node"
            )


def requested(plan: KubernetesPlan, server: ServerPlan) -> dict[str, int]:
    """The devices that a server asks for, by the name of the resource."""
    found: dict[str, int] = {}
    for index, count in server.device_counts.items():
        name = plan.resource_of[index]
        found[name] = found.get(name, 0) + count
    return found
