# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section ``serve`` of the plan: what is installed of each engine, and every server with its unit."""

from __future__ import annotations

import dataclasses
import typing as t

from . import engines, model, model_links, rootless
from .assignment import NO_DEVICES, Assignment, Numa, numa
from .catalog import Catalog
from .engines.protocol import Build, Engine, Instance, Launch, Links, Questions, Together
from .facts import User
from .host import Host
from .installs import Install, install, pulled
from .kernel import ForOthers
from .places import Places
from .podman import PodmanPlan, check_release, close_store, plan_podman
from .turns import Turn, take_turns
from .wants import INVENTORY, Server, Wants

UNIT_FILES = {
    "venv": "/etc/systemd/system/{}.service",
    "quadlet": "/etc/containers/systemd/{}.container",
    "podman": "/etc/systemd/system/{}.service",
    # A cluster runs it: this host has no unit.
    "kubernetes": "",
}
# Where the facts look for virtual environments.
VENVS = "/opt/vllm"
FOLDERS = [engine.configuration for engine in engines.ENGINES.values()]
PREFIXES = [engine.unit_prefix for engine in engines.ENGINES.values()]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclasses.dataclass(frozen=True)
class ServerPlan:
    """One server: its unit, and how its engine is launched."""

    name: str
    engine: str
    title: str
    documentation: str
    version: str
    variant: str
    kind: str
    unit: str
    unit_file: str
    # Files of the server; the secret one is there only where it is asked for.
    configuration_file: str
    environment_file: str
    secret_file: str
    # Variables of all servers of the engine that root alone may read.
    shared_secret_file: str
    model: str
    served_name: str
    host: str
    port: int
    # The host as Podman and a URL take it.
    address: str
    # Empty where it answers nobody that this host can reach.
    url: str
    exposed: bool
    worker: bool
    nodes: Together | None
    read_only: list[str]
    environment: dict[str, str]
    options: dict[str, t.Any]
    memory: dict[str, t.Any]
    gpus: list[int]
    # Index of a GPU -> how many of its devices it has.
    device_counts: dict[int, int]
    numa: Numa | None
    devices: list[str]
    groups: list[int]
    rocm: bool
    image: str
    # Whether SELinux keeps it from folders that are not labelled for containers.
    confined: bool
    init: bool
    completes: bool
    launch: Launch
    # Whom it waits for on its GPUs when it starts.
    turn: Turn = dataclasses.field(default_factory=Turn)


@dataclasses.dataclass(frozen=True)
class ServePlan:
    """What the role serve applies."""

    state: str
    purge: bool = False
    accelerator: str = ""
    installs: list[Install] = dataclasses.field(default_factory=list)
    podman: PodmanPlan | None = None
    # Who runs the containers, where it is not root.
    user: User | None = None
    instances: list[ServerPlan] = dataclasses.field(default_factory=list)
    # Servers that a cluster runs on this host: no unit is written for them.
    handed_over: list[ServerPlan] = dataclasses.field(default_factory=list)
    # Unit files of servers that are not wanted any more: they hold GPUs and ports. Where none is wanted at
    # all, nothing is taken away.
    stale: list[str] = dataclasses.field(default_factory=list)
    # Environments that are left over, by the folder of their engine.
    links: Links = dataclasses.field(default_factory=Links)
    start_timeout: int = 0
    check_interval: int = 0
    secret_variables: list[str] = dataclasses.field(default_factory=list)
    # Where they lie: a file for each engine.
    shared_secret_files: list[str] = dataclasses.field(default_factory=list)
    # Packages that stay when the servers go, where there are some to go.
    left_behind: list[str] = dataclasses.field(default_factory=list)
    # The folders of all engines, and what their units, volumes and caches are called.
    folders: list[str] = dataclasses.field(default_factory=list)
    prefixes: list[str] = dataclasses.field(default_factory=list)

    @property
    def container(self) -> bool:
        return any(install.container for install in self.installs)


def questions(wants: Wants, catalog: Catalog) -> dict[str, t.Any]:
    """What the facts must look up on the host before the plan can be made: options of their modules."""
    servers = wants.serve_instances
    pairs = [(engine, server) for server in servers for engine in engines.possible(server)]
    asked = [
        engine.questions(wants, catalog, [server for other, server in pairs if other is engine])
        for engine in dict.fromkeys(engine for engine, _server in pairs)
    ]
    ports = {server.port for server in servers}
    ports.update(port for engine, server in pairs for port in engine.ports(wants, server))
    every = Questions(
        paths=sorted({*model.questions(wants, catalog), *(path for each in asked for path in each.paths)}),
        images=sorted({image for each in asked for image in each.images}),
        search_paths=sorted({path for each in asked for path in each.search_paths}),
        programs=sorted({program for each in asked for program in each.programs}),
    )
    return {
        **dataclasses.asdict(every),
        "search_paths": [*every.search_paths, model.client(catalog)] if servers else [],
        "ports": sorted(ports),
        "user": wants.serve_user if servers else "",
        "network": any(server.nodes for server in servers)
        or (wants.plan_acceptance and bool(wants.acceptance_peer)),
    }


