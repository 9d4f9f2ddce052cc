# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a host, put together from PCI (there before any driver is) and KFD (the authority once it
is)."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kfd
from ansible_collections.amdgpu.fleet.plugins.module_utils._gfx import family_of, supported_by_rocm
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpu_table import PRODUCTS, REVISIONS
from ansible_collections.amdgpu.fleet.plugins.module_utils._sysfs import Tree, memory_bytes

PCI_DEVICES = "sys/bus/pci/devices"
DRM = "sys/class/drm"
AMD = "0x1002"
# Display controllers (03xx) and processing accelerators (1200): what an id that nobody has heard of yet must
# be.
GPU_CLASSES = ("0x03", "0x12")


class PciDevice(t.NamedTuple):
    """One PCI function that is an AMD GPU. ``folder`` is below the root."""

    address: str
    pci_id: str
    revision: str | None
    driver: str | None
    folder: str
    unique_id: str | None


class Product(t.NamedTuple):
    name: str | None
    gfx: str | None
    virtual_function: bool
    apu: bool


def product_of(pci_id: str | None, revision: str | None) -> Product:
    """What the catalog knows of a PCI id. Boards that share an id are told apart by the revision."""
    known = PRODUCTS.get(pci_id or "")
    if known is None:
        return Product(None, None, False, False)
    name, gfx, virtual_function, apu = known
    return Product(REVISIONS.get((pci_id or "", revision or ""), name), gfx, virtual_function, apu)


def _pci_device(tree: Tree, folder: str, address: str | None) -> PciDevice | None:
    uevent = tree.pairs(folder, "uevent")
    address = address or uevent.get("PCI_SLOT_NAME")
    vendor = tree.word(folder, "vendor") or ""
    device = tree.word(folder, "device") or ""
    pci_id = f"{vendor[2:]}:{device[2:]}" if vendor and device else uevent.get("PCI_ID", "").lower()
    if not address or not pci_id.startswith(AMD[2:] + ":"):
        return None
    driver = tree.link_name(folder, "driver") or uevent.get("DRIVER")
    if pci_id not in PRODUCTS:
        kind = tree.text(folder, "class") or f"0x{uevent.get('PCI_CLASS', ''):0>6}"
        if not kind.startswith(GPU_CLASSES):
            return None
        if driver != "radeon":  # chips from before amdgpu: nothing to be known about them
            tree.problem(tree.host_path(tree.path(folder)), f"PCI id {pci_id} is not in the catalog")
    revision = (tree.word(folder, "revision") or "")[2:] or None
    unique_id = tree.word(folder, "unique_id")
    return PciDevice(
        address=address,
        pci_id=pci_id,
        revision=revision,
        driver=driver,
        folder=folder,
        unique_id=unique_id if unique_id and unique_id.strip("0") else None,
    )


def pci_gpus(tree: Tree) -> list[PciDevice]:
    """Every AMD GPU on the PCI bus, in PCI order, with or without a driver.

    A virtual function whose physical function is on the same host is a part of that GPU (the host hands it to
    a guest).
    """
    found: dict[str, PciDevice] = {}
    for address in tree.names(PCI_DEVICES):
        folder = f"{PCI_DEVICES}/{address}"
        if tree.text(folder, "vendor") == AMD and not tree.link_name(folder, "physfn"):
            device = _pci_device(tree, folder, address)
            if device:
                found[device.address] = device
    # A container may be given /sys/class/drm alone.
    for name in tree.names(DRM):
        if name.startswith("card") and name[4:].isdigit():
            folder = f"{DRM}/{name}/device"
            if tree.pairs(folder, "uevent").get("PCI_SLOT_NAME", "") not in found:
                device = _pci_device(tree, folder, None)
                if device:
                    found[device.address] = device
    return [found[address] for address in sorted(found)]


def _slot(address: str | None) -> str | None:
    """Domain, bus and device: what all functions of one GPU share."""
    return address.rpartition(".")[0] if address else None


