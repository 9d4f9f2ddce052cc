# SPDX-License-Identifier: GPL-3.0-or-later
"""Host sections of the plan: kernel, firmware, driver, ROCm, devices."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import WantsError, normalize
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence


@pytest.mark.parametrize(
    "host",
    [
        "mi300x-8",
        "mi300x-8-cpx",
        "mi300x-8-nodriver",
        "mi355x-8",
        "mi250-4",
        "strix-halo-128",
        "rx9070xt",
        "mi300x-8-el9",
    ],
)
def test_a_sound_host_has_no_finding_that_stops_it(make_plan, ids, host):
    plan = make_plan(host)
    assert ids(plan) == []
    assert all(setting["reason"] for setting in plan["settings"])


def test_instinct(make_plan):
    plan = make_plan("mi300x-8-nodriver")
    assert {"pci=realloc=off", "iommu=pt"} <= set(plan["kernel"]["present"])
    assert plan["kernel"]["sysctl"]["kernel.numa_balancing"] == 0
    assert plan["driver"]["policy"] == "dkms" and plan["driver"]["release"] == "31.50.0"
    assert plan["driver"]["install"] == [
        "amdgpu-dkms=1:7.1.3.31500000-*",
        "amdgpu-dkms-firmware=1:31.50.0.0.31500000-*",
    ]
    assert plan["driver"]["repository"]["uri"] == "https://repo.radeon.com/amdgpu/31.50/ubuntu"
    assert plan["driver"]["repository"]["suite"] == "jammy"
    assert plan["rocm"]["install"] == [
        "amdrocm-amdsmi10.0=10.0.0-4",
        "amdrocm-sysdeps10.0=10.0.0-4",
        "libatomic1",
        "libquadmath0",
    ]
    assert plan["devices"]["memlock"] == "unlimited"


def test_installed_packages_of_the_right_version_are_left_alone(make_plan):
    assert make_plan("mi300x-8")["driver"]["install"] == []
    newer = make_plan("mi300x-8", driver_release="31.60.0", rocm_version="10.1.0")
    assert newer["driver"]["install"][0] == "amdgpu-dkms=1:7.1.9.31600000-*"


def test_strix_halo(make_plan):
    plan = make_plan("strix-halo-128")
    assert plan["driver"]["policy"] == "inbox" and plan["driver"]["repository"] is None
    # 90 % of 125 GiB in pages of 4 KiB.
    assert plan["kernel"]["module_options"] == {"ttm": {"pages_limit": str(112 * 262144)}}
    assert "amdgpu.gttsize" in plan["kernel"]["absent"]
    assert plan["firmware"]["install"] == []


def test_strix_halo_with_dkms_gets_the_option_under_the_other_name_and_loses_the_packages(make_plan, ids):
    def installed(_gpus, rocm):
        rocm["packages"] |= {"amdgpu-dkms": "1:7.1.3", "amdgpu-dkms-firmware": "1:31.50"}

    plan = make_plan("strix-halo-128", installed)
    assert plan["driver"]["remove"] == ["amdgpu-dkms", "amdgpu-dkms-firmware"]
    assert "driver.dkms_on_inbox" in ids(plan, "warn")


def test_strix_halo_with_everything_wrong(make_plan, ids):
    plan = make_plan("strix-halo-broken")
    assert ids(plan) == ["kernel.minimum"]
    assert set(ids(plan, "warn")) == {
        "kernel.outdated_argument", "memory.pool", "firmware.refused", "firmware.loaded", "devices.permissions", "rocm.unlisted",
    }  # fmt: skip
    assert plan["firmware"]["install"] == ["firmware-amd-graphics>=20260110"]
    text = sentence(plan["findings"][0])
    assert "6.12.57+deb13-amd64" in text and "6.18.4" in text and "backports" in text


@pytest.mark.parametrize("accept", [["kernel.minimum"], "kernel.minimum", "gpu.none, kernel.minimum"])
def test_an_accepted_finding_warns(make_plan, ids, accept):
    plan = make_plan("strix-halo-broken", plan_accept=accept)
    assert ids(plan) == [] and "kernel.minimum" in ids(plan, "warn")


def test_firmware_that_may_not_be_replaced_stops_the_host(make_plan, ids):
    assert "firmware.refused" in ids(make_plan("strix-halo-broken", firmware_policy="keep"))


@pytest.mark.parametrize(
    ("release", "version", "flavour", "stops"),
    [("6.17.0-18-generic", "24.04", "generic", True), ("6.17.0-19-generic", "24.04", "generic", False),
     ("6.14.0-1017-oem", "24.04", "oem", True), ("6.14.0-1018-oem", "24.04", "oem", False),
        ("7.0.0-12-generic", "26.04", "generic", False)],
)  # fmt: skip
def test_the_kernel_floor_follows_distribution_and_flavour(make_plan, ids, release, version, flavour, stops):
    def ubuntu(_gpus, rocm):
        rocm["os"] |= {"id": "ubuntu", "version": version}
        rocm["kernel"] |= {"release": release, "default_release": release, "flavour": flavour}

    assert ("kernel.minimum" in ids(make_plan("strix-halo-128", ubuntu))) is stops


def kernels(running: str, following: str):
    def change(_gpus, rocm):
        rocm["kernel"] |= {
            "release": running,
            "default_release": following,
            "installed": sorted({running, following}),
        }

    return change


def test_the_gate_of_driver_kernel_and_distribution(make_plan, ids):
    def kernel(_gpus, rocm):
        rocm["kernel"] |= {"release": "7.2.12+deb13-amd64", "default_release": "7.2.12+deb13-amd64"}

    plan = make_plan("mi300x-8", kernel)
    assert ids(plan) == ["driver.kernel"]
    assert plan["driver"]["repository"] is None, "no repository is touched"

    def fedora(_gpus, rocm):
        rocm["os"] |= {"id": "fedora", "version": "43", "name": "Fedora 43"}

    plan = make_plan("mi300x-8", fedora)
    assert "driver.distribution" in ids(plan)
    assert "ubuntu 24.04" in plan["findings"][0]["remedy"]


def test_secure_boot_stops_dkms_and_not_inbox(make_plan, ids):
    def secure(_gpus, rocm):
        rocm["boot"]["secure_boot"] = True

    assert "driver.secure_boot" in ids(make_plan("mi300x-8", secure))
    assert ids(make_plan("strix-halo-128", secure)) == []


def test_rocm_and_driver_must_fit(make_plan, ids):
    assert "rocm.driver" in ids(make_plan("mi300x-8", driver_release="31.60.0"))
    assert "rocm.release" in ids(make_plan("mi300x-8", rocm_version="9.0.0"))
    assert "driver.release" in ids(make_plan("mi300x-8", driver_release="latest"))


def test_legacy_rocm_is_removed_first(make_plan, ids):
    def legacy(_gpus, rocm):
        rocm["installations"] = [
            {"version": "7.2.4", "path": "/opt/rocm-7.2.4", "layout": "legacy", "current": True}
        ]

    assert "rocm.legacy" in ids(make_plan("mi300x-8", legacy))


OFF = {"container_use_devices": False, "container_use_dri_devices": True}
ON = {"container_use_devices": True, "container_use_dri_devices": True}


@pytest.mark.parametrize(
    ("mode", "booleans", "ours", "wants", "expected"),
    [
        (
            "enforcing",
            OFF,
            [],
            {"devices_cdi": True},
            (["container_use_devices"], [], ["container_use_devices"]),
        ),
        ("enforcing", ON, [], {"devices_cdi": True}, ([], [], [])),
        (
            "enforcing",
            ON,
            ["container_use_devices"],
            {"devices_cdi": True},
            ([], [], ["container_use_devices"]),
        ),
        ("enforcing", OFF, [], {}, ([], [], [])),
        ("permissive", OFF, [], {"devices_cdi": True}, ([], [], [])),
        (
            "permissive",
            ON,
            ["container_use_devices"],
            {"devices_cdi": True},
            ([], [], ["container_use_devices"]),
        ),
        (
            "disabled",
            {},
            ["container_use_devices"],
            {"devices_state": "absent"},
            ([], [], ["container_use_devices"]),
        ),
        ("disabled", {}, [], {"devices_cdi": True}, ([], [], [])),
        ("enforcing", {}, [], {"devices_cdi": True}, ([], [], [])),
        ("enforcing", OFF, [], {"devices_cdi": True, "devices_selinux": False}, ([], [], [])),
        (
            "enforcing",
            ON,
            ["container_use_devices"],
            {"devices_cdi": True, "devices_state": "absent"},
            ([], ["container_use_devices"], []),
        ),
    ],
)
def test_selinux_booleans_are_set_where_they_matter(make_plan, mode, booleans, ours, wants, expected):
    def selinux(_gpus, rocm):
        rocm["selinux"] = {"mode": mode, "booleans": booleans, "ours": ours}

    section = make_plan("mi300x-8", selinux, **wants)["devices"]["selinux"]
    assert (section["on"], section["off"], section["ours"]) == expected


def test_vllm_in_podman_is_a_container(make_plan):
    def selinux(_gpus, rocm):
        rocm["selinux"] = {"mode": "enforcing", "booleans": OFF, "ours": []}
        rocm["podman"] |= {"version": "5.4.2", "quadlet": "5.4"}

    instance = {"name": "chat", "model": "/srv/models/chat"}
    assert make_plan("mi300x-8", selinux, serve_kind="quadlet", serve_instances=[instance])["devices"][
        "selinux"
    ]["on"]
    assert make_plan("mi300x-8", selinux, serve_kind="podman", serve_instances=[instance])["devices"][
        "selinux"
    ]["on"]
    plan = make_plan("mi300x-8", selinux, serve_kind="venv", serve_instances=[instance])
    assert not plan["devices"]["selinux"]["on"]


def test_a_boolean_that_the_policy_no_longer_has_is_not_taken_back(make_plan):
    def selinux(_gpus, rocm):
        rocm["selinux"] = {"mode": "enforcing", "booleans": {}, "ours": ["container_use_devices"]}

    section = make_plan("mi300x-8", selinux, devices_state="absent")["devices"]["selinux"]
    assert section == {"on": [], "off": [], "ours": []}


def test_an_image_is_named_in_full():
    for name in ("vllm/vllm-openai-rocm:v0.33.0", "registry.example/vllm", "own:1"):
        with pytest.raises(WantsError, match="lacks its registry or its tag"):
            normalize({"vllm_image": name})
    for name in (
        "docker.io/vllm/vllm-openai-rocm:v0.33.0",
        "localhost/own:1",
        "10.0.0.3:5000/vllm@sha256:" + "a" * 64,
    ):
        normalize({"vllm_image": name})


@pytest.mark.parametrize(
    ("packages", "used_by", "wish", "remedy"),
    [
        (["rocm-core"], [], False, "Set rocm_remove_legacy to true, and the role rocm removes rocm-core"),
        ([], [], True, "No package is known to own it: remove /opt/rocm-7.2.4 by hand"),
        (["rocm-core"], ["ollama.service"], True, "Stop ollama.service first, which use it"),
        (["rocm-core"], [], True, None),
    ],
    ids=["not-asked", "tarball", "used", "removed"],
)
def test_legacy_rocm_goes_only_where_that_is_safe(make_plan, ids, packages, used_by, wish, remedy):
    def legacy(_gpus, rocm):
        rocm["installations"] = [
            {"version": "7.2.4", "path": "/opt/rocm-7.2.4", "layout": "legacy", "current": True}
        ]
        rocm["legacy"] = {"packages": packages, "used_by": used_by}
        entry = {"uri": "https://repo.radeon.com/rocm/apt/7.2.4", "signed": True, "mixed": False}
        rocm["repositories"] = [
            {**entry, "path": "/etc/apt/sources.list.d/rocm.list"},
            {**entry, "path": "/etc/apt/sources.list", "mixed": True},
            {
                **entry,
                "path": "/etc/apt/sources.list.d/amdgpu.list",
                "uri": "https://repo.radeon.com/amdgpu/31.50/ubuntu",
            },
        ]

    plan = make_plan("mi300x-8", legacy, rocm_remove_legacy=wish)
    section = plan["rocm"]
    if remedy:
        assert next(entry["remedy"] for entry in plan["findings"] if entry["id"] == "rocm.legacy") == remedy
        assert "rocm.legacy" in ids(plan) and not (
            section["remove"] or section["legacy"] or section["legacy_files"]
        )
    else:
        assert "rocm.legacy" in ids(plan, "warn") and section["remove"] == ["rocm-core"] and section["legacy"]
        assert [entry["mended_by"] for entry in plan["findings"] if entry["id"] == "rocm.legacy"] == ["rocm"]
        assert section["legacy_files"] == [{"path": "/etc/apt/sources.list.d/rocm.list", "state": "absent"}]


def test_what_the_inventory_asks_for_is_said_to_come_from_it(make_plan):
    plan = make_plan(
        "mi300x-8",
        kernel_arguments_present=["nosmt"],
        kernel_arguments_absent=["pci"],
        kernel_opt_in=["latency"],
        kernel_sysctl={"vm.swappiness": 1},
        driver_repository_uri="http://mirror.example/{directory}/ubuntu",
    )
    assert "nosmt" in plan["kernel"]["present"] and "pcie_aspm=off" in plan["kernel"]["present"]
    assert not [argument for argument in plan["kernel"]["present"] if argument.startswith("pci=")]
    assert plan["kernel"]["sysctl"]["vm.swappiness"] == 1
    assert plan["driver"]["repository"]["uri"] == "http://mirror.example/31.50/ubuntu"
    sources = {setting["value"]: setting["source"] for setting in plan["settings"]}
    assert sources["nosmt"] == sources["vm.swappiness=1"] == "the inventory"


@pytest.mark.parametrize(
    ("wants", "words"),
    [
        ({"driver_policy": "latest"}, ["driver_policy", "latest", "dkms"]),
        ({"driver_polcy": "dkms"}, ["driver_polcy", "driver_policy"]),
        ({"fleet_fail_on": "warning"}, ["fleet_fail_on", "warning", "never"]),
        ({"fleet_serail": 2}, ["fleet_serail", "fleet_serial"]),
        ({"kernel_gtt_gib": "much"}, ["kernel_gtt_gib", "much"]),
        ({"kernel_gtt_gib": -5}, ["kernel_gtt_gib", "-5"]),
        ({"serve_start_timeout": 0}, ["serve_start_timeout", "0 is not 1 to"]),
        ({"serve_start_timeout": -1}, ["serve_start_timeout", "-1"]),
        ({"serve_start_timeout": float("inf")}, ["serve_start_timeout: ", "Infinity"]),
        ({"serve_instances": [{"name": "a", "model": "/m", "port": float("inf")}]}, ["serve_instances: "]),
        ({"serve_idle_memory_percent": float("nan")}, ["serve_idle_memory_percent", "nan"]),
        ({"kernel_sysctl": {"vm.x": None}}, ["kernel_sysctl", "vm.x", "None"]),
        ({"kernel_sysctl": {"vm.x": "1\nvm.y = 2"}}, ["kernel_sysctl", "vm.x", "one line"]),
        ({"kernel_sysctl": {"vm.x\nvm.y": 1}}, ["kernel_sysctl", "name of a sysctl"]),
        (
            {"driver_repository_fingerprint": "zz"},
            ["driver_repository_fingerprint", "zz", "40 hexadecimal digits"],
        ),
        ({"driver_repository_uri": "http://a/\nb"}, ["driver_repository_uri", "without blanks"]),
        ({"rocm_repository_key_url": "http://a/ b"}, ["rocm_repository_key_url", "without blanks"]),
        ({"kernel_arguments_present": ["a=$x"]}, ["kernel_arguments_present", "a=$x", "GRUB"]),
        (
            {"serve_instances": [{"name": "a", "model": "/m", "host": "::::"}]},
            ["serve_instances[].host", "::::"],
        ),
        (
            {"serve_instances": [{"name": "a", "model": "/m", "host": "999.1.1.1"}]},
            ["serve_instances[].host", "999.1.1.1"],
        ),
        (
            {"serve_instances": [{"name": "a", "model": "/m", "served_name": "a\nb"}]},
            ["serve_instances[].served_name", "one line"],
        ),
        ({"partition_stop_services": ["x\ny"]}, ["partition_stop_services", "name of a unit"]),
        ({"plan_accept": ["kernel.minimun"]}, ["plan_accept", "kernel.minimun", "kernel.minimum"]),
        ({"__secrets": {"serve_api_key": False}}, ["serve_api_key", "not a text"]),
        ({"kernel_opt_in": ["turbo"]}, ["turbo", "latency"]),
        (
            {"kernel_arguments_present": ["iommu=pt", "iommu=off"]},
            ["kernel_arguments_present", "iommu=pt", "iommu=off", "one value"],
        ),
        (
            {"kernel_arguments_present": ["a.b-c"], "kernel_arguments_absent": ["a.b_c"]},
            ["kernel_arguments_absent", "a.b_c"],
        ),
        ({"kernel_dropin": "../60.cfg"}, ["kernel_dropin", "../60.cfg", ".cfg"]),
        ({"kernel_arguments_absent": ["a b"]}, ["kernel_arguments_absent", "2 arguments"]),
        ({"serve_instances": [{"name": "a"}]}, ["model"]),
        ({"serve_instances": [{"name": "a", "model": "/m", "prot": 1}]}, ["prot"]),
        ({"rocm_repository_uri": "http://mirror.example/{release}"}, ["{release}", "{distribution}"]),
        ({"plan_catalog": {"release": {}}}, ["plan_catalog.release", "releases"]),
        (
            {"plan_catalog": {"releases": {"drivers": "31.60.0"}}},
            ["plan_catalog.releases.drivers", "31.60.0"],
        ),
    ],
)
def test_bad_wants_are_one_finding_that_names_value_and_remedy(make_plan, ids, wants, words):
    plan = make_plan("mi300x-8", **wants)
    assert len(ids(plan)) == 1 and ids(plan)[0].startswith("inventory.")
    assert "driver" not in plan, "nothing is planned for a host whose wants are wrong"
    text = sentence(plan["findings"][0])
    assert all(word in text for word in words), text


def test_what_a_role_takes_is_not_refused():
    hosts = ("", "127.0.0.1", "0.0.0.0", "::", "fd00::1", "*", "gpu-1.example.net", "10.example")
    fingerprint = "CA8B B472 7A47 B4D0 9B4E  E896 9386 B48A 1A69 3C5C"
    normalize(
        {
            "serve_instances": [
                {"name": f"a{at}", "model": "/m", "host": host} for at, host in enumerate(hosts)
            ],
            "driver_repository_fingerprint": fingerprint,
            "partition_stop_services": ["gpuagent", r"a\x2db@1.service"],
            "kernel_sysctl": {"net.ipv4.conf.eth0/1.rp_filter": 0, "-kernel.x": "a b"},
            "__secrets": {"serve_api_key": True, "model_hf_token": True},
        }
    )


def test_variables_of_other_people_are_left_alone(make_plan, ids):
    assert (
        ids(make_plan("mi300x-8", kernel_team="hpc", model_registry="x", driver_repository_mirror_owner="y"))
        == []
    )


def test_more_memory_than_the_host_can_spare(make_plan, ids):
    plan = make_plan("strix-halo-128", kernel_gtt_gib=124)
    assert ids(plan) == ["memory.gtt_too_large"]
    assert (
        make_plan("strix-halo-128", kernel_gtt_gib=96)["kernel"]["module_options"]["ttm"]["pages_limit"]
        == "25165824"
    )


def test_the_catalog_can_be_added_to(make_plan):
    release = {"directory": "32.10", "module_version": "8.0.0.32100000", "package_version": "1:8.0.0.32100000-*",
               "firmware_version": "1:32.10.0.0.32100000-*",
               "kernels": {"minimum": "6.1", "below": "8.0"}, "source": "our lab", "date": "2026-11"}  # fmt: skip
    plan = make_plan(
        "mi300x-8",
        driver_release="32.10.0",
        plan_accept=["rocm.driver"],
        plan_catalog={"releases": {"drivers": {"releases": {"32.10.0": release}}}},
    )
    assert plan["driver"]["install"][0] == "amdgpu-dkms=1:8.0.0.32100000-*"


def test_state_absent(make_plan):
    plan = make_plan("mi300x-8", driver_state="absent", rocm_state="absent", kernel_state="absent")
    assert plan["driver"]["remove"] == ["amdgpu-dkms", "amdgpu-dkms-firmware"]
    assert plan["driver"]["repository"] is None and plan["rocm"]["repository"] is None


def test_no_gpu(make_plan, ids):
    plan = make_plan("no-gpu")
    assert plan["profile"] == "cpu" and plan["driver"]["policy"] == "none" and not plan["devices"]["enabled"]
    assert ids(plan, "warn") == ["gpu.none"]


def test_who_serves_on_processors_needs_no_gpu(make_plan, ids):
    assert not ids(make_plan("no-gpu", serve_accelerator="cpu"), "warn")
    instances = [{"name": "a", "model": "Qwen/Qwen3-8B"}]
    plan = make_plan("no-gpu", serve_accelerator="rocm", serve_instances=instances)
    assert "gpu.none" in ids(plan, "fail")


def test_container_engines_see_one_device_for_each_partition(make_plan):
    assert make_plan("mi300x-8-cpx")["devices"]["cdi"] == []
    cdi = make_plan("mi300x-8-cpx", devices_cdi=True)["devices"]["cdi"]
    assert len(cdi) == 64 and cdi[9] == {"name": "9", "nodes": ["renderD137"]}
    assert make_plan("mi300x-8-nodriver", devices_cdi=True)["devices"]["cdi"] == [], (
        "before the driver there is nothing to describe"
    )


def test_a_good_kernel_that_only_waits_for_a_reboot_does_not_stop_the_host(make_plan, ids):
    def installed(_gpus, rocm):
        rocm["kernel"]["default_release"] = "7.2.12+deb13-amd64"

    plan = make_plan("strix-halo-broken", installed)
    assert ids(plan) == [] and "kernel.minimum" in ids(plan, "warn")
    assert plan["kernel"]["reboot_into"] == "7.2.12+deb13-amd64"
    assert make_plan("strix-halo-128")["kernel"]["reboot_into"] is None


def test_good_firmware_that_is_not_loaded_yet_asks_for_a_reboot(make_plan):
    def replaced(_gpus, rocm):
        rocm["packages"]["firmware-amd-graphics"] = "20260110-1"

    assert make_plan("strix-halo-broken", replaced)["firmware"] == {"install": [], "reboot": True}
    assert make_plan("strix-halo-128")["firmware"]["reboot"] is False


@pytest.mark.parametrize(
    ("mes", "newer", "reboots"),
    [
        (None, True, True),
        ("0x7c", True, True),
        ("0x80", True, False),
        (None, False, False),
        (None, None, False),
    ],
)
def test_firmware_that_came_after_the_boot_asks_for_a_reboot(make_plan, mes, newer, reboots):
    def replaced(_gpus, rocm):
        rocm["firmware"] |= {"mes": mes, "newer_than_boot": newer}

    assert make_plan("strix-halo-128", replaced)["firmware"]["reboot"] is reboots
    assert not make_plan("strix-halo-128", replaced, firmware_policy="keep")["firmware"]["reboot"]


@pytest.mark.parametrize(
    ("identity", "manager", "package"),
    [("fedora", "dnf", "amd-gpu-firmware"), ("arch", "pacman", "linux-firmware-amdgpu")],
)
def test_refused_firmware_is_found_whatever_the_distribution(make_plan, ids, identity, manager, package):
    def change(version):
        def edit(_gpus, rocm):
            rocm["os"] |= {"id": identity, "version": "43", "name": identity, "package_manager": manager}
            rocm["packages"] = {package: version}
            rocm["firmware"] |= {"package": package, "version": version, "mes": None}

        return edit

    plan = make_plan("strix-halo-128", change("20251125-1.fc43"))
    assert ids(plan) == ["firmware.refused"] and plan["firmware"] == {"install": [], "reboot": False}
    assert f"Install {package} >= 20260110" in sentence(plan["findings"][0])
    assert ids(make_plan("strix-halo-128", change("20260110-1.fc43"))) == []


NOBLE = "20240318.git3b128b60-0ubuntu2.21"


@pytest.mark.parametrize(
    ("mes", "severity"), [("0x80", None), ("0x7c", None), (None, "warn"), ("0x83", "fail")]
)
def test_where_the_package_keeps_its_date_the_loaded_version_decides(make_plan, mes, severity):
    def noble(_gpus, rocm):
        rocm["os"] |= {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04.4 LTS"}
        rocm["kernel"] |= dict.fromkeys(("release", "default_release"), "6.17.0-1010-oem") | {
            "flavour": "oem"
        }
        rocm["packages"] = {"linux-firmware": NOBLE}
        rocm["firmware"] |= {"package": "linux-firmware", "version": NOBLE, "mes": mes}

    plan = make_plan("strix-halo-128", noble)
    found = [finding for finding in plan["findings"] if finding["id"] == "firmware.series"]
    assert plan["firmware"] == {"install": [], "reboot": False}, "apt has nothing newer"
    assert [finding["severity"] for finding in found] == ([severity] if severity else [])
    assert all("Ubuntu 26.04" in finding["remedy"] and NOBLE in finding["seen"] for finding in found)
    own = make_plan("strix-halo-128", noble, firmware_version="20260319.git217ca6e4-0ubuntu1")
    assert own["firmware"]["install"] == ["linux-firmware=20260319.git217ca6e4-0ubuntu1"]
    assert "firmware.series" not in {finding["id"] for finding in own["findings"]}


def test_tools_that_no_package_links_into_the_path_are_told_of(make_plan):
    def told(**wants):
        return [
            setting["value"]
            for setting in make_plan("mi300x-8", **wants)["settings"]
            if setting["setting"] == "tools"
        ]

    assert told() == ["/opt/rocm/core-10.0/bin"] and told(rocm_version="10.1.0") == [
        "/opt/rocm/core-10.1/bin"
    ]
    assert told(rocm_userspace="runtime") == told(rocm_userspace="sdk") == []


def test_a_package_that_will_bring_an_hwe_kernel(make_plan, ids):
    def hwe(name, release="6.8.0-60-generic"):
        def change(_gpus, rocm):
            rocm["os"] |= {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04.4 LTS"}
            rocm["kernel"] |= dict.fromkeys(("release", "default_release"), release)
            rocm["packages"][name] = "1"

        return change

    for name, release, found in (
        ("linux-generic-hwe-24.04", "6.8.0-60-generic", True), ("linux-image-generic-hwe-24.04", "6.8.0-60-generic", True),
        ("linux-generic", "6.8.0-60-generic", False), ("linux-generic-hwe-24.04", "6.14.0-33-generic", False),
    ):  # fmt: skip
        warned = ids(make_plan("mi300x-8-nodriver", hwe(name, release)), "warn")
        assert ("kernel.hwe_package" in warned, "kernel.avoid" in warned) == (
            found,
            release.startswith("6.14"),
        ), (name, release)
    assert "kernel.hwe_package" not in ids(
        make_plan("strix-halo-128", hwe("linux-generic-hwe-24.04", "6.17.0-19-generic")), "warn"
    )


# --- EL and SLES

EL9 = "mi300x-8-el9"
EL9_KERNEL = "5.14.0-570.12.1.el9_6.x86_64"


def distribution(identity: str, version: str, manager: str = "dnf"):
    def change(_gpus, rocm):
        rocm["os"] |= {
            "id": identity,
            "version": version,
            "name": f"{identity} {version}",
            "package_manager": manager,
        }
        rocm["dnf_repositories"] = [
            "BaseOS",
            "epel",
            "crb",
            "ol9_codeready_builder",
            "codeready-builder-for-rhel-9-x86_64-rpms",
        ]

    return change


def test_rocky_9_6(make_plan):
    plan = make_plan(EL9)
    assert plan["package_manager"] == "dnf"
    driver, rocm = plan["driver"], plan["rocm"]
    assert driver["repository"]["uri"] == "https://repo.radeon.com/amdgpu/31.50/el/9.6/main/x86_64/"
    assert driver["install"] == ["amdgpu-dkms-7.1.3.31500000-*", "amdgpu-dkms-firmware-31.50.0.0.31500000-*"]
    assert driver["headers"] == [
        f"{name}-{EL9_KERNEL}" for name in ("kernel-devel", "kernel-headers", "kernel-devel-matched")
    ]
    assert rocm["repository"]["uri"] == "https://stable.repo.amd.com/rocm/core/packages/rhel9/x86_64/"
    assert rocm["install"] == [
        "amdrocm-amdsmi10.0-10.0.0-*",
        "amdrocm-sysdeps10.0-10.0.0-*",
        "libatomic",
        "libquadmath",
    ]


def test_rpm_packages_of_the_right_upstream_version_are_left_alone(make_plan):
    def installed(_gpus, rocm):
        rocm["packages"] |= {
            "amdgpu-dkms": "7.1.3.31500000-2390945.el9", "amdgpu-dkms-firmware": "31.50.0.0.31500000-2390945.el9",
            "amdrocm-amdsmi10.0": "10.0.0-4.el9", "amdrocm-sysdeps10.0": "10.0.0-4.el9", "libatomic": "1", "libquadmath": "1",
        }  # fmt: skip

    plan = make_plan(EL9, installed)
    assert plan["driver"]["install"] == plan["driver"]["headers"] == plan["rocm"]["install"] == []
    newer = make_plan(EL9, installed, driver_release="31.40.1")
    assert newer["driver"]["install"][0] == "amdgpu-dkms-6.19.14.31400100-*"
    exact = {"releases": {"rocm": {"releases": {"10.0.0": {"rpm_package_version": "10.0.0-5.el9"}}}}}
    assert (
        make_plan(EL9, installed, plan_catalog=exact)["rocm"]["install"][0]
        == "amdrocm-amdsmi10.0-10.0.0-5.el9"
    )


@pytest.mark.parametrize(
    ("identity", "version", "directory", "rocm", "headers"),
    [
        ("rhel", "9.4", "el/9.4", "rhel9", 3), ("rhel", "8.10", "el/8.10", "rhel8", 2), ("rhel", "10.2", "el/10", "rhel10", 3),
        ("ol", "10.1", "el/10", "rhel10", 1), ("ol", "9.8", "el/9.8", "rhel9", 1), ("ol", "8.10", "el/8.10", "rhel8", 1),
    ],
)  # fmt: skip
def test_the_version_in_os_release_decides_the_directories(
    make_plan, ids, identity, version, directory, rocm, headers
):
    plan = make_plan(EL9, distribution(identity, version))
    assert ids(plan) == []
    assert f"/amdgpu/31.50/{directory}/main/" in plan["driver"]["repository"]["uri"]
    assert f"/packages/{rocm}/x86_64/" in plan["rocm"]["repository"]["uri"]
    assert len(plan["driver"]["headers"]) == headers


@pytest.mark.parametrize(
    ("identity", "version", "words"),
    [
        ("rhel", "9.7", ["rhel 9.8 or rhel 9.6 or rhel 9.4"]),
        ("rocky", "9.5", ["rocky 9.6"]),
        ("ol", "9.5", ["ol 9.8 or ol 9.6 or ol 9.4"]),
    ],
)
def test_another_minor_version_is_refused_with_those_that_there_are(make_plan, ids, identity, version, words):
    plan = make_plan(EL9, distribution(identity, version))
    assert ids(plan) == ["driver.minor_version"] and plan["driver"]["repository"] is None
    assert all(word in sentence(plan["findings"][0]) for word in words)
    assert ids(make_plan(EL9, distribution(identity, version), driver_policy="inbox")) == []


@pytest.mark.parametrize(
    ("identity", "version"), [("almalinux", "9.6"), ("rocky", "8.10"), ("centos", "9"), ("fedora", "43")]
)
def test_what_amd_does_not_name_is_refused(make_plan, ids, identity, version):
    assert ids(make_plan(EL9, distribution(identity, version))) == ["driver.distribution"]


def test_radeon_on_the_newest_minor_versions_only(make_plan, ids):
    for version, fits in (("9.8", True), ("9.6", False), ("10.2", True), ("10.0", False)):
        plan = make_plan("rx9070xt", distribution("rhel", version), driver_policy="dkms")
        assert ("driver.distribution" not in ids(plan)) is fits, version


def test_without_epel_and_crb_the_host_is_left_alone_unless_dkms_is_there(make_plan, ids):
    def bare(_gpus, rocm):
        rocm["dnf_repositories"] = ["baseos"]

    def mirrored(_gpus, rocm):
        bare(_gpus, rocm)
        rocm["packages"]["dkms"] = "3.2.2-1.el9"

    plan = make_plan(EL9, bare)
    assert ids(plan) == ["driver.prerequisite"] and "epel and crb" in sentence(plan["findings"][0])
    assert (
        ids(make_plan(EL9, mirrored)) == ids(make_plan(EL9, bare, plan_accept=["driver.prerequisite"])) == []
    )


def test_sles_is_refused_before_anything_is_planned_for_its_packages(make_plan, ids):
    plan = make_plan(EL9, distribution("sles", "16.0", "zypper"))
    assert ids(plan) == ["host.package_manager"] and "zypper" in plan["findings"][0]["seen"]
    for role in ("firmware", "driver", "rocm"):
        section = plan[role]
        assert not any(
            section.get(key) for key in ("install", "remove", "headers", "hold", "unhold", "repository")
        ), role
    # Nothing is asked of the package manager: the host may be brought up with the driver of its kernel.
    inbox = make_plan(EL9, distribution("arch", None, "pacman"), driver_policy="inbox")
    assert ids(inbox) == []


def test_a_mirror_for_dnf(make_plan, ids):
    plan = make_plan(
        EL9,
        driver_repository_uri="http://mirror.example/{directory}/{distribution}",
        rocm_repository_uri="http://m/{distribution}",
    )
    assert (
        plan["driver"]["repository"]["uri"] == "http://mirror.example/31.50/el/9.6"
        and plan["rocm"]["repository"]["uri"] == "http://m/rhel9"
    )
    assert ids(make_plan("mi300x-8", driver_repository_uri="http://mirror.example/{distribution}")) == [
        "inventory.variable"
    ]


# --- headers and holds


def test_headers_come_with_the_driver_and_only_where_they_are_missing(make_plan):
    def there(_gpus, rocm):
        rocm["kernel"]["headers"] = True

    assert make_plan("mi300x-8-nodriver")["driver"]["headers"] == ["linux-headers-6.1.0-40-amd64"]

    def ubuntu(modules):
        def change(_gpus, rocm):
            rocm["os"] |= {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04.4 LTS"}
            rocm["kernel"] |= dict.fromkeys(("release", "default_release"), "6.8.0-60-generic") | {
                "headers": True,
                "modules": modules,
            }

        return change

    assert make_plan("mi300x-8-nodriver", ubuntu(False))["driver"]["headers"] == [
        "linux-modules-extra-6.8.0-60-generic"
    ]
    assert make_plan("mi300x-8-nodriver", ubuntu(True))["driver"]["headers"] == []
    assert make_plan("mi300x-8-nodriver", there)["driver"]["headers"] == []
    assert (
        make_plan("mi300x-8")["driver"]["headers"] == make_plan("strix-halo-128")["driver"]["headers"] == []
    )


def test_hold_with_apt(make_plan):
    held = ["amdgpu-dkms", "amdgpu-dkms-firmware", "linux-headers-amd64", "linux-image-amd64"]

    def kernels(_gpus, rocm):
        rocm["packages"] |= {
            "linux-image-amd64": "6.1.148-1",
            "linux-headers-amd64": "6.1.148-1",
            "linux-firmware": "1",
        }

    def before(_gpus, rocm):
        kernels(_gpus, rocm)
        rocm["held"] = held

    def holds(*arguments, **wants):
        driver = make_plan(*arguments, **wants)["driver"]
        return driver["hold"], driver["unhold"]

    assert holds("mi300x-8", kernels) == ([], []), "nothing is held unless it is asked for"
    assert holds("mi300x-8", kernels, driver_hold=True) == (held, [])
    assert holds("mi300x-8", before, driver_hold=True) == ([], []), "what is right is left alone"
    assert holds("mi300x-8", before) == ([], held), "and taken away when it is not wanted any more"
    assert holds("mi300x-8", before, driver_hold=True, driver_release="31.40.1") == (held, held), (
        "another release: let go, then held again"
    )
    assert holds("mi300x-8", before, driver_hold=True, driver_state="absent") == ([], held)
    assert holds("strix-halo-128", kernels, driver_hold=True) == ([], []), (
        "a driver of the kernel needs no hold"
    )


def test_hold_with_dnf(make_plan):
    wanted = make_plan(EL9, driver_hold=True)["driver"]["hold"]
    assert wanted[:2] == ["amdgpu-dkms-7.1.3.31500000-*", "amdgpu-dkms-firmware-31.50.0.0.31500000-*"]
    assert (
        f"kernel-core-{EL9_KERNEL}" in wanted
        and f"kernel-{EL9_KERNEL}" in wanted
        and f"kernel-devel-{EL9_KERNEL}" in wanted
    )

    def uek(_gpus, rocm):
        distribution("ol", "9.6")(_gpus, rocm)
        rocm["kernel"]["release"] = "6.12.0-105.51.5.el9uek.x86_64"

    assert (
        "kernel-uek-core-6.12.0-105.51.5.el9uek.x86_64"
        in make_plan(EL9, uek, driver_hold=True)["driver"]["hold"]
    )

    def rebooted(_gpus, rocm):
        rocm["held"] = [name.replace("570.12.1", "570.9.1") for name in wanted]

    driver = make_plan(EL9, rebooted, driver_hold=True)["driver"]
    assert driver["hold"] == wanted and len(driver["unhold"]) == len(wanted), "the lock follows the kernel"


def test_rocm_of_the_distribution_needs_no_repository(make_plan, ids):
    plan = make_plan("mi300x-8", rocm_userspace="distribution")
    assert plan["rocm"] == {
        "version": None, "repository": None, "install": ["rocminfo"], "remove": [], "legacy": False, "legacy_files": [],
    }  # fmt: skip


def test_a_role_that_is_switched_off_asks_for_no_reboot(make_plan, ids):
    def installed(_gpus, rocm):
        rocm["kernel"]["default_release"] = "7.2.12+deb13-amd64"

    plan = make_plan("strix-halo-broken", installed, kernel_state="absent")
    assert plan["kernel"]["reboot_into"] is None and "kernel.minimum" in ids(plan)
    assert "devices.permissions" not in ids(make_plan("mi300x-8", devices_state="absent"), "warn")


def test_a_driver_that_knows_no_memory_mode(make_plan, ids):
    def unknown(gpus, _rocm):
        for gpu in gpus["gpus"]:
            gpu["memory_partition"] = "UNKNOWN"

    assert ids(make_plan("mi300x-8", unknown, partition_compute="CPX")) == []


# --- the kernel of the next boot, and a driver that is not loaded

GOOD, BAD = "6.1.0-40-amd64", "7.2.12+deb12-amd64"


def unloaded(gpus, rocm, module="dkms"):
    """The driver is installed, and this boot did not load it."""
    gpus["kfd"] = "absent"
    rocm["driver"] |= {
        "loaded": False,
        "source": None,
        "version": None,
        "release": None,
        "next_module": module,
    }
    rocm["devices"]["kfd"]["present"] = False


def test_the_kernel_of_the_next_boot_decides_the_gate(make_plan, ids):
    plan = make_plan("mi300x-8-nodriver", kernels(GOOD, BAD))
    assert ids(plan) == ["driver.kernel"]
    assert f"driver 31.50.0 on kernel {BAD}, which the next boot starts" in sentence(plan["findings"][0])
    assert (
        plan["driver"]["repository"] is None and plan["driver"]["install"] == plan["driver"]["headers"] == []
    )

    plan = make_plan("mi300x-8-nodriver", kernels(BAD, GOOD))
    assert ids(plan) == [] and "driver.kernel" in ids(plan, "warn")
    assert plan["driver"]["install"] and plan["driver"]["build"] == [GOOD], (
        "nothing is built for the kernel that goes"
    )


def test_the_driver_is_built_for_the_running_kernel_and_the_next_one(make_plan):
    following = "6.1.0-41-amd64"

    def both(gpus, rocm):
        kernels(GOOD, following)(gpus, rocm)
        rocm["kernel"]["without_headers"] = [GOOD, following]

    driver = make_plan("mi300x-8-nodriver", both)["driver"]
    assert driver["build"] == [GOOD, following]
    assert driver["headers"] == [f"linux-headers-{GOOD}", f"linux-headers-{following}"]

    # The packages are there, and the new kernel has no build yet.
    plan = make_plan("mi300x-8", both)
    assert (plan["driver"]["install"], plan["driver"]["build"], plan["driver"]["headers"]) == (
        [],
        [following],
        [f"linux-headers-{following}"],
    )
    assert [
        (entry["id"], entry["severity"]) for entry in plan["findings"] if entry["id"] == "driver.not_built"
    ] == [("driver.not_built", "warn")]

    def failed(gpus, rocm):
        both(gpus, rocm)
        rocm["kernel"]["without_headers"] = [GOOD]
        rocm["driver"]["build_log"] = "/var/lib/dkms/amdgpu/7.1.3/build/make.log"

    plan = make_plan("mi300x-8", failed)
    assert plan["driver"]["build"] == [] and "fail" in {
        entry["severity"] for entry in plan["findings"] if entry["id"] == "driver.not_built"
    }
    assert make_plan("mi300x-8")["driver"]["build"] == []


@pytest.mark.parametrize(
    ("host", "module", "line", "severity", "waits", "words"),
    [
        ("mi300x-8", "dkms", "", "warn", True, "its module is there for 6.1.0-40-amd64"),
        ("strix-halo-128", "inbox", "", "warn", True, "its module is there for 7.2.12+deb13-amd64"),
        ("strix-halo-128", "inbox", "nomodeset", "fail", False, "kept from it by nomodeset"),
        ("strix-halo-128", None, "", "fail", False, "no module of amdgpu"),
    ],
    ids=["dkms", "inbox", "nomodeset", "none"],
)
def test_a_driver_that_is_not_loaded(make_plan, host, module, line, severity, waits, words):
    def change(gpus, rocm):
        unloaded(gpus, rocm, module)
        rocm["kernel"]["command_line"].append(line)

    serving = {"serve_instances": [{"name": "chat", "model": "/srv/models/chat"}]}
    plan = make_plan(host, change, **serving)
    (found,) = [entry for entry in plan["findings"] if entry["id"] == "driver.not_loaded"]
    assert (found["severity"], plan["driver"]["missing"], plan["driver"]["waits"]) == (severity, True, waits)
    assert words in found["seen"], found["seen"]
    # Who serves on the CPU, or not at all, is told and not stopped.
    for wants in ({}, {**serving, "serve_accelerator": "cpu"}):
        (found,) = [
            entry
            for entry in make_plan(host, change, **wants)["findings"]
            if entry["id"] == "driver.not_loaded"
        ]
        assert found["severity"] == "warn"
    assert not [
        entry for entry in make_plan(host, **serving)["findings"] if entry["id"] == "driver.not_loaded"
    ]


def test_an_argument_that_the_role_takes_away_is_no_obstacle(make_plan, ids):
    def change(gpus, rocm):
        unloaded(gpus, rocm, "inbox")
        rocm["kernel"]["command_line"].append("nomodeset")

    plan = make_plan("strix-halo-128", change, kernel_arguments_absent=["nomodeset"])
    assert plan["driver"]["waits"] and "driver.not_loaded" in ids(plan, "warn")


def test_where_the_driver_is_about_to_be_installed_or_taken_away_nothing_waits(make_plan, ids):
    assert make_plan("mi300x-8-nodriver")["driver"]["missing"]
    for plan in (make_plan("mi300x-8-nodriver"), make_plan("mi300x-8", unloaded, driver_state="absent")):
        assert not plan["driver"]["waits"] and "driver.not_loaded" not in ids(plan, "warn") + ids(plan)


def test_what_the_kernel_says_of_a_failed_load_is_told(make_plan):
    def change(gpus, rocm):
        unloaded(gpus, rocm)
        rocm["kernel"]["trouble"] = [{"line": "amdgpu: Fatal error during GPU init", "count": 1}]

    (found,) = [
        entry for entry in make_plan("mi300x-8", change)["findings"] if entry["id"] == "driver.not_loaded"
    ]
    assert found["seen"].endswith("the kernel says: amdgpu: Fatal error during GPU init")
