# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles need of any host: services that systemd starts, and packages for its machine."""

from __future__ import annotations

import dataclasses

from .host import Host
from .plan import Plan
from .rocm import RocmPlan

SYSTEMD = "systemd"
# AMD's packages.
BUILT_FOR = "x86_64"


def check(host: Host, plan: Plan) -> Plan:
    """Say what is missing before anything is written, and plan no package that there is none of."""
    _check_init(host, plan)
    return _without_builds(host, plan)


def _check_init(host: Host, plan: Plan) -> None:
    init, serve = host.system["os"]["init"], plan.serve
    units = bool(serve.instances) and serve.state == "present"
    if init not in (None, SYSTEMD) and (units or plan.kernel.load_at_boot or plan.partition.change):
        host.findings.add("host.init", init, SYSTEMD)


def _without_builds(host: Host, plan: Plan) -> Plan:
    machine, driver, rocm = host.system["os"]["machine"], plan.driver, plan.rocm
    if machine in (None, BUILT_FOR) or not (driver.install or driver.repository or rocm.install):
        return plan
    host.findings.add("host.machine", machine, BUILT_FOR)
    left = dataclasses.replace(driver, repository=None, install=[], headers=[], build=[], hold=[], unhold=[])
    return dataclasses.replace(plan, driver=left, rocm=RocmPlan(version=rocm.version))