def unindexed(wants: Wants) -> set[str]:
    """Models whose weights have no names and index that they could be held to."""
    servers = wants.serve_instances
    return {server.model for server in servers if engines.of(server).loads_unindexed(wants, server)}


def formats(wants: Wants) -> dict[str, str]:
    """What each served model must be fetched as."""
    return {server.model: engines.of(server).format for server in wants.serve_instances}


def units(wants: Wants) -> list[str]:
    """The units of the servers that are wanted."""
    return sorted(
        f"{engines.of(server).unit_prefix}-{server.name}.service" for server in wants.serve_instances
    )


def section(host: Host, planned: t.Mapping[int, int], kernel: ForOthers) -> ServePlan:
    """``planned``: how many devices each GPU shows once the role partition has set its mode."""
    wants = host.wants
    if wants.serve_state == "absent":
        return _absent(host)
    if not wants.serve_instances:
        return ServePlan(wants.serve_state)
    accelerator = _accelerator(host)
    usable = _builds(host, accelerator)
    if not usable:
        return ServePlan(wants.serve_state, accelerator=accelerator)
    podman = plan_podman(host, usable)
    installs = {name: install(host, podman, engines.ENGINES[name], build) for name, build in usable.items()}
    assignment, places = Assignment(host, planned), Places(host)
    instances = []
    for server in wants.serve_instances:
        engine = engines.of(server)
        together = engine.together(host, server)
        places.check(server, engine, together)
        instance = Instance(
            host=host,
            server=server,
            build=usable[server.engine],
            kind=installs[server.engine].kind,
            path=model.path_of(wants, server.model),
            devices=_devices(assignment, server, usable[server.engine], wants),
            planned=planned,
            pool_bytes=kernel.pool_bytes,
        )
        model_links.check(host.findings, model.on_host(host, instance.path), instance.path, server.name)
        launch = engine.launch(instance, together)
        instances.append(_server(instance, launch, podman, assignment))
    if wants.serve_kind == "kubernetes":
        return _handed_over(host, usable, instances, installs, accelerator)
    turns = take_turns(host, instances, assignment.held)
    instances = [dataclasses.replace(each, turn=turn) for each, turn in zip(instances, turns)]
    podman = _settled(host, podman, installs)
    first = next(iter(installs.values()))
    # Those that serve with other hosts use the network of the host, where nothing is published.
    computes = "rocm" if any(build.gpu for build in usable.values()) else accelerator
    rootless.check(host, first.kind, computes, [each.port for each in instances if not each.nodes])
    return ServePlan(
        state=wants.serve_state,
        accelerator=accelerator,
        installs=list(installs.values()),
        podman=podman,
        user=host.system["user"],
        instances=instances,
        stale=_stale(host, instances),
        links=next((install.links for install in installs.values() if install.venv), Links()),
        start_timeout=wants.serve_start_timeout,
        check_interval=wants.serve_check_interval,
        secret_variables=_secret_variables(host, usable),
        shared_secret_files=sorted({instance.shared_secret_file for instance in instances}),
        folders=FOLDERS,
        prefixes=PREFIXES,
    )


def _handed_over(
    host: Host,
    usable: t.Mapping[str, Build],
    instances: t.Sequence[ServerPlan],
    installs: t.Mapping[str, Install],
    accelerator: str,
) -> ServePlan:
    """A cluster runs them: no unit is written."""
    images = {name: pulled(host, install) for name, install in installs.items()}
    handed = [dataclasses.replace(each, image=images[each.engine]) for each in instances]
    secret = _secret_variables(host, usable)
    return ServePlan(
        host.wants.serve_state, accelerator=accelerator, handed_over=handed, secret_variables=secret
    )


def _builds(host: Host, accelerator: str) -> dict[str, Build]:
    """The build of each engine that is wanted; none where a finding says that the catalog lacks one."""
    names = dict.fromkeys(server.engine for server in host.wants.serve_instances)
    builds = {name: engines.ENGINES[name].build(host, accelerator) for name in names}
    usable = {name: build for name, build in builds.items() if build}
    if len(usable) < len(builds):
        return {}
    if any(build.rocm and not engines.ENGINES[name].gpus(host) for name, build in usable.items()):
        seen, expected = "serve_accelerator rocm", "a GPU that ROCm supports"
        remedy = "Put a GPU in that ROCm supports"
        host.findings.add("gpu.none", seen, expected, severity="fail", remedy=remedy)
    return usable


def _accelerator(host: Host) -> str:
    if host.wants.serve_accelerator != "auto":
        return host.wants.serve_accelerator
    return "rocm" if host.gpus else "cpu"


def _stale(host: Host, instances: t.Sequence[ServerPlan]) -> list[str]:
    wanted = {instance.unit_file for instance in instances}
    return [path for path in host.system["serve_units"] if path not in wanted]


