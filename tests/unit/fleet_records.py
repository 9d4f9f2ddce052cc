# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of fleets of any size, made without chance: racks of MI300X in SPX and CPX, workstations, hosts in need."""

from __future__ import annotations

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import Record, Run, empty

RUN = Run(
    id="ansible-local-1", at="2026-11-28T14:05:00Z", started="2026-11-28T14:00:00Z",
    command="ansible-playbook amdgpu.fleet.site -i inventories/fleet", limit="", check=False,
    inventory=["inventories/fleet"],
)  # fmt: skip
FIT = {
    "verdict": "fits", "reason": None, "devices": 8, "weights_bytes": 141107412992, "budget_bytes": 1480000000000,
    "kv_bytes": 1290000000000, "kv_bytes_per_token": 327680, "largest_context": 131072, "context": 131072, "sequences": 30,
}  # fmt: skip
KINDS = {
    "kernel.minimum": ("fail", "The kernel is too old for this GPU", "6.12.9", "6.18.4 or later", "older kernels hang under load",
                       "Install linux-oem-24.04c, then run `ansible-playbook amdgpu.fleet.site` again"),
    "serve.down": ("fail", "A wanted server does not run", "vllm-chat.service failed 4 min ago (exit code 1)", "active",
                   "nobody answers requests for chat", "Read `journalctl -u vllm-chat`, then start it with `systemctl restart vllm-chat`"),
    "firmware.refused": ("warn", "Firmware that is known to break ROCm", "20251125", "another version",
                         "ROCm crashes with it on gfx1151", "Let the role firmware install the version of the catalog"),
    "memory.host": ("warn", "Less memory than AMD asks for", "1024 GiB", "1536 GiB", "weights pass through the page cache",
                    "Add memory, up to 2048 GiB"),
    "log.ras": ("warn", "The driver corrected memory errors", "GPU 3: 14 corrected errors", "none", "a rising number foretells a failure",
                "Watch it, and drain the host when it rises"),
}  # fmt: skip


def finding(host: str, identifier: str, seen: str = "") -> dict:
    severity, title, shown, expected, why, remedy = KINDS[identifier]
    return {
        "id": identifier, "host": host, "severity": severity, "title": title, "seen": seen or shown, "expected": expected,
        "why": why, "remedy": remedy, "reference": "ROCm/ROCm#1234", "mended_by": None,
    }  # fmt: skip


CHANGES = {
    "gpus": ("fail", "a GPU that is gone is seen by nothing else"),
    "drift": ("warn", "somebody changed what the roles had set; `amdgpu.fleet.site` sets it right"),
    "kernel": ("ok", "results of earlier tests were those of another one"),
    "correctable": ("ok", "nothing is lost; a number that keeps rising foretells a failure"),
}


def change(kind: str, what: str, before: str, now: str) -> dict:
    severity, why = CHANGES[kind]
    return {"kind": kind, "what": what, "before": before, "now": now, "why": why, "severity": severity}


def settings(kind: str, host: str) -> list[dict]:
    return [
        {"role": "kernel", "setting": "argument", "value": "iommu=pt" if kind == "rack" else "ttm.pages_limit=29360128",
         "reason": "peer to peer transfers need it", "source": "ROCm/system-acceptance-docs @23e7312"},
        {"role": "kernel", "setting": "sysctl kernel.numa_balancing", "value": "0", "reason": "page migration stalls the GPUs", "source": "AMD"},
        {"role": "driver", "setting": "driver", "value": "amdgpu-dkms 6.16.13", "reason": "the profile asks for it", "source": "repo.radeon.com"},
        {"role": "rocm", "setting": "version", "value": "7.14", "reason": "the default of the catalog", "source": "TheRock"},
        {"role": "devices", "setting": "mode", "value": "0660", "reason": "members of render may use the GPUs", "source": None},
        {"role": "serve", "setting": "chat tensor-parallel-size", "value": "8" if kind == "rack" else "1",
         "reason": "one server over all GPUs", "source": "vLLM 0.33.0"},
        {"role": "serve", "setting": "chat address", "value": f"{host}:8000", "reason": "the inventory says so", "source": "the inventory"},
    ]  # fmt: skip


