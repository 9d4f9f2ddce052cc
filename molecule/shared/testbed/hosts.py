# SPDX-License-Identifier: GPL-3.0-or-later
"""Running hosts: systemd containers on a bridge of their own, reached over ssh like any machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from . import closed, needs, readiness, repository, servers, ssh
from .descriptions import load_host
from .engine import CPU_ENVIRONMENT, MODELS, WHEELS
from .images import GUEST, RELEASES, image, ssh_key
from .machine import (
    CA_BUNDLE,
    CACHE,
    LABEL,
    BedError,
    apt_settings,
    digest,
    drop_namespace,
    pip_folders,
    pip_settings,
    podman,
    run,
    step,
)

NETWORK = LABEL
SUBNET = "10.77.0.0/24"
SERVER = "10.77.0.2"
SERVER_NAME = f"{LABEL}-repository"
GENERATOR = (
    "tree",
    "descriptions",
    "products",
    "devices",
    "topology",
    "kernel",
    "network",
    "distribution",
    "writer",
)

# The machine's hard limits may lie below Podman's defaults, and crun then refuses to start.
LIMITS = ("--pids-limit=0", "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000")
_INNER_LIMITS = (
    '[containers]\npids_limit = 0\ndefault_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]\n'
)


@dataclass(frozen=True)
class Host:
    """One entry of a bed file."""

    name: str
    host: str
    image: str
    address: str
    engine: bool = False
    podman: bool = False
    closed: bool = False

    @property
    def container(self) -> str:
        """Its container's name, which cannot be mistaken for somebody else's."""
        return f"{LABEL}-{self.name}"


def read_bed(path: Path) -> list[Host]:
    """The hosts of a bed file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("hosts"), list):
        raise BedError(f"{path}: expected `hosts:` with a list of {{name, host, image, address}}")
    return [make_host(entry, str(path)) for entry in content["hosts"]]


def make_host(entry: dict[str, Any], where: str) -> Host:
    """Check one entry."""
    try:
        host = Host(**entry)
    except TypeError as error:
        raise BedError(
            f"{where}: {entry}: {error}; it has name, host, image, address, and may have engine, podman, "
            f"closed"
        ) from error
    if host.image not in RELEASES:
        raise BedError(
            f"{where}: image {host.image!r} of {host.name} is unknown; choose one of {', '.join(RELEASES)}"
        )
    if not host.address.startswith(SUBNET.rpartition(".")[0] + "."):
        raise BedError(f"{where}: address {host.address} of {host.name} is not in {SUBNET}")
    return host


def parse_host(text: str) -> Host:
    """`NAME=DESCRIPTION:IMAGE:ADDRESS[:engine]` of the command line."""
    name, _between, rest = text.partition("=")
    words = rest.split(":")
    if not name or len(words) not in (3, 4) or words[3:] not in ([], ["engine"]):
        raise BedError(f"--host {text}: expected NAME=DESCRIPTION:IMAGE:ADDRESS[:engine]")
    engine = len(words) == 4
    return make_host(
        {
            "name": name,
            "host": words[0],
            "image": words[1],
            "address": words[2],
            "engine": engine,
            "podman": engine,
        },
        "--host",
    )


def up(hosts: list[Host]) -> None:
    """Start hosts that are not running as described, in waves, and wait until ssh would let Ansible in."""
    descriptions = {host.name: load_host(host.host) for host in hosts}
    servers.forget_dead()
    running = set(podman("ps", f"--filter=label={LABEL}=host", "--format={{.Names}}").split())
    missing = [host for host in hosts if host.container not in running]
    needs.check(needs.demand_of(missing), _store())
    repository.build()
    images = {name: image(name) for name in sorted({host.image for host in hosts} | {"debian12"})}
    _network()
    _serve(images["debian12"])
    closed.serve(images["debian12"], NETWORK, LIMITS)
    try:
        with step(f"starting {len(hosts)} hosts"):
            in_waves(hosts, lambda host: _start(host, descriptions[host.name], images[host.image], hosts))
    finally:
        ssh.write_config()
    width = max(len(host.name) for host in hosts)
    for host in hosts:
        print(f"{host.name:<{width}}  {host.address:<15}  {host.image:<9}  {host.host}")


