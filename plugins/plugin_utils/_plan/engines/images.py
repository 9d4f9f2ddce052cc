# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of container images that never mean another image."""

from __future__ import annotations

import re

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
