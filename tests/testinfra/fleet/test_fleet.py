# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks as people run them, on a fleet that is already right, and with what people get wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
REPORTS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "reports"
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
TINY = {"name": "tiny", "model": "/srv/models/tiny-llama", "options": {"max-model-len": 256}}
testinfra_hosts = ["ansible://fleet-none"]


def play(name: str, *arguments: str, collections: str = "", **variables) -> subprocess.CompletedProcess:
    """Run a playbook of the checkout, or of an installed collection."""
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    if collections:
        environment["ANSIBLE_COLLECTIONS_PATH"] = collections
    command = ["ansible-playbook", name, "-i", INVENTORY, *arguments, "-e", json.dumps(variables)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def recap(result: subprocess.CompletedProcess) -> dict[str, dict[str, int]]:
    lines = re.findall(r"^(\S+)\s+: (ok=.*)$", result.stdout, re.M)
    return {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines
    }


def flat(result: subprocess.CompletedProcess) -> str:
    """Output without the line breaks that the terminal width puts in."""
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


@pytest.fixture
def state(host):
    """Everything below /etc and /boot of a host, and its packages, as one checksum."""
    command = "find /etc /boot /opt -xdev -type f ! -name '*.cache' -print0 | sort -z | xargs -0 sha256sum; dpkg-query -W"
    return lambda: host.check_output(f"({command}) | sha256sum")


def test_the_broken_host_is_named_and_left_alone_and_the_others_finish():
    result = play("site.yml")
    counts = recap(result)
    assert result.returncode == 2
    assert counts["fleet-broken"]["failed"] == 1 and counts["fleet-broken"]["changed"] == 0
    for name in ("fleet-rack", "fleet-halo", "fleet-radeon", "fleet-none"):
        assert (counts[name]["failed"], counts[name]["changed"]) == (0, 0)
    assert "The kernel is too old for this GPU [kernel.minimum]" in flat(result)
    assert re.search(r"^fleet-broken .* FAILED", result.stdout, re.M)
    doctor = json.loads((REPORTS / "doctor.json").read_text())
    assert doctor["exit"] == 2 and list(doctor["failures"]) == ["fleet-broken"] and doctor["reboot"] == {}
    records = {record["host"]: record for record in json.loads((REPORTS / "report.json").read_text())}
    assert {name: record["profile"] for name, record in records.items() if not record["failure"]} == {
        "fleet-rack": "gfx942", "fleet-halo": "gfx1151", "fleet-radeon": "gfx1201", "fleet-none": "cpu",
    }  # fmt: skip
    # The display chip beside the card is no GPU for ROCm, and a kernel that knows the card needs no DKMS.
    assert (records["fleet-radeon"]["gpus"], records["fleet-radeon"]["driver"]["source"]) == (
        "AMD Radeon RX 9070 XT (gfx1201)",
        "inbox",
    )


def on(name: str, command: str) -> str:
    """What a command printed on a host."""
    words = ["ansible", name, "-i", INVENTORY, "-b", "-o", "-m", "ansible.builtin.shell", "-a", command]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.partition("(stdout) ")[2].strip()


def test_a_run_changes_nothing_while_another_one_holds_the_host_and_names_it():
    lock, drifted = "/run/amdgpu-fleet/run.lock", "/etc/sysctl.d/60-amdgpu-fleet.conf"
    held = json.dumps(
        {"run": "admin2:1:x", "who": "bob on admin2", "since": time.time(), "seen": time.time()}
    )
    on("fleet-rack", f"mkdir -p /run/amdgpu-fleet && echo '{held}' > {lock} && echo '# drifted' >> {drifted}")
    result = play("site.yml", "--limit", "fleet-rack")
    assert result.returncode == 2 and "bob on admin2 changes this host since" in flat(result)
    assert on("fleet-rack", f"grep -c drifted {drifted}") == "1"
    on("fleet-rack", f": > {lock}")
    result = play("site.yml", "--limit", "fleet-rack")
    assert result.returncode == 0 and recap(result)["fleet-rack"]["changed"] > 0, result.stdout[-2000:]
    assert on("fleet-rack", f"grep -c drifted {drifted} || true") == "0"
    assert on("fleet-rack", f"wc -c < {lock}") == "0", "the lock was given back"


def test_without_its_reboot_a_run_says_who_needs_one_and_why():
    result = play(
        "site.yml", "--limit", "fleet-halo", "--skip-tags", "reboot", kernel_arguments_present=["nosmt"]
    )
    assert result.returncode == 0, result.stdout
    why = "nosmt is not in effect in the running kernel"
    assert re.search(
        r"^fleet-halo .* reboot needed", result.stdout, re.M
    ) and f"REBOOT fleet-halo: {why}" in flat(result)
    assert json.loads((REPORTS / "doctor.json").read_text())["reboot"] == {"fleet-halo": [why]}
    back = play("site.yml", "--limit", "fleet-halo")
    assert back.returncode == 0 and "REBOOT" not in back.stdout, back.stdout
    assert re.search(r"^fleet-halo .* ready", back.stdout, re.M)


def test_doctor_of_the_installed_collection_changes_nothing(tmp_path, state):
    subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", tmp_path, REPOSITORY],
        check=True,
        capture_output=True,
    )
    archive = next(tmp_path.glob("amdgpu-fleet-*.tar.gz"))
    subprocess.run(
        [
            "ansible-galaxy",
            "collection",
            "install",
            "--force",
            "--offline",
            "-p",
            tmp_path / "installed",
            archive,
        ],
        check=True,
        capture_output=True,
    )
    before = state()
    result = play(
        "amdgpu.fleet.doctor", "--limit", "fleet-none,fleet-halo", collections=str(tmp_path / "installed")
    )
    assert result.returncode == 0, result.stdout
    assert "ttm pages_limit=29360128" in flat(result) and "superm1/amd-debug-tools" in flat(result)
    assert state() == before
    result = play("amdgpu.fleet.site", "--limit", "fleet-halo", collections=str(tmp_path / "installed"))
    assert result.returncode == 0 and recap(result)["fleet-halo"]["changed"] == 0


