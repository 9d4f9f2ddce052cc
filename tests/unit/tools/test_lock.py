# SPDX-License-Identifier: GPL-3.0-or-later
"""The hashes of the tools that roles install are those of the versions of the catalog."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
WANTED = runpy.run_path(str(ROOT / "tools/lock"))["wanted"]()


@pytest.mark.parametrize("path", WANTED, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_has_a_hash(path):
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines and all(re.match(r"[a-z0-9-]+==[\w.]+ ", line) for line in lines)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", line) for line in lines)
    assert "://" not in text, "an index stands in it"


def locked(tasks: str, task: str, lock: str, condition: str, **variables: object) -> bool:
    """What a task of a role decides: whether pip is given the hashes."""
    blocks = yaml.safe_load((ROOT / tasks).read_text(encoding="utf-8"))
    (found,) = [each for block in blocks for each in block.get("block", []) if each["name"] == task]
    expression = found["vars"][condition].strip("{} ")
    return jinja2.Environment().compile_expression(expression)(**variables, **{lock: _lock(tasks)})  # noqa: S701


def _lock(tasks: str) -> str:
    folder = (ROOT / tasks).parents[1] / "files"
    (path,) = folder.glob("*.txt")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("other", "expected"), [("", True), (".1", False)])
def test_the_hashes_are_given_for_the_version_that_they_are_of(other, expected):
    uv, client = WANTED.values()
    of_uv = {"__serve_install": {"venv": {"uv_packages": [uv + other]}}}
    tasks = "roles/serve/tasks/install_venv.yml"
    assert locked(tasks, "Install | install uv", "__serve_lock", "__serve_locked", **of_uv) is expected
    assert client_locked(client + other, "--index-url https://mirror.example/simple") is expected
    assert not client_locked(client, "--no-index --find-links /srv/wheels")


def client_locked(package: str, arguments: str) -> bool:
    planned = {"plan_host": {"model": {"client_package": package, "pip_arguments": arguments}}}
    task = "Client | install huggingface_hub"
    return locked("roles/model/tasks/client.yml", task, "__model_lock", "__model_locked", **planned)
