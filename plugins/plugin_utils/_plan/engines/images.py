# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of container images that never mean another image."""

from __future__ import annotations

import re
import typing as t

from .. import mirror
from ..host import Host
from .protocol import Image

TAG = re.compile(r"(:[\w.-]+)?(@.*)?$")


def tag(image: str) -> str:
    """The tag of an image."""
    return image.rpartition("/")[2].partition(":")[2]


def pinned(source: str, digest: str) -> str:
    """A name that never means another image: with it an old unit starts the old image, whatever the tag of
    the registry means by then."""
    if not digest or not source:
        return source
    named = TAG.sub(lambda found: found.group(1) or "", source)
    return f"{TAG.sub('', source)}:{tag(named) or 'latest'}-{digest.partition(':')[2][:12]}"


def pulled(host: Host, name: str, source: str, digest: str, **rest: t.Any) -> Image:
    """The image that is pulled or loaded as ``name``. ``rest``: the fields that only its engine knows,
    ``archive``, ``gib`` and ``variables``."""
    podman = host.system["podman"]
    present = name in podman["images"]
    if digest and present:
        present = digest in podman["image_digests"][name]
    pull = f"{TAG.sub('', source)}@{digest}" if digest else source
    clear = mirror.is_clear(host.wants, source)
    return Image(source=source, name=name, pull=pull, digest=digest, present=present, clear=clear, **rest)
