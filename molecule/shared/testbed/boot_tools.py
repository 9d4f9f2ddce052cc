# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes things to boot, as Debian 13 has it, in an image of its own: ukify, ostree, dracut.

Nothing of it runs on this machine, and the container sees none of its devices.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from .machine import CACHE, LABEL, debian_sources, digest, exclusive, podman, run, step

PACKAGES = "systemd-ukify,systemd-boot-efi,ostree,dracut,kmod,cpio,zstd"
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
FOLDER = "/work"


def prepare() -> str:
    """The reference of the image, which is built when its inputs changed."""
    sources = debian_sources("trixie")
    reference = f"localhost/amdgpu-fleet/boot-tools:{digest(sources, PACKAGES)}"
    if podman("images", "--quiet", reference).strip():
        return reference
    with exclusive(f"{LABEL}-boot-tools"):
        if not podman("images", "--quiet", reference).strip():
            _build(reference, sources)
    return reference


def _build(reference: str, sources: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with step("building the image of the boot tools"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        archive, listed = Path(scratch) / "root.tar", Path(scratch) / "debian.sources"
        listed.write_text(sources, encoding="utf-8")
        run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", archive, listed])
        podman("import", "--quiet", archive, reference)


def tool(folder: Path, script: str) -> str:
    """What a script says that is started in ``folder``; it ends at the first command that fails."""
    limits = ("--privileged", "--pids-limit=0", "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000")
    mount = (f"--volume={folder}:{FOLDER}", f"--workdir={FOLDER}", "--network=none")
    return podman("run", "--rm", *limits, *mount, prepare(), "sh", "-euc", script)
