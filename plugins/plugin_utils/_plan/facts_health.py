# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fact ``amd_health``, as gpu_health returns it, and host_facts where it is asked for. Its RETURN
documentation is made of this file (tools/render_facts.py)."""

from __future__ import annotations

import typing as t


class PartitionDevice(t.TypedDict):
    kfd_node: int  # Number of its KFD node.
    render_node: str | None  # Its node in /dev/dri.


class Counters(t.TypedDict):
    correctable: int | None  # Errors that were corrected.
    uncorrectable: int | None  # Errors by which data was lost.
    deferred: int | None  # Bad data that was found, and nobody has used yet.


class Ras(t.TypedDict):
    blocks: dict[str, Counters]  # Errors of each block (umc is the memory) since the driver was loaded.
    fatal_events: int | None  # Fatal events; GPUs that are linked count them together.


class BadPages(t.TypedDict):
    retired: int  # Pages that are not used any more.
    pending: int  # Pages that will be retired when they are free.
    failed: int  # Pages that could not be retired.
    threshold: int | None  # How many the driver accepts, where it says so.


class PcieHop(t.TypedDict):
    device: str  # PCI address of the lower end.
    partner: str | None  # PCI address of the upper end.
    width: int | None  # Lanes that are in use.
    max_width: int | None  # Lanes that both ends have.
    speed: float | None  # GT/s that it runs at; idle links run slower to save power.
    max_speed: float | None  # GT/s that both ends can do.


class PcieErrors(t.TypedDict):
    correctable: int | None  # Errors that the link repaired.
    nonfatal: int | None  # Transactions that were lost.
    fatal: int | None  # Errors after which the link had to be reset.


class Xgmi(t.TypedDict):
    hive_id: str | None  # The hive that it is in.
    nodes: int | None  # GPUs in the hive.
    error: int | None  # 0 none, 1 one, 2 several since the last read.
    width: int | None  # Lanes of a link.
    speed: int | None  # Gbit/s of a lane.
    links_up: int | None  # Links that work.
    links_down: int | None  # Links that do not.


class Temperature(t.TypedDict):
    name: str  # What is measured (edge, junction, mem).
    celsius: int | None  # Degrees.
    critical: int | None  # Where the GPU begins to protect itself.
    emergency: int | None  # Where it switches itself off.


class Power(t.TypedDict):
    watts: int | None  # What it draws.
    cap: int | None  # What it may draw.
    cap_default: int | None  # What the board allows by itself.
    cap_max: int | None  # The most that can be set.


class Clocks(t.TypedDict):
    gfx: int | None  # MHz.
    memory: int | None  # MHz.


class Residencies(t.TypedDict):
    accumulation: int | None  # Samples that were taken; tables of APUs do not tell.
    prochot: int | None  # Samples in which the board asked for less.
    ppt: int | None  # Samples at the limit of power.
    socket_thm: int | None  # Samples in which the GPU was too hot.
    vr_thm: int | None  # Samples in which its voltage regulators were too hot.
    hbm_thm: int | None  # Samples in which its memory was too hot.
    spl: int | None  # Of an APU, at the limit of sustained power.
    fppt: int | None  # Of an APU, at the fast limit of power.
    sppt: int | None  # Of an APU, at the slow limit of power.
    thm_core: int | None  # Of an APU, with processor cores that were too hot.
    thm_gfx: int | None  # Of an APU, with graphics that were too hot.
    thm_soc: int | None  # Of an APU, with the rest of the chip too hot.


class Metrics(t.TypedDict):
    version: str  # Version of the table gpu_metrics.
    throttled_by: list[str] | None  # What holds the clocks down now - power, current, temperature.
    residencies: Residencies  # How often something held them down since the driver was loaded.
    pcie_width: int | None  # Lanes.
    pcie_speed: float | None  # GT/s.
    pcie_replay: int | None  # Packets that were sent again.
    pcie_rollover: int | None  # Packets that were sent again four times.
    pcie_nak_sent: int | None  # Packets that the GPU refused.
    pcie_nak_received: int | None  # Packets of it that were refused.
    pcie_l0_to_recovery: int | None  # How often the link had to be trained again.
    pcie_other_end_recovery: int | None  # How often the other end asked for it.


class Records(t.TypedDict):
    uncorrected: int  # Error records (CPER) of that severity.
    fatal: int  # Error records (CPER) of that severity.
    corrected: int  # Error records (CPER) of that severity.
    latest: str | None  # When the latest was made.
    afid: int | None  # AMD's field id of the latest. AMD's library alone decodes it; unread names how.


class GpuHealth(t.TypedDict):
    index: int  # Place of the GPU in the facts of gpu_facts.
    pci_address: str | None  # PCI address.
    asleep: bool  # Whether it sleeps to save power; it is not woken.
    busy_percent: int | None  # How busy it is.
    partitions: list[PartitionDevice]  # Its devices; errors and sensors are those of the whole GPU.
    ras: Ras | None  # Errors that the GPU counted.
    bad_pages: BadPages | None  # Pages of its memory that are worn out.
    links: list[PcieHop]  # PCIe from the GPU up to the slot of its board.
    pcie_errors: PcieErrors  # What PCIe reports (AER) of these.
    replay_count: int | None  # Packets that were sent again; newer GPUs always show 0 or nothing.
    xgmi: Xgmi | None  # Links to other GPUs.
    temperatures: list[Temperature]  # Each of its sensors.
    power: Power  # Power.
    clocks: Clocks  # Clocks.
    metrics: Metrics | None  # What the table gpu_metrics tells.
    records: Records | None  # Error records of the driver; root may read them.
    serial_number: str | None  # Of the board.
    vbios: str | None  # Version of the VBIOS.
    firmware: dict[str, str]  # Version of each part, hexadecimal.
    unread: dict[str, str]  # Why each value that is null could not be read.


class LogEntry(t.TypedDict):
    kind: str  # What it tells of (uncorrectable, bad_pages, reset, heat).
    gpu: str | None  # PCI address, where the line names a GPU.
    count: int  # How many lines there are.
    line: str  # The latest.


class AmdHealth(t.TypedDict):
    boot_id: str | None  # The boot; counters begin anew with it.
    uptime_seconds: int | None  # How long the host is up.
    gpus: list[GpuHealth]  # Each GPU.
    log: list[LogEntry] | None  # What the kernel log says about hardware.