def in_waves(hosts: list[Host], start: Callable[[Host], None]) -> None:
    """Start as many hosts at a time as the machine has processors for; say of all what went wrong."""
    at_once = max(2, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        errors = [future.exception() for future in [pool.submit(start, host) for host in hosts]]
    for error in errors:
        if error and not isinstance(error, BedError):
            raise error
    if any(errors):
        raise BedError("; ".join(str(error) for error in errors if error))


def _store() -> Path:
    """Where Podman keeps the disks of the hosts."""
    return Path(podman("info", "--format={{.Store.GraphRoot}}").strip())


def down(hosts: Iterable[Host] | None) -> None:
    """Remove hosts; with None everything the test bed ever started, found by its label."""
    # Ansible's kept connections lead to hosts that are about to go; a new host at the same address must not
    # be reached by them.
    if hosts is None:
        shutil.rmtree(ssh.CONNECTIONS, ignore_errors=True)
    else:
        hosts = list(hosts)
        for host in hosts:
            (ssh.CONNECTIONS / f"{host.address}-22").unlink(missing_ok=True)
    names = None if hosts is None else {host.container for host in hosts}
    containers = set(podman("ps", "--all", f"--filter=label={LABEL}", "--format={{.Names}}").split())
    doomed = sorted(containers if names is None else containers & names)
    if doomed:
        remove = ("rm", "--force", "--ignore", "--time=2", "--volumes", *doomed)
        try:
            podman(*remove)
        except BedError:
            # A container that ends just then cannot be killed any more; asked again, Podman removes it.
            podman(*remove)
    volumes = set(podman("volume", "ls", f"--filter=label={LABEL}", "--format={{.Name}}").split())
    for volume in sorted(volumes if names is None else volumes & names):
        podman("volume", "rm", "--force", volume)
    if names is None:
        (CACHE / "ssh_config").unlink(missing_ok=True)
        networks = podman("network", "ls", f"--filter=label={LABEL}", "--format={{.Name}}").split()
        for network in networks:
            podman("network", "rm", "--force", network)
        shutil.rmtree(CACHE / "hosts", ignore_errors=True)
        drop_namespace()


def reboot(name: str) -> None:
    """Restart a host; its files stay."""
    podman("restart", "--time=5", f"{LABEL}-{name}")
    address = podman(
        "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}.address"}}}}', f"{LABEL}-{name}"
    ).strip()
    readiness.wait(name, readiness.probe_of(f"{LABEL}-{name}", address))


def _network() -> None:
    if not podman("network", "ls", "--quiet", f"--filter=name=^{NETWORK}$").strip():
        for bridge in left_bridges(run(["ip", "-oneline", "-4", "address", "show", "to", SUBNET])):
            run(["ip", "link", "delete", bridge])
        podman(
            "network", "create", f"--subnet={SUBNET}", f"--label={LABEL}=network", "--disable-dns", NETWORK
        )


def left_bridges(addresses: str, interfaces: Path = Path("/sys/class/net")) -> list[str]:
    """Podman's bridges of a network that is no more: a run that was killed leaves one, and it holds the subnet."""
    names = [line.split()[1] for line in addresses.splitlines() if line.split()]
    return [
        name
        for name in names
        if name.startswith("podman") and not list((interfaces / name / "brif").glob("*"))
    ]


def _serve(reference: str) -> None:
    """The package repository, over HTTP at a fixed address."""
    words = (
        f"--label={LABEL}=repository", "--privileged", *LIMITS, "--init", "--restart=always",
        f"--network={NETWORK}", f"--ip={SERVER}", f"--volume={repository.FOLDER}:/srv/repository:ro",
        reference, "python3", "-m", "http.server", "80", "--directory", "/srv/repository",
    )  # fmt: skip
    servers.ensure(servers.Server(SERVER_NAME, SERVER, (80,), words))


def _start(host: Host, description: dict[str, Any], reference: str, all_hosts: list[Host]) -> None:
    key = digest(
        json.dumps([asdict(host), description]),
        reference,
        GUEST,
        *(GUEST.parent / f"{name}.py" for name in GENERATOR),
    )
    if podman(
        "inspect",
        f'--format={{{{.State.Status}}}} {{{{index .Config.Labels "{LABEL}.key"}}}}',
        host.container,
        check=False,
    ).split() == ["running", key]:
        _settle(host)
        return
    down([host])
    command = _command(host, key, reference, _seed(host, description), all_hosts)
    try:
        _run(host, command)
    except BedError:
        # On a loaded machine an address or a mount of the container before it is free a moment later.
        down([host])
        _run(host, command)
    _settle(host)


def _run(host: Host, command: list[str]) -> None:
    if host.podman or host.engine:
        podman("volume", "create", f"--label={LABEL}=volume", host.container)
    podman(*command)


def _settle(host: Host) -> None:
    """Wait for a host that was never ready; one that was may be in any state that a test has brought it to."""
    ready = CACHE / "hosts" / host.name / "ready"
    if ready.exists():
        return
    readiness.wait(host.name, readiness.probe_of(host.container, host.address))
    if host.closed:
        closed.close(host.container)
    ready.touch()


