# SPDX-License-Identifier: GPL-3.0-or-later
"""The real dnf, zypper and pacman of Debian 13: what they installed is read, and one that runs is named until it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed import host_tools, modules_inside

STATE = """
import json, subprocess, sys
from ansible_collections.amdgpu.fleet.plugins.module_utils import _os, _packages
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

def rpm():
    words = ["rpm", "-qa", "--qf", _packages.RPM_FORMAT]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout

tree, manager = Tree("/"), sys.argv[1]
found = {"packages": _packages.packages(tree, manager, rpm), **_packages.state(tree, manager, rpm)}
print(json.dumps(found) if len(sys.argv) < 3 else found["busy"] or "")
"""
# The package waits while it is installed, until the file is there that lets it go on.
RPM = """
mkdir -p /etc/rpm /var/lib/rpm /repo
echo '%_dbpath /var/lib/rpm' > /etc/rpm/macros.test
mv /var/lib/dpkg/status /var/lib/dpkg/status.away
package() {
  cat > /tmp/$1.spec <<END
Name: $1
Version: $2
Release: 1
Summary: x
License: MIT
BuildArch: noarch
Provides: /bin/sh
%description
x
%pre
$3
%files
END
  rpmbuild -bb --quiet --define '_rpmdir /repo' /tmp/$1.spec >&2
}
"""
WAIT = "until [ -e /srv/go ]; do sleep 0.1; done"
# The first word that is not empty, of a state that comes while something runs.
BUSY = """
busy() {
  for try in $(seq 300); do
    said=$(state $1 busy)
    [ -z "$said" ] || { echo "busy $said"; return; }
    sleep 0.1
  done
  echo "busy nothing"
}
"""


def results(folder: Path, script: str) -> list[Any]:
    said = modules_inside.run(host_tools.BOX, folder, script, state=STATE)
    return [
        json.loads(line) if line.startswith("{") else line
        for line in said.splitlines()
        if line[:4] in ('{"pa', "busy")
    ]


def test_dnf(tmp_path: Path) -> None:
    script = f"""{RPM}{BUSY}
    package amdgpu-dkms 7.1.3 '{WAIT}'
    package linux-firmware 20260110 true
    createrepo_c --quiet /repo
    dnf="dnf --quiet --assumeyes --nogpgcheck --releasever=9 --repofrompath=bed,/repo --repo=bed"
    $dnf install linux-firmware >&2
    $dnf install amdgpu-dkms >&2 &
    busy dnf
    touch /srv/go; wait
    state dnf
    package linux-firmware 20260916 true
    rpm --install --nodeps --force /repo/noarch/linux-firmware-20260916-1.noarch.rpm >&2
    state dnf
    """
    busy, installed, broken = results(tmp_path, script)
    assert busy.startswith("busy dnf (")
    assert installed["packages"] == {"amdgpu-dkms": "7.1.3-1", "linux-firmware": "20260110-1"}
    assert installed["busy"] is None and installed["duplicates"] == []
    assert broken["duplicates"] == ["linux-firmware"], "as a transaction leaves it that was broken off"


def test_zypper(tmp_path: Path) -> None:
    script = f"""{RPM}{BUSY}
    package linux-firmware-amdgpu 20260110 '{WAIT}'
    package amdgpu-dkms 7.1.3 '{WAIT}'
    createrepo_c --quiet /repo
    mkdir -p /etc/products.d
    zypper --quiet --non-interactive addrepo --no-gpgcheck /repo bed >&2
    zypper="zypper --quiet --non-interactive --no-gpg-checks"
    $zypper install --no-recommends linux-firmware-amdgpu >&2 &
    busy zypper
    touch /srv/go; wait
    state zypper
    rm /srv/go
    $zypper install --no-recommends amdgpu-dkms >&2 & pid=$!
    busy zypper
    kill -9 $pid; touch /srv/go; sleep 1
    cat /run/zypp.pid /var/run/zypp.pid >&2 || true
    state zypper
    """
    busy, installed, again, killed = results(tmp_path, script)
    assert busy.startswith("busy zypper (") and again.startswith("busy zypper (")
    assert installed["packages"] == {"linux-firmware-amdgpu": "20260110-1"} and installed["busy"] is None
    assert killed["busy"] is None, "a number that was left over is no lock"


def test_pacman(tmp_path: Path) -> None:
    script = f"""{BUSY}
    mkdir -p /var/lib/pacman/local /etc/pacman.d /build; mv /var/lib/dpkg/status /var/lib/dpkg/status.away
    printf '[options]\\nArchitecture = auto\\nSigLevel = Never\\nLocalFileSigLevel = Never\\n' > /etc/pacman.conf
    package() {{
      rm -rf /build/*; cd /build
      printf 'pkgname = %s\\npkgbase = %s\\npkgver = %s\\narch = any\\nsize = 1\\n' $1 $1 $2 > .PKGINFO
      printf 'pre_install() {{\\n%s\\n}}\\n' "$3" > .INSTALL
      bsdtar -cf /tmp/$1-$2-any.pkg.tar.zst --zstd .PKGINFO .INSTALL
    }}
    package linux-firmware-amdgpu 20260110-1 true
    package rocm-core 7.2.1-1 '{WAIT}'
    pacman --noconfirm --upgrade /tmp/linux-firmware-amdgpu-20260110-1-any.pkg.tar.zst >&2
    state pacman
    pacman --noconfirm --upgrade /tmp/rocm-core-7.2.1-1-any.pkg.tar.zst >&2 &
    busy pacman
    touch /srv/go; wait
    state pacman
    """
    first, busy, last = results(tmp_path, script)
    assert first["packages"] == {"linux-firmware-amdgpu": "20260110-1"} and first["busy"] is None
    assert busy == "busy /var/lib/pacman/db.lck"
    assert last["packages"] == {"linux-firmware-amdgpu": "20260110-1", "rocm-core": "7.2.1-1"}
    assert last["busy"] is None
