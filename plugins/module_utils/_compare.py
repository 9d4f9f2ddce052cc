# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether anything differs on the host from what a role would set: the code of the modules that the role
uses, asked in check mode, and the state of units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _config_files, _kernel_args, _module_options, _package_repository, _question, _systemd

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# What of an answer means that something is left to do though no file would change.
_LEFT = ("reboot_required", "reload_required", "initramfs_required", "pending_paths")
_UNIT = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
# States in which systemd starts a unit at boot: those that Podman generates have no link of their own.
_ENABLED = ("enabled", "enabled-runtime", "generated", "static", "linked")


class Answer(NamedTuple):
    """What was found of one part of a role. An empty reason means that nothing is left to do."""

    reason: str
    warnings: list[str]


Ask = Callable[["AnsibleModule", Mapping[str, Any]], Answer]


def _would_read(_module: AnsibleModule, url: str, what: str, _remedy: str) -> bytes:
    raise _Differs(f"{what} at {url} has to be read")


class _Differs(Exception):
    """Seen before the end: the rest is for the role to find."""


def _of_module(name: str, run: Callable[[AnsibleModule], None], spec: Mapping[str, Any]) -> Ask:
    def ask(module: AnsibleModule, arguments: Mapping[str, Any]) -> Answer:
        try:
            result = _question.ask(module, run, spec, arguments)
        except _Differs as error:
            return Answer(str(error), [])
        return Answer(_reason(name, result), result.get("warnings", []))

    return ask


def _reason(name: str, result: Mapping[str, Any]) -> str:
    if result.get("failed"):
        return str(result["msg"])
    if result.get("changed"):
        return "; ".join(map(str, result.get("actions") or [])) or f"{name} would change something"
    left = [key for key in _LEFT if result.get(key)]
    return f"{name} says {', '.join(left)}" if left else ""


def _of_units(module: AnsibleModule, arguments: Mapping[str, Any]) -> Answer:
    """Units must run, start at boot, and run as their files say."""
    names = list(arguments["units"])

    def run(command: list[str]) -> tuple[int, str, str]:
        done: tuple[int, str, str] = module.run_command(
            command, environ_update={"LC_ALL": "C"}, handle_exceptions=False
        )
        return done

    try:
        states = _systemd.show(run, names, _UNIT)
    except _systemd.Untold as error:
        return Answer(str(error), [])
    faults = [f"{name} {fault}" for name, state in zip(names, states) for fault in _faults(state)]
    return Answer("; ".join(faults), [])


def _faults(state: Mapping[str, str]) -> list[str]:
    if state.get("LoadState") != "loaded":
        return [f"is {state.get('LoadState') or 'unknown'}"]
    faults = []
    if state.get("ActiveState") != "active":
        faults.append(f"is {state.get('ActiveState') or 'in an unknown state'}")
    if state.get("UnitFileState") not in _ENABLED:
        faults.append("does not start at boot")
    if state.get("NeedDaemonReload") != "no":
        faults.append("runs as an older file says")
    return faults


def _repository(module: AnsibleModule) -> None:
    _package_repository.run(module, _would_read)


# Each kind of part that a role can name.
KINDS: dict[str, Ask] = {
    "config_files": _of_module("config_files", _config_files.run, _config_files.ARGUMENTS),
    "kernel_args": _of_module("kernel_args", _kernel_args.run, _kernel_args.ARGUMENTS),
    "module_options": _of_module("module_options", _module_options.run, _module_options.ARGUMENTS),
    "package_repository": _of_module("package_repository", _repository, _package_repository.ARGUMENTS),
    "units": _of_units,
}


def compare(module: AnsibleModule, roles: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, list[Answer]]:
    """What was found for each role; the parts after the first that differs are not asked any more."""
    found: dict[str, list[Answer]] = {}
    for role, parts in roles.items():
        found[role] = []
        for part in parts:
            found[role].append(KINDS[part["kind"]](module, part["arguments"]))
            if found[role][-1].reason:
                break
    return found
