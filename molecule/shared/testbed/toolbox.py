# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of a Debian release that the machine need not have, in an image of their own, started in a folder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .hosts import LIMITS
from .machine import CACHE, LABEL, debian_sources, digest, exclusive, podman, run, step

FOLDER = "/work"


@dataclasses.dataclass(frozen=True)
class Toolbox:
    """``name`` of the image, ``suite`` and ``packages`` (with commas) that it is made of, ``changes`` for ``podman import``."""

    name: str
    suite: str
    packages: str
    what: str
    changes: tuple[str, ...] = ()

    def prepare(self) -> str:
        """The reference of the image, which is built when its inputs changed."""
        sources = debian_sources(self.suite)
        reference = f"localhost/amdgpu-fleet/{self.name}:{digest(sources, self.packages)}"
        if podman("images", "--quiet", reference).strip():
            return reference
        with exclusive(f"{LABEL}-{self.name}"):
            if not podman("images", "--quiet", reference).strip():
                self._build(reference, sources)
        return reference

    def _build(self, reference: str, sources: str) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with step(f"building the image of {self.what}"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            archive, listed = Path(scratch) / "root.tar", Path(scratch) / "debian.sources"
            listed.write_text(sources, encoding="utf-8")
            run(
                ["mmdebstrap", "--variant=minbase", f"--include={self.packages}", self.suite, archive, listed]
            )
            changes = [word for change in self.changes for word in ("--change", change)]
            podman("import", "--quiet", *changes, archive, reference)

    def run(self, folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """What a program says that is started in ``folder``, without a network."""
        mount = (f"--volume={folder}:{FOLDER}", f"--workdir={FOLDER}", "--network=none")
        variables = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        options = ("--rm", "--privileged", *LIMITS, *mount, *variables)
        return podman("run", *options, self.prepare(), *command)
