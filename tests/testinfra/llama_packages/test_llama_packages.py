# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp from Debian's packages on a Debian sid, which the role installed; several models in its one server, which
loses no request when it is stopped under load. The tests build on each other, in this order."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from testbed import repository
from testbed.hosts import SERVER

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
UNIT, URL = "llama-cpp-desk", "http://127.0.0.1:8000"
PACKAGES = ("llama.cpp-tools", "libllama0", "libggml0-backend-vulkan", "mesa-vulkan-drivers")
BEARER = "Authorization: Bearer planted-key"
testinfra_hosts = ["ansible://llama-sid"]


def converge(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """The playbook of the scenario again."""
    command = ["ansible-playbook", "molecule/llama_packages/converge.yml", "-i", INVENTORY,
               *arguments, "--extra-vars", json.dumps(variables)]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def flat(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"\\n|\s+", " ", done.stdout + done.stderr)


def ask(host, model: str, question: str) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 16,
        "temperature": 0,
    }
    answer = host.check_output(
        "curl -sS --fail-with-body -H %s --json %s %s/v1/chat/completions", BEARER, json.dumps(body), URL
    )
    return str(json.loads(answer)["choices"][0]["message"]["content"])


def test_the_packages_are_those_of_the_plan(host):
    for name in PACKAGES:
        assert host.package(name).is_installed, name
    # Its service would start without a model, beside ours.
    assert not host.package("llama.cpp-services").is_installed
    assert host.package("llama.cpp-tools").version.startswith("1:0.7.0+")
    said = host.run("llama-server --version")
    assert "version: 0.7.0 (build 11669" in said.stdout + said.stderr


def test_the_back_end_has_a_device(host):
    """Without its package the server would say nothing and compute on the CPU."""
    shown = host.check_output("GGML_VK_VISIBLE_DEVICES=0 llama-server --list-devices 2>&1")
    assert "Vulkan0: llvmpipe" in shown, shown


@pytest.mark.parametrize("model", ["first", "second"])
def test_each_model_of_the_server_knows_the_capital_of_france(host, model):
    assert "Paris" in ask(host, model, "What is the capital of France? Answer in one short sentence.")


def test_the_server_is_confined_and_says_its_build(host):
    unit = host.file(f"/etc/systemd/system/{UNIT}.service").content_string
    assert "ExecStart=/usr/bin/llama-server" in unit and "DynamicUser=yes" in unit
    properties = json.loads(host.check_output("curl -sS -H %s %s/props", BEARER, URL))
    assert properties["role"] == "router" and properties["build_info"].startswith("b11669")


# Two requests for each model; they are stopped when all four run. A pipe is the only thing that is quick enough.
STOP_UNDER_LOAD = """
for model in first second; do
    for at in 1 2; do
        body="{\\"model\\": \\"$model\\", \\"prompt\\": \\"Once upon a time\\", \\"max_tokens\\": $2, \\"ignore_eos\\": true, \\"temperature\\": 0}"
        curl -sS -H "$1" --json "$body" -o /run/answer-$model-$at $3/v1/completions 2>/run/error-$model-$at &
    done
done
for at in $(seq 2000); do
    running=0
    for model in first second; do
        found=$(curl -s --max-time 10 -H "$1" "$3/metrics?model=$model&autoload=false" | sed -n 's/^llamacpp:requests_processing //p')
        running=$((running + ${found:-0}))
    done
    if [ "$running" = 4 ]; then
        systemctl stop llama-cpp-desk
        wait
        exit
    fi
    sleep 0.05
done
echo "they never ran together"
exit 1
"""


def test_no_request_is_lost_when_the_server_is_stopped_under_load(host):
    """llama-server breaks off what runs when it is told to stop: the unit waits for all of its models."""
    body = {
        "model": "first",
        "prompt": "Once upon a time",
        "max_tokens": 16,
        "ignore_eos": True,
        "temperature": 0,
    }
    asked = "curl -sS --fail-with-body -H %s --json %s %s/v1/completions"
    first = json.loads(host.check_output(asked, BEARER, json.dumps(body), URL))
    # About eight seconds where all four compute, however fast or busy this machine is: long after the stop began, and
    # long before it gives up.
    speed = first["timings"]["predicted_per_second"] / 4
    wanted = min(max(16, int(speed * 8)), 480)
    since = host.check_output("date +%s")
    host.check_output("sh -c %s stop %s %s %s", STOP_UNDER_LOAD, BEARER, str(wanted), URL)
    # A router writes a line for each page that it is asked for.
    journal = host.check_output(f"journalctl --no-pager --since=@{since} --unit={UNIT}")
    # On a busy machine some of the four end before systemd has begun.
    assert re.search(r"[1-4] requests run: waiting up to 60 s", journal), journal
    assert "nothing runs after" in journal, journal
    for model in ("first", "second"):
        for at in (1, 2):
            answer = host.file(f"/run/answer-{model}-{at}").content_string
            assert json.loads(answer)["usage"]["completion_tokens"] == wanted, f"{answer}\n{journal}"
    assert "planted-key" not in journal
    assert host.check_output(f"systemctl show --property=Result --value {UNIT}") == "success"


