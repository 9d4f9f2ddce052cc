# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a host, put together from PCI (there before any driver is) and KFD (the authority once it
is)."""

from __future__ import annotations

import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _kfd
from ansible_collections.amdgpu.fleet.plugins.module_utils._apu import Shown, is_apu, usable_bytes
from ansible_collections.amdgpu.fleet.plugins.module_utils._gfx import family_of, supported_by_rocm
from ansible_collections.amdgpu.fleet.plugins.module_utils._gpu_table import OTHER_BOARDS, PRODUCTS, REVISIONS
from ansible_collections.amdgpu.fleet.plugins.module_utils._owners import Owners, address_of, slot_of
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree, memory_bytes

PCI_DEVICES = "sys/bus/pci/devices"
DRM = "sys/class/drm"
AMD = "0x1002"
# Display controllers (03xx) and processing accelerators (1200): what an id that nobody has heard of yet must
# be.
GPU_CLASSES = ("0x03", "0x12")
UNKNOWN_CLASS = "0x000000"
# More boards of one id than this are not listed by name.
MAX_CHOICE = 5


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


def product_of(pci_id: str | None, revision: str | None) -> Product:
    """What the catalog knows of a PCI id. Boards that share an id are told apart by the revision; where it is
    not known, the name is a choice."""
    known = PRODUCTS.get(pci_id or "")
    if known is None:
        return Product(None, None, False)
    name = REVISIONS.get((pci_id or "", revision or ""))
    if name is None:
        boards = {board for (owner, _revision), board in REVISIONS.items() if owner == pci_id}
        name = choice(known.product, boards.union(OTHER_BOARDS.get(pci_id or "", ())))
    return Product(name, known.gfx, known.virtual_function)


def choice(product: str, boards: t.Collection[str]) -> str:
    """``AMD Radeon RX 9070, 9070 GRE or 9070 XT``: what a GPU may be."""
    if len(boards) < 2:
        return product
    if len(boards) > MAX_CHOICE:
        return f"{product} or another board of its kind"
    # A beginning that all names share is written once, and so are brackets at the end.
    tails = {board.partition(" (")[2] for board in boards}
    tail = f" ({tails.pop()}" if len(tails) == 1 and all(tails) else ""
    names = [board.removesuffix(tail).split() if tail else board.split() for board in sorted(boards)]
    common = 0
    while all(len(name) > common + 1 for name in names) and len({name[common] for name in names}) == 1:
        common += 1
    rest = [" ".join(name[common:]) for name in names]
    return f"{' '.join([*names[0][:common], ', '.join(rest[:-1])])} or {rest[-1]}{tail}"


def _class_of(tree: Tree, folder: str) -> str | None:
    """The PCI class of a device, ``None`` where it cannot be read."""
    kind = tree.text(folder, "class") or ""
    return kind if kind.startswith("0x") else None


def _pci_device(tree: Tree, folder: str, address: str | None) -> PciDevice | None:
    uevent = tree.pairs(folder, "uevent")
    address = address or uevent.get("PCI_SLOT_NAME")
    vendor = tree.word(folder, "vendor") or ""
    device = tree.word(folder, "device") or ""
    pci_id = f"{vendor[2:]}:{device[2:]}" if vendor and device else uevent.get("PCI_ID", "").lower()
    if not address or not pci_id.startswith(AMD[2:] + ":"):
        return None
    driver = tree.link_name(folder, "driver") or uevent.get("DRIVER")
    kind = _class_of(tree, folder) or f"0x{uevent.get('PCI_CLASS', ''):0>6}"
    # 1002:73c4 is a Navi 32 in one table and the USB controller of a Navi 22 in another: the class tells.
    if not kind.startswith(GPU_CLASSES) and (pci_id not in PRODUCTS or kind != UNKNOWN_CLASS):
        return None
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


def _total(values: t.Iterable[int | None]) -> int | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) if numbers else None


def _link_speed(text: str | None) -> str | None:
    return text.replace(" PCIe", "") if text and text[0].isdigit() else None


def _gpu(
    tree: Tree, device: PciDevice | None, nodes: list[_kfd.Node], memory: int | None, full: bool
) -> dict[str, t.Any]:
    """One entry of the list ``gpus``."""
    first = nodes[0] if nodes else None
    pci_id = device.pci_id if device else first.pci_id if first else None
    product = product_of(pci_id, device.revision if device else None)
    gfx = first.gfx if first and first.gfx else product.gfx
    if device and device.driver == "radeon":
        gfx = None  # the driver from before amdgpu has no compute; nothing can be built for the chip
    files = _Files(tree, device.folder if device else "")
    shown = Shown(
        gfx=gfx,
        pci_id=pci_id,
        nodes=nodes,
        modes=files.words("available_compute_partition"),
        pool=_total(_kfd.memory_bytes(tree, node) for node in nodes),
        vram=files.number("mem_info_vram_total"),
        gtt=files.number("mem_info_gtt_total"),
    )
    apu = is_apu(tree, shown)
    numa_node = files.number("numa_node")
    gpu: dict[str, t.Any] = {
        "gfx": gfx,
        "product": product.name or files.text("product_name"),
        "family": family_of(gfx),
        "pci_id": pci_id,
        "pci_address": device.address if device else address_of(nodes),
        "unique_id": (device.unique_id if device else None) or (first.unique_id if first else None),
        "apu": apu,
        "virtual_function": product.virtual_function,
        "driver": device.driver if device else "amdgpu",
        "supported": supported_by_rocm(gfx),
        "vram_bytes": shown.vram if shown.vram is not None else None if apu else shown.pool,
        "gtt_bytes": shown.gtt,
        "usable_bytes": usable_bytes(apu, shown, memory),
        "compute_units": _total(node.compute_units for node in nodes),
        "xcc_count": _total(node.properties.get("num_xcc") for node in nodes),
        "numa_node": numa_node if numa_node is None or numa_node >= 0 else None,
        "compute_partition": files.text("current_compute_partition"),
        "memory_partition": files.text("current_memory_partition"),
        "available_compute_partitions": shown.modes,
        "partitions": len(nodes),
        "kfd_nodes": [node.number for node in nodes],
        "render_nodes": [node.render_node for node in nodes if node.render_node] or files.render_nodes(),
    }
    return {**gpu, **_details(tree, device, nodes, files)} if full else gpu


class _Files:
    """The files of a PCI device; nothing can be read where there is no device."""

    def __init__(self, tree: Tree, folder: str) -> None:
        self.tree, self.folder = tree, folder

    def text(self, name: str) -> str | None:
        return self.tree.word(self.folder, name) if self.folder else None

    def number(self, name: str) -> int | None:
        return self.tree.number(self.folder, name, base=10) if self.folder else None

    def words(self, name: str) -> list[str]:
        return (self.text(name) or "").replace(",", " ").split()

    def render_nodes(self) -> list[str]:
        names = self.tree.names(self.folder, "drm") if self.folder else []
        return [name for name in names if name.startswith("renderD")]


def _details(tree: Tree, device: PciDevice | None, nodes: list[_kfd.Node], files: _Files) -> dict[str, t.Any]:
    """What ``detail: full`` adds."""
    first = nodes[0].properties if nodes else {}
    return {
        "available_memory_partitions": files.words("available_memory_partition"),
        "revision": device.revision if device else None,
        "vbios": files.text("vbios_version"),
        "link_speed": _link_speed(files.text("current_link_speed")),
        "link_width": files.number("current_link_width"),
        "links": {str(node.number): _kfd.links(tree, node) for node in nodes},
        "firmware": {"mec": first.get("fw_version"), "sdma": first.get("sdma_fw_version")},
    }


def _may_be(tree: Tree, node: _kfd.Node, gpus: list[dict[str, t.Any]]) -> bool:
    """Whether a node that no device on the bus was found for is a GPU of its own."""
    bus = tree.names(PCI_DEVICES)
    if not bus:
        return not any(gpu["driver"] == "amdgpu" and not gpu["partitions"] for gpu in gpus)
    if node.pci_address is None:
        return False
    slot = slot_of(node.pci_address)
    for function in bus:
        if slot_of(function) == slot or (
            "domain" not in node.properties and slot_of(function).endswith(slot.partition(":")[2])
        ):
            folder = f"{PCI_DEVICES}/{function}"
            kind = _class_of(tree, folder) or GPU_CLASSES[0]
            if tree.text(folder, "vendor") in (None, AMD) and kind.startswith(GPU_CLASSES):
                return True  # its files are damaged
    return False


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
    nodes, denied = _kfd.gpu_nodes(tree)
    owners = Owners(pci_gpus(tree), nodes)
    memory = memory_bytes(tree)

    gpus = []
    for device in owners.devices.values():
        own = owners.nodes[device.address]
        gpu = _gpu(tree, device, own, memory, full)
        gpus.append(gpu)
        # KFD tells what a chip is that the catalog lacks.
        if not gpu["gfx"] and device.driver != "radeon":
            tree.problem(
                tree.host_path(tree.path(device.folder)), f"PCI id {device.pci_id} is not in the catalog"
            )
        if nodes and not own and gpu["driver"] == "amdgpu" and gpu["supported"] and not denied:
            tree.problem(
                tree.host_path(tree.path(device.folder)), "amdgpu drives this GPU but KFD does not show it"
            )
    for group in owners.homeless:
        if _may_be(tree, group[0], gpus):
            gpus.append(_gpu(tree, None, group, memory, full))
        else:
            # A damaged address. The GPU that it belongs to is counted already.
            tree.problem(
                f"/{_kfd.NODES}/{group[0].number}/properties", "names a device that is not on the PCI bus"
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
