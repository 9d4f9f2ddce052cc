# SPDX-License-Identifier: GPL-3.0-or-later
"""A compiler for AMD GPUs that needs neither a GPU nor ROCm: clang 22 of Debian 12's security archive, in an
image of its own. It makes libraries, code objects and fat binaries as they are in wheels and images.

    python -m testbed.compiler FOLDER gfx942 gfx1201    # libkernel.so with code for these

Seen in November 2026: the image takes 1 GB; 12 targets compile in 2 s.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .machine import CACHE, LABEL, debian_sources, digest, exclusive, podman, run, step

PACKAGES = "clang-22,clang-tools-22,lld-22,llvm-22"
FOLDER = "/work"
# Ours, and all that it needs to be told of HIP.
KERNEL = """\
typedef unsigned long size_t;
struct dim3 { unsigned x, y, z; };
typedef struct ihipStream_t *hipStream_t;
typedef int hipError_t;
extern "C" hipError_t __hipPushCallConfiguration(dim3, dim3, size_t, hipStream_t);
extern "C" hipError_t __hipPopCallConfiguration(dim3 *, dim3 *, size_t *, hipStream_t *);
extern "C" hipError_t hipLaunchKernel(const void *, dim3, dim3, void **, size_t, hipStream_t);
__attribute__((global)) void scale(float *values, float by) {
  values[__builtin_amdgcn_workgroup_id_x()] *= by;
}
"""
BARE = ("-x", "hip", "-nogpuinc", "-nogpulib")
SHARED = ("-fPIC", "-shared", "-nostdlib", "-fuse-ld=lld")


def prepare() -> str:
    """The reference of the image, which is built when its inputs changed."""
    sources = debian_sources("bookworm")
    reference = f"localhost/amdgpu-fleet/clang:{digest(sources, PACKAGES)}"
    if podman("images", "--quiet", reference).strip():
        return reference
    with exclusive(f"{LABEL}-clang"):
        if not podman("images", "--quiet", reference).strip():
            _build(reference, sources)
    return reference


def _build(reference: str, sources: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with step("building the image of the compiler"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        archive, listed = Path(scratch) / "root.tar", Path(scratch) / "debian.sources"
        listed.write_text(sources, encoding="utf-8")
        run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", archive, listed])
        path = "PATH=/usr/lib/llvm-22/bin:/usr/bin:/bin"
        podman("import", "--quiet", "--change", f"ENV {path}", archive, reference)


def tool(folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> str:
    """What a program of LLVM says, started in ``folder``."""
    limits = ("--privileged", "--pids-limit=0", "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000")
    variables = [f"--env={key}={value}" for key, value in (environment or {}).items()]
    mount = (f"--volume={folder}:{FOLDER}", f"--workdir={FOLDER}", "--network=none")
    return podman("run", "--rm", *limits, *mount, *variables, prepare(), *command)


def library(folder: Path, name: str, targets: Sequence[str], *options: str) -> Path:
    """A shared library with code for these targets."""
    (folder / "kernel.hip").write_text(KERNEL, encoding="utf-8")
    driver = () if any("new-driver" in option for option in options) else ("--no-offload-new-driver",)
    named = [f"--offload-arch={target}" for target in targets]
    tool(folder, "clang++", *BARE, *driver, *options, *named, *SHARED, "kernel.hip", "-o", name)
    return folder / name


def code_object(folder: Path, name: str, target: str) -> Path:
    """The code of one target as a file."""
    (folder / "kernel.hip").write_text(KERNEL, encoding="utf-8")
    words = ("--cuda-device-only", "--no-gpu-bundle-output", f"--offload-arch={target}")
    tool(folder, "clang++", *BARE, *words, "kernel.hip", "-o", name)
    return folder / name


if __name__ == "__main__":
    library(Path(sys.argv[1]).resolve(), "libkernel.so", sys.argv[2:])
