# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images of bare Debian hosts with systemd, ssh and GRUB's tools, from the machine's own package
sources.

`el9` is a Debian too, which says of itself that it is a Rocky Linux 9 and has the real dnf and rpm with an
empty database.
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from . import llama_cpp
from .distribution import SYSTEMS
from .machine import CACHE, debian_sources, digest, podman, run, step

RELEASES = {"debian12": "bookworm", "debian13": "trixie", "el9": "bookworm", "sid": "sid"}
# Built for a host that wants it, and not before.
SELDOM = ("sid",)
# A mirror's sid may be older than its file says it is good for.
OLD_FILES = 'Acquire::Check-Valid-Until "false";'
KEY = CACHE / "id_ed25519"
GUEST = Path(__file__).parent / "guest"

_COMMON = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,python3-debian,python3-venv,python3-yaml,sudo,udev,kmod,"
    "iproute2,procps,ca-certificates,curl,grub-common,grub2-common,grub-pc-bin,initramfs-tools,numactl,pciutils"
)
_PACKAGES = {
    "debian12": _COMMON,
    "debian13": f"{_COMMON},podman,crun,catatonit,netavark,aardvark-dns,nftables,fuse-overlayfs",
    "el9": f"{_COMMON},rpm,dnf,python3-dnf,dnf-plugins-core",
    "sid": _COMMON,
}

# Background package work would hold dpkg's lock against the roles.
_MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer dpkg-db-backup.timer"
)

# Run by mmdebstrap with the new root as $1; GUEST and SOURCES are replaced by paths. GRUB cannot find the
# disk behind a container's root: a stand-in answers for grub-probe, everything else of GRUB is real.
_HOOKS = (
    'chroot "$1" dpkg-divert --quiet --local --rename --add /usr/sbin/grub-probe',
    'install -m 0755 GUEST/grub-probe.sh "$1/usr/sbin/grub-probe"',
    f'chroot "$1" systemctl mask --quiet {_MASKED}',
    'mkdir -p "$1/boot/grub" "$1/root/.ssh" && chmod 700 "$1/root/.ssh"',
    'rm -f "$1"/etc/apt/sources.list.d/* && : > "$1/etc/apt/sources.list"',
    'cp SOURCES "$1/etc/apt/sources.list.d/debian.sources"',
)

# Debian's rpm keeps its database in the home of the caller, and its dnf comes without a folder for
# repositories.
# grub2-common's own unit writes into an environment of GRUB that no container has.
_SID_HOOKS = (
    f'echo {shlex.quote(OLD_FILES)} > "$1/etc/apt/apt.conf.d/98old-files"',
    'chroot "$1" systemctl mask --quiet grub2-common.service',
)
_EL_HOOKS = (
    'mkdir -p "$1/etc/rpm" "$1/etc/yum.repos.d" "$1/etc/pki/rpm-gpg" "$1/var/lib/rpm"',
    'echo "%_dbpath /var/lib/rpm" > "$1/etc/rpm/macros.bed"',
    f'rm "$1/etc/os-release" && printf "%s\\n" {shlex.quote(SYSTEMS["el9"].os_release)} > "$1/etc/os-release"',
)
_OWN_HOOKS = {"el9": _EL_HOOKS, "sid": _SID_HOOKS}


def ssh_key() -> str:
    """The public half of the key pair that opens root on every host; made on first use."""
    if not KEY.exists():
        KEY.parent.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "amdgpu-fleet test bed", "-f", KEY])
    return KEY.with_suffix(".pub").read_text(encoding="utf-8")


def image(name: str) -> str:
    """Return the reference of a host image, building it when its inputs changed."""
    sources = llama_cpp.sid() if name == "sid" else debian_sources(RELEASES[name])
    packages, steps = _PACKAGES[name], (*_HOOKS, *_OWN_HOOKS.get(name, ()))
    reference = f"localhost/amdgpu-fleet/{name}:{digest(sources, packages, GUEST / 'grub-probe.sh', *steps)}"
    if podman("images", "--quiet", reference).strip():
        return reference
    CACHE.mkdir(parents=True, exist_ok=True)
    with step(f"building the {name} image"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        archive, listed = Path(scratch) / "root.tar", Path(scratch) / "debian.sources"
        listed.write_text(sources, encoding="utf-8")
        hooks = [hook.replace("GUEST", str(GUEST)).replace("SOURCES", str(listed)) for hook in steps]
        options = [f"--customize-hook={hook}" for hook in hooks]
        options += [f"--aptopt={OLD_FILES}"] if name == "sid" else []
        run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={packages}",
                *options,
                RELEASES[name],
                archive,
                listed,
            ]
        )
        podman("import", "--quiet", "--change", "STOPSIGNAL SIGRTMIN+3", archive, reference)
        podman("tag", reference, f"localhost/amdgpu-fleet/{name}:latest")
    return reference
