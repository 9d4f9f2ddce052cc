# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which boot loader is the host's: the one that started the running system.

The EFI variables decide first. Where they say nothing the files decide, and only where one family of them
fits. Then the running command line has to have come from them. A loader that was not seen to have started
the system is refused, never guessed.
"""

from __future__ import annotations

from typing import NamedTuple

from . import (
    bls,
    firmware,
    grub,
    grub_config,
    limine,
    ostree,
    proxmox,
    refused,
    running,
    sdbootutil,
    suse,
    systemd_boot,
    uki,
)
from .base import DEFAULTS, KERNEL_CMDLINE, BootError, Loader, exists
from .next_boot import ENTRIES, GRUB_CFG
from .refused import Refusal

LOADERS: dict[str, Loader] = {
    loader.name: loader
    for loader in (
        grub.LOADER,
        bls.LOADER,
        systemd_boot.LOADER,
        ostree.LOADER,
        suse.LOADER,
        limine.LOADER,
        proxmox.LOADER,
        sdbootutil.LOADER,
    )
}
GRUBS = (grub.LOADER.name, bls.LOADER.name, suse.LOADER.name)


class Found(NamedTuple):
    """The loader that is ours to configure, or why there is none; both are None where nothing was found."""

    loader: str | None
    refused: Refusal | None


def find(root: str) -> Found:
    system = refused.system(root)
    if system:
        return Found(None, system)
    owner = refused.owner(root)
    if owner:
        return Found(None, owner)
    found = _owner(root) or _by_firmware(root) or _by_files(root)
    if found.loader == limine.NAME and not limine.tools(root):
        return Found(None, refused.PLAIN_LIMINE)
    stranger = _stranger(root, found.loader) if found.loader else None
    return Found(None, stranger) if stranger else found


def _owner(root: str) -> Found | None:
    """A tool that owns what boots, whatever the loader below it is."""
    owner = next((each for each in (ostree, proxmox, sdbootutil) if each.detect(root)), None)
    return Found(owner.NAME, None) if owner else None


def _grub_kind(root: str) -> str | None:
    return next((each.LOADER.name for each in (bls, suse, grub) if each.LOADER.detect(root)), None)


def _by_firmware(root: str) -> Found | None:
    started = firmware.started(root)
    if started.family is None:
        return None
    family = started.family
    if family == "rEFInd" and running.of_grub(root) and _grub_kind(root):
        family = "grub"  # rEFInd started GRUB, which names the kernel
    if family in refused.LOADERS:
        return Found(None, refused.LOADERS[family])
    if started.family == "limine":
        return Found(limine.NAME, None)
    if started.family == "uki":
        return Found(limine.NAME if limine.detect(root) else systemd_boot.LOADER.name, None)
    if started.family == "systemd-boot":
        seen = exists(root, KERNEL_CMDLINE) or systemd_boot.detect(root) or uki.images(root)
        if not seen:
            return Found(None, _without_files(systemd_boot.LOADER.name, started.seen))
        return Found(systemd_boot.LOADER.name, None)
    if family == "grub":
        # GRUB that reads loader entries of the EFI system partition needs no grub.cfg of the host.
        name = _grub_kind(root) or ("systemd-boot" if systemd_boot.detect(root) else None)
        return Found(name, None) if name else Found(None, _without_files("GRUB", started.seen))
    return Found(None, refused.unknown(started.family))


def _without_files(name: str, seen: str) -> Refusal:
    where = "mount the partition that holds its configuration"
    return Refusal(name, f"{seen}, and there is none of its files", where)


def _by_files(root: str) -> Found:
    names = _families(root)
    if len(names) > 1 and running.line(root):
        names = [name for name in names if _fits(root, name)] or names
    if len(names) > 1 and not (running.line(root) or limine.NAME in names):
        names = names[:1]  # an image, which nothing started yet
    if len(names) > 1:
        reason = (
            f"its files are there beside those of {' and '.join(names[1:])}, and nothing tells them apart"
        )
        return Found(None, Refusal(names[0], reason, "remove what is left of the loader that is not used"))
    trace = refused.trace(root)
    # What /etc/default/grub says nobody boots without a grub.cfg.
    if names and not (trace and names[0] in GRUBS and running.line(root) and not _lines(root, names[0])):
        return Found(names[0], None)
    if trace:
        return Found(None, trace)
    last = exists(root, KERNEL_CMDLINE) or uki.images(root)
    return Found(systemd_boot.LOADER.name if last else None, None)


def _families(root: str) -> list[str]:
    """Loaders whose files are there. What /etc/default/grub says nobody boots without a grub.cfg."""
    found = [limine.NAME] if limine.detect(root) else []
    kind = _grub_kind(root)
    entries = systemd_boot.detect(root) and kind != bls.LOADER.name
    if entries and not (
        kind and firmware.started(root).visible and any(exists(root, path) for path in GRUB_CFG)
    ):
        found.append(systemd_boot.LOADER.name)
    generated = kind == bls.LOADER.name or any(exists(root, path) for path in GRUB_CFG)
    if kind and (generated or not found):
        found.append(kind)
    return found


def _fits(root: str, name: str) -> bool:
    """Can the running line have come from these files? GRUB alone says which file it started."""
    by_grub = any(entry.startswith("BOOT_IMAGE=") for entry in running.line(root))
    if by_grub is not (name in GRUBS):
        return False
    given = _lines(root, name)
    return bool(given) and not running.unexplained(root, given)


def _lines(root: str, name: str) -> list[list[str]]:
    try:
        return [each for each in LOADERS[name].lines(root) if each]
    except BootError:  # what cannot be read is refused by the plan, with its own words
        return []


def _stranger(root: str, name: str) -> Refusal | None:
    """The running line has what these files cannot have given it."""
    given = _lines(root, name)
    if name in GRUBS and not given and running.standing(root) and not _grub_by_its_words(root):
        standing = " ".join(running.standing(root))[:200]
        reason = f"no grub.cfg that can be seen gives {standing} of /proc/cmdline"
        where = (
            "grub.cfg, once its partition is mounted, or the configuration of what else starts this kernel"
        )
        return Refusal("GRUB without grub.cfg", reason, where)
    strange = running.unexplained(root, given)
    strange += running.not_of_grub(root) if name in GRUBS else []
    if not strange:
        return None
    return refused.trace(root) or Refusal(
        name,
        f"its files do not give {' '.join(strange)[:200]} of /proc/cmdline, so another loader or another"
        f" configuration started this system",
        "the configuration that holds these arguments, or name the loader in boot_loader if it is this one",
    )


def _grub_by_its_words(root: str) -> bool:
    """Without a grub.cfg: the running line is GRUB's, and its generator is there to write one."""
    return running.of_grub(root) and grub_config.generates(root)


def nothing_found(root: str) -> str:
    return (
        f"No boot loader configuration was found below {root} (looked for {DEFAULTS}, {', '.join(ENTRIES)},"
        f" {KERNEL_CMDLINE} and /run/ostree-booted); install one, or name it in boot_loader."
    )
