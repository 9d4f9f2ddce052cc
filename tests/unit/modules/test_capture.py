# SPDX-License-Identifier: GPL-3.0-or-later
"""A capture says what its host says, tells no secret, and cannot hurt who opens it."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.module_utils import _notes
from ansible_collections.amdgpu.fleet.plugins.module_utils._capture import Packer
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import planner
from testbed.descriptions import HOSTS
from testbed.tree import load_host, write_tree

ALL_HOSTS = sorted(path.stem for path in HOSTS.glob("*.yml"))
CAPTURE = Path(__file__).resolve().parents[3] / "roles/plan/tasks/capture.yml"
(MODULE,) = (
    task["amdgpu.fleet.capture"]
    for part in yaml.safe_load(CAPTURE.read_text(encoding="utf-8"))
    for task in part.get("block", [])
    if "amdgpu.fleet.capture" in task
)
# What the playbook asks whatever the inventory says.
ALWAYS = {name: value for name, value in MODULE.items() if isinstance(value, bool)}
QUESTIONS = {"ports": [8000], "paths": ["/srv/model"], "network": True, "programs": ["amd-ctk"]}


def names(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as entries:
        return {
            entry.name: (entries.extractfile(entry) or io.BytesIO()).read() if entry.isfile() else b""
            for entry in entries
        }


@pytest.fixture
def captured(run_module, tmp_path):
    def make(root: Path, **questions: object) -> Path:
        archive = tmp_path / "archive" / "host.tar.gz"
        archive.parent.mkdir(exist_ok=True)
        done = run_module("capture", root=str(root), dest=str(archive), **questions)
        assert done["changed"] and done["size"] == archive.stat().st_size
        assert archive.stat().st_mode & 0o777 == 0o600
        return archive

    return make


def test_a_gpu_that_is_not_well_is_not_well_in_its_capture(tmp_path, captured, host_facts):
    """As the playbook captures: what was not asked for is not in the archive."""
    root = tmp_path / "host"
    root.mkdir()
    gpu = load_host("mi300x-8")["gpus"][0]
    faults = {"ras": {"umc": {"ue": 3}}, "pages": {"bad": 5}, "link_width": 8, "recoveries": 2}
    write_tree(
        {**load_host("mi300x-8"), "gpus": [{**gpu, "count": 7}, {**gpu, "count": 1, "faults": faults}]}, root
    )
    facts = host_facts(root, health=True)
    again = host_facts(captured(root, **ALWAYS), health=True)
    assert again["amd_health"] == facts["amd_health"]
    found = [entry["id"] for entry in planner.plan(again, {}, "node")["findings"]]
    assert found == [entry["id"] for entry in planner.plan(facts, {}, "node")["findings"]]
    assert any(identifier.startswith("health.") for identifier in found), found


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_a_capture_of_an_emulated_host_says_what_the_host_says(name, tmp_path, captured, host_facts):
    root = tmp_path / "host"
    root.mkdir()
    write_tree(load_host(name), root)
    (root / "srv/model").mkdir(parents=True)
    (root / "srv/model/config.json").write_text(
        '{"model_type": "llama", "bos_token": "<s>", "pad_token": null}'
    )
    facts = host_facts(root, **QUESTIONS)
    archive = captured(root, **QUESTIONS)
    again = host_facts(archive, **QUESTIONS)
    assert again == facts
    wants = {"serve_instances": [{"name": "chat", "model": "/srv/model"}]}
    assert planner.plan(again, wants, name)["findings"] == planner.plan(facts, wants, name)["findings"]
    assert archive.stat().st_size < 1 << 20


def test_a_capture_of_this_machine_says_what_it_says(tmp_path, captured, run_module):
    """Its commands, owners, room and machine come from the archive, not from the machine that reads it."""
    before = run_module("host_facts")["ansible_facts"]["amd_host"]
    archive = captured(Path("/"))
    facts = run_module("host_facts")["ansible_facts"]["amd_host"]
    # Without any program on the path, and below another root, nothing can be asked.
    again = run_module("host_facts", root=str(archive), _env={"PATH": str(tmp_path)})["ansible_facts"][
        "amd_host"
    ]
    for name in ("os", "place", "packages", "boot", "devices", "groups", "selinux", "memory_bytes", "iommu"):
        # Another program that installs packages or loads modules meanwhile changes the machine, not the capture.
        assert again[name] in (before[name], facts[name]) or before[name] != facts[name], name
    for name in ("release", "command_line", "default_release", "installed", "module_options"):
        assert again["kernel"][name] == facts["kernel"][name], name
    assert again["os"]["machine"] == os.uname().machine and again["room"]["var"]


SECRET = "S3cr3tValue99"
TEXTS = {
    "proc/cmdline": f"root=UUID=1 iommu=pt api_token={SECRET} ds=nocloud;s=https://me:{SECRET}@example.net/ ro",
    "proc/1/environ": f"container=podman\0HF_TOKEN={SECRET}\0",
    "etc/default/grub": f'GRUB_CMDLINE_LINUX="iommu=pt rd.password={SECRET}"\n',
    "boot/grub/grub.cfg": f"set superusers=root\npassword_pbkdf2 root grub.pbkdf2.{SECRET}\nlinux /vmlinuz ro\n",
    "etc/systemd/system/vllm-chat.service": (
        f'# Written by amdgpu.fleet\nEnvironment="HF_TOKEN={SECRET} with blanks"\nExecStart=vllm --api-key {SECRET}\n'
    ),
    "etc/apt/sources.list.d/amd.list": f"deb https://user:{SECRET}@repo.radeon.com/rocm/apt noble main\n",
    "etc/yum.repos.d/amd.repo": f"[amd]\nbaseurl=https://repo.radeon.com/x\nusername=me\npassword = {SECRET}\n",
    "var/log/dmesg": f"[1.0] amdgpu: fault Authorization: Bearer {SECRET}\n",
    "etc/modprobe.d/x.conf": f"# -----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\noptions amdgpu a=1\n",
    "etc/containers/storage.conf": f'[storage]\ngraphroot = "/srv/store"\n# hf_{SECRET}\n',
    "etc/passwd": f"me:{SECRET}:1000:1000:{SECRET}:/home/me:/bin/sh\n",
    "etc/group": f"render:{SECRET}:105:me\n",
    "srv/model/config.json": f'{{"model_type": "llama", "auth_token": "{SECRET}", "password":"{SECRET}"}}',
    "srv/model/huggingface.token": SECRET,
    "etc/modprobe.d/chat.secret": SECRET,
    "etc/modprobe.d/server.key": SECRET,
    "home/me/.ssh/id_ed25519": SECRET,
    "etc/shadow": f"root:{SECRET}:1::::::\n",
}


def test_no_secret_is_packed(emulated, captured, host_facts):
    root = emulated("strix-halo-128")
    for path, text in TEXTS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    os.chmod(root / "proc/1/environ", 0o600)
    # Whatever may be asked for is asked for: files that are secret too.
    archive = captured(
        root,
        paths=["/srv/model", "/home/me/.ssh", "/etc/shadow"],
        user="me",
        images=["x"],
        programs=["/home/me/.ssh/id_ed25519", "/etc/shadow"],
        search_paths=["/home/me/.ssh"],
    )
    packed = names(archive)
    for path, content in packed.items():
        assert SECRET.encode() not in content, path
    assert SECRET.encode() not in gzip.decompress(archive.read_bytes())
    assert not [
        path for path in packed if "ssh" in path or "shadow" in path or path.endswith((".secret", ".key"))
    ]
    facts = host_facts(archive, paths=["/srv/model"])["amd_host"]
    assert "iommu=pt" in facts["kernel"]["command_line"] and "ro" in facts["kernel"]["command_line"]
    assert facts["paths"]["/srv/model"]["model_type"] == "llama"
    assert facts["serve_units"] == ["/etc/systemd/system/vllm-chat.service"]
    assert [entry["path"] for entry in facts["repositories"]] == ["/etc/yum.repos.d/amd.repo"]


def test_what_the_host_may_not_read_is_not_read_in_its_capture(tmp_path, host_facts, emulated, captured):
    root = emulated("strix-halo-128")
    packed = Packer(str(root))
    packed.unread["proc/meminfo"] = 13
    packed.links["usr/x"] = "../etc"
    notes = _notes.Notes(True, "x86_64", None, {}, {}, packed.unread, {}, {})
    with open(tmp_path / "a.tar.gz", "wb") as stream:
        packed.write(notes, stream)
    problems = host_facts(tmp_path / "a.tar.gz")["amd_host"]["problems"]
    assert {"path": "/proc/meminfo", "problem": "may not be read (permission denied)", "count": 1} in problems


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size, made.mode = kind, link, len(data), 0o4777
    return made, data


LINK, DEVICE, HARD, FIFO = tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE
NOTES = {"format": 1, "live": True, "machine": None, "glibc": None, "commands": {}, "about": {}, "unread": {},
         "room": {}, "sizes": {}}  # fmt: skip
HOSTILE = {
    "absolute": ([entry("/etc/passwd")], "leads out of it"),
    "above": ([entry("etc/../../x")], "leads out of it"),
    "link out": ([entry("etc", LINK, "/etc")], "which leads out of it"),
    "link above": ([entry("a/b", LINK, "../../x")], "which leads out of it"),
    "links together": ([entry("x/d", LINK, ".."), entry("l", LINK, "x/d/../x")], "which leads out of it"),
    "many links": ([entry(f"l{n}", LINK, f"l{n + 1}") for n in range(60)] + [entry("l60", LINK, "..")], "leads out of it"),
    "behind a link": ([entry("a", LINK, "b"), entry("a/x")], "behind a symbolic link"),
    "link over a file": ([entry("a"), entry("a", LINK, "b")], "twice"),
    "file as folder": ([entry("a"), entry("a/x")], "is not a capture"),
    "device": ([entry("dev/sda", DEVICE)], "neither a file nor a folder"),
    "pipe": ([entry("x", FIFO)], "neither a file nor a folder"),
    "hard link": ([entry("x", HARD, "/etc/shadow")], "neither a file nor a folder"),
    "long path": ([entry("a/" * 600 + "x")], "more than 1000 characters"),
    "bomb": ([entry("x", data=bytes(300 << 20))], "more than 256 MiB"),
    "notes that are none": ([entry(_notes.NAME, data=b"[]")], "does not hold the notes"),
    "notes of texts": (
        [entry(_notes.NAME, data=json.dumps({**NOTES, "about": {"dev/kfd": ["a", 1, 1, 1]}}).encode())],
        "does not hold the notes",
    ),
    "notes of tomorrow": ([entry(_notes.NAME, data=json.dumps({**NOTES, "format": 2}).encode())], "is of format 2"),
    "notes as a link": ([entry(_notes.NAME, LINK, "/etc/passwd")], "which leads out of it"),
    "deep notes": ([entry(_notes.NAME, data=b"[" * 100_000)], "does not hold the notes"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_ends_in_one_sentence(case, tmp_path, run_module):
    entries, words = HOSTILE[case]
    folder = tmp_path / "in"
    folder.mkdir()
    archive = folder / "hostile.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as made:
        for each, data in entries:
            made.addfile(each, io.BytesIO(data))
    done = run_module("host_facts", root=str(archive))
    assert done["failed"] and words in done["msg"], done["msg"]
    assert done["msg"].startswith(str(archive)) and done["msg"].count(". ") == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["hostile.tar.gz", "in"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"\x1f\x8b\x08", gzip.compress(b"\xff" * 5000)],
    ids=["empty", "text", "cut off", "no tar"],
)
def test_what_is_no_archive_ends_in_one_sentence(content, tmp_path, run_module):
    (tmp_path / "x.tar.gz").write_bytes(content)
    done = run_module("host_facts", root=str(tmp_path / "x.tar.gz"))
    assert done["failed"] and "is not a capture" in done["msg"]


def test_holes_do_not_reach_outside_and_rights_are_the_readers_own(tmp_path):
    from ansible_collections.amdgpu.fleet.plugins.module_utils._capture_open import unpack

    victim = tmp_path / "victim"
    victim.write_text("x")
    sizes = {"../victim": 1 << 30, "big": 1 << 62, "fine": 5000, "a/l": 4000}
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as made:
        for each, data in (
            entry(_notes.NAME, data=json.dumps({**NOTES, "sizes": sizes}).encode()),
            entry("big", data=b"1"),
            entry("fine", data=b"1"),
            entry("a/l", LINK, "../big"),
        ):
            made.addfile(each, io.BytesIO(data))
    (tmp_path / "out").mkdir()
    unpack(str(tmp_path / "x.tar.gz"), str(tmp_path / "out"))
    assert victim.stat().st_size == 1 and (tmp_path / "out/big").stat().st_size == 1
    assert (tmp_path / "out/fine").stat().st_size == 5000
    assert (tmp_path / "out/fine").stat().st_mode & 0o7000 == 0


def test_check_mode_writes_nothing(emulated, run_module, tmp_path):
    root = emulated("no-gpu")
    done = run_module("capture", root=str(root), dest=str(tmp_path / "c.tar.gz"), _check=True)
    assert done["changed"] and done["size"] > 0 and not (tmp_path / "c.tar.gz").exists()


@pytest.mark.parametrize("place", ["root", "dest"])
def test_a_place_that_is_not_there_is_named(place, tmp_path, run_module):
    wanted = {"root": str(tmp_path), "dest": str(tmp_path / "c.tar.gz")}
    wanted[place] = str(tmp_path / "none/c.tar.gz")
    done = run_module("capture", **wanted)
    assert done["failed"] and str(tmp_path / "none") in done["msg"]


def test_the_doctor_says_of_an_archive_what_it_says_of_the_host(tmp_path, captured, ansible):
    root = tmp_path / "host"
    root.mkdir()
    write_tree(load_host("strix-halo-broken"), root)
    archive = captured(root)
    reports = {}
    for name, place in (("tree", root), ("archive", archive)):
        done = ansible.run(
            "ansible-playbook", "amdgpu.fleet.doctor",
            *("-e", f"plan_root={place}", "-e", f"report_directory={tmp_path / name}"), cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 2, done.stdout + done.stderr  # the kernel is too old
        (record,) = (tmp_path / name / "hosts").glob("*.json")
        reports[name] = json.loads(record.read_text())
    assert reports["tree"]["host"] == "host" and reports["archive"]["host"] == "host"
    found = [entry["id"] for entry in reports["archive"]["findings"]]
    assert "kernel.minimum" in found and "host.unreachable" not in found
    assert reports["archive"]["findings"] == reports["tree"]["findings"]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "cut off"])
def test_the_weights_of_a_model_stay_with_their_owner(whole, tmp_path, captured, host_facts):
    """Their description is read, and says whether a file was cut off; what it describes is nobody's business."""
    root = tmp_path / "host"
    root.mkdir()
    write_tree(load_host("strix-halo-128"), root)
    header = json.dumps({"w": {"dtype": "F16", "shape": [1 << 20], "data_offsets": [0, 2 << 20]}}).encode()
    data = len(header).to_bytes(8, "little") + header + SECRET.encode() * (2 << 20)
    (root / "srv/model").mkdir(parents=True)
    (root / "srv/model/config.json").write_text('{"model_type": "llama"}')
    (root / "srv/model/model.safetensors").write_bytes(
        data[: 8 + len(header) + ((2 << 20) if whole else 1000)]
    )
    (root / "srv/model/odd.safetensors").write_text(SECRET)
    archive = captured(root, paths=["/srv/model"])
    for path, content in names(archive).items():
        assert SECRET.encode() not in content, path
    before, again = (
        host_facts(place, paths=["/srv/model"])["amd_host"]["paths"] for place in (root, archive)
    )
    assert again == before
