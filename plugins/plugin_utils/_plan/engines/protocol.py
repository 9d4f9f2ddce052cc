# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine is to the rest of the plan.

An engine says which builds it can be had as, what it must ask of the host, how a server is launched, whether
it fits, and what it refuses. Units, ports, devices, memory nodes, keys, probes, gateway, upgrade and removal
are common to all engines and know none of them.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..assignment import Devices
from ..catalog import Catalog
from ..facts import Gpu
from ..host import Host
from ..repository import Repository
from ..wants import Server, Wants


@dataclasses.dataclass(frozen=True)
class Questions:
    """What an engine must know of a host before the plan can be made; options of the facts modules."""

    paths: list[str] = dataclasses.field(default_factory=list)
    images: list[str] = dataclasses.field(default_factory=list)
    search_paths: list[str] = dataclasses.field(default_factory=list)
    programs: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Image:
    """A container image: what an archive or a registry calls it, and what units start."""

    source: str
    name: str
    # What a registry is asked for: by digest it cannot give another image than the one that is meant.
    pull: str
    digest: str
    archive: str
    # What it takes on the disk, 0 where that is not known.
    gib: float
    present: bool
    # The variables that decide it, for a sentence.
    variables: str
    # Whether its registry answers without TLS.
    clear: bool = False


@dataclasses.dataclass(frozen=True)
class Links:
    """Which environment serves and which one served before, and what is left of others."""

    # Where the environments and the links lie.
    folder: str = ""
    current: str | None = None
    previous: str | None = None
    remove: list[str] = dataclasses.field(default_factory=list)
    change: bool = False


@dataclasses.dataclass(frozen=True)
class Venv:
    """A virtual environment, and how it is made."""

    path: str
    gib: float
    present: bool
    python: str
    packages: list[str]
    pip_arguments: str
    uv: str
    uv_packages: list[str]
    uv_pip_arguments: str
    # A program whose output proves that it is built for this hardware, and what it must print.
    proof: str
    proof_output: str
    # The variables that decide it, for a sentence.
    variables: str


@dataclasses.dataclass(frozen=True)
class Packages:
    """Packages of the distribution that bring an engine as a program of the host."""

    # All of them, and those that are not there in their version, as the package manager takes them.
    names: list[str]
    install: list[str]
    # Where they come from, where that is not a repository that the host has.
    repository: Repository | None
    # A program that they bring, and the pattern of an answer that proves their release.
    proof: list[str]
    proof_output: str
    # The variables that decide it, for a sentence.
    variables: str

    @property
    def present(self) -> bool:
        return not self.install


@dataclasses.dataclass(frozen=True)
class CodeCheck:
    """What an image or environment must have code for, when it is installed."""

    gfx: list[str]
    # Libraries without whose code the engine does not start, as patterns of their paths.
    required: list[str]
    # Whether its GPUs retry page faults.
    xnack: bool
    # Whether what is there was looked at already.
    known: bool
    # Whether an engine without the code is refused, or the inventory accepts it.
    refuse: bool
    # Who reads the store that has the image: root, or this account.
    user: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Build:
    """One release of an engine for one accelerator (``rocm``, ``vulkan`` or ``cpu``)."""

    engine: str
    accelerator: str
    version: str
    variant: str
    # Why it is this version, and where that is known from.
    reason: str
    source: str | None
    # The name of its image that units start; empty where there is none.
    image: str

    @property
    def rocm(self) -> bool:
        """Whether it computes through ROCm, which needs the device of KFD."""
        return self.accelerator == "rocm"

    @property
    def gpu(self) -> bool:
        return self.accelerator != "cpu"


BuildT = t.TypeVar("BuildT", bound=Build)


@dataclasses.dataclass(frozen=True)
class Instance(t.Generic[BuildT]):
    """One server on one host: what every function of an engine is given."""

    host: Host
    server: Server
    build: BuildT
    # quadlet, podman or venv.
    kind: str
    # Where the model lies on the host.
    path: str
    devices: Devices
    # How many devices each GPU (by index) shows once the plan is applied, where the plan sets that.
    planned: t.Mapping[int, int]
    # The pool of an APU once the plan is applied, where the plan sets it.
    pool_bytes: int | None

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def container(self) -> bool:
        return self.kind != "venv"

    @property
    def gfx(self) -> str:
        """The architecture that it computes on; ``cpu`` without a GPU."""
        if not self.build.gpu:
            return "cpu"
        found = [gpu["gfx"] for gpu in self.devices.gpus]
        return (found[0] if found else self.host.gfx) or "cpu"

    @property
    def serving(self) -> dict[str, t.Any]:
        """What the profile of its GPU says of serving."""
        profile = self.host.catalog.profile(self.gfx) or {}
        return t.cast("dict[str, t.Any]", profile.get("serving", {}))

    def note(self, setting: str, value: t.Any, reason: str, source: t.Any = None) -> None:
        """Remember why a value of this server is what it is."""
        self.host.note("serve", f"{self.name} {setting}", value, reason, source)


@dataclasses.dataclass(frozen=True)
class Cache:
    """What a server compiles or downloads, and keeps. In a container a volume, which outlives it."""

    # Names the volume UNIT-NAME.
    name: str
    # Where it lies in the container.
    path: str


