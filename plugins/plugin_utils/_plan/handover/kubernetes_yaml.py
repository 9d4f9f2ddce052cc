# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects as text: a library writes them, so that any value is read back as it was."""

from __future__ import annotations

import typing as t

import yaml

from .kubernetes_manifest import Part

HEADER = "# Written by amdgpu.fleet\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors, which people who edit an object take for something else; texts of several lines stay
    texts of several lines."""

    def ignore_aliases(self, data: t.Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def text(value: Part, header: str = HEADER) -> str:
    """An object as YAML. What looks like another type is quoted."""
    return header + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=False)


def kustomization(resources: t.Sequence[str]) -> str:
    """The list of files that Kustomize reads."""
    return text(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(resources),
        }
    )