def _command(host: Host, key: str, reference: str, seed: Path, all_hosts: list[Host]) -> list[str]:
    """`podman run` for a host; the folders that it mounts are made."""
    volumes = [
        f"{seed}:/bed:ro",
        f"{GUEST.parent}:/usr/lib/bed/testbed:ro",
        *(f"{folder}:{folder}:ro" for folder in pip_folders()),
    ]
    for folder in (MODELS, WHEELS):  # mounted even when empty: a later `prepare --engine` fills them
        folder.mkdir(parents=True, exist_ok=True)
    volumes.append(f"{MODELS}:/srv/models:ro")
    if host.engine:
        volumes.append(f"{WHEELS}:/srv/wheels:ro")
    if host.podman or host.engine:
        volumes += [f"{host.container}:/var/lib/containers", f"{_store()}:/srv/images:ro"]
    return [
        "run", "--detach", f"--name={host.container}", f"--hostname={host.name}", f"--label={LABEL}=host",
        f"--label={LABEL}.key={key}", f"--label={LABEL}.address={host.address}",
        "--systemd=always", "--privileged", "--shm-size=1g", *LIMITS, "--stop-signal=SIGRTMIN+3", "--restart=always",
        f"--network={NETWORK}", f"--ip={host.address}",
        *(f"--add-host={other.name}:{other.address}" for other in all_hosts if other != host),
        *(f"--volume={volume}" for volume in volumes), reference, "/usr/lib/bed/testbed/guest/init",
    ]  # fmt: skip


def _seed(host: Host, description: dict[str, Any]) -> Path:
    """What the host's first boot copies onto its disk."""
    folder = CACHE / "hosts" / host.name
    shutil.rmtree(folder, ignore_errors=True)
    settings = pip_settings()
    suite = RELEASES[host.image]
    environment = {
        f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items() if "\n" not in value
    }
    certificates = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    environment |= {name: str(CA_BUNDLE) for name in certificates if os.environ.get(name) == str(CA_BUNDLE)}
    files = {
        "root/.ssh/authorized_keys": ssh_key(),
        # It is a container, and stands for a host (plugins/module_utils/_place.py).
        "etc/amdgpu-fleet-test-bed-host": "written by the test bed\n",
        "etc/environment": "".join(f'{key}="{value}"\n' for key, value in environment.items()),
        "etc/pip.conf": "".join(["[global]\n", *(f"{key} = {value}\n" for key, value in settings.items())]),
        "etc/apt/apt.conf.d/99machine": apt_settings(),
        "etc/apt/keyrings/bed.asc": (repository.FOLDER / repository.KEY_PATHS[0]).read_text(encoding="utf-8"),
        "etc/apt/sources.list.d/bed.sources": (
            f"Types: deb\nURIs: http://{SERVER}/debian\n"
            f"Suites: {suite}{' trixie-backports' if suite == 'trixie' else ''}\n"
            "Components: main\nSigned-By: /etc/apt/keyrings/bed.asc\n"
        ),
    }
    if host.image == "el9":
        files |= _el_repositories()
    if host.image == "sid":
        # The repository of the bed has nothing for it.
        del files["etc/apt/sources.list.d/bed.sources"]
    if CA_BUNDLE.exists():
        files[str(CA_BUNDLE).lstrip("/")] = CA_BUNDLE.read_text(encoding="utf-8")
    if host.engine:
        files["etc/systemd/system.conf.d/bed.conf"] = f"[Manager]\nDefaultEnvironment={CPU_ENVIRONMENT}\n"
        files["etc/environment"] += f"{CPU_ENVIRONMENT}\n"
    if host.podman or host.engine:
        files["etc/containers/containers.conf"] = _INNER_LIMITS
        files["etc/containers/storage.conf"] = (
            '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\n'
            'graphroot = "/var/lib/containers/storage"\n'
            '[storage.options]\nadditionalimagestores = ["/srv/images"]\n'
        )
        # The registry of the mirror has no certificate.
        registry = f"{closed.ADDRESS}:{closed.REGISTRY_PORT}"
        files["etc/containers/registries.conf.d/bed.conf"] = (
            f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
    for path, content in files.items():
        target = folder / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    (folder / "files/root/.ssh").chmod(0o700)
    (folder / "files/root/.ssh/authorized_keys").chmod(0o600)
    (folder / "description.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def _el_repositories() -> dict[str, str]:
    """BaseOS, CRB and EPEL of an EL host, as its administrator would have set them up."""
    key = "etc/pki/rpm-gpg/RPM-GPG-KEY-bed"
    sections = "".join(
        f"[{name}]\nname={name}\nbaseurl=http://{SERVER}/el/9/{name}\nenabled=1\ngpgcheck=1\ngpgkey=file:///{key}\n\n"
        for name in ("baseos", "crb", "epel")
    )
    public = (repository.FOLDER / repository.KEY_PATHS[0]).read_text(encoding="utf-8")
    return {"etc/yum.repos.d/bed.repo": sections, key: public}
