# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine: running commands on it, Podman whatever its cgroup layout, and what it knows about package
indexes."""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .descriptions import REPOSITORY

CACHE = REPOSITORY / ".cache" / "bed"
LABEL = "amdgpu-fleet-bed"
NAMESPACE = Path("/run/amdgpu-fleet-bed/mount-namespace")
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

TOOLS = {
    "podman": "podman",
    "crun": "crun",
    "iptables": "iptables",
    "newuidmap": "uidmap",
    "mmdebstrap": "mmdebstrap",
    "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg",
    "gpg": "gnupg",
    "rpmbuild": "rpm",
    "createrepo_c": "createrepo-c",
    "modinfo": "kmod",
    "xz": "xz-utils",
    "ssh-keygen": "openssh-client",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "/usr/libexec/podman/catatonit": "catatonit",  # podman run --init
    "/usr/sbin/haproxy": "haproxy",  # no host needs it: unit tests give it the gateway's configuration
    "/usr/sbin/nginx": "nginx",  # as that, for the role mirror
    "promtool": "prometheus",  # as that, for the rules of the role monitor
}


class BedError(Exception):
    """Something the person at the terminal can act on: one sentence with the remedy."""


def run(
    command: Sequence[str | Path], *, stdin: str | None = None, check: bool = True, cwd: Path | None = None
) -> str:
    """Run a command and return what it printed; its error text is in the exception."""
    done = subprocess.run(
        [str(word) for word in command], input=stdin, text=True, capture_output=True, cwd=cwd, check=False
    )
    if check and done.returncode:
        text = (done.stderr or done.stdout).strip()
        raise BedError(
            f"{' '.join(str(word) for word in command[:6])} ended with {done.returncode}: {text[-1500:]}"
        )
    return done.stdout


def podman(*arguments: str | Path, stdin: str | None = None, check: bool = True) -> str:
    """Run Podman, in the pinned mount namespace where the machine needs one."""
    return run([*podman_prefix(), "podman", *arguments], stdin=stdin, check=check)


def podman_prefix() -> list[str]:
    """What must stand in front of `podman`.

    crun refuses the hybrid cgroup layout. A mount namespace of our own, in which /sys/fs/cgroup is plain
    cgroup v2, satisfies it and changes nothing for the rest of the machine. It is pinned to a file, because
    Podman's mounts live in it between two calls.
    """
    if run(["stat", "-f", "-c", "%T", "/sys/fs/cgroup"]).strip() == "cgroup2fs":
        return []
    if not _mounted(NAMESPACE):
        folder = NAMESPACE.parent
        folder.mkdir(exist_ok=True)
        if not _mounted(folder):
            run(["mount", "--bind", folder, folder])
            run(["mount", "--make-private", folder])
        NAMESPACE.touch()
        cgroup2 = "umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"
        run(["unshare", f"--mount={NAMESPACE}", "--propagation=private", "sh", "-c", cgroup2])
    return ["nsenter", f"--mount={NAMESPACE}"]


def drop_namespace() -> None:
    """Forget the pinned mount namespace; harmless where there is none."""
    for mount in (NAMESPACE, NAMESPACE.parent):
        while _mounted(mount):
            run(["umount", mount])
    NAMESPACE.unlink(missing_ok=True)


def _mounted(path: Path) -> bool:
    """Whether something is mounted there; os.path.ismount() does not see bind mounts within one file
    system."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


