# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is installed of an engine has code for the GPUs that it is to compute on.

What has been installed was looked at then, and what was found is a fact of the host. What is still to be
installed is looked at before it serves: the plan says what it must have (``CodeCheck``).
"""

from __future__ import annotations

import dataclasses
import typing as t

from ...module_utils._code import verdict
from . import engines
from .engines.protocol import CodeCheck
from .facts_engines import CodeObjects
from .host import Host
from .installs import Install
from .serve import ServePlan, ServerPlan

FINDING = "serve.code_objects"
WHY = "a library without code for a GPU loads, and fails at its first kernel"


def check(host: Host, plan: ServePlan) -> ServePlan:
    """The plan with what each install must have. Those that are there already are held to it."""
    installs = []
    for install in plan.installs:
        servers = [server for server in plan.instances if server.engine == install.engine]
        code = _wanted(host, install, servers)
        installs.append(dataclasses.replace(install, code=code))
        if code:
            _held(host, install, code)
    return dataclasses.replace(plan, installs=installs)


def place(install: Install) -> str | None:
    """What the facts know it by; ``None`` where the engine is a program of the host."""
    return install.container.name if install.container else install.venv.path if install.venv else None


def _wanted(host: Host, install: Install, servers: t.Sequence[ServerPlan]) -> CodeCheck | None:
    """Of Vulkan and CPU builds nobody needs to know; nor where there is no GPU to know it of."""
    named = {gpu["index"]: gpu["gfx"] for gpu in host.gpus}
    gfx = sorted({name for server in servers for index in server.gpus if (name := named.get(index))})
    if install.accelerator != "rocm" or not gfx or place(install) is None:
        return None
    return CodeCheck(
        gfx=gfx,
        required=engines.ENGINES[install.engine].libraries(host.catalog),
        xnack=any(server.environment.get("HSA_XNACK") == "1" for server in servers),
        known=place(install) in host.system.get("code_objects", {}),
        refuse=FINDING not in host.wants.plan_accept,
        user=host.system["user"]["name"] if install.container and host.system["user"] else "",
        remedy=_remedy(host, install, gfx),
    )


def _held(host: Host, install: Install, code: CodeCheck) -> None:
    name = place(install) or ""
    known = host.system.get("code_objects", {}).get(name)
    if not install.present or known is None:
        when = "before it serves" if install.present else "when it was fetched, before it serves"
        reason = f"not known whether {name} has code for it: it is looked at {when}"
        _note(host, install, ", ".join(code.gfx), reason)
        return
    for gfx in code.gfx:
        _judged(host, install, code, (known, gfx))


def _judged(host: Host, install: Install, code: CodeCheck, asked: tuple[CodeObjects, str]) -> None:
    known, gfx = asked
    found = verdict.judge(known, gfx, code.xnack)
    if found.verdict == verdict.SERVED:
        _note(host, install, gfx, f"{place(install)} has code for it: {found.target} ({found.how})")
    elif found.verdict == verdict.UNKNOWN:
        _note(host, install, gfx, f"not known whether {place(install)} has code for it: {found.reason}")
    else:
        seen = f"{place(install)} without code for {gfx}: {found.reason}"
        own = install.container or install.venv
        remedy = f"{code.remedy}; correct {own.variables}" if own else code.remedy
        host.findings.add("serve.code_objects", seen, f"code for {gfx}", why=WHY, remedy=remedy)


def _note(host: Host, install: Install, gfx: str, reason: str) -> None:
    host.note("serve", f"{install.title} code for {gfx}", install.variant, reason)


def _remedy(host: Host, install: Install, gfx: t.Sequence[str]) -> str:
    """What has the code, by name: an image of the engine, else another engine."""
    engine, architecture = engines.ENGINES[install.engine], gfx[0]
    refused = install.container.source if install.container else ""
    images = [name for name in engine.images_for(host.catalog, architecture) if name != refused]
    if images:
        return f"Take {' or '.join(images)}, which has code for {architecture}"
    others = [
        f", or serve with {other.title} ({found[0]})"
        for name, other in engines.ENGINES.items()
        if name != install.engine and (found := other.images_for(host.catalog, architecture))
    ]
    return f"Build one for {architecture} and name it in {engine.name}_image{''.join(others)}"
