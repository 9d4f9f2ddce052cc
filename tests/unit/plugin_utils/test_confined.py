# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of two instances: neither reaches what is the other's, and neither may do more than it needs."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.amdgpu.fleet.plugins.module_utils import _files
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.quadlet import for_podman

ROLE = Path(__file__).resolve().parents[3] / "roles/serve"
KEYS = Catalog().podman["quadlet"]


RENDERED: dict[tuple[str, str], str] = {}


@functools.cache
def of_role() -> dict:
    variables: dict = {"ansible_search_path": [str(ROLE)]}
    for part in ("defaults", "vars"):
        values = yaml.safe_load((ROLE / part / "main.yml").read_text(encoding="utf-8"))
        variables |= {k: trust_as_template(v) if isinstance(v, str) else v for k, v in values.items()}
    return variables


def rendered(plan: dict, name: str, instance: dict | None = None, **given) -> str:
    """A template of the role, rendered once for each set of variables."""
    variables = {
        "plan_host": {"serve": plan["serve"]},
        **({"instance": instance} if instance else {}),
        **given,
    }
    key = (name, repr(variables))
    if key not in RENDERED:
        expression = trust_as_template("{{ lookup('ansible.builtin.template', '" + name + "') }}")
        templar = Templar(loader=DataLoader(), variables=of_role() | variables)
        RENDERED[key] = str(templar.template(expression))
    return RENDERED[key]


@pytest.fixture
def two(make_plan):
    """two(kind) -> a plan of two instances, one of which is exposed."""

    def make(kind: str) -> dict:
        instances = [
            {"name": "a", "model": "/srv/models/m", "gpus": [0], "port": 8001},
            {"name": "b", "model": "/srv/models/m", "gpus": [1], "port": 8002, "host": "0.0.0.0"},
        ]
        return make_plan("mi300x-8", serve_instances=instances, serve_kind=kind)

    return make