def test_a_tag_mends_its_own_role_and_nothing_else():
    device_rules, kernel_settings = (
        "/etc/udev/rules.d/70-amdgpu-fleet.rules",
        "/etc/sysctl.d/60-amdgpu-fleet.conf",
    )
    on("fleet-rack", f"echo '# drifted' | tee -a {device_rules} {kernel_settings}")
    result = play("site.yml", "--limit", "fleet-rack", "--tags", "devices")
    assert result.returncode == 0, result.stdout
    assert re.search(r"^fleet-rack .* ready", result.stdout, re.M)
    assert on("fleet-rack", f"grep -lr drifted {device_rules} {kernel_settings}") == kernel_settings
    result = play("site.yml", "--limit", "fleet-rack", "--tags", "kernel")
    assert result.returncode == 0, result.stdout
    assert on("fleet-rack", f"grep -lr drifted {device_rules} {kernel_settings} || echo none") == "none"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"driver_policy": "newest"}, ["driver_policy", "newest", "dkms, inbox, none"]),
        (
            {"serve_instances": [{**TINY, "model": "/srv/models/none"}]},
            ["/srv/models/none", "Put the model there"],
        ),
        (
            {"serve_instances": [{**TINY, "port": 22}]},
            ["22 held by ssh.service", "Set port of the instance tiny"],
        ),
        ({"serve_instances": [{**TINY, "gpus": [3]}]}, ["GPU 3", "has no GPU of this index"]),
    ],
    ids=["value", "model", "port", "gpu"],
)
def test_bad_input_is_one_sentence_and_the_host_stays_as_it_was(state, variables, words):
    before = state()
    result = play("site.yml", "--limit", "fleet-none", **variables)
    assert result.returncode == 2
    assert all(word in flat(result) for word in words), result.stdout
    assert recap(result)["fleet-none"]["changed"] == 0
    assert state() == before


