# SPDX-License-Identifier: GPL-3.0-or-later
"""A compiler for AMD GPUs that needs neither a GPU nor ROCm: clang 22 of Debian 12's security archive, in an
image of its own. It makes libraries, code objects and fat binaries as they are in wheels and images.

    python -m testbed.compiler FOLDER gfx942 gfx1201    # libkernel.so with code for these

Seen in November 2026: the image takes 1 GB; 12 targets compile in 2 s.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .toolbox import Toolbox

PACKAGES = "clang-22,clang-tools-22,lld-22,llvm-22"
BOX = Toolbox("clang", "bookworm", PACKAGES, "the compiler", ("ENV PATH=/usr/lib/llvm-22/bin:/usr/bin:/bin",))
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


def library(folder: Path, name: str, targets: Sequence[str], *options: str) -> Path:
    """A shared library with code for these targets."""
    (folder / "kernel.hip").write_text(KERNEL, encoding="utf-8")
    driver = () if any("new-driver" in option for option in options) else ("--no-offload-new-driver",)
    named = [f"--offload-arch={target}" for target in targets]
    BOX.run(folder, "clang++", *BARE, *driver, *options, *named, *SHARED, "kernel.hip", "-o", name)
    return folder / name


def code_object(folder: Path, name: str, target: str) -> Path:
    """The code of one target as a file."""
    (folder / "kernel.hip").write_text(KERNEL, encoding="utf-8")
    words = ("--cuda-device-only", "--no-gpu-bundle-output", f"--offload-arch={target}")
    BOX.run(folder, "clang++", *BARE, *words, "kernel.hip", "-o", name)
    return folder / name


if __name__ == "__main__":
    library(Path(sys.argv[1]).resolve(), "libkernel.so", sys.argv[2:])