def record(number: int, run: Run = RUN) -> Record:
    """Every tenth is a workstation, every fifth rack is in CPX; some are in need of something."""
    kind = "halo" if number % 10 == 9 else "rack"
    name = f"halo{number // 10 + 1}" if kind == "halo" else f"rack{number // 32 + 1:02}-n{number % 32 + 1:02}"
    known = empty(name)
    cpx = kind == "rack" and number % 5 == 3
    gpu = {"name": "AMD Instinct MI300X" if kind == "rack" else "AMD Radeon 8060S", "gfx": "gfx942" if kind == "rack" else "gfx1151",
           "pci": "", "memory_bytes": (192 if kind == "rack" else 112) << 30, "partitions": 8 if cpx else 1,
           "mode": "CPX/NPS4" if cpx else "SPX/NPS1", "evidence": ""}  # fmt: skip
    amount = 8 if kind == "rack" else 1
    known.update(
        at=run.at, run=run.id, command=run.command, inventory=run.inventory, known_at=run.at, asked=True,
        os="Debian GNU/Linux 13 (trixie)" if kind == "halo" else "Ubuntu 24.04.3 LTS", kernel="6.18.9-generic",
        memory_bytes=(128 if kind == "halo" else 2048) << 30,
        driver={"source": "inbox" if kind == "halo" else "dkms", "release": None if kind == "halo" else "31.10"},
        profile=gpu["gfx"], title="Strix Halo (Ryzen AI Max)" if kind == "halo" else "Instinct MI300 series",
        gpus=f"{amount}x {gpu['name']} ({gpu['gfx']})" if amount > 1 else f"{gpu['name']} ({gpu['gfx']})",
        gpu_list=[{**gpu, "index": index, "verdict": None} for index in range(amount)],
        partitions=amount * gpu["partitions"], usable_bytes=amount * gpu["memory_bytes"], settings=settings(kind, name),
    )  # fmt: skip
    known["seen"]["versions"] = {
        "os": known["os"], "kernel": known["kernel"], "driver": "dkms 31.10" if kind == "rack" else "inbox", "gpus": str(amount),
        "memory": "2048 GiB" if kind == "rack" else "128 GiB", "vbios": "113-M3000100-102" if kind == "rack" else "113-STRXLGEN-001",
        "link_width": "x16", "firmware smc": "0x00556900",
    }  # fmt: skip
    endpoint = {
        "name": "chat", "url": f"http://10.20.{number // 250}.{number % 250 + 1}:8000", "unit": "vllm-chat.service",
        "target": f"10.20.{number // 250}.{number % 250 + 1}:8000", "model": "Qwen3-235B-A22B-FP8" if kind == "rack" else "gpt-oss-120b",
        "engine": "vllm", "kind": "quadlet", "version": "0.33.0", "variant": "rocm714", "gpus": [], "memory": FIT, "answered": True,
        "text": " fast at matrix products, and", "reason": "", "waited_seconds": 0.2, "time_to_first_token_ms": 41.0,
        "time_per_output_token_ms": 9.3,
    }  # fmt: skip
    known["endpoints"] = [endpoint]
    _trouble(known, number)
    past = [(f"2026-11-{day + 1:02}T06:00:00Z", (number * day) % 7 == 5) for day in range(20)]
    known["history"] = [
        {"at": at, "command": run.command, "state": "ready", "fail": 0, "warn": 2 if bad else 0}
        for at, bad in past
    ]
    return known


def _trouble(known: Record, number: int) -> None:
    name = known["host"]
    if number % 97 == 4:
        known["findings"].append(finding(name, "serve.down"))
        known["endpoints"][0].update(
            answered=False, text="", reason="vllm-chat.service failed 4 min ago (exit code 1)"
        )
    if number % 10 == 9:
        known["findings"] += [finding(name, "firmware.refused")]
    if number % 40 == 39:
        known["findings"].insert(0, finding(name, "kernel.minimum"))
        known["failure"] = "stopped before anything was changed, by kernel.minimum"
        known["endpoints"] = []
    if number % 23 == 2:
        known["findings"].append(finding(name, "memory.host"))
    if number % 61 == 5 and len(known["gpu_list"]) > 3:
        known["findings"].append(finding(name, "log.ras", f"GPU 3: {number} corrected errors"))
        known["gpu_list"][3].update(verdict="watch", evidence=f"{number} corrected errors since boot")
    if number % 113 == 7:
        known["failure"] = (
            "the host could not be reached any more; the line UNREACHABLE of this run names the task"
        )
        known["known_at"] = "2026-11-27T06:00:00Z"
    if number % 57 == 6 and len(known["gpu_list"]) > 1:
        known["gpu_list"].pop()
        known["seen"]["versions"]["gpus"] = str(len(known["gpu_list"]))
        known["changes"].append(change("gpus", "GPUs", "8", "7"))
    if number % 83 == 11:
        known["seen"]["versions"]["firmware smc"] = "0x00556800"
    if number % 29 == 3:
        known["changes"].append(change("kernel", "kernel", "6.12.9-generic", "6.18.9-generic"))
    if number % 61 == 5:
        known["changes"].append(
            change("correctable", "GPU 3: corrected errors (umc)", str(number // 2), str(number))
        )
    if number % 31 == 8:
        known["seen"]["drift"] = {"serve": "/etc/vllm/chat.env differs from the plan"}
        known["changes"].append(
            change("drift", "not as planned any more (serve)", "as planned", "/etc/vllm/chat.env differs")
        )
    if number % 71 == 10:
        known["reboot"] = ["iommu=pt is not in effect in the running kernel"]


def fleet(size: int, run: Run = RUN) -> list[Record]:
    return [record(number, run) for number in range(size)]
