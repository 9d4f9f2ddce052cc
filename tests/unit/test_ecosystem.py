# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says about itself is true: versions, groups of modules, requirements, folders that are enough."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _detected

ROOT = Path(__file__).resolve().parents[2]
ON_HOSTS = sorted([*(ROOT / "plugins/modules").rglob("*.py"), *(ROOT / "plugins/module_utils").rglob("*.py")])
EVERYWHERE = sorted((ROOT / "plugins").rglob("*.py"))


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def options(module: Path) -> set[str]:
    """The options that a module documents."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            return set(yaml.safe_load(ast.literal_eval(node.value)).get("options", {}))
    raise AssertionError(f"{module} has no DOCUMENTATION")


def interpreters() -> dict[str, str]:
    """Pythons from 3.9 on that are here; the one that runs the tests is always among them."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in [*pyenv.glob("3.*/bin/python"), *Path("/usr/bin").glob("python3.*")]:
        version = re.search(r"3\.(\d+)", str(path))
        if version and int(version[1]) >= 9 and "-" not in path.name:
            found.setdefault(version[0], str(path))
    return found


INTERPRETERS = interpreters()


@pytest.mark.parametrize("version", sorted(INTERPRETERS))
def test_modules_are_imported_on_the_python_of_a_host(version: str) -> None:
    process = subprocess.run(
        [INTERPRETERS[version], "-B", str(ROOT / "tests/matrix/import_modules.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    assert f"{len(ON_HOSTS)} of {len(ON_HOSTS)} imported" in process.stdout


@pytest.mark.parametrize("path", ON_HOSTS, ids=lambda path: path.stem)
def test_the_syntax_is_that_of_python_3_9(path: Path) -> None:
    """Also where no Python 3.9 is."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize(
    ("group", "common"), [("host", {"root"}), ("http", {"url", "timeout", "interval", "validate_certs"})]
)
def test_a_group_of_modules_has_its_options_in_common(group: str, common: set[str]) -> None:
    members = load("meta/runtime.yml")["action_groups"][group]
    having = [path.stem for path in (ROOT / "plugins/modules").glob("*.py") if common <= options(path)]
    assert members == sorted(having)


def test_versions_are_those_that_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    oldest = load("meta/runtime.yml")["requires_ansible"].removeprefix(">=").removesuffix(".0")
    python = load("tests/config.yml")["modules"]["python_requires"].removeprefix(">=")
    assert f"ansible-core {oldest} or later" in readme and f"Python {python} or later" in readme
    for role in (ROOT / "roles").iterdir():
        assert load(f"roles/{role.name}/meta/main.yml")["galaxy_info"]["min_ansible_version"] == oldest


def test_the_execution_environment_has_what_plugins_import() -> None:
    """ansible-core brings the rest, markupsafe by way of Jinja. What only works with a package says so in requirements.txt."""
    environment = load("meta/execution-environment.yml")
    requirements = (ROOT / environment["dependencies"]["python"]).read_text(encoding="utf-8")
    wanted = {
        re.split(r"[<>=]", line)[0] for line in requirements.splitlines() if line and not line.startswith("#")
    }
    imported: set[str] = set()
    for path in EVERYWHERE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    core = {"ansible", "ansible_collections", "yaml", "jinja2", "markupsafe", "packaging"}
    # dnf and apt come with a distribution, for the system's own Python; compression with Python 3.14.
    others = {"dnf", "apt", "apt_pkg", "rpm", "compression"}
    assert imported - sys.stdlib_module_names - core - others == wanted


def test_four_folders_are_enough(tmp_path: Path) -> None:
    """Automation Hub may keep these alone. The doctor reads this machine and changes nothing."""
    tree = tmp_path / "collections/ansible_collections/amdgpu/fleet"
    for folder in ("meta", "plugins", "roles", "playbooks"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ansible.cfg").write_text("")
    environment = {
        **os.environ,
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path / "tmp"),
    }
    variables = {
        "ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable,
        "report_directory": str(tmp_path / "reports"), "fleet_fail_on": "never",
        # Merging is what needs the schemas that lie beside the catalog.
        "plan_catalog": {"known_issues": {"gpu.none": {"title": "Nothing to compute on"}}},
    }  # fmt: skip
    process = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "amdgpu.fleet.doctor", "-i", "here,",
         "-e", json.dumps(variables)],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    record = json.loads((tmp_path / "reports/hosts/here.json").read_text(encoding="utf-8"))
    assert record["host"] == "here" and record["profile"] and not record["failure"]
    assert (tmp_path / "reports/report.html").exists()
    # The inventory plugin reads what the role wrote.
    seen = _detected.read(tmp_path / "reports/hosts/here.json")
    assert (seen["host"], seen["profile"]) == ("here", record["profile"]) and seen["at"]
