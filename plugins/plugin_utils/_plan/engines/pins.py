# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed under a name that can mean something else tomorrow: images by tag, packages without a
hash, models by branch."""

from __future__ import annotations

import re
import typing as t

from ..host import Host
from .protocol import Image, Venv

# It is on no registry, so nobody but the host's root can give the name to another image.
LOCAL = "localhost/"
COMMIT = re.compile(r"[0-9a-f]{40}")


def check_image(host: Host, engine: str, image: Image) -> None:
    """An image that is named by a tag alone."""
    if image.digest or not image.source or image.source.startswith(LOCAL):
        return
    stored = host.system["podman"].get("image_digests", {}).get(image.name) or []
    now = f", which is {stored[0]} on this host" if stored else ""
    remedy = f"Set {engine}_image_digest to the digest of the image that you tried"
    host.findings.add("serve.unpinned", f"{image.source}{now}", "an image by digest", remedy=remedy)


def check_venv(host: Host, engine: str, venv: Venv) -> None:
    """Packages that an index may replace."""
    loose = [each for each in venv.packages if "#sha256=" not in each]
    if loose and "--require-hashes" not in venv.pip_arguments.split():
        remedy = (
            f"Name wheels by address and hash in {engine}_packages (NAME @ https://...#sha256=...), or keep "
            "them in a folder of your own"
        )
        host.findings.add("serve.unpinned", ", ".join(loose), "wheels by hash", remedy=remedy)


def check_model(host: Host, model: str, revision: str) -> None:
    """A model of a Hub by the name of a branch or tag."""
    if not COMMIT.fullmatch(revision):
        seen, expected = f"{model}, revision {revision or 'main'}", "a commit of 40 digits"
        remedy = f"Give {model} the revision in model_sources that you tried"
        host.findings.add("serve.unpinned", seen, expected, remedy=remedy)


def packages(requirements: t.Sequence[str]) -> list[tuple[str, str]]:
    """Name and version of requirements that name one; others are their whole text."""
    found = []
    for each in requirements:
        name, equals, version = each.partition("==")
        found.append((name.strip(), version.strip()) if equals else (each, ""))
    return found
