# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All objects of one host, as a cluster takes them and as files of a Kustomize layout."""

from __future__ import annotations

import dataclasses
import typing as t

from ..host import Host
from ..plan import Plan
from . import kubernetes_cluster, kubernetes_server
from . import kubernetes_names as names
from .kubernetes_manifest import Manifest, Part
from .kubernetes_plan import KubernetesPlan
from .kubernetes_yaml import HEADER, kustomization, text


@dataclasses.dataclass(frozen=True)
class Objects:
    """What the role kubernetes writes and applies."""

    # The folder of the host in the layout.
    folder: str
    # Objects that other hosts may need too, and those of this host alone, in the order of applying.
    shared: list[Part]
    own: list[Part]
    # A patch of the node: its labels.
    node: Part
    taint: Part | None
    # Files by their path in the layout: those of this host, and what it needs of the shared ones.
    files: dict[str, str]
    # The InferenceServices, and the keys of the Secret by the servers that they are for.
    services: list[str]
    keys: list[str]


def objects(host: Host, plan: Plan) -> Objects:
    """The objects of a host that a cluster takes over."""
    kubernetes = plan.kubernetes
    if kubernetes is None:
        raise ValueError("serve_kind of this host is not kubernetes")
    shared = kubernetes_cluster.manifests(host, kubernetes)
    own = [
        manifest
        for server in plan.serve.handed_over
        for manifest in kubernetes_server.manifests(host, kubernetes, server)
    ]
    own = list({(each.kind, each.name): each for each in own}.values())
    services = [each.name for each in own if each.kind == "InferenceService"]
    node = {"metadata": {"labels": kubernetes.labels}}
    taint = {"key": kubernetes_server.TAINT, "value": "present", "effect": "NoSchedule"}
    return Objects(
        folder=names.name(host.name),
        shared=[each.plain() for each in shared],
        own=[each.plain() for each in own],
        node={"apiVersion": "v1", "kind": "Node", "metadata": {"name": kubernetes.node, **node["metadata"]}},
        taint=taint if kubernetes.taint else None,
        files=_files(host, kubernetes, shared, own),
        services=services,
        keys=[kubernetes_server.secret_key(name) for name in services]
        if host.wants.kubernetes_secret
        else [],
    )


def _files(
    host: Host, plan: KubernetesPlan, shared: t.Sequence[Manifest], own: t.Sequence[Manifest]
) -> dict[str, str]:
    folder = f"hosts/{names.name(host.name)}"
    files = {f"{folder}/{each.file}": text(each.plain()) for each in own}
    if own:
        files[f"{folder}/kustomization.yaml"] = kustomization([each.file for each in own])
    # Beside the resources: as one of them it would be deleted with them, and the node with it.
    patch = {"metadata": {"labels": plan.labels}}
    files[f"{folder}/node/labels.yaml"] = (
        f"{HEADER}# kubectl patch node {plan.node} --patch-file labels.yaml\n{text(patch, header='')}"
    )
    files |= {f"{folder}/shared/{each.file}": text(each.plain()) for each in shared}
    if plan.image_arguments:
        files[f"{folder}/node/60-amdgpu-fleet.toml"] = f"{HEADER}{plan.image_arguments}\n"
    return files
