# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import what runs on hosts, on the Python that runs this file:  python3.9 tests/matrix/import_modules.py

ansible-core does not have to be there: what is imported from it is replaced, so that what fails is ours.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = "ansible_collections.amdgpu.fleet.plugins"


class StandIn(types.ModuleType):
    """A module of ansible-core: whatever is asked of it is a class."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        ours = fullname == "ansible" or fullname.startswith("ansible.")
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def namespace(name: str, folder: Path) -> None:
    """A package that is a folder of the checkout, wherever the checkout lies."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


def main() -> int:
    sys.meta_path.insert(0, Finder())
    for name in ("ansible_collections", "ansible_collections.amdgpu"):
        namespace(name, ROOT / "nowhere")
    namespace("ansible_collections.amdgpu.fleet", ROOT)
    namespace(PLUGINS, ROOT / "plugins")
    failed = 0
    names = []
    for folder in ("module_utils", "modules"):
        files = sorted((ROOT / "plugins" / folder).rglob("*.py"))
        parts = [file.relative_to(ROOT / "plugins").with_suffix("").parts for file in files]
        names += [".".join(part for part in each if part != "__init__") for each in parts]
    for name in names:
        try:
            importlib.import_module(PLUGINS + "." + name)
        except Exception as error:
            print("Python {}.{}: {}: {!r}".format(*sys.version_info[:2], name, error))
            failed += 1
    print("Python {}.{}: {} of {} imported".format(*sys.version_info[:2], len(names) - failed, len(names)))
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
