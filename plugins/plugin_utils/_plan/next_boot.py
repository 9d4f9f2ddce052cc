# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the host comes back from a reboot."""

from __future__ import annotations

from ...module_utils import _cmdline
from .host import Host
from .plan import Plan

PAGE = 4096


def check(host: Host, plan: Plan) -> None:
    """Another system that starts next is a warning; where the plan needs a reboot, it stops the run."""
    other = host.system["boot"]["next_system"]
    if other:
        severity = "fail" if _reboots(host, plan) else "warn"
        host.findings.add("host.next_boot", other, "an entry of this system", severity=severity)


def _reboots(host: Host, plan: Plan) -> bool:
    kernel, driver = plan.kernel, plan.driver
    running = host.system["kernel"]["command_line"]
    wanted = _cmdline.wanted(kernel.present, kernel.absent)
    arguments = kernel.state == "present" and not _cmdline.satisfied(running, wanted)
    return bool(
        arguments
        or kernel.reboot_into
        or _limit_waits(host, plan)
        or plan.firmware.install
        or plan.firmware.reboot
        or driver.install
        or driver.waits
    )


def _limit_waits(host: Host, plan: Plan) -> bool:
    """Whether a GPU may use less memory than the plan lets it: the driver reads the limit once."""
    memory = host.system["memory_bytes"]
    for options in plan.kernel.module_options.values():
        limit = int(options.get("pages_limit", 0)) * PAGE
        limit = min(limit, memory) if memory else limit
        if any((gpu["gtt_bytes"] or limit) < 0.95 * limit for gpu in host.gpus):
            return True
    return False
