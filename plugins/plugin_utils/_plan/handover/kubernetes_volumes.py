# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of a pod: its model where the host has it, its configuration, its caches, its shared memory.

Everything lies where the engine's ``Launch`` says: command line and configuration are those of a unit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
import re
import typing as t

from ..checks import ROLES
from ..host import Host
from ..model import on_host
from ..serve import ServerPlan
from . import kubernetes_names as names
from .kubernetes_manifest import Manifest, Part
from .kubernetes_plan import KubernetesPlan

# A folder that any user can write to: HOME of the pod, and below it what a unit keeps in volumes.
CACHE = "/cache"
GIB = 1 << 30
SIZE = re.compile(r"(\d+)([kmgt])i?b?", re.IGNORECASE)
PROGRAMS = "/amdgpu-fleet"
# What the kubelet runs before it tells the server to stop.
DRAIN = "pod_drain.sh"


@dataclasses.dataclass(frozen=True)
class Volumes:
    """What a pod mounts, and the objects behind it."""

    volumes: list[Part]
    mounts: list[Part]
    manifests: list[Manifest]
    # Differs where the configuration does.
    digest: str


def of_server(host: Host, plan: KubernetesPlan, server: ServerPlan, name: str) -> Volumes:
    """The volumes of one server."""
    launch = server.launch
    configuration = {"configuration": launch.configuration}
    if launch.seed:
        configuration[launch.seed.program] = program(launch.seed.program)
    if launch.drain_paths:
        configuration[DRAIN] = program(DRAIN)
    files = Manifest(
        "v1", "ConfigMap", name, {"data": configuration}, plan.namespace, labels={"amdgpu.fleet/server": name}
    )
    volumes: list[Part] = [
        {"name": "configuration", "configMap": {"name": name}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": quantity(launch.shm_size)}},
    ]
    mounts: list[Part] = [
        {
            "name": "configuration",
            "mountPath": launch.configuration_path,
            "subPath": "configuration",
            "readOnly": True,
        },
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - in the pod
        {"name": "cache", "mountPath": CACHE},
    ]
    if launch.drain_paths:
        mounts.append(program_mount(DRAIN))
    cache, kept = _cache(host, plan, name)
    models, manifests = _models(host, plan, server)
    return Volumes(
        [*volumes, cache, *models.volumes],
        [*mounts, *models.mounts],
        [files, *kept, *manifests],
        hashlib.sha256("\0".join(configuration.values()).encode()).hexdigest()[:16],
    )


def moved(server: ServerPlan, value: str) -> str:
    """A path in one of the caches of a container, where a pod has it."""
    for cache in server.launch.caches:
        if value == cache.path or value.startswith(f"{cache.path}/"):
            return f"{CACHE}/{cache.name}{value[len(cache.path) :]}"
    return value


def program_mount(name: str) -> Part:
    """Where a container has a program of the role serve."""
    return {"name": "configuration", "mountPath": f"{PROGRAMS}/{name}", "subPath": name, "readOnly": True}


def program(name: str) -> str:
    """The text of a program of the role serve."""
    return (ROLES / "serve" / "files" / name).read_text(encoding="utf-8")


def quantity(size: str) -> str:
    """A size as Podman takes it, as Kubernetes does."""
    match = SIZE.fullmatch(size)
    return (
        f"{match.group(1)}{match.group(2).capitalize() if match.group(2) != 'k' else 'K'}i" if match else size
    )


def _cache(host: Host, plan: KubernetesPlan, name: str) -> tuple[Part, list[Manifest]]:
    wants = host.wants
    size = f"{wants.kubernetes_cache_gib}Gi"
    if not wants.kubernetes_cache_class:
        return {"name": "cache", "emptyDir": {"sizeLimit": size}}, []
    claim = names.name(name, "cache")
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": wants.kubernetes_cache_class,
        "resources": {"requests": {"storage": size}},
    }
    kept = Manifest("v1", "PersistentVolumeClaim", claim, {"spec": spec}, plan.namespace)
    return {"name": "cache", "persistentVolumeClaim": {"claimName": claim}}, [kept]


class _Models(t.NamedTuple):
    volumes: list[Part]
    mounts: list[Part]


def _models(host: Host, plan: KubernetesPlan, server: ServerPlan) -> tuple[_Models, list[Manifest]]:
    folders = _folders(host, server)
    claim = host.wants.kubernetes_model_claim
    if claim:
        root = host.wants.model_directory.rstrip("/")
        mounts = [
            {"name": "models", "mountPath": path, "subPath": path[len(root) + 1 :], "readOnly": True}
            for path in folders
        ]
        source = {"claimName": claim, "readOnly": True}
        return _Models([{"name": "models", "persistentVolumeClaim": source}], mounts), []
    volumes, mounts, manifests = [], [], []
    for number, path in enumerate(folders):
        name = names.name(host.name, "models", path)
        volumes.append(
            {"name": f"model-{number}", "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        )
        mounts.append({"name": f"model-{number}", "mountPath": path, "readOnly": True})
        manifests += _local(host, plan, name, path)
    return _Models(volumes, mounts), manifests


def _folders(host: Host, server: ServerPlan) -> list[str]:
    """The folders that it reads. Volumes are folders: of a file the one that it lies in is mounted."""
    found = []
    for path in server.read_only:
        facts = on_host(host, path)
        file = facts["exists"] and not facts["directory"] if facts else path.endswith(".gguf")
        found.append(posixpath.dirname(path) if file else path)
    unique = list(dict.fromkeys(found))
    return [path for path in unique if not any(path.startswith(f"{other}/") for other in unique)]


def _local(host: Host, plan: KubernetesPlan, name: str, path: str) -> list[Manifest]:
    """A folder of the host as a volume and its claim: pods under restricted rules mount no hostPath."""
    weights = on_host(host, path).get("weights_bytes") or 0
    storage = {"storage": f"{max(-(-weights // GIB), 1)}Gi"}
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [plan.node]}
    volume = {
        "capacity": storage,
        "accessModes": ["ReadOnlyMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "claimRef": {"name": name, "namespace": plan.namespace},
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
    }
    claim = {
        "accessModes": ["ReadOnlyMany"],
        "storageClassName": "",
        "volumeName": name,
        "resources": {"requests": storage},
    }
    return [
        Manifest("v1", "PersistentVolume", name, {"spec": volume}),
        Manifest("v1", "PersistentVolumeClaim", name, {"spec": claim}, plan.namespace),
    ]