def lines(unit: str, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", unit)


def test_each_service_has_a_user_and_folders_of_its_own(two):
    plan = two("venv")
    units = [rendered(plan, "server.service.j2", instance) for instance in plan["serve"]["instances"]]
    for name, unit in zip("ab", units):
        # Without a name systemd calls the user of a unit as the unit.
        assert lines(unit, "DynamicUser") == ["yes"] and not lines(unit, "User")
        for kind in ("State", "Cache"):
            assert lines(unit, f"{kind}Directory") == [f"vllm-{name}"]
            assert lines(unit, f"{kind}DirectoryMode") == ["0700"]
        places = re.findall(r"%[CS]/[^/\s]+", unit)
        assert places and {place[3:] for place in places} == {f"vllm-{name}"}


@pytest.mark.parametrize("kind", ["quadlet", "podman"])
def test_containers_share_no_writable_volume(two, kind):
    plan = two(kind)
    volumes = []
    for instance in plan["serve"]["instances"]:
        unit = rendered(plan, "server.container.j2", instance)
        volumes.append({line for line in lines(unit, "Volume") if not line.endswith(":ro")})
    assert len(volumes[0]) == 2 and not volumes[0] & volumes[1]


@pytest.mark.parametrize("release", ["5.8", "4.4", None])
def test_containers_have_no_more_rights_than_they_need(two, release):
    plan = two("quadlet")
    unit = for_podman(rendered(plan, "server.container.j2", plan["serve"]["instances"][0]), release, KEYS)
    for form in ("SYS_PTRACE", "unconfined", "pids-limit=-1", "pids-limit=0", "privileged"):
        assert form not in unit
    if release:
        assert lines(unit, "DropCapability") == ["all"] and lines(unit, "NoNewPrivileges") == ["true"]
        assert lines(unit, "AddCapability") == ["DAC_OVERRIDE"] and lines(unit, "ReadOnly") == ["true"]
        assert "--pids-limit=32768" in unit
    else:
        (start,) = lines(unit, "ExecStart")
        assert " --cap-drop=all --cap-add=DAC_OVERRIDE " in start
        assert " --security-opt=no-new-privileges " in start and " --read-only " in start
        assert " --pids-limit=32768 " in start and " --tmpfs=/tmp:rw,exec,mode=1777 " in start


def test_before_a_start_no_more_is_allowed(two):
    plan = two("quadlet")
    instance = {**plan["serve"]["instances"][0], "aiter_cache": "/root/.cache/vllm/aiter"}
    (line,) = lines(rendered(plan, "server.container.j2", instance), "ExecStartPre")
    assert " --cap-drop=all " in line and " --security-opt=no-new-privileges " in line


def test_a_low_port_is_bound_without_other_rights(two):
    plan = two("quadlet")
    instance = {**plan["serve"]["instances"][0], "port": 443}
    unit = rendered(plan, "server.container.j2", instance)
    assert lines(unit, "AddCapability") == ["DAC_OVERRIDE", "NET_BIND_SERVICE"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_what_systemd_thinks_of_the_service(two, tmp_path):
    plan = two("venv")
    path = tmp_path / "vllm-a.service"
    path.write_text(rendered(plan, "server.service.j2", plan["serve"]["instances"][0]))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-300:] + result.stderr


def test_keys_are_for_root_alone_and_those_that_were_made_stay(two):
    plan = two("venv")
    made = yaml.safe_load(rendered(plan, "secrets.yml.j2"))
    assert [entry["path"] for entry in made] == ["/etc/vllm/b.secret"] and made[0]["keep"] is True
    given = yaml.safe_load(rendered(plan, "secrets.yml.j2", serve_api_key="k\"e'y: #1"))
    assert [entry["path"] for entry in given] == ["/etc/vllm/a.secret", "/etc/vllm/b.secret"]
    for entry in given:
        assert entry["content"] == "VLLM_API_KEY=k\"e'y: #1\n" and entry["keep"] is False
    assert all(entry["mode"] == "0600" and entry["secret"] is True for entry in made + given)


def test_keys_that_were_emptied_or_given_are_not_kept(two, tmp_path):
    """What stands in the file, and whether it is still there after a run in which nobody gives a key."""
    made = yaml.safe_load(rendered(two("venv"), "secrets.yml.j2"))
    me = {"owner": str(os.getuid()), "group": str(os.getgid())}
    (entry,) = [{"state": "present", **each, **me} for each in made]
    path = tmp_path / "etc/vllm/b.secret"

    def run() -> str:
        changes = _files.plan(str(tmp_path), [_files.wanted(entry)])
        _files.carry_out(changes, lambda _command: (0, "", ""), False)
        return path.read_text(encoding="utf-8")

    (tmp_path / "etc").mkdir()
    first = run()
    assert run() == first == entry["content"]
    assert re.fullmatch(r"# Made on this host by amdgpu.fleet\nVLLM_API_KEY=\w{40}\n", first)
    for wrong in (
        "",
        "\n",
        "VLLM_API_KEY=\n",
        first[:-20].split("=")[0] + "=\n",
        "VLLM_API_KEY=of-operator\n",
    ):
        path.write_text(wrong, encoding="utf-8")
        assert run() == entry["content"], wrong
    path.write_text(first.replace("=", "=other"), encoding="utf-8")
    assert run() == first.replace("=", "=other")


@pytest.mark.parametrize(
    ("kind", "name"), [("venv", "server.service.j2"), ("quadlet", "server.container.j2")]
)
def test_a_server_whose_key_was_emptied_does_not_start(two, kind, name, tmp_path):
    first, second = two(kind)["serve"]["instances"]
    assert "holds no key" not in rendered(two(kind), name, first)  # on loopback nobody asks for one
    file = tmp_path / "b.secret"
    unit = rendered(two(kind), name, {**second, "secret_file": str(file)})
    (check,) = [line for line in lines(unit, "ExecStartPre") if "holds no key" in line]
    assert check.startswith("+")
    # As systemd reads it.
    words = [word.replace("$$", "$") for word in shlex.split(check[1:])]
    for text, started in (
        ("VLLM_API_KEY=a-key-of-somebody\n", True),
        ("# Made\nVLLM_API_KEY=a-key-of-somebody\n", True),
        ("", False),
        ("VLLM_API_KEY=\n", False),
        ("VLLM_API_KEY=   \n", False),
        ("OTHER=a-key-of-somebody\n", False),
    ):
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is started and bool(done.stderr) is not started, text
    file.unlink()
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1
