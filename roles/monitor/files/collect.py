# Written by amdgpu.fleet
"""Says how the AMD GPUs of this host are, in a file that node_exporter reads, for a timer of systemd. The judgement
is the doctor's: the same code and the same limits. No vendor tool is needed."""

import argparse
import glob
import json
import os
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from ansible_collections.amdgpu.fleet.plugins.module_utils import _exposition as exposition
from ansible_collections.amdgpu.fleet.plugins.module_utils import _gpu_memory, _gpus, _health
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import health_judge

LARGEST = 1 << 16


def dmesg():
    """The kernel log, where it may be read."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(["dmesg"], capture_output=True, timeout=20, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() or None if done.returncode == 0 else None


def add_gpus(page, root, settings):
    """Numbers first: what stops the judgement leaves them."""
    tree = Tree(root)
    facts = _gpus.detect(tree)
    gpus = {gpu["index"]: gpu for gpu in facts["gpus"]}
    page.add("amdgpu_fleet_gpus_found", len(gpus))
    health = _health.facts(tree, facts["gpus"], dmesg if root == "/" else lambda: None)
    for one in health["gpus"]:
        gpu = gpus[one["index"]]
        exposition.of_gpu(page, gpu, one)
        unread = len(health_judge.troubling(one)) + add_memory(page, tree, gpu, one["asleep"])
        page.add("amdgpu_fleet_gpu_unread", unread, {"gpu": gpu["index"], "pci": gpu["pci_address"]})
    exposition.of_log(page, health["log"])
    judged = health_judge.judge(facts, health, settings["health"])
    for verdict in judged.verdicts:
        exposition.of_verdict(page, gpus[verdict.index], verdict.verdict)
        for evidence in verdict.reasons:
            exposition.of_evidence(page, gpus[verdict.index], evidence, settings["accept"])
    for evidence in judged.of_no_gpu:
        exposition.of_evidence(page, None, evidence, settings["accept"])


def add_memory(page, tree, gpu, asleep):
    """How many of its values could not be read."""
    if asleep or not gpu["render_nodes"]:
        return 0
    try:
        usage = _gpu_memory.usage(tree, gpu["render_nodes"][0])
    except _gpu_memory.Garbled:
        return 1
    if usage:
        exposition.of_memory(page, gpu, usage.used, usage.total)
    return 0


def add_probes(page, root):
    for path in sorted(glob.glob(os.path.join(root, "run/inference-check-*/last.json"))):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                told = json.loads(file.read(LARGEST))
        except (OSError, ValueError):
            continue  # its time stamp grows old, which is an alert
        exposition.of_probe(page, told)


def write(path, text):
    """Never half of it: node_exporter may read at any moment."""
    beside = f"{path}.tmp"  # node_exporter reads *.prom alone
    with open(beside, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--root", default="/")
    options = parser.parse_args()
    started = time.monotonic()
    with open(options.settings, encoding="utf-8") as file:
        settings = json.load(file)
    page = exposition.Page(settings["meaning"])
    failed = False
    for add in (lambda: add_gpus(page, options.root, settings), lambda: add_probes(page, options.root)):
        try:
            add()
        except Exception:  # whatever it is, the rest is told, and that it failed
            traceback.print_exc()
            failed = True
    page.add("amdgpu_fleet_gpus_expected", settings["gpus"])
    page.add("amdgpu_fleet_collector_success", not failed)
    page.add("amdgpu_fleet_collected_timestamp_seconds", round(time.time(), 3))
    page.add("amdgpu_fleet_collect_seconds", round(time.monotonic() - started, 3))
    write(options.output, page.text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