def test_what_was_stopped_is_started_by_the_next_run(host):
    done = converge()
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Paris" in ask(host, "second", "What is the capital of France? Answer in one short sentence.")


def test_check_mode_says_which_packages_would_come_and_brings_none(host):
    host.check_output("dpkg --remove --force-depends libggml0-backend-vulkan")
    done = converge("--check")
    assert done.returncode == 0 and "llama-sid: would install libggml0-backend-vulkan" in flat(done), flat(
        done
    )[-3000:]
    assert not host.package("libggml0-backend-vulkan").is_installed
    done = converge()
    assert done.returncode == 0, flat(done)[-3000:]
    assert host.package("libggml0-backend-vulkan").is_installed


def test_packages_of_another_release_are_refused_and_the_server_goes_on(host):
    """The catalog of the inventory says that 0.7.0 is another build than it is."""
    before = host.check_output(f"systemctl show --property=InvocationID {UNIT}")
    host.check_output("dpkg --remove --force-depends libggml0-backend-vulkan")
    catalog = {"llama_cpp": {"releases": {"0.7.0": {"build": 11999}}}}
    done = converge(plan_catalog=catalog)
    assert done.returncode and "could not be had from the packages" in flat(done), flat(done)[-3000:]
    assert "it says version: 0.7.0 (build 11669" in flat(done) and "What served goes on" in flat(done)
    # The packages are all there now, and are not taken for that release by the next run either.
    again = converge(plan_catalog=catalog)
    assert again.returncode and "it says version: 0.7.0 (build 11669" in flat(again), flat(again)[-3000:]
    assert host.check_output(f"systemctl show --property=InvocationID {UNIT}") == before


def test_a_release_that_no_repository_has_is_said(host):
    before = host.check_output(f"systemctl show --property=InvocationID {UNIT}")
    catalog = {
        "llama_cpp": {"releases": {"0.6.9": {"build": 11500, "date": "2026-11-01", "source": "the test"}}}
    }
    done = converge(plan_catalog=catalog, llama_cpp_version="0.6.9")
    assert done.returncode and "llama.cpp-tools=1:0.6.9+*" in flat(done), flat(done)[-3000:]
    assert "Correct llama_cpp_version" in flat(done)
    assert host.check_output(f"systemctl show --property=InvocationID {UNIT}") == before


def test_debian_13_has_none_and_is_left_as_it_was(host):
    trixie = host.get_host(f"ansible://llama-trixie?ansible_inventory={INVENTORY}")
    before = trixie.check_output("sha256sum /var/lib/dpkg/status")
    done = converge(bed_hosts="llama-trixie")
    assert done.returncode and "The distribution has no package of llama-server" in flat(done), flat(done)[
        -3000:
    ]
    assert "llama_cpp_repository_uri" in flat(done)
    assert trixie.check_output("sha256sum /var/lib/dpkg/status") == before
    assert not trixie.file("/etc/llama-cpp").exists


SOURCES = "/etc/apt/sources.list.d/amdgpu-fleet-serve.sources"


def test_a_repository_of_the_site_has_them_for_debian_13(host):
    """Its newest one is of a release that nobody knows: the one that options are held to is asked for."""
    trixie = host.get_host(f"ansible://llama-trixie?ansible_inventory={INVENTORY}")
    site = {
        "bed_hosts": "llama-trixie",
        "llama_cpp_repository_uri": f"http://{SERVER}/site/llama",
        "llama_cpp_repository_key_url": f"http://{SERVER}/{repository.KEY_PATHS[0]}",
        "llama_cpp_repository_fingerprint": (repository.FOLDER / "fingerprint").read_text().strip(),
    }
    done = converge(**site)
    assert done.returncode == 0, flat(done)[-3000:]
    assert "/site/llama\n" in trixie.file(SOURCES).content_string
    for name in ("llama.cpp-tools", "libllama0"):
        assert trixie.package(name).version == "1:0.7.0+dfsg-2"
    assert trixie.service(UNIT).is_running
    again = converge(plan_compare=True, **site)
    assert again.returncode == 0 and "changed=0" in again.stdout, flat(again)[-3000:]
    gone = converge(serve_state="absent", **site)
    assert gone.returncode == 0, flat(gone)[-3000:]
    assert not trixie.file(SOURCES).exists and trixie.package("llama.cpp-tools").is_installed


def test_the_packages_stay_when_the_server_goes(host):
    done = converge(serve_state="absent", serve_purge=True)
    assert done.returncode == 0, flat(done)[-3000:]
    said = "llama-sid: llama.cpp-tools libllama0 libggml0-backend-vulkan mesa-vulkan-drivers stay, because others may use them"
    assert said in flat(done), flat(done)[-3000:]
    assert (
        not host.file(f"/etc/systemd/system/{UNIT}.service").exists and not host.file("/etc/llama-cpp").exists
    )
    assert all(host.package(name).is_installed for name in PACKAGES)
    again = converge(serve_state="absent", serve_purge=True)
    assert again.returncode == 0 and "changed=0" in again.stdout and "stay, because" not in flat(again)
