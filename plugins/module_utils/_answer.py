# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module answers, held to what Ansible can read: it refuses the answer to a change over one byte of a
file that is no text."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# What Python makes of bytes that are no UTF-8, and JSON of half a character.
_NO_TEXT = re.compile(r"[\ud800-\udfff]")


def readable(value: Any) -> Any:
    """The value with a mark in the place of whatever is no text, keys included."""
    if isinstance(value, str):
        return _NO_TEXT.sub("\ufffd", value) if _NO_TEXT.search(value) else value
    if isinstance(value, dict):
        return {readable(key): readable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(entry) for entry in value]
    return value


def hold_to_text(module: AnsibleModule) -> None:
    """All that the module says from here on can be read, with its arguments, which Ansible returns."""
    end = {"exit_json": module.exit_json, "fail_json": module.fail_json}

    def ends(say: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(say)
        def said(*values: Any, **named: Any) -> Any:
            named.setdefault("invocation", {"module_args": module.params})
            return say(*readable(values), **readable(named))

        return said

    warn = module.warn
    for name, say in end.items():
        setattr(module, name, ends(say))
    setattr(module, "warn", lambda text, **named: warn(readable(text), **named))  # noqa: B010 - a method is not assigned to
