# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that fills AITER's cache from the image: once, whole, and anew for another AITER."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/serve/files/aiter_cache.py"


@pytest.fixture
def package(tmp_path) -> Path:
    """A package that must not be imported."""
    jit = tmp_path / "site/aiter/jit"
    (jit / "build").mkdir(parents=True)
    (jit.parent / "__init__.py").write_text("raise RuntimeError('no GPU')")
    (jit / "core.py").write_text("")
    (jit / "module_norm.so").write_bytes(b"compiled")
    return jit


def fill(tmp_path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, PROGRAM, str(tmp_path / "cache/aiter"), *arguments]
    (tmp_path / "cache").mkdir(exist_ok=True)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_it_is_filled_once_and_what_is_compiled_stays(tmp_path, package):
    cache = tmp_path / "cache/aiter"
    assert "filled from" in fill(tmp_path)
    assert (cache / "module_norm.so").read_bytes() == b"compiled" and (cache / "build").is_dir()
    (cache / "module_moe.so").write_bytes(b"compiled here")
    assert "is filled" in fill(tmp_path)
    assert (cache / "module_moe.so").exists()


def test_another_build_is_copied_anew(tmp_path, package):
    fill(tmp_path)
    (tmp_path / "cache/aiter/module_moe.so").write_bytes(b"of the old one")
    (package / "module_norm.so").write_bytes(b"compiled otherwise")
    assert "filled from" in fill(tmp_path)
    assert (tmp_path / "cache/aiter/module_norm.so").read_bytes() == b"compiled otherwise"
    assert not (tmp_path / "cache/aiter/module_moe.so").exists()


def test_a_copy_that_was_broken_off_is_made_anew(tmp_path, package):
    half = tmp_path / "cache/aiter.half"
    half.mkdir(parents=True)
    (half / "left").write_text("")
    fill(tmp_path)
    assert not half.exists() and not (tmp_path / "cache/aiter/left").exists()


def test_an_image_without_it_is_no_failure(tmp_path):
    assert "nothing to copy" in fill(tmp_path)
    assert not (tmp_path / "cache/aiter").exists()