@contextmanager
def exclusive(name: str = LABEL) -> Iterator[None]:
    """One command at a time changes the test bed: there is one per machine."""
    with Path(f"/run/lock/{name}").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("bed: waiting for another bed command", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_tools(tools: Mapping[str, str] | None = None) -> None:
    """Install the Debian packages the test bed runs on, only those that are missing."""
    tools = TOOLS if tools is None else tools
    if os.geteuid():
        raise BedError("the test bed starts systemd hosts with their own mounts: run it as root")
    missing = sorted(
        {package for tool, package in tools.items() if not (shutil.which(tool) or Path(tool).is_file())}
    )
    if not missing:
        return
    with step(f"installing {' '.join(missing)}"):
        run(["apt-get", "update"])
        run(
            [
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "--yes",
                "--no-install-recommends",
                *missing,
            ]
        )


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print one line for a long step, with the seconds it took."""
    started = time.monotonic()
    print(f"bed: {what} ...", end="", flush=True, file=sys.stderr)
    try:
        yield
    except BaseException:
        print(" failed", file=sys.stderr)
        raise
    print(f" {time.monotonic() - started:.0f} s", file=sys.stderr)


def empty(folder: Path) -> None:
    """Make `folder` exist and be empty; the folder itself stays, because running hosts may have it
    mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()


def digest(*parts: str | bytes | Path) -> str:
    """A short hash of inputs: the key under which a result is cached. A folder counts with all its files."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = (
                sorted(path for path in part.rglob("*") if path.is_file() and path.suffix != ".pyc")
                if part.is_dir()
                else [part]
            )
            for path in files:
                total.update(path.name.encode() + path.read_bytes())
        else:
            total.update(part.encode() if isinstance(part, str) else part)
        total.update(b"\0")
    return total.hexdigest()[:12]


def debian_sources(codename: str) -> str:
    """The machine's own Debian sources as deb822 for another release; third-party sources stay out.

    On a machine without Debian sources, BED_DEBIAN_SOURCES names a deb822 file to use instead.
    """
    given = os.environ.get("BED_DEBIAN_SOURCES")
    folder = Path("/etc/apt")
    files = (
        [Path(given)] if given else [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    )
    stanzas = [
        stanza
        for path in files
        if path.suffix in (".list", ".sources") and path.is_file()
        for stanza in _stanzas(path)
    ]
    found = []
    for stanza in stanzas:
        suites = stanza["Suites"].split()
        base = suites[0].split("-")[0].split("/")[0]
        if "main" not in stanza["Components"].split() or base not in ("bookworm", "trixie"):
            continue
        stanza["Suites"] = " ".join(suite.replace(base, codename, 1) for suite in suites)
        stanza["Components"] = "main non-free-firmware"
        stanza["Signed-By"] = "/usr/share/keyrings/debian-archive-keyring.gpg"
        found.append("".join(f"{key}: {value}\n" for key, value in stanza.items()))
    if not found:
        raise BedError(
            "this machine has no Debian 12 or 13 package sources: set BED_DEBIAN_SOURCES to a deb822 file "
            "that has"
        )
    return "\n".join(found)


def _stanzas(path: Path) -> Iterator[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".list":
        for line in text.splitlines():
            words = re.sub(r"\[.*?\]", "", line).split()
            if len(words) > 3 and words[0] == "deb":
                yield {
                    "Types": "deb",
                    "URIs": words[1],
                    "Suites": words[2],
                    "Components": " ".join(words[3:]),
                }
        return
    for block in text.split("\n\n"):
        pairs = [line.split(":", 1) for line in block.splitlines() if ":" in line and line[0] not in "# \t"]
        fields = {key.strip(): value.strip() for key, value in pairs}
        if (
            fields.get("Types", "").split()
            and fields.get("Enabled", "yes") != "no"
            and "deb" in fields["Types"].split()
        ):
            yield {"Types": "deb", **{key: fields.get(key, "") for key in ("URIs", "Suites", "Components")}}


def apt_settings() -> str:
    """The machine's settings for reaching package indexes (proxy, date checks), to be used in the hosts
    too."""
    lines = run(["apt-config", "dump"]).splitlines()
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return "\n".join(line for line in lines if line.startswith(wanted) and '""' not in line) + "\n"


def pip_settings() -> dict[str, str]:
    """pip's settings on this machine, from its files and from PIP_* in the environment, which wins."""
    settings: dict[str, str] = {}
    for path in (Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"):
        parser = configparser.RawConfigParser()
        parser.read(path)
        settings |= {
            key: " ".join(value.split())
            for section in parser.sections()
            for key, value in parser.items(section)
        }
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name not in ("PIP_CONFIG_FILE", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"):
            settings[name[4:].lower().replace("_", "-")] = value
    return settings


def pip_folders() -> list[Path]:
    """Local folders that pip's settings name. An index keeps its files beside `simple`, so its parent
    counts."""
    words = [word.removeprefix("file://") for value in pip_settings().values() for word in value.split()]
    paths = [Path(word) for word in words if word.startswith("/")]
    folders = {path.parent if path.name == "simple" else path for path in paths if path.is_dir()}
    return sorted(folders - {Path("/"), Path("/opt")})