def _group(nodes: list[_kfd.Node]) -> list[list[_kfd.Node]]:
    """KFD nodes by physical GPU: the same unique id, or the same domain, bus and device where there is
    none."""
    groups: dict[str, list[_kfd.Node]] = {}
    for node in nodes:
        key = node.unique_id or _slot(node.pci_address) or f"node {node.number}"
        if not node.unique_id and any(other.pci_address == node.pci_address for other in groups.get(key, [])):
            key = f"node {node.number}"  # the same function twice: two PCI domains on a kernel that does not tell them
        groups.setdefault(key, []).append(node)
    return list(groups.values())


class _Devices:
    """PCI devices that no KFD node has claimed yet."""

    def __init__(self, devices: t.Iterable[PciDevice]) -> None:
        self.left = {device.address: device for device in devices}

    def claim(self, node: _kfd.Node) -> PciDevice | None:
        """The device behind a node: by address, else by unique id, else by slot (partitions are functions of
        it)."""
        device = (
            self.left.get(node.pci_address or "")
            or self._only(lambda device: bool(node.unique_id) and device.unique_id == node.unique_id)
            or self._only(lambda device: _slot(device.address) == _slot(node.pci_address))
        )
        if device is None and "domain" not in node.properties:
            # Kernels before 5.6 do not tell the PCI domain.
            device = self._only(
                lambda device: device.address.partition(":")[2] == (node.pci_address or "").partition(":")[2]
            )
        return self.left.pop(device.address) if device else None

    def _only(self, fits: t.Callable[[PciDevice], bool]) -> PciDevice | None:
        found = [device for device in self.left.values() if fits(device)]
        return found[0] if len(found) == 1 else None


def _total(values: t.Iterable[int | None]) -> int | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) if numbers else None


def _pool_of_apu(pool: int | None, gtt: int | None, carved: int | None, memory: int | None) -> int | None:
    """What KFD offers: the carve-out, which MemTotal leaves out, or a limit of the system memory, which may be
    set larger than the memory that is there."""
    offered = pool or gtt
    if pool and carved and abs(pool - carved) < carved // 50:
        return pool
    return min(offered, memory) if offered and memory else offered


def _link_speed(text: str | None) -> str | None:
    return text.replace(" PCIe", "") if text and text[0].isdigit() else None


def _gpu(
    tree: Tree, device: PciDevice | None, nodes: list[_kfd.Node], memory: int | None, full: bool
) -> dict[str, t.Any]:
    first = nodes[0] if nodes else None
    pci_id = device.pci_id if device else first.pci_id if first else None
    product = product_of(pci_id, device.revision if device else None)
    gfx = first.gfx if first and first.gfx else product.gfx
    folder = device.folder if device else ""

    def text(name: str) -> str | None:
        return tree.word(folder, name) if folder else None

    def number(name: str) -> int | None:
        return tree.number(folder, name, base=10) if folder else None

    pool = _total(_kfd.memory_bytes(tree, node) for node in nodes)
    vram = number("mem_info_vram_total")
    gtt = number("mem_info_gtt_total")
    numa_node = number("numa_node")
    name = product.name or text("product_name")
    gpu: dict[str, t.Any] = {
        "gfx": gfx,
        "product": name,
        "family": family_of(gfx),
        "pci_id": pci_id,
        "pci_address": device.address if device else first.pci_address if first else None,
        "unique_id": (device.unique_id if device else None) or (first.unique_id if first else None),
        "apu": product.apu,
        "virtual_function": product.virtual_function,
        "driver": device.driver if device else "amdgpu",
        "supported": supported_by_rocm(gfx),
        "vram_bytes": vram if vram is not None else None if product.apu else pool,
        "gtt_bytes": gtt,
        "usable_bytes": _pool_of_apu(pool, gtt, vram, memory) if product.apu else (pool or vram),
        "compute_units": _total(node.compute_units for node in nodes),
        "xcc_count": _total(node.properties.get("num_xcc") for node in nodes),
        "numa_node": numa_node if numa_node is None or numa_node >= 0 else None,
        "link_speed": _link_speed(text("current_link_speed")),
        "link_width": number("current_link_width"),
        "compute_partition": text("current_compute_partition"),
        "memory_partition": text("current_memory_partition"),
        "available_compute_partitions": (text("available_compute_partition") or "").replace(",", " ").split(),
        "partitions": len(nodes),
        "kfd_nodes": [node.number for node in nodes],
        "render_nodes": [node.render_node for node in nodes if node.render_node]
        or _render_nodes(tree, folder),
    }
    if full:
        gpu["available_memory_partitions"] = (
            (text("available_memory_partition") or "").replace(",", " ").split()
        )
        gpu["revision"] = device.revision if device else None
        gpu["vbios"] = text("vbios_version")
        gpu["links"] = {str(node.number): _kfd.links(tree, node) for node in nodes}
        gpu["firmware"] = {
            "mec": first.properties.get("fw_version") if first else None,
            "sdma": first.properties.get("sdma_fw_version") if first else None,
        }
    return gpu