def _shared(engine: Engine) -> str:
    """Not the name of a server."""
    return f"{engine.configuration}/_all.secret"


def _absent(host: Host) -> ServePlan:
    venvs = host.system["venvs"]
    remove = [*venvs["found"], *venvs["uv"]]
    remove += [
        name for name, target in (("current", venvs["current"]), ("previous", venvs["previous"])) if target
    ]
    return ServePlan(
        "absent",
        # Keys that clients have, and what took long to download and to compile.
        purge=host.wants.serve_purge,
        stale=host.system["serve_units"],
        left_behind=_left_behind(host),
        links=Links(folder=VENVS, remove=remove, change=bool(remove)),
        shared_secret_files=[_shared(engine) for engine in engines.ENGINES.values()],
        folders=FOLDERS,
        prefixes=PREFIXES,
    )


def _left_behind(host: Host) -> list[str]:
    """Of the engines whose servers are on the host."""
    units = [unit.rpartition("/")[2] for unit in host.system["serve_units"]]
    return [
        package
        for engine in engines.ENGINES.values()
        if any(unit.startswith(f"{engine.unit_prefix}-") for unit in units)
        for package in engine.left_behind(host)
    ]


def _secret_variables(host: Host, builds: t.Mapping[str, Build]) -> list[str]:
    """Their names: the values are nobody's business."""
    names = [name for name, value in host.wants.serve_secret_environment.items() if value is not None]
    for name in names:
        for engine, build in builds.items():
            engines.ENGINES[engine].check_variable(host, build, name)
        host.note("serve", "secret environment", name, "asked for", INVENTORY)
    return names


def _devices(assignment: Assignment, server: Server, build: Build, wants: Wants) -> t.Any:
    share = engines.of(server).share(wants, server)
    if build.accelerator == "cpu":
        if server.gpus:
            assignment.choose(server, share)  # for its findings
        return NO_DEVICES
    return assignment.choose(server, share, engines.of(server).gpus(assignment.host))


def _settled(host: Host, podman: PodmanPlan, installs: t.Mapping[str, Install]) -> PodmanPlan:
    """Podman as the servers use it: with units only where some are wanted, its store closed to others."""
    quadlet = podman.quadlet if any(install.kind == "quadlet" for install in installs.values()) else None
    contained = any(install.container for install in installs.values()) and host.system["user"] is None
    store = close_store(host, podman) if contained else None
    if any(install.container for install in installs.values()):
        check_release(host, podman)
    return dataclasses.replace(podman, quadlet=quadlet, open_store=store)


def _server(
    instance: Instance[t.Any], launch: Launch, podman: PodmanPlan, assignment: Assignment
) -> ServerPlan:
    host, server, build = instance.host, instance.server, instance.build
    engine = engines.of(server)
    stem = f"{engine.unit_prefix}-{server.name}"
    worker, loopback = bool(launch.nodes and launch.nodes.worker), server.host in LOOPBACK
    # A colon separates address and port in a URL and in Podman, and Podman takes numbers only.
    address = f"[{server.host}]" if ":" in server.host else server.host
    nodes = assignment.render_nodes(instance.devices)
    groups = [host.system["groups"][name] for name in ("video", "render")]
    return ServerPlan(
        name=server.name,
        engine=engine.name,
        title=engine.title,
        documentation=engine.documentation,
        version=build.version,
        variant=build.variant,
        kind=instance.kind,
        unit=f"{stem}.service",
        unit_file=UNIT_FILES[instance.kind].format(stem),
        configuration_file=f"{engine.configuration}/{server.name}.yaml",
        environment_file=f"{engine.configuration}/{server.name}.env",
        secret_file=f"{engine.configuration}/{server.name}.secret",
        shared_secret_file=_shared(engine),
        model=launch.read_only[0],
        served_name=launch.served_name,
        host=server.host,
        port=server.port,
        address="127.0.0.1" if server.host == "localhost" else address,
        # A worker is asked for at the first host, where that can be reached.
        url="" if worker and loopback else f"http://{address}:{server.port}",
        exposed=not worker and not loopback,
        worker=worker,
        nodes=launch.nodes,
        read_only=launch.read_only,
        environment=launch.environment,
        options=launch.options,
        memory=launch.memory,
        gpus=[gpu["index"] for gpu in instance.devices.gpus],
        device_counts={index: len(parts) for index, parts in instance.devices.partitions.items()},
        numa=numa(host, server, instance.devices.gpus),
        devices=[*(["/dev/kfd"] if build.rocm and nodes else []), *(f"/dev/dri/{node}" for node in nodes)],
        groups=[group for group in groups if group is not None] if build.gpu else [],
        rocm=build.rocm,
        image=build.image,
        # A model lies where containers may read nothing, and its label is not ours to change: on a share
        # there may be none.
        confined=host.system["selinux"]["mode"] != "enforcing",
        # Reaps what dies; Podman refuses to start the container where it has none.
        init=podman.init,
        completes=launch.probe == "completion",
        launch=launch,
    )
