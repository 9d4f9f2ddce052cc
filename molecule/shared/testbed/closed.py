# SPDX-License-Identifier: GPL-3.0-or-later
"""A closed network: a mirror with all that its hosts need, and hosts that have no way out."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from pathlib import Path

import yaml

from . import repository, servers
from .descriptions import REPOSITORY
from .engine import MODELS, in_container, pip
from .images import image
from .machine import CA_BUNDLE, CACHE, LABEL, apt_settings, digest, empty, podman, step

ADDRESS = "10.77.0.3"
NAME = f"{LABEL}-mirror"
FOLDER = CACHE / "mirror"
REGISTRY_PORT = 5000
SERVER = Path(__file__).with_name("mirror.py")
REGISTRY = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
    "http": {"addr": f":{REGISTRY_PORT}"},
    "log": {"level": "warn"},
}


def prepare() -> None:
    """The registry's program, the Hub's client with all it needs, and a Hub with the tiny model."""
    releases = REPOSITORY / "roles/plan/files/catalog/engines/vllm/releases.yml"
    client = yaml.safe_load(releases.read_text(encoding="utf-8"))["hub_client"]["package"]
    stamp, key = FOLDER / "built-from", digest(client, MODELS / "built-from", inspect.getsource(prepare))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    with step("filling the mirror"):
        empty(FOLDER)
        (FOLDER / "wheels").mkdir()
        # Each Python has wheels of its own.
        for release in ("debian12", "debian13"):
            pip(f"download --dest /srv/wheels {client} pip", FOLDER / "wheels", release)
        settings = CACHE / "apt.conf"
        settings.write_text(apt_settings(), encoding="utf-8")
        # Taken apart instead of installed: its package starts a server on the machine.
        in_container(
            image("debian12"),
            [
                f"{settings}:/etc/apt/apt.conf.d/99machine:ro",
                f"{CA_BUNDLE}:{CA_BUNDLE}:ro",
                f"{FOLDER}:/srv/mirror",
            ],
            "cd /tmp && apt-get -qq update && apt-get -qq download docker-registry"
            " && dpkg-deb --extract docker-registry_*.deb /tmp/registry && cp "
            "/tmp/registry/usr/bin/docker-registry /srv/mirror/",
            "--network=host",
        )
        (FOLDER / "registry.yml").write_text(json.dumps(REGISTRY), encoding="utf-8")
        for name in ("open", "private", "weak", "broken"):
            shutil.copytree(MODELS / "tiny-llama", FOLDER / "hub/tiny" / name)
        (FOLDER / "hub/tiny/private.token").write_text("hf_of_the_test_bed\n", encoding="utf-8")
        # The client goes on behind the last 10 MB that it has, and gives up after six times without any.
        (FOLDER / "hub/tiny/weak/padding.txt").write_bytes(bytes(24_000_000))
        (FOLDER / "hub/tiny/weak.cut").write_text("12000000 1\n", encoding="utf-8")
        (FOLDER / "hub/tiny/broken.cut").write_text("100000 6\n", encoding="utf-8")
        stamp.write_text(key, encoding="utf-8")


def shelve(name: str, files: list[Path], cut: str = "") -> None:
    """Put a model of the machine into the Hub, by links: it costs nothing, and is done whenever it is not there.
    ``cut``: as over a bad line, see mirror.py."""
    folder = FOLDER / "hub" / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        there = folder / path.name
        if not there.exists() or not there.samefile(path):
            there.unlink(missing_ok=True)
            os.link(path, there)
    if cut:
        folder.with_name(f"{folder.name}.cut").write_text(f"{cut}\n", encoding="utf-8")


def serve(reference: str, network: str, limits: tuple[str, ...]) -> None:
    """Packages, index and Hub at port 80, the registry at port 5000."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    public = [
        f"{repository.FOLDER}:/srv/mirror/{host}:ro" for host in ("repo.radeon.com", "stable.repo.amd.com")
    ]
    script = "/srv/mirror/docker-registry serve /srv/mirror/registry.yml & exec python3 -u /mirror.py 80 /srv/mirror"
    words = (
        f"--label={LABEL}=mirror", "--privileged", *limits, "--init", "--restart=always",
        f"--network={network}", f"--ip={ADDRESS}", f"--volume={FOLDER}:/srv/mirror", f"--volume={SERVER}:/mirror.py:ro",
        *(f"--volume={volume}" for volume in public), reference, "sh", "-c", script,
    )  # fmt: skip
    # Without an engine there is no registry.
    ports = (80, REGISTRY_PORT) if (FOLDER / "registry.yml").exists() else (80,)
    servers.ensure(servers.Server(NAME, ADDRESS, ports, words))


def close(container: str) -> None:
    """Take the way out, and the package sources that lie behind it or that the machine lends, from a host."""
    podman("exec", container, "ip", "route", "del", "default")
    podman("exec", container, "rm", "--force", "/etc/apt/sources.list.d/debian.sources", "/etc/pip.conf")
    podman("exec", container, "sed", "--in-place", "/^PIP_/d", "/etc/environment")
