# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters that somebody sets and the loaded module does not have: the kernel ignores them in silence."""

from __future__ import annotations

import typing as t

from . import _cmdline
from ._tree import Tree

MODULES = ("amdgpu", "ttm", "amdttm")
# A module shows nearly all of its parameters; a folder with fewer is not that of a real one. TTM has five.
LEAST = {"amdgpu": 20, "ttm": 2, "amdttm": 2}


def unknown(tree: Tree, arguments: t.Sequence[str], options: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """``MODULE.PARAMETER`` as it is set on the command line, or with the file of modprobe.d that sets it."""
    set_by: dict[tuple[str, str], str] = {}
    for argument in arguments:
        module, dot, parameter = _cmdline.parse(argument)[0].partition(".")
        if dot:
            set_by[module, parameter.replace("-", "_")] = argument
    for option in options:
        text = f"{option['module']}.{option['parameter']} in {option['path']}"
        set_by.setdefault((option["module"], str(option["parameter"]).replace("-", "_")), text)
    parameters = {module: set(tree.names("sys/module", module, "parameters")) for module in MODULES}
    return [
        text
        for (module, parameter), text in set_by.items()
        if module in parameters
        and len(parameters[module]) >= LEAST[module]
        and parameter not in parameters[module]
        # Of every module, and shown by none.
        and parameter != "dyndbg"
    ]