@dataclasses.dataclass(frozen=True)
class Seed:
    """A program of the role that fills a cache from the image before the first start."""

    program: str
    interpreter: str
    cache: str
    folder: str


@dataclasses.dataclass(frozen=True)
class Launch:
    """How one server is started. Units print it and decide nothing."""

    # The program and its arguments: in a container the entrypoint and what follows it.
    command: list[str]
    # The text of its configuration file, and where the server reads it.
    configuration: str
    configuration_path: str
    environment: dict[str, str]
    # Variables that name a folder below one cache: that of the service where there is no container, and
    # that of a pod, whose user may not write to the folders of ``caches``.
    cache_environment: dict[str, str]
    # Files and folders of the host that it reads.
    read_only: list[str]
    caches: list[Cache]
    seed: Seed | None
    # The variable that has the API key.
    api_key_variable: str
    # What the server says of its own version where it is the one of the plan; empty where nobody knows.
    told_version: str
    # The name that clients ask for.
    served_name: str
    # What proves that it serves: completion, embed, score, classify, pooling, transcription, or health alone.
    probe: str
    health_path: str
    metrics_path: str
    # Where it says how many requests run; several where it has several models, none where it does not say.
    drain_paths: list[str]
    # Seconds until it is killed.
    stop_timeout: int
    # Seconds that requests have to be answered before it is told to stop, where it would break them off.
    drain_timeout: int
    # Exit codes after which starting again would not help.
    no_restart: list[int]
    shm_size: str
    # Devices besides those of its GPUs, and capabilities besides those of every container.
    devices: list[str]
    capabilities: list[str]
    # Whether it needs the network of the host.
    host_network: bool
    memory: dict[str, t.Any]
    # For people and reports: the settings of the configuration by name.
    options: dict[str, t.Any]
    # The hosts that serve the model together, in order; None where this host serves it alone.
    nodes: Together | None


@dataclasses.dataclass(frozen=True)
class Together:
    """The hosts of one server, in the order of their group. The first one answers requests."""

    group: str
    hosts: list[str]
    addresses: list[str]
    rank: int
    last: bool
    # Ports of the first host that the others report at.
    ports: list[int]
    # The one of the unit that ends them together.
    lifeline: int

    @property
    def worker(self) -> bool:
        return self.rank > 0


@dataclasses.dataclass(frozen=True)
class Own:
    """What an inventory brings along, so that nothing of it comes from outside."""

    image: bool
    # Where it is no container.
    packages: bool


class Engine(t.Protocol):
    """A further engine is a folder with one of these, its files of the catalog, and a line in ``ENGINES``."""

    # As inventories name it, and as people do.
    name: str
    title: str
    documentation: str
    # Units are called PREFIX-NAME, and the files of a server lie in the configuration folder.
    unit_prefix: str
    configuration: str
    # The format of the models that it loads: safetensors or gguf.
    format: str

    def gpus(self, host: Host) -> list[Gpu]:
        """The GPUs of a host that it can compute on."""

    def has_code(self, host: Host) -> bool:
        """Whether it has code for what this host computes on."""

    def libraries(self, catalog: Catalog) -> list[str]:
        """Libraries without whose code for a GPU it does not start, as patterns of their paths."""

    def images_for(self, catalog: Catalog, gfx: str) -> list[str]:
        """Images that are known to have code for an architecture, the best first."""

    def own(self, wants: Wants) -> Own:
        """What the inventory brings along."""

    def questions(self, wants: Wants, catalog: Catalog, servers: t.Sequence[Server]) -> Questions:
        """What to ask of the host."""

    def build(self, host: Host, accelerator: str) -> Build | None:
        """The build that the wants lead to; ``None``, with a finding, where the catalog has none."""

    def share(self, wants: Wants, server: Server) -> float | None:
        """The share of the memory of its devices that it asks for; ``None`` where it takes what is there."""

    def check_host(self, host: Host, build: t.Any, kind: str) -> None:
        """Hold a build to the host."""

    def runs_bare(self, host: Host, build: t.Any) -> bool:
        """Whether it runs on this host without a container."""

    def image(self, host: Host, build: t.Any) -> Image:
        """The image of a build."""

    def venv(self, host: Host, build: t.Any) -> Venv | None:
        """The virtual environment of a build; ``None`` where it is a program of the host."""

    def packages(self, host: Host, build: t.Any) -> Packages | None:
        """The packages of the distribution that bring it, where it is had as those."""

    def left_behind(self, host: Host) -> list[str]:
        """Packages of its servers, which stay when these go: others may use them."""

    def links(self, host: Host, build: t.Any) -> Links:
        """What the links beside the environments say once this build serves."""

    def ports(self, wants: Wants, server: Server) -> list[int]:
        """Ports that a server listens on besides the one for requests."""

    def together(self, host: Host, server: Server) -> Together | None:
        """The hosts that serve it together, where there are several."""

    def launch(self, instance: Instance[t.Any], together: Together | None) -> Launch:
        """How it is started; findings where it cannot work."""

    def check_variable(self, host: Host, build: t.Any, name: str) -> None:
        """Whether its release reads a variable that is set beside those of ``launch``."""

    def loads_unindexed(self, wants: Wants, server: Server) -> bool:
        """Whether it loads weights in a way that names and index say nothing about."""
