# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of files that the role serve writes, keeps before an upgrade and takes away, as Ansible renders
them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import units

REPOSITORY = Path(__file__).resolve().parents[3]
ROLE = REPOSITORY / "roles/serve"
UNITS, PROGRAMS = "/etc/systemd/system", "/usr/local/lib/amdgpu-fleet"
HOST = "mi300x-8-roce"


@pytest.fixture
def render():
    """render({"name": expression}, variable=value) -> what Ansible makes of each expression, by its own templar."""

    def run(expressions: dict[str, str], **variables) -> dict:
        every = ", ".join(f"'{name}': {text}" for name, text in expressions.items())
        of_role = {}
        for place in ("defaults/main.yml", "vars/main.yml"):
            of_role |= trust(yaml.safe_load((ROLE / place).read_text()))
        known = {**of_role, **trust(variables), "role_path": str(ROLE), "ansible_search_path": [str(ROLE)]}
        templar = Templar(loader=DataLoader(), variables=known)
        return json.loads(templar.template(trust_as_template("{{ {" + every + "} | to_json }}")))

    return run


def trust(value):
    """A template wherever a text is one, as in a play."""
    if isinstance(value, dict):
        return {key: trust(each) for key, each in value.items()}
    if isinstance(value, list):
        return [trust(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value


def of(files: list[dict]) -> dict[str, str]:
    return {file["path"]: file.get("state", "present") for file in files}


@pytest.mark.parametrize("worker", [False, True])
def test_who_is_asked_for_completions(make_plan, render, worker):
    hosts = [{"name": HOST, "address": "192.0.2.11"}, {"name": "other", "address": "192.0.2.12"}]
    chat = {
        "name": "chat",
        "model": "/srv/models/chat",
        "nodes": "rack",
        "host": "192.0.2.12" if worker else "192.0.2.11",
    }
    nodes = {"rack": hosts[::-1] if worker else hosts}
    plan = make_plan(HOST, __inventory_nodes=nodes, serve_instances=[chat], serve_check_interval=300)
    assert plan["serve"]["instances"][0]["worker"] is worker
    found = of(
        render({"files": "lookup('ansible.builtin.template', 'files.yml.j2') | from_yaml"}, plan_host=plan)[
            "files"
        ]
    )
    checks = [f"{UNITS}/inference-check-chat.service", f"{UNITS}/inference-check-chat.timer",
              f"{UNITS}/vllm-chat.service.d/inference-check.conf",
              f"{PROGRAMS}/inference_check.py", f"{PROGRAMS}/inference.py"]  # fmt: skip
    assert {found[path] for path in checks} == {"absent" if worker else "present"}
    assert found[f"{UNITS}/amdgpu-lifeline-chat.service"] == found[f"{PROGRAMS}/lifeline.py"] == "present"


REASONS = ["/etc/vllm/inference.yaml", "/etc/vllm/inference-b.env", f"{UNITS}/vllm-inference.service",
           f"{UNITS}/vllm-inference-check-b.service", f"{PROGRAMS}/lifeline.py", f"{UNITS}/amdgpu-lifeline-chat.service"]  # fmt: skip
OTHERS = [f"{UNITS}/inference-check-chat.timer", f"{UNITS}/inference-check-chat.service", f"{PROGRAMS}/inference.py",
          f"{UNITS}/vllm-chat.service.d/inference-check.conf", f"{PROGRAMS}/inference_check.py"]  # fmt: skip


@pytest.mark.parametrize("path", [*REASONS, *OTHERS])
def test_what_is_a_reason_to_restart(path):
    assert units.restarts(path) is (path in REASONS)


def test_what_is_a_reason_to_upgrade(render):
    pending = yaml.safe_load((ROLE / "tasks/changes.yml").read_text())[-1]["ansible.builtin.set_fact"]
    saved = "/var/lib/amdgpu-fleet/before-upgrade.tar"
    cases = [(REASONS, []), ([], [saved]), (OTHERS, []), ([], [])]
    text = pending["__serve_pending"].strip().removeprefix("{{").removesuffix("}}")
    text = text.replace("__serve_compared.", "compared[%d].")
    found = render(
        {str(number): text.replace("%d", str(number)) for number in range(len(cases))},
        plan_host={"serve": {"stale": []}},
        __serve_secret_compared={"results": []},
        __serve_secret_lines="",
        compared=[{"changed_paths": changed, "absent_paths": absent} for changed, absent in cases],
    )
    assert list(found.values()) == [True, True, False, False]


@pytest.mark.parametrize(
    ("there", "pending"), [(b"A=1\nB=two words\n", False), (b"A=1\nB=two\n", True), (None, True)]
)
def test_another_secret_variable_is_a_reason_to_upgrade(render, there, pending):
    text = yaml.safe_load((ROLE / "tasks/changes.yml").read_text())[-1]["ansible.builtin.set_fact"][
        "__serve_pending"
    ]
    stat = {"exists": True, "checksum": hashlib.sha256(there).hexdigest()} if there else {"exists": False}
    found = render(
        {"pending": text.strip().removeprefix("{{").removesuffix("}}")},
        __serve_compared={"changed_paths": [], "absent_paths": []},
        __serve_secret_compared={"results": [{"stat": stat}]},
        plan_host={"serve": {"stale": [], "secret_variables": ["A", "B"]}},
        serve_secret_environment={"A": "1", "B": "two words"},
    )
    assert found["pending"] is pending


@pytest.mark.parametrize(
    ("there", "other"), [(b"VLLM_API_KEY=new\n", []), (b"VLLM_API_KEY=old\n", ["chat"]), (None, [])]
)
def test_another_key_stops_an_upgrade(render, there, other):
    task = yaml.safe_load((ROLE / "tasks/keys.yml").read_text())[-1]
    stat = {"exists": True, "checksum": hashlib.sha256(there).hexdigest()} if there else {"exists": False}
    found = render(
        {"other": task["vars"]["__serve_other_keys"].strip().removeprefix("{{").removesuffix("}}")},
        __serve_keys_seen={
            "results": [
                {"item": {"name": "chat", "launch": {"api_key_variable": "VLLM_API_KEY"}}, "stat": stat}
            ]
        },
        serve_api_key="new",
    )
    assert (
        found["other"] == other
        and task["ansible.builtin.assert"]["that"] == "__serve_other_keys | length == 0"
    )


def test_what_belongs_to_the_units_that_were_not_there_before():
    unit_files = [f"{UNITS}/vllm-chat.service", "/etc/containers/systemd/vllm-new.container"]
    everything = units.belonging(unit_files)
    assert len(set(everything)) == len(everything), "no file stands there twice"
    before = {
        f"{UNITS}/vllm-chat.service",
        "/etc/vllm/chat.yaml",
        "/etc/vllm/chat.env",
        f"{PROGRAMS}/lifeline.py",
    }
    assert before < set(everything)
    assert {
        "/etc/vllm/new.yaml",
        f"{UNITS}/vllm-new.service.d/inference-check.conf",
        f"{UNITS}/inference-check-chat.timer",
    } < set(everything)
    assert not any(path.endswith(".secret") for path in everything)


def test_a_unit_of_somebody_else_is_none_of_ours():
    with pytest.raises(ValueError, match="nginx"):
        units.of("/etc/systemd/system/nginx.service")
    assert [path for path in (f"{UNITS}/nginx.service", f"{UNITS}/vllm-a.service.d/x.conf", f"{UNITS}/vllm-a.service")
            if units.is_unit(path)] == [f"{UNITS}/vllm-a.service"]  # fmt: skip


@pytest.mark.parametrize("kind", ["venv", "container"])
@pytest.mark.parametrize("exposed", [False, True])
def test_a_unit_says_where_it_answers(make_plan, render, kind, exposed):
    chat = {
        "name": "chat",
        "model": "/srv/models/chat",
        "served_name": 'a "b"',
        "host": "192.0.2.7" if exposed else "127.0.0.1",
    }
    plan = make_plan(HOST, podman if kind == "container" else None, serve_instances=[chat])
    (instance,) = plan["serve"]["instances"]
    template = "server.container.j2" if kind == "container" else "server.service.j2"
    text = render(
        {"text": f"lookup('ansible.builtin.template', '{template}', template_vars={{'instance': instance}})"},
        plan_host=plan, instance=instance,
    )["text"]  # fmt: skip
    (found,) = units.endpoints({instance["unit_file"]: text})
    assert (found.unit, found.url, found.model) == ("vllm-chat.service", instance["url"], 'a "b"')
    assert found.completes and found.api_key_file == ("/etc/vllm/chat.secret" if exposed else "")


def podman(_gpus, rocm):
    rocm["podman"] = {"version": "5.4.2", "init": True, "quadlet": "5.4", "images": [], "open_store": None}
