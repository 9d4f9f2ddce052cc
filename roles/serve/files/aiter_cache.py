# Written by amdgpu.fleet
"""Copies what AITER brings compiled to where it compiles the rest, inside the image, once for each
AITER.

With an empty folder in AITER_JIT_DIR it compiles everything anew, for many minutes, and can hang; without one
it compiles into its own folder, which goes with the container.
"""

import argparse
import hashlib
import importlib.util
import shutil
from pathlib import Path

STAMP = ".from"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="folder of AITER_JIT_DIR")
    parser.add_argument("--package", default="aiter")
    parser.add_argument("--folder", default="jit", help="folder of the package")
    options = parser.parse_args()
    print(fill(options.target, options.package, options.folder))


def fill(target: Path, package: str, folder: str) -> str:
    """Fill ``target`` unless it was filled from this very package; what was done, for the journal."""
    found = importlib.util.find_spec(package)  # not imported: that would look for a GPU
    source = Path(next(iter(found.submodule_search_locations or ()), "")) / folder if found else None
    if source is None or not source.is_dir():
        return f"{package} has no {folder} here: nothing to copy"
    stamp = _stamp(source)
    kept = target / STAMP
    if kept.exists() and kept.read_text(encoding="utf-8") == stamp:
        return f"{target} is filled"
    half = target.with_name(f"{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(source, half, symlinks=True)
    (half / STAMP).write_text(stamp, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)
    return f"{target} filled from {source}"


def _stamp(source: Path) -> str:
    """Differs between two builds of the package."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    lines = [f"{path.relative_to(source)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


if __name__ == "__main__":
    main()
