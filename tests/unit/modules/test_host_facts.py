# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import socket

import pytest


def test_instinct_with_dkms(emulated, host_facts):
    facts = host_facts(emulated("mi300x-8"))
    found, rocm = facts["amd_host"], facts["amd_rocm"]
    assert found["os"]["id"] == "debian" and found["os"]["package_manager"] == "apt"
    assert rocm["driver"]["source"] == "dkms"
    assert rocm["driver"]["release"] == "31.50.0"
    assert rocm["driver"]["built_for_running_kernel"] and not rocm["driver"]["reload_needed"]
    assert [build["state"] for build in rocm["driver"]["dkms"]] == ["installed"]
    assert rocm["driver"]["next_module"] == "dkms" and found["kernel"]["without_modules"] == []
    assert found["kernel"]["release"] == found["kernel"]["default_release"] == "6.1.0-40-amd64"
    assert found["kernel"]["flavour"] == "amd64"
    assert found["boot"]["loader"] == "grub"
    assert found["iommu"]["mode"] == "pt"
    assert found["numa_nodes"] == {"0": "0-63", "1": "64-127"}
    # The driver allocates the render nodes of all partitions in advance.
    assert found["devices"]["kfd"]["present"] and found["devices"]["render"][0]["count"] == 64
    assert found["problems"] == rocm["problems"] == []
    assert len(json.dumps([found, rocm])) < 4096


def test_a_replaced_module_wants_a_reload(emulated, amd_rocm):
    root = emulated("mi300x-8")
    module = next((root / "lib/modules/6.1.0-40-amd64/updates/dkms").glob("amdgpu.ko"))
    old = (root / "sys/module/amdgpu/srcversion").read_text().strip()
    module.write_bytes(module.read_bytes().replace(old.encode(), b"0" * len(old)))
    assert amd_rocm(root)["driver"]["reload_needed"]


def test_strix_halo_broken(emulated, host_facts):
    facts = host_facts(emulated("strix-halo-broken"))
    found, rocm = facts["amd_host"], facts["amd_rocm"]
    assert rocm["firmware"] == {
        "package": "firmware-amd-graphics",
        "version": "20251125-1",
        "newer_than_boot": None,
        "mes": "0x83",
        "vbios": rocm["firmware"]["vbios"],
    }
    assert rocm["driver"]["source"] == "inbox" and rocm["driver"]["release"] is None
    assert "amdgpu.cwsr_enable=0" in found["kernel"]["command_line"]


@pytest.mark.parametrize(
    ("name", "installed", "newer"), [("", 1999, False), ("", 2001, True), (":amd64", 2001, True)]
)
def test_firmware_that_came_after_the_boot(emulated, amd_rocm, name, installed, newer):
    """The machine began at 1000, and its first process a thousand seconds later, as in a container."""
    root = emulated("strix-halo-128")
    (root / "proc/stat").write_text("cpu  1 2 3\nbtime 1000\nprocesses 5\n")
    (root / "proc/1").mkdir()
    (root / "proc/1/stat").write_text(
        "1 (system) d) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 100000 1 1\n"
    )
    files = root / f"var/lib/dpkg/info/firmware-amd-graphics{name}.list"
    files.parent.mkdir()
    files.write_text("/.\n")
    os.utime(files, (installed, installed))
    assert amd_rocm(root)["firmware"]["newer_than_boot"] is newer
    (root / "proc/1/stat").write_text("1 (garbage")
    assert amd_rocm(root)["firmware"]["newer_than_boot"] is None


def test_blacklists(emulated, amd_rocm):
    root = emulated("mi300x-8")
    (root / "etc/modprobe.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/modprobe.d/vfio.conf").write_text("# blacklist nothing\nblacklist  amdgpu\n")
    (root / "proc/cmdline").write_text("ro modprobe.blacklist=ast,amdgpu amd.modprobe.blacklist=amdgpu\n")
    assert amd_rocm(root)["driver"]["blacklisted_by"] == [
        "/etc/modprobe.d/vfio.conf",
        "modprobe.blacklist=ast,amdgpu",
    ]


@pytest.mark.parametrize(
    ("files", "links", "version", "layouts"),
    [
        ({"opt/rocm-7.2.4/.info/version": "7.2.4-81\n"}, {"opt/rocm": "rocm-7.2.4"}, "7.2.4", ["legacy"]),
        ({"opt/rocm/core-10.0/.info/version": "10.0.0\n"}, {}, "10.0.0", ["therock"]),
        ({"opt/rocm/core-7.14/.info/version": "7.14.1\n", "opt/rocm/core-10.1/.info/version": "10.1.0\n"},
         {"opt/rocm/core": "core-10.1"}, "10.1.0", ["therock", "therock"]),
        ({"opt/rocm-6.4.0/.info/version": "6.4.0\n"}, {"opt/rocm": "rocm-7.0.0"}, None, ["legacy"]),
        ({"opt/rocm-6.4.0/.info/version": "Runtime Version: 1.16\n"}, {"opt/rocm": "rocm-6.4.0"}, "6.4.0", ["legacy"]),
        ({}, {}, None, []),
    ],
)  # fmt: skip
def test_installations(tmp_path, amd_rocm, files, links, version, layouts):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    found = amd_rocm(tmp_path)
    assert found["version"] == version
    assert [entry["layout"] for entry in found["installations"]] == layouts


