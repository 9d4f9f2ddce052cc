# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Source distributions of vLLM, fetched with pip and kept unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing reads these, and they are half of what a source distribution holds.
LEFT_OUT = ("csrc", "rust", "tests")


class SdistError(Exception):
    """A source distribution that pip does not bring."""


def fetch(version: str, cache: Path) -> Path:
    """The folder of a release, fetched unless it is there."""
    folder = cache / f"vllm-{version}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        # pip asks the package for its metadata, for which vLLM needs torch. It has unpacked it by then.
        command = [sys.executable, "-m", "pip", "download", "--no-clean", "--no-deps", "--no-binary", ":all:"]
        command += ["--no-build-isolation", "--dest", temporary, f"vllm=={version}"]
        run = subprocess.run(
            command, env={**os.environ, "TMPDIR": temporary}, text=True, capture_output=True, check=False
        )
        found = next(iter(sorted(Path(temporary).glob("*/*/vllm/envs.py"))), None)
        if found is None:
            raise SdistError(f"pip brings no source distribution of vLLM {version}: {run.stderr[-500:]}")
        unpacked = found.parents[1]
        for name in LEFT_OUT:
            shutil.rmtree(unpacked / name, ignore_errors=True)
        shutil.move(str(unpacked), folder)
    return folder
