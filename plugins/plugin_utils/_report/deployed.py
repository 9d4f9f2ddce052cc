# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a host, as a bill of materials: packages, images, wheels and models, each with what identifies
it."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines import pins
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Component

Vars = t.Mapping[str, t.Any]


def components(plan: Vars, system: Vars, wheels: t.Any, before: t.Sequence[Component]) -> list[Component]:
    """Every part by kind and name. ``wheels``: what an installation of this run brought, as ``pip freeze``
    says it; else those that the stored record has of the same environment."""
    serve: Vars = plan.get("serve") or {}
    found = [
        Component(kind="package", name=name, version=str(version), digest="", place="")
        for name, version in sorted((system.get("packages") or {}).items())
    ]
    stored: Vars = (system.get("podman") or {}).get("image_digests") or {}
    for install in serve.get("installs") or []:
        if install.get("container"):
            found.append(_image(install["container"], str(install["version"]), stored))
        if install.get("venv"):
            found += _wheels(install["venv"], wheels, before)
    return found + [_model(source) for source in (plan.get("model") or {}).get("fetch") or []]


def _image(image: Vars, version: str, stored: Vars) -> Component:
    digests = [image["digest"], *(stored.get(image["name"]) or [])]
    digest = next((each for each in digests if each), "")
    return Component(kind="image", name=str(image["source"]), version=version, digest=digest, place="")


def _wheels(venv: Vars, frozen: t.Any, before: t.Sequence[Component]) -> list[Component]:
    place = str(venv["path"])
    lines = frozen if isinstance(frozen, list) else []
    kept = [each for each in before if each["kind"] == "wheel" and each["place"] == place]
    if not lines and kept:
        return list(kept)
    named = pins.packages([str(line) for line in lines] or venv["packages"])
    return [
        Component(kind="wheel", name=name, version=version, digest="", place=place) for name, version in named
    ]


def _model(source: Vars) -> Component:
    return Component(
        kind="model",
        name=str(source["model"]),
        version=str(source["revision"]),
        digest=f"sha256:{source['sha256']}" if source["sha256"] else "",
        place=str(source["path"]),
    )
