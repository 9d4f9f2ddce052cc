# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several facts are made from, read once: packages, kernels, command line, boot loader, and commands.

``gpu_facts``, ``rocm_facts`` and ``host_facts`` share it, so that one execution that returns all facts costs
each file once.
"""

from __future__ import annotations

import functools
import typing as t

from . import _boot, _modprobe_effect, _notes, _os, _packages, _security
from ._tree import Tree
from ._write import WriteError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class Reader:
    """The files below ``root`` and the commands of the running system. What is read here is read once, and
    what is wrong with it stands in the problems of ``tree``."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.root: str = module.params["root"]
        self.tree = Tree(self.root)
        # What commands said, by their lines as the host would write them: for a capture.
        self.asked: dict[str, _notes.Answer] = {}

    def output(self, *command: str) -> str | None:
        """What a command printed; a command that is missing or fails is a problem, not an end. A captured
        host answers as it did."""
        base = self.tree.root + "/"
        line = " ".join(self.tree.host_path(word) if word.startswith(base) else word for word in command)
        notes = self.tree.notes
        if notes and notes.live:
            answer = notes.commands.get(line) or _notes.Answer(
                None, "was not asked when the host was captured"
            )
        else:
            answer = self._run(command)
        self.asked[line] = answer
        if answer.problem:
            self.tree.problem(command[0], answer.problem)
        return answer.output

    def _run(self, command: tuple[str, ...]) -> _notes.Answer:
        path = self._module.get_bin_path(command[0])
        if not path:
            return _notes.Answer(None, "is not installed")
        rc, out, err = self._module.run_command([path, *command[1:]], environ_update={"LC_ALL": "C"})
        if rc != 0:
            return _notes.Answer(None, f"failed ({err.strip()[:80]})")
        return _notes.Answer(out.strip() or None, None)

    def modinfo(self, field: str, path: str) -> str | None:
        return self.output("modinfo", "-F", field, path)

    @functools.cached_property
    def _dmesg(self) -> str | None:
        return self.output("dmesg")

    def dmesg(self) -> str | None:
        return self._dmesg

    @functools.cached_property
    def _rpm(self) -> str | None:
        # The database is binary: only the rpm of the running system reads it.
        if self.tree.bare:
            return None
        return self.output("rpm", "-qa", "--qf", _packages.RPM_FORMAT)

    def rpm(self) -> str | None:
        return self._rpm

    def rpm_time(self, package: str) -> str | None:
        if self.tree.bare or self.manager not in _packages.RPM_MANAGERS:
            return None
        return self.output("rpm", "-q", "--qf", "%{INSTALLTIME}", package)

    @functools.cached_property
    def os(self) -> dict[str, t.Any]:
        return _os.operating_system(self.tree)

    @property
    def manager(self) -> str | None:
        manager: str | None = self.os["package_manager"]
        return manager

    @functools.cached_property
    def packages(self) -> dict[str, str]:
        return _packages.packages(self.tree, self.manager, self.rpm)

    @functools.cached_property
    def arguments(self) -> list[str]:
        return _os.command_line(self.tree)

    @functools.cached_property
    def release(self) -> str | None:
        return self.tree.word("proc/sys/kernel/osrelease", required=True)

    @functools.cached_property
    def secure_boot(self) -> bool | None:
        return _security.secure_boot(self.tree)

    @functools.cached_property
    def boot(self) -> tuple[_boot.Found, bool, _boot.Initramfs, bool]:
        """The loader, whether there are images of an initramfs, the tool that builds them, and whether the
        system can be written."""
        try:
            return (
                _boot.find(self.root),
                bool(_modprobe_effect.installed_images(self.root)),
                _boot.initramfs_of(self.root),
                _boot.writable_root(self.root),
            )
        except WriteError as error:
            self.tree.problem("/boot", str(error))
            return _boot.UNREAD

    @functools.cached_property
    def initramfs_options(self) -> bool:
        """Whether images of an initramfs hold /etc/modprobe.d."""
        try:
            return _boot.holds_options(self.root)
        except WriteError as error:
            self.tree.problem("/etc", str(error))
            return True

    @functools.cached_property
    def default_release(self) -> str | None:
        """The kernel of the next boot."""
        return _boot.default_release(self.tree, self.boot[0].loader)
