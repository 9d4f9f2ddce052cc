# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many hosts to work on at a time. The documentation is in the YAML file beside this one."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError


def batch(size: t.Any) -> str:
    """As part of the name of a group, from which ``serial`` can be read. Zero would mean all hosts to
    Ansible."""
    text = str(size).strip()
    found = re.fullmatch(r"([0-9]{1,6})(%?)", text)
    if not found or int(found[1]) == 0 or (found[2] and int(found[1]) > 100):
        raise AnsibleFilterError(
            f"fleet_serial is {text!r}, and a rollout works on at least one host at a time. Set it to a "
            f"number of "
            "hosts from 1 on, or to a percentage from 1% to 100%."
        )
    return f"{int(found[1])}{'_percent' if found[2] else ''}"


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"batch": batch}
