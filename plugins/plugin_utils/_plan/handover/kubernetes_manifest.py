# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One object of Kubernetes. What is in it is data: a YAML library writes it."""

from __future__ import annotations

import dataclasses
import typing as t

MANAGED_BY = {"app.kubernetes.io/managed-by": "amdgpu.fleet"}
# A part of an object, as the interface of Kubernetes defines it.
Part = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """An object with its identity; ``body`` is what stands beside metadata."""

    api_version: str
    kind: str
    name: str
    body: Part
    # Empty for objects of the whole cluster.
    namespace: str = ""
    labels: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    def plain(self) -> Part:
        metadata: Part = {"name": self.name}
        if self.namespace:
            metadata["namespace"] = self.namespace
        metadata["labels"] = {**MANAGED_BY, **self.labels}
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **self.body}

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.kind.lower()}-{self.name.replace('/', '-')}.yaml"