def test_wheels_in_a_virtual_environment(tmp_path, host_facts):
    site = tmp_path / "opt/vllm/x/lib/python3.12/site-packages"
    for name in (
        "rocm_sdk_core-10.0.0.dist-info",
        "vllm-0.33.0+rocm100.dist-info",
        "torch-2.13.0+rocm10.0.0.dist-info",
    ):
        (site / name).mkdir(parents=True)
    facts = host_facts(tmp_path, search_paths=["/opt/vllm/x"])
    found, rocm = facts["amd_host"], facts["amd_rocm"]
    versions = {"python": "3.12", "vllm": "0.33.0+rocm100", "torch": "2.13.0+rocm10.0.0"}
    assert found["environments"]["/opt/vllm/x"] == {**versions, "checked": False}
    assert [(entry["layout"], entry["version"]) for entry in rocm["installations"]] == [("wheel", "10.0.0")]


def test_virtual_environments_that_this_collection_made(tmp_path, amd_host):
    for name in (
        "0.32.0-rocm723",
        "0.33.0-rocm100-0badcafe",
        "0.33.0-cpu",
        "uv-0.13.8",
        "mine",
        "0.33.0-rocm100-mine",
    ):
        (tmp_path / "opt/vllm" / name).mkdir(parents=True)
        (tmp_path / "opt/vllm" / name / "pyvenv.cfg").touch()
    (tmp_path / "opt/vllm/0.31.0-cpu").mkdir()
    (tmp_path / "opt/vllm/current").symlink_to("0.33.0-cpu")
    (tmp_path / "opt/vllm/0.33.0-cpu/checked-by-amdgpu-fleet").touch()
    found = amd_host(tmp_path, search_paths=["/opt/vllm/0.33.0-cpu"])
    assert found["venvs"] == {
        "current": "0.33.0-cpu",
        "previous": None,
        "found": ["0.32.0-rocm723", "0.33.0-cpu", "0.33.0-rocm100-0badcafe"],
        "uv": ["uv-0.13.8"],
    }
    assert found["environments"]["/opt/vllm/0.33.0-cpu"]["checked"]


def test_a_port_in_use_is_named_with_its_process(run_module):
    with contextlib.ExitStack() as stack:
        # More than the kernel gives in one piece.
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _each in range(64)]
        ports = [server.getsockname()[1] for server in servers]
        found = run_module("host_facts", ports=[*ports, 1])["ansible_facts"]["amd_host"]["ports"]
    assert all(found[str(port)]["listening"] and found[str(port)]["process"] for port in ports)
    assert not found["1"]["listening"]


def test_model_paths(tmp_path, amd_host):
    (tmp_path / "srv/model").mkdir(parents=True)
    (tmp_path / "srv/model/config.json").write_text(
        '{"model_type": "llama", "quantization_config": {"quant_method": "awq"}}'
    )
    (tmp_path / "srv/empty").mkdir()
    found = amd_host(tmp_path, paths=["/srv/model", "/srv/empty", "/srv/none"])["paths"]
    assert [found[path]["model"] for path in ("/srv/model", "/srv/empty", "/srv/none")] == [
        True,
        False,
        False,
    ]
    assert (found["/srv/model"]["model_type"], found["/srv/model"]["quantization"]) == ("llama", "awq")
    assert found["/srv/empty"]["exists"] and not found["/srv/none"]["exists"]


def test_images_of_podmans_stores(tmp_path, amd_host):
    store = tmp_path / "srv/images/overlay-images"
    store.mkdir(parents=True)
    (store / "images.json").write_text(
        json.dumps([{"id": "1", "names": ["localhost/a:1"]}, {"id": "2", "names": None}])
    )
    (tmp_path / "etc/containers").mkdir(parents=True)
    (tmp_path / "etc/containers/storage.conf").write_text(
        '[storage.options]\nadditionalimagestores = [\n "/srv/images",\n]\n'
    )
    assert amd_host(tmp_path, images=["localhost/a:1", "localhost/b:1"])["podman"]["images"] == [
        "localhost/a:1"
    ]


@pytest.mark.parametrize(
    "name", ["var/lib/dpkg/status", "proc/meminfo", "etc/os-release", "etc/group", "proc/cmdline"]
)
@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\xff\xfe\xfd\n", b"Package: \nVersion:\n\n:::\n'"])
def test_damaged_files_never_end_in_a_traceback(emulated, amd_host, name, content):
    root = emulated("strix-halo-128")
    (root / name).write_bytes(content)
    assert amd_host(root)["kernel"]["release"] == "7.2.12+deb13-amd64"


def test_interfaces_and_rdma_devices(emulated, amd_host):
    root = emulated("mi300x-8-roce")
    found = amd_host(root, network=True)
    assert amd_host(root)["network"] is None, "not looked at unless something needs it"
    interfaces = {entry["name"]: entry for entry in found["network"]["interfaces"]}
    assert interfaces["eno1"] == {"name": "eno1", "up": True, "networks": ["192.0.2.0/24"]}
    assert interfaces["ens2"]["networks"] == ["198.51.100.16/28"] and not interfaces["ens3"]["up"]
    ports = {entry["name"]: entry for entry in found["network"]["rdma"]}
    assert ports["mlx5_0"] == {
        "name": "mlx5_0",
        "port": 1,
        "up": True,
        "link": "Ethernet",
        "interface": "ens1",
        "roce_v2": [3, 1],
    }
    assert not ports["mlx5_2"]["up"] and found["problems"] == []
    assert len(json.dumps(found["network"])) < 2048


def test_damaged_tables_of_the_network(emulated, amd_host):
    root = emulated("mi300x-8-roce")
    (root / "proc/net/route").write_text("Iface\neno1\tzz\n\0\n", encoding="utf-8")
    (root / "sys/class/infiniband/mlx5_0/ports/1/gids/3").write_bytes(b"\xff\xfe")
    found = amd_host(root, network=True)
    assert found["network"]["rdma"][1]["roce_v2"] == [1] and len(found["problems"]) >= 2