@pytest.mark.parametrize(
    ("uri", "words"),
    [("http://10.77.0.99/debian", ["http://10.77.0.99/debian/dists/stable/InRelease", "Correct its address"]),
     ("http://10.77.0.2/nowhere", ["http://10.77.0.2/nowhere/dists/stable/InRelease", "404"])],
    ids=["unreachable", "wrong"],
)  # fmt: skip
def test_a_repository_that_does_not_answer(uri, words):
    result = play("site.yml", "--limit", "fleet-halo", "--tags", "rocm", rocm_repository_uri=uri)
    assert result.returncode == 2
    assert all(word in flat(result) for word in words), result.stdout
    assert recap(result)["fleet-halo"]["changed"] == 0


def rollout(tmp_path, **variables) -> list[str]:
    """A second inventory that only sets variables: `serial` must come from there and not from the command
    line."""
    path = tmp_path / "rollout.yml"
    path.write_text(json.dumps({"all": {"vars": variables}}))
    return ["-i", str(path)]


def test_the_inventory_says_how_many_hosts_at_a_time(tmp_path):
    result = play(
        "site.yml", "--limit", "fleet-rack,fleet-halo,fleet-none", *rollout(tmp_path, fleet_serial=2)
    )
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("TASK [amdgpu.fleet.plan : Read the GPUs, ROCm and the host]") == 2
    records = json.loads(
        (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "reports/report.json").read_text()
    )
    # The others are in it too, as they were.
    assert [bool(record["failure"]) for record in records if record["asked"]] == [False, False, False]
    assert {record["host"] for record in records if not record["asked"]} == {"fleet-broken", "fleet-radeon"}


def test_a_rollout_stops_at_the_first_batch_with_a_failure(tmp_path):
    arguments = rollout(tmp_path, fleet_serial=1, fleet_max_fail_percentage=0)
    result = play("site.yml", "--limit", "fleet-broken,fleet-none", *arguments)
    assert result.returncode == 2
    assert recap(result)["fleet-broken"]["failed"] == 1
    # It took part in the play that counts hosts, and in nothing else.
    assert recap(result)["fleet-none"]["ok"] == 1
    assert re.search(r"^fleet-none .* waiting", result.stdout, re.M)


def test_the_host_that_is_not_reached_is_in_the_report():
    result = subprocess.run(
        ["ansible-playbook", "site.yml", "-i", INVENTORY, "-i", "nowhere.invalid,", "--limit", "fleet-none,nowhere.invalid",
         "--tags", "devices"],
        cwd=REPOSITORY, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert re.search(r"^nowhere.invalid .* FAILED", result.stdout, re.M), result.stdout
    assert re.search(r"^fleet-none .* ready", result.stdout, re.M)


def test_teardown_takes_back_what_site_set():
    result = play("playbooks/teardown.yml", "--limit", "fleet-rack")
    assert result.returncode == 0, result.stdout
    assert re.search(r"^fleet-rack .* reboot needed", result.stdout, re.M)
    assert "REBOOT fleet-rack:" in flat(result) and "the installed driver is not the running one" in flat(
        result
    )
    again = play("playbooks/teardown.yml", "--limit", "fleet-rack")
    assert recap(again)["fleet-rack"]["changed"] == 0
    assert "REBOOT fleet-rack:" in again.stdout, "it is still pending"
    installed = subprocess.run(
        ["ansible", "-i", INVENTORY, "fleet-rack", "-m", "ansible.builtin.command", "-a", "dpkg-query -W -f '${Package} '"],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert "libquadmath0" not in installed.stdout and "libatomic1" not in installed.stdout
    listing = subprocess.run(
        ["ansible", "-i", INVENTORY, "fleet-rack", "-m", "ansible.builtin.find",
         "-a", "paths=/etc patterns=*amdgpu-fleet* excludes=*-test-bed-host recurse=true"], capture_output=True, text=True, check=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert "matched: 0" in listing.stdout, listing.stdout
