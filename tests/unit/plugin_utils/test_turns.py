# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on one GPU start one after another: the plan's order, and the units as systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from plugin_utils.test_confined import KEYS, lines, rendered

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import units
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.quadlet import for_podman


def server(name: str, port: int, share: float = 0.3, **more) -> dict:
    asked = {"gpu-memory-utilization": share}
    return {"name": name, "model": "/srv/models/m", "port": port, "options": asked, **more}


THREE = [server("chat", 8000), server("embed", 8001), server("rerank", 8002, host="0.0.0.0")]


def order(plan: dict) -> dict[str, tuple[list[str], list[str]]]:
    return {
        each["name"]: tuple([near["unit"] for near in each["turn"][kind]] for kind in ("before", "beside"))
        for each in plan["serve"]["instances"]
    }


def test_the_order_is_that_of_the_inventory(make_plan):
    plan = make_plan("strix-halo-128", serve_instances=THREE)
    chat, embed, rerank = "vllm-chat.service", "vllm-embed.service", "vllm-rerank.service"
    assert order(plan) == {
        "chat": ([], [embed, rerank]),
        "embed": ([chat], [rerank]),
        "rerank": ([chat, embed], []),
    }
    noted = {each["setting"]: each["value"] for each in plan["settings"]}
    assert noted["rerank start"] == f"after {chat}, {embed}" and "chat start" not in noted
    assert plan["serve"]["instances"][2]["turn"]["before"][0]["url"] == "http://127.0.0.1:8000"
    backwards = order(make_plan("strix-halo-128", serve_instances=THREE[::-1]))
    assert backwards["chat"] == ([rerank, embed], [])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # Each its own GPU: nobody waits.
        ([server("a", 8000, gpus=[0]), server("b", 8001, gpus=[1])], {"a": [], "b": []}),
        # One over two GPUs, and two behind it that do not meet each other.
        (
            [server("a", 8000, gpus=[0, 1]), server("b", 8001, gpus=[0]), server("c", 8002, gpus=[1])],
            {"a": [], "b": ["vllm-a.service"], "c": ["vllm-a.service"]},
        ),
        ([server("a", 8000, gpus=[0, 1], count=2)], {"a-0": [], "a-1": []}),
    ],
)
def test_only_who_shares_a_gpu_waits(make_plan, wanted, expected):
    plan = make_plan("mi300x-8", serve_instances=wanted)
    assert {name: before for name, (before, _beside) in order(plan).items()} == expected


def test_servers_on_the_processor_do_not_wait(make_plan):
    plan = make_plan("no-gpu", serve_instances=THREE[:2], serve_accelerator="cpu")
    assert order(plan) == {"chat": ([], []), "embed": ([], [])}


@pytest.fixture
def written(make_plan):
    """written(instances, kind) -> what the role writes, by path."""

    def make(instances, kind: str, **given) -> dict[str, dict]:
        plan = make_plan("strix-halo-128", serve_instances=instances, serve_kind=kind, **given)
        turns = {}
        for each in plan["serve"]["instances"]:
            place = units.of(each["unit_file"])
            name = "server.service.j2" if kind == "venv" else "server.container.j2"
            unit = rendered(plan, name, each)
            if kind != "venv":
                unit = for_podman(unit, "5.4" if kind == "quadlet" else None, KEYS)
            turns[place.unit_file] = unit
            if each["turn"]["before"] or each["turn"]["beside"]:
                turns[place.turn] = rendered(plan, "turn.conf.j2", each)
            turns[place.timer] = rendered(plan, "inference-check.timer.j2", each)
        return turns

    return make


FOLDER = "/etc/systemd/system/vllm-{}.service.d/amdgpu-turn.conf"


@pytest.mark.parametrize("kind", ["quadlet", "podman", "venv"])
def test_a_drop_in_says_whom_it_waits_for(written, kind):
    found = written(THREE, kind, serve_start_timeout=900)
    last = found[FOLDER.format("rerank")]
    assert lines(last, "After") == ["vllm-chat.service", "vllm-embed.service"]
    (wait,) = lines(last, "ExecStartPre")
    # One that fails must not keep the next from starting, so nothing is required, and the wait has an end
    # before systemd takes it for a start that hangs.
    assert not re.search(r"(?m)^(Requires|BindsTo|Requisite|PartOf)=", last)
    assert wait.startswith("-+/usr/bin/python3 /usr/local/lib/amdgpu-fleet/wait_turn.py --seconds 890 ")
    assert "--before vllm-chat.service=http://127.0.0.1:8000 --before vllm-embed.service=" in wait
    first = found[FOLDER.format("chat")]
    assert lines(first, "After") == [] and "--before" not in first
    assert "--beside vllm-embed.service=http://127.0.0.1:8001 --beside vllm-rerank.service=http://0" in first
    timer = {name: found[f"/etc/systemd/system/inference-check-{name}.timer"] for name in ("chat", "rerank")}
    assert lines(timer["chat"], "OnActiveSec") == ["900"]
    assert lines(timer["rerank"], "OnActiveSec") == ["2700"]


@pytest.mark.parametrize("kind", ["quadlet", "podman", "venv"])
def test_a_neighbour_that_comes_or_goes_restarts_nobody(written, kind):
    """Whom a server waits for is no part of its unit."""
    two, three, alone = (written(THREE[:number], kind) for number in (2, 3, 1))
    for name in ("chat", "embed"):
        own = [path for path in two if f"vllm-{name}." in path]
        changed = [path for path in own if two[path] != three[path]]
        assert changed == [FOLDER.format(name)] and not any(units.restarts(path) for path in changed)
    assert FOLDER.format("chat") not in alone
    assert FOLDER.format("chat") in units.of("/etc/systemd/system/vllm-chat.service").removable


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
@pytest.mark.parametrize("kind", ["podman", "venv"])
def test_systemd_takes_the_units(written, tmp_path, kind):
    for path, text in written(THREE, kind).items():
        target = tmp_path / path.removeprefix("/etc/systemd/system/")
        target.parent.mkdir(exist_ok=True)
        # What they start is not on this machine.
        target.write_text(re.sub(r"(?m)^(Exec\w+=[-+]*)/\S+", r"\1/bin/true", text))
    names = [f"vllm-{each['name']}.service" for each in THREE]
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = [line for line in result.stderr.splitlines() if "vllm-" in line or "cycle" in line]
    assert said == [], result.stderr
