# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole hosts that were brought from outside in November 2026: what was said of them was wrong once."""

from __future__ import annotations

from typing import Any

import pytest
from plans import found, release

from ansible_collections.amdgpu.fleet.plugins.module_utils import _driver, _os, _security
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

MODEL = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "vocab_size": 128000,
    "max_position_embeddings": 8192,
}
SERVE = {"serve_instances": [{"name": "chat", "model": "a/b", "weights_gib": 8, "model_config": MODEL}]}
DEBIANS = ["var/lib/dpkg", "etc/initramfs-tools", "etc/default/grub", "boot/grub"]


def kernel(name: str, line: str = "root=/dev/vda1 ro quiet") -> dict[str, Any]:
    return {"kernel": {"release": name, "command_line": line}}


def put(root: Any, path: str, text: str = "") -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


# --- no systemd, no services

OTHERS = {
    "alpine": (
        {**release("alpine", VERSION_ID="3.22.2"), "sbin/openrc": "", "proc/1/comm": "init\n"},
        "init",
    ),
    "void": ({**release("void"), "proc/1/comm": "runit\n"}, "runit"),
    "devuan": ({**release("devuan", ID_LIKE="debian"), "proc/1/comm": "init\n", "etc/inittab": ""}, "init"),
    "artix": ({**release("artix", ID_LIKE="arch"), "proc/1/comm": "dinit\n"}, "dinit"),
    "gentoo": ({**release("gentoo"), "sbin/openrc": ""}, "openrc"),
    "a container": ({"run/.containerenv": "", "proc/1/comm": "sleep\n"}, "sleep"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_host_without_systemd_is_told_before_a_unit_is_written(host, name):
    files, init = OTHERS[name]
    finding = found(host("rx9070xt", files, wants=SERVE))["host.init"]
    assert (finding["severity"], finding["seen"]) == ("fail", init)
    assert "host.init" not in found(host("rx9070xt", files)), "nothing is served, so nothing is missing"


@pytest.mark.parametrize(
    "files",
    [{}, {"run/systemd/system/x": "", "proc/1/comm": "init\n"}, {"proc/1/comm": "systemd\n"}],
    ids=["not known", "systemd by another name", "by its name"],
)
def test_systemd_is_seen_by_its_folder_or_its_name(host, files):
    assert "host.init" not in found(host("rx9070xt", files, wants=SERVE))


def test_of_a_host_of_kubernetes_the_cluster_starts_the_servers(host):
    wants = {**SERVE, "serve_kind": "kubernetes"}
    assert "host.init" not in found(host("rx9070xt", {"proc/1/comm": "init\n"}, wants=wants))


# --- systems of clusters, whose root forgets what is written

CLUSTERS = {
    "Talos": (
        release("talos", VERSION_ID="v1.12.0"),
        "talos.platform=metal console=tty0 slab_nomerge pti=on",
        "extraKernelArgs:\n    - pci=realloc=off",
    ),
    "Bottlerocket": (
        release("bottlerocket", VARIANT_ID="metal-k8s-1.34", VERSION_ID="1.50.0"),
        "BOOT_IMAGE=(hd0,gpt3)/vmlinuz root=/dev/dm-0 systemd.log_target=journal",
        '[settings.boot.kernel-parameters]\n"pci" = ["realloc=off"]',
    ),
    "Kairos": (
        {**release("ubuntu", VERSION_ID="24.04"), "etc/kairos-release": "KAIROS_ID=kairos\n"},
        "BOOT_IMAGE=(loop0)/boot/vmlinuz root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img",
        "pci=realloc=off iommu=pt",
    ),
    "Elemental": (
        release("sl-micro-rancher", ID_LIKE="suse", VERSION_ID="6.1"),
        "BOOT_IMAGE=(loop0)/boot/vmlinuz root=LABEL=COS_STATE cos-img/filename=/cOS/active.img rd.cos.oemlabel=X",
        "pci=realloc=off iommu=pt",
    ),
}


@pytest.mark.parametrize("system", CLUSTERS)
def test_a_system_of_clusters_is_refused_by_name(host, system):
    files, line, words = CLUSTERS[system]
    plan = host("mi300x-8", files, **kernel("6.12.40", line))
    finding = found(plan)["host.declarative"]
    assert words in finding["remedy"], finding["remedy"]
    assert plan["kernel"]["present"] == [] and plan["kernel"]["sysctl"] == {}
    assert not plan["driver"]["install"] and not plan["rocm"]["install"]
    named = "Kairos" if system == "Elemental" else system
    assert named in finding["seen"]


# --- systems that are declared: units and rules are not ours to write either


@pytest.mark.parametrize("system", ["nixos", "guix"])
def test_units_of_a_declared_system_are_its_owners(host, system):
    line = "root=fstab initrd=x pci=realloc=off iommu=pt init=/nix/store/x/init"
    files = release(system, VERSION_ID="25.11")
    plan = host("mi300x-8", files, DEBIANS, SERVE, numa_balancing=False, **kernel("6.12.57", line))
    finding = found(plan)["host.declarative"]
    assert finding["severity"] == "fail" and "vllm-chat.service" in finding["remedy"]
    assert not plan["devices"]["enabled"]
    assert "The role" not in found(plan)["devices.permissions"]["remedy"]


def test_units_of_an_image_are_ours(host):
    files = {**release("flatcar", ID_LIKE="coreos", VERSION_ID="4459")}
    line = "BOOT_IMAGE=/flatcar/vmlinuz-a root=LABEL=ROOT pci=realloc=off iommu=pt"
    plan = host("mi300x-8", files, DEBIANS, SERVE, numa_balancing=False, **kernel("6.12.50-flatcar", line))
    assert "vllm-chat" not in found(plan).get("host.declarative", {"remedy": ""})["remedy"]
    assert plan["devices"]["enabled"]


def test_whatever_is_handed_over_is_written_out(host):
    """TrueNAS: packages alone are wanted, and its own language has no word for them."""
    files = {**release("debian", VERSION_ID="12", VERSION_CODENAME="bookworm"), "usr/bin/midclt": ""}
    plan = host("rx9070xt", files, **kernel("6.12.33-production+truenas"))
    remedy = found(plan)["host.declarative"]["remedy"]
    assert "amdrocm-amdsmi" in remedy and not remedy.rstrip().endswith("system:")


def test_an_option_of_an_image_is_a_kernel_argument(host):
    """Its initramfs was built before a file of modprobe.d could come."""
    files = {**release("steamos", ID_LIKE="arch"), "usr/bin/pacman": ""}
    plan = host("strix-halo-128", files, DEBIANS, **kernel("7.0.12-valve1-1-neptune-70"))
    assert "ttm.pages_limit=29360128" in found(plan)["host.declarative"]["remedy"]
    assert "options ttm" not in found(plan)["host.declarative"]["remedy"]


@pytest.mark.parametrize("identity", ["bazzite", "steamos"])
def test_a_newer_kernel_of_an_image_comes_with_an_image(host, identity):
    files = {**release(identity, ID_LIKE="fedora"), "run/ostree-booted": "", "usr/bin/rpm-ostree": ""}
    plan = host("strix-halo-128", files, DEBIANS, **kernel("6.17.7-ba21.fc43.x86_64"))
    assert found(plan)["kernel.minimum"]["remedy"].startswith("Boot an image with kernel 6.18.4 or later")


# --- a driver that is a part of the kernel

BUILTIN = "kernel/drivers/gpu/drm/ttm/ttm.ko\nkernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko\n"


def test_options_of_a_driver_in_the_kernel_are_arguments(host):
    """modprobe.d is for modules that are loaded."""
    name = "6.18.9-gentoo-dist"
    files = {f"lib/modules/{name}/modules.builtin": BUILTIN}
    plan = host("strix-halo-128", files, **kernel(name))["kernel"]
    assert plan["present"] == ["ttm.pages_limit=29360128"] and plan["module_options"] == {}
    assert "ttm.pages_limit" not in plan["absent"]
    plan = host(
        "strix-halo-128", {f"lib/modules/{name}/modules.builtin": "kernel/fs/ext4/ext4.ko\n"}, **kernel(name)
    )
    assert plan["kernel"]["module_options"] == {"ttm": {"pages_limit": "29360128"}}


def test_an_argument_of_a_driver_in_the_kernel_stays_where_the_loader_is_not_ours(host):
    name = "6.18.9-gentoo-dist"
    files = {f"lib/modules/{name}/modules.builtin": BUILTIN}
    line = "root=/dev/vda1 ro quiet ttm.pages_limit=25165824"
    plan = host("strix-halo-128", files, ["etc/default/grub", "boot/grub"], **kernel(name, line))
    assert plan["kernel"]["module_options"] == {} and plan["kernel"]["absent"] == []
    assert "ttm.pages_limit=29360128" in found(plan)["host.boot_loader"]["remedy"]


# --- what keeps the driver from loading

NOT_LOADED = {
    "install": ({"etc/modprobe.d/x.conf": "install  amdgpu\t/bin/false\n"}, "", "/etc/modprobe.d/x.conf"),
    "install true": (
        {"run/modprobe.d/y.conf": "install amdgpu /usr/bin/true\n"},
        "",
        "/run/modprobe.d/y.conf",
    ),
    "initcall": ({}, "initcall_blacklist=foo_init,amdgpu_init", "initcall_blacklist=foo_init,amdgpu_init"),
}


@pytest.mark.parametrize("case", NOT_LOADED)
def test_no_reboot_is_asked_for_that_would_not_load_the_driver(host, case):
    files, argument, seen = NOT_LOADED[case]
    line = f"root=/dev/vda1 ro quiet {argument}"
    plan = host("rx9070xt", files, driver={"source": "none"}, **kernel("7.2.12+deb13-amd64", line))
    finding = found(plan)["driver.not_loaded"]
    assert seen in finding["seen"] and not plan["driver"]["waits"]


@pytest.mark.parametrize(
    "line",
    [
        "install amdgpu /sbin/modprobe ttm; /sbin/modprobe --ignore-install amdgpu $CMDLINE_OPTS",
        "install amdgpu_other /bin/false",
        "# install amdgpu /bin/false",
        "options amdgpu install=1",
    ],
)
def test_an_install_line_that_loads_it_keeps_nothing(tmp_path, line):
    put(tmp_path, "etc/modprobe.d/x.conf", line + "\n")
    assert (
        _driver.blacklisted_by(Tree(str(tmp_path)), ["rd.driver.blacklist=amdgpu", "initcall_blacklist=x"])
        == []
    )


def test_a_kernel_without_kfd_is_named(host):
    plan = host("rx9070xt", None, ["sys/class/kfd", "dev/kfd"], SERVE)
    finding = found(plan)["gpu.no_kfd"]
    assert finding["severity"] == "fail" and "HSA_AMD" in finding["remedy"]
    assert found(host("rx9070xt", None, ["sys/class/kfd", "dev/kfd"]))["gpu.no_kfd"]["severity"] == "warn"


@pytest.mark.parametrize("name", ["rx9070xt", "mi300x-8-nodriver", "no-gpu"])
def test_where_kfd_is_there_or_no_driver_it_is_not_missed(host, name):
    assert "gpu.no_kfd" not in found(host(name, wants=SERVE))


# --- signatures of modules are asked for without Secure Boot too

ENFORCED = {
    "lockdown": ({"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}, ""),
    "parameter": ({"sys/module/module/parameters/sig_enforce": "Y\n"}, ""),
    "argument": ({}, "module.sig_enforce=1"),
}


@pytest.mark.parametrize("case", ENFORCED)
def test_a_kernel_that_asks_for_signatures_is_treated_as_under_secure_boot(host, case):
    files, argument = ENFORCED[case]
    line = f"root=/dev/vda1 ro quiet {argument}"
    finding = found(host("mi300x-8-nodriver", files, **kernel("6.1.0-40-amd64", line)))["driver.secure_boot"]
    assert finding["severity"] == "fail" and "Secure Boot on" not in finding["seen"]


@pytest.mark.parametrize(
    ("files", "line", "enforced"),
    [
        ({"sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, [], False),
        ({"sys/module/module/parameters/sig_enforce": "N\n"}, [], False),
        ({"sys/module/module/parameters/sig_enforce": "N\n"}, ["module.sig_enforce"], True),
        ({}, [], None),
        ({}, ["module.sig_enforce=0"], None),
    ],
)
def test_whether_the_kernel_asks_for_signatures(tmp_path, files, line, enforced):
    for path, text in files.items():
        put(tmp_path, path, text)
    assert _security.signatures_enforced(Tree(str(tmp_path)), line) is enforced


# --- machines that AMD builds nothing for


@pytest.mark.parametrize("machine", ["aarch64", "riscv64", "i686"])
def test_amd_builds_for_one_machine(make_plan, ids, machine):
    def change(_gpus: dict, rocm: dict) -> None:
        rocm["os"]["machine"] = machine

    plan = make_plan("mi300x-8-nodriver", change)
    assert "host.machine" in ids(plan)
    assert (
        plan["driver"]["install"] == [] and plan["rocm"]["install"] == [] and plan["driver"]["headers"] == []
    )
    plan = make_plan("mi300x-8-nodriver", change, driver_policy="inbox", rocm_state="absent")
    assert "host.machine" not in ids(plan)


def test_a_system_of_32_bits_below_a_kernel_of_64_is_one_of_32(monkeypatch):
    monkeypatch.setattr(_os.sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(_os.os, "uname", type("U", (), {"machine": "x86_64"}))
    assert _os.machine() == "i686"


# --- several GPUs, one driver

PAIRS = [
    (["rx7900xtx", "strix-halo"], "6.17.0-1020-oem", "auto", True),
    (["rx7900xtx", "strix-halo"], "6.17.0-1020-oem", "inbox", False),
    (["rx7900xtx", "strix-halo"], "7.0.0-12-generic", "auto", False),
    (["rx7900xtx", "r9700"], "6.8.0-45-generic", "auto", False),
    # Graphics of the processor that ROCm does not support are nobody's business.
    (["rx7900xtx", "raphael-igpu"], "6.8.0-45-generic", "auto", False),
]


@pytest.mark.parametrize(("products", "release_", "policy", "named"), PAIRS)
def test_a_driver_for_one_gpu_is_not_put_below_another_in_silence(host, products, release_, policy, named):
    gpus = [{"product": product} for product in products]
    wants = {"driver_policy": policy}
    seen = found(host("rx9070xt", os="ubuntu2404", gpus=gpus, wants=wants, **kernel(release_)))
    assert ("driver.mixed" in seen) is named
    assert not named or "gfx1151" in seen["driver.mixed"]["seen"]


# --- no GPU for this host: why, and what helps

NONE = {
    "guests": ({"gpus": [{"product": "rx7900xtx", "driver": "vfio-pci", "count": 2}]}, "guests"),
    "too old": ({"gpus": [{"product": "raphael-igpu"}]}, "Put a GPU"),
    "nothing": ({"gpus": []}, "lspci"),
}


@pytest.mark.parametrize("case", NONE)
def test_a_slot_is_checked_where_none_is_seen_alone(host, case):
    description, words = NONE[case]
    remedy = found(host("rx9070xt", **description))["gpu.none"]["remedy"]
    assert words in remedy and ("lspci" in remedy) is (case == "nothing")


def test_the_hosts_of_the_test_bed_are_none_of_these(host):
    news = {"host.init", "host.machine", "gpu.no_kfd", "host.next_boot"}
    for name in ("mi300x-8", "mi250-4", "strix-halo-128", "rx9070xt", "mi300x-8-el9", "no-gpu"):
        assert not news & set(found(host(name))), name
