# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm is told of a host: gres.conf, the line of the node and the settings, from facts of emulated hosts."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import facts as facts_module
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover import (
    gres,
    slurm,
    slurm_conf,
    slurm_wants,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover.slurm_wants import HandoverError
from testbed.tree import load_host, write_tree

SLURMD = (
    "NodeName=n1 CPUs=192 Boards=1 SocketsPerBoard=2 CoresPerSocket=96 ThreadsPerCore=1 RealMemory=2322000\n"
    "UpTime=0-04:17:53\n"
)
SITE = "ClusterName=x\nTaskPlugin=task/cgroup,task/affinity\nNodeName=cpu1 CPUs=4\n"


@pytest.fixture
def of_host(read_facts):
    def make(
        name: str, change=None, printed: str = SLURMD, site: str = SITE, gres_conf: str = "", **wanted
    ) -> dict:
        facts = read_facts(name)
        if change:
            change(facts)
        return slurm.plain(
            facts_module.of(facts), {"node_name": "n1", **wanted}, slurm.Seen(printed, site, gres_conf)
        )

    return make


@pytest.fixture
def of_gpus(tmp_path, find_facts):
    """of_gpus("mi300x-8", [...]) -> the plan of that host with other GPUs."""

    def make(name: str, gpus: list[dict], **wanted) -> dict:
        host = load_host(name)
        first = host["gpus"][0]
        host["gpus"] = [{**first, "count": 1, **gpu} for gpu in gpus]
        write_tree(host, tmp_path)
        facts = find_facts("host_facts", tmp_path)
        return slurm.plain(facts_module.of(facts), {"node_name": "n1", **wanted}, slurm.Seen(SLURMD, SITE))

    return make


def test_eight_gpus_each_one_device(of_host):
    plan = of_host("mi300x-8")
    assert plan["counted"] == "gpu:mi300x:8"
    assert plan["node"] == (
        "NodeName=n1 CPUs=192 Boards=1 SocketsPerBoard=2 CoresPerSocket=96 ThreadsPerCore=1 RealMemory=2320976 "
        "Gres=gpu:mi300x:8 Feature=amdgpu,gfx942"
    )
    assert plan["gres"][0] == "AutoDetect=off"
    assert plan["settings"] == {
        "gres-types": ["GresTypes=gpu"],
        "health": [
            "HealthCheckProgram=/usr/local/lib/amdgpu-fleet/slurm/health",
            "HealthCheckInterval=300",
            "HealthCheckNodeState=ANY",
        ],
        "prolog": [],
    }
    assert len(plan["expected"]) == 8 and all(len(names) == 1 for names in plan["expected"].values())


def test_the_cores_near_a_gpu_are_given_where_all_cpus_are_known(of_host):
    def known(facts):
        facts["amd_host"]["numa_nodes"] = {"0": "0-95", "1": "96-191"}

    lines = of_host("mi300x-8", known)["gres"]
    assert [line.split("Cores=")[1].split()[0] for line in lines[1:]] == ["0-95", "96-191"]

    def hidden(facts):
        facts["amd_host"]["numa_nodes"] = {"0": "0-47", "1": "48-95"}

    assert "Cores=" not in " ".join(of_host("mi300x-8", hidden)["gres"])


def cpus(count: int, cores: int, sockets: int) -> slurm_wants.Cpus:
    return slurm_wants.Cpus([], count, cores, sockets, 1)


@pytest.mark.parametrize(
    ("nodes", "counted", "near"),
    [
        ({"0": "0-3", "1": "4-7"}, cpus(8, 8, 2), {0: "0-3", 1: "4-7"}),
        # Two threads a core: Slurm numbers cores, and the kernel numbers CPUs.
        ({"0": "0-3,8-11", "1": "4-7,12-15"}, cpus(16, 8, 2), {0: "0-3", 1: "4-7"}),
        # Memory without CPUs (CXL, HBM of an MI300A) is no neighbour of a core.
        ({"0": "0-3", "1": "4-7", "2": ""}, cpus(8, 8, 2), {0: "0-3", 1: "4-7"}),
        # NPS2 of the CPU: Slurm refuses a node over cores that are a part of a socket.
        (
            {"0": "0-1", "1": "2-3", "2": "4-5", "3": "6-7"},
            cpus(8, 8, 2),
            {0: "0-3", 1: "0-3", 2: "4-7", 3: "4-7"},
        ),
        ({"0": "0-3", "1": "4-7"}, cpus(8, 8, 1), {}),
        ({"0": "0-7"}, cpus(8, 8, 1), {}),
        ({"0": "0-2", "1": "3-7"}, cpus(8, 8, 2), {}),
        ({"0": "0-3", "2": "4-7"}, cpus(8, 8, 2), {}),
        ({"0": "0-3", "1": "what"}, cpus(8, 8, 2), {}),
    ],
)
def test_cores_by_node_of_memory(nodes, counted, near):
    assert gres.cores(counted, nodes) == near


def test_partitions_are_devices_of_a_type_of_their_own(of_host):
    plan = of_host("mi300x-8-cpx")
    assert plan["counted"] == "gpu:mi300x_cpx:64"
    lines = plan["gres"][1:]
    assert len(lines) == 8 and all("Type=mi300x_cpx " in line for line in lines)
    assert sum(len(names) for names in plan["expected"].values()) == 64
    assert all(len(names) == 8 for names in plan["expected"].values())


@pytest.mark.parametrize("name", ["mi300x-8-cpx-high", "mi300x-8-cpx-nps4", "mi300x-8-cpx-xcd"])
def test_partitions_are_counted_on_every_driver(of_host, name):
    assert of_host(name)["counted"] == "gpu:mi300x_cpx:64"


def test_one_strix_halo(of_host):
    plan = of_host("strix-halo-128", printed="NodeName=x CPUs=32 RealMemory=120000\n", features=["apu"])
    assert plan["counted"] == "gpu:8060s:1"
    assert plan["gres"][1] == "Name=gpu Type=8060s File=/dev/dri/renderD128 Flags=amd_gpu_env"
    assert plan["node"].endswith("RealMemory=118976 Gres=gpu:8060s:1 Feature=amdgpu,gfx1151,apu")


def test_the_display_chip_beside_a_card_is_no_device(of_host):
    plan = of_host("rx9070xt")
    assert plan["counted"] == "gpu:rx9070xt:1"
    assert len(plan["expected"]) == 1


def test_virtual_functions_are_what_their_owner_gave(of_gpus):
    plan = of_gpus("mi300x-8", [{"product": "mi300x-vf", "count": 2}])
    assert plan["counted"] == "gpu:mi300x:2"


def test_mixed_cards_have_a_line_for_each_type(of_gpus):
    plan = of_gpus("mi300x-8", [{"product": "mi300x", "count": 2}, {"product": "mi210", "count": 2}])
    kinds = dict(part.split(":")[1:] for part in plan["counted"].split(","))
    assert kinds == {"mi300x": "2", "mi210": "2"}
    assert sum("Type=mi210 " in line for line in plan["gres"]) == 1
    assert "Feature=amdgpu," in plan["node"] and {"gfx942", "gfx90a"} <= set(
        plan["node"].rpartition("Feature=")[2].split(",")
    )


def test_a_gpu_of_a_guest_is_left_out_and_its_gap_stays(of_host):
    def given_away(facts):
        gpu = facts["amd_gpus"]["gpus"][3]
        gpu.update(driver="vfio-pci", partitions=0, kfd_nodes=[], render_nodes=[])
        for number, gpu in enumerate(facts["amd_gpus"]["gpus"]):
            if gpu["partitions"]:
                gpu["render_nodes"] = [f"renderD{128 + number}"]

    plan = of_host("mi300x-8", given_away)
    assert plan["counted"] == "gpu:mi300x:7"
    assert "[128-130" in plan["gres"][1] and "131" not in "".join(plan["gres"])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["renderD128"], "/dev/dri/renderD128"),
        (["renderD128", "renderD129", "renderD130"], "/dev/dri/renderD[128-130]"),
        (["renderD129", "renderD131", "renderD132"], "/dev/dri/renderD[129,131-132]"),
        # The order of KFD stays: it is the one in which ROCm numbers them.
        (["renderD130", "renderD128", "renderD129"], "/dev/dri/renderD[130,128-129]"),
    ],
)
def test_files_are_folded_and_gaps_stay(names, text):
    assert gres.folded(names) == text


