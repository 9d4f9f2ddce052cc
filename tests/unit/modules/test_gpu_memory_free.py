# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the memory of GPUs is free, on generated hosts."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from testbed.tree import load_host, write_tree

DRM = "sys/class/drm"


@pytest.fixture
def host(tmp_path, run_module):
    """host("mi300x-8") -> a function that runs the module on it."""

    def make(name: str):
        write_tree(load_host(name), tmp_path)

        def run(*devices: str, **arguments):
            return run_module(
                "gpu_memory_free",
                root=str(tmp_path),
                devices=list(devices),
                **{"timeout": 1, "interval": 0.05, **arguments},
            )

        return run

    return make


def use(root: Path, node: str, pool: str, gib: float) -> None:
    path = root / DRM / node / "device" / f"mem_info_{pool}_used"
    path.write_text(f"{int(gib * 2**30)}\n")


def test_free(host):
    result = host("mi300x-8")("/dev/kfd", "/dev/dri/renderD128", "renderD136")
    assert [(gpu["node"], gpu["used_bytes"]) for gpu in result["gpus"]] == [
        ("renderD128", 297926656),
        ("renderD136", 297926656),
    ]
    assert result["gpus"][0]["total_bytes"] > 190 << 30 and not result["changed"]


def test_held_by_an_engine_that_outlived_its_server(host, tmp_path):
    run = host("mi300x-8")
    use(tmp_path, "renderD136", "vram", 170.5)
    for pid, name in ((4711, "VLLM::EngineCor"), (12, None)):
        (tmp_path / f"sys/class/kfd/kfd/proc/{pid}").mkdir(parents=True)
        if name:
            (tmp_path / f"proc/{pid}").mkdir(parents=True)
            (tmp_path / f"proc/{pid}/status").write_text(f"Name:\t{name}\nUmask:\t0022\n")
    result = run("renderD128", "renderD136")
    assert result["failed"] and "170.5 of 192.0 GiB of renderD136 still in use after 1 s" in result["msg"]
    assert "renderD128" not in result["msg"] and "KFD knows 12, VLLM::EngineCor (4711)" in result["msg"]
    assert not run("renderD128").get("failed") and not run("renderD136", used_percent=95).get("failed")


def test_it_waits(host, tmp_path):
    run = host("mi300x-8")
    use(tmp_path, "renderD128", "vram", 100)
    threading.Thread(target=lambda: (time.sleep(1), use(tmp_path, "renderD128", "vram", 0.3))).start()
    assert 0.1 < run("renderD128", timeout=20)["waited_seconds"] < 15


def test_an_apu_holds_models_in_gtt(host, tmp_path):
    run = host("strix-halo-128")
    use(tmp_path, "renderD128", "vram", 0.45)  # the desktop, in what the firmware set aside
    assert run("renderD128")["gpus"][0]["total_bytes"] == 64 << 30
    use(tmp_path, "renderD128", "gtt", 40)
    assert "40.0 of 64.0 GiB of renderD128 still in use" in run("renderD128")["msg"]


def test_a_gpu_that_does_not_say_is_passed_over(host, tmp_path):
    run = host("rx9070xt")
    for pool in ("vram", "gtt"):
        (tmp_path / DRM / "renderD128/device" / f"mem_info_{pool}_used").unlink()
    assert run("renderD128", "renderD999")["gpus"] == []


@pytest.mark.parametrize("content", [b"", b"many\n", b"\0\0\0\0", b"-1\n", b"9" * 400])
@pytest.mark.parametrize("name", ["vram_used", "vram_total"])
def test_a_counter_that_is_garbage_is_not_free_memory(host, tmp_path, name, content):
    run = host("mi300x-8")
    use(tmp_path, "renderD128", "vram", 170)
    path = tmp_path / DRM / "renderD128/device" / f"mem_info_{name}"
    path.unlink()
    path.write_bytes(content)
    result = run("renderD128")
    assert result["failed"] and f"renderD128/device/mem_info_{name} does not say" in result["msg"]


@pytest.mark.parametrize("interval", [-1, float("nan"), float("inf")])
def test_an_interval_that_is_none(host, interval):
    assert host("rx9070xt")("renderD128", interval=str(interval))["msg"].startswith(
        "interval must be between 0 and 3600 seconds"
    )