def _render_nodes(tree: Tree, folder: str) -> list[str]:
    return [name for name in tree.names(folder, "drm") if name.startswith("renderD")] if folder else []


def _missing_partitions(tree: Tree, gpus: list[dict[str, t.Any]]) -> None:
    """Equal GPUs in equal modes show equally many partitions."""
    most: dict[tuple[str, str], int] = {}
    for gpu in gpus:
        kind = (gpu["pci_id"], gpu["compute_partition"])
        most[kind] = max(most.get(kind, 0), gpu["partitions"])
    for gpu in gpus:
        expected = most[gpu["pci_id"], gpu["compute_partition"]]
        if 0 < gpu["partitions"] < expected:
            what = f"shows {gpu['partitions']} partitions where its like show {expected}"
            tree.problem(f"/{PCI_DEVICES}/{gpu['pci_address']}", what)


def detect(tree: Tree, full: bool = False) -> dict[str, t.Any]:
    """The fact ``amd_gpus`` (RETURN of the module ``gpu_facts`` gives its shape)."""
    devices = _Devices(pci_gpus(tree))
    nodes, denied = _kfd.gpu_nodes(tree)
    memory = memory_bytes(tree)

    gpus = []
    claimed = [(devices.claim(group[0]), group) for group in _group(nodes)]
    for owner, group in claimed:
        if owner is None and any(device.driver == "amdgpu" for device in devices.left.values()):
            # A damaged address: counting the node and the device that it belongs to would count one GPU
            # twice.
            tree.problem(
                f"/{_kfd.NODES}/{group[0].number}/properties", "names a device that is not on the PCI bus"
            )
        else:
            gpus.append(_gpu(tree, owner, group, memory, full))
    for device in devices.left.values():
        gpu = _gpu(tree, device, [], memory, full)
        gpus.append(gpu)
        if nodes and gpu["driver"] == "amdgpu" and gpu["supported"] and not denied:
            tree.problem(
                tree.host_path(tree.path(device.folder)), "amdgpu drives this GPU but KFD does not show it"
            )

    _missing_partitions(tree, gpus)
    gpus.sort(key=lambda gpu: gpu["pci_address"] or "")
    for index, gpu in enumerate(gpus):
        gpus[index] = {"index": index, **gpu}
    supported = [gpu for gpu in gpus if gpu["supported"]]
    names = sorted({gpu["gfx"] for gpu in gpus if gpu["gfx"]})
    if not tree.exists(PCI_DEVICES) and not tree.exists(DRM) and not tree.exists(_kfd.NODES):
        tree.problem(f"/{PCI_DEVICES}", "is missing, as are /sys/class/drm and the KFD topology")
    return {
        "gpus": gpus,
        "count": len(gpus),
        "partition_count": sum(gpu["partitions"] for gpu in gpus),
        "gfx": names,
        "homogeneous": len({(gpu["gfx"], gpu["product"]) for gpu in supported}) <= 1,
        "kfd": "denied" if denied and not nodes else _kfd.state(tree),
        "problems": tree.problems,
    }