def test_what_is_no_render_node_is_refused():
    with pytest.raises(HandoverError, match="not the name of a render node"):
        gres.folded(["renderD128 Name=gpu"])


@pytest.mark.parametrize(
    ("product", "gfx", "kind"),
    [
        ("AMD Instinct MI300X", "gfx942", "mi300x"),
        ("AMD Instinct MI300X VF", "gfx942", "mi300x"),
        ("AMD Instinct MI250X / MI250", "gfx90a", "gfx90a"),
        ("AMD Radeon RX 9070, 9070 GRE or 9070 XT", "gfx1201", "gfx1201"),
        ("AMD Radeon AI PRO R9700", "gfx1201", "r9700"),
        ("AMD Radeon PRO W7900 Dual Slot", "gfx1100", "w7900dualslot"),
        ("AMD Radeon 8060S (Strix Halo)", "gfx1151", "8060s"),
        ("AMD Radeon VII", "gfx906", "vii"),
        ("AMD Radeon Graphics (Navi 31)", "gfx1100", "gfx1100"),
        (None, "gfx1100", "gfx1100"),
        (None, None, "gpu"),
    ],
)
def test_the_type_is_what_users_call_the_product(product, gfx, kind):
    gpu = {"product": product, "gfx": gfx, "compute_partition": None, "partitions": 1}
    assert gres.type_of(gpu) == kind


def test_one_file_for_all_nodes_names_the_node_in_each_line(of_host):
    lines = of_host("mi300x-8", configless=True)["gres"]
    assert lines and all(line.startswith("NodeName=n1 AutoDetect=off Name=gpu ") for line in lines)


def no_units(facts):
    facts["amd_host"]["serve_units"] = ["/etc/systemd/system/chat.service"]


def lost_render_node(facts):
    facts["amd_gpus"]["gpus"][2]["render_nodes"] = []


@pytest.mark.parametrize(
    ("host", "change", "wanted", "said"),
    [
        ("no-gpu", None, {}, "has nothing to hand out. Bring the host up with the playbook site"),
        ("mi300x-8-nodriver", None, {}, "has nothing to hand out"),
        ("mi300x-8", no_units, {}, "chat.service serves a model on the GPUs"),
        ("mi300x-8", lost_render_node, {}, "GPU 2 .* shows 1 KFD nodes and 0 render nodes"),
        ("mi300x-8", None, {"partition_mode": "CPX"}, "slurm_partition_mode is CPX, and GPU 0 is in SPX"),
        ("mi300x-8", None, {"node_name": "n 1"}, "slurm_node_name: 'n 1' cannot be the name"),
        ("mi300x-8", None, {"node_address": "a b"}, "slurm_node_address: 'a b' is not one word"),
        ("mi300x-8", None, {"gpu_type": "a:b"}, "slurm_gpu_type: 'a:b' is not one word"),
        ("mi300x-8", None, {"features": ["x y"]}, "slurm_features: 'x y' is not one word"),
        ("mi300x-8", None, {"memory_reserve_mib": 9999999}, "leaves nothing of the 2322000 MiB"),
        ("mi300x-8", None, {"memory_reserve_mib": -1}, "is below 0"),
        ("mi300x-8", None, {"health_interval": 0}, "is not 1 to 65533"),
        ("mi300x-8", None, {"printed": "slurmd: error"}, "prints no CPUs and no RealMemory"),
        ("mi300x-8", None, {"site": "TaskPlugin=task/affinity\n"}, "has TaskPlugin=task/affinity"),
        ("mi300x-8", None, {"site": "ClusterName=x\n"}, "has TaskPlugin=.its default."),
        (
            "mi300x-8",
            None,
            {"site": SITE + "HealthCheckProgram=/usr/sbin/nhc\n"},
            "has HealthCheckProgram=/usr/sbin/nhc",
        ),
        ("mi300x-8", None, {"site": SITE + "NodeName=n1,n2 CPUs=4\n"}, "has a line NodeName=n1,n2"),
        (
            "mi300x-8",
            None,
            {"gres_conf": "AutoDetect=rsmi\n"},
            "'AutoDetect=rsmi', and the GPUs would be counted",
        ),
        ("mi300x-8", None, {"gres_conf": "Name=gpu File=/dev/x\n"}, "the GPUs would be counted twice"),
        ("mi300x-8", None, {"node_words": "Weight=1 #x"}, "slurm_node_words: 'Weight=1 #x' is not words"),
        (
            "mi300x-8-cpx",
            None,
            {"site": SITE + "Prolog=/etc/p\n", "partition_mode": "CPX"},
            "has Prolog=/etc/p",
        ),
    ],
)
def test_what_cannot_be_handed_over_is_refused(of_host, host, change, wanted, said):
    with pytest.raises(HandoverError, match=said):
        of_host(host, change, **wanted)


def test_the_prolog_is_a_pattern_that_other_nodes_do_not_have(of_host):
    settings = of_host("mi300x-8-cpx", partition_mode="CPX")["settings"]
    assert settings["prolog"] == ["Prolog=/usr/local/lib/amdgpu-fleet/slurm/prolog.d/*"]


def test_what_the_site_chose_is_kept(of_host):
    site = SITE + "GresTypes=nic,shard\nHealthCheckProgram=/usr/sbin/nhc\n"
    assert of_host("mi300x-8", site=site, health=False)["settings"] == {
        "gres-types": ["GresTypes=nic,shard,gpu"],
        "health": [],
        "prolog": [],
    }
    assert of_host("mi300x-8", site="TaskPlugin=task/none\n", constrain_devices=False)["node"]


def test_lines_of_other_nodes_and_other_resources_stay(of_host):
    ours = "# BEGIN amdgpu.fleet\nName=gpu File=/dev/dri/renderD128\n# END amdgpu.fleet\n"
    others = "AutoDetect=off\nName=nic File=/dev/x\nNodeName=n9 Name=gpu File=/dev/y\n# Name=gpu\n"
    plan = of_host("mi300x-8", gres_conf=others + ours, node_words="Weight=10 State=UNKNOWN")
    assert plan["node"].endswith("gfx942 Weight=10 State=UNKNOWN")
    assert len(plan["devices"]) == 8


def test_our_own_block_is_not_the_sites():
    text = "TaskPlugin=task/cgroup\n# BEGIN amdgpu.fleet\nHealthCheckProgram=/x\n# END amdgpu.fleet\nProlog=/p # ours\n"
    assert slurm_conf.settings(text) == {"taskplugin": "task/cgroup", "prolog": "/p"}
