# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

OURS = "etc/modprobe.d/zz-amdgpu-fleet.conf"
BEFORE = "etc/modprobe.d/amdgpu-fleet.conf"


@pytest.fixture
def host(tmp_path, run_module):
    class Host:
        root = tmp_path / "root"

        def put(self, path, text):
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            return place

        def text(self):
            place = self.root / OURS
            return place.read_text() if place.exists() else None

        def __call__(self, _check=False, **arguments):
            return run_module("module_options", _check=_check, root=str(self.root), **arguments)

    Host.root.mkdir()
    return Host()


def four_times(host, **arguments):
    before = host.text()
    checked = host(_check=True, **arguments)
    assert checked["changed"] and host.text() == before
    real = host(**arguments)
    assert real["changed"] and host.text() != before
    for key in ("before", "after", "actions", "diff", "initramfs_required"):
        assert checked[key] == real[key], key
    settled = host.text()
    for check in (True, False):
        again = host(_check=check, **arguments)
        assert not again["changed"] and again["actions"] == [] and again["before"] == real["after"]
    assert host.text() == settled
    return real


def test_create_update_delete(host):
    created = four_times(
        host, options={"ttm": {"pages_limit": 25165824, "page-pool-size": 1}}, blacklist=["nouveau"]
    )
    assert host.text().splitlines()[1:] == [
        "blacklist nouveau",
        "options ttm pages_limit=25165824 page_pool_size=1",
    ]
    assert created["diff"]["before"] == "" and created["diff"]["after"] == host.text()
    assert oct((host.root / OURS).stat().st_mode)[-3:] == "644"

    updated = four_times(
        host, options={"ttm": {"pages_limit": 26214400, "page_pool_size": None}, "amdgpu": {"noretry": True}}
    )
    assert updated["after"] == {
        "options": {"ttm": {"pages_limit": "26214400"}, "amdgpu": {"noretry": "1"}},
        "blacklist": ["nouveau"],
    }

    four_times(host, options={"ttm": {}, "amdgpu": {"noretry": None}}, blacklist=["nouveau"], state="absent")
    assert host.text() is None


def test_lines_of_another_kind_in_the_file_are_kept_until_the_file_is_to_go(host):
    host.put(OURS, "install foo /bin/true\noptions ttm pages_limit=1\n")
    host(options={"ttm": {"pages_limit": 2}})
    assert "install foo /bin/true\n" in host.text() and "pages_limit=2" in host.text()
    host(options={"ttm": {"pages_limit": None}})
    assert "install foo" in host.text()
    four_times(host, state="absent")
    assert host.text() is None


def test_another_file_with_another_value_is_named_with_the_winner(host):
    host.put("etc/modprobe.d/ttm.conf", "# x\noptions ttm pages_limit=27648000 other=1\n")
    host.put("etc/modprobe.d/zzy.conf", "options ttm pages_limit=0x1800000\noptions amdttm pages_limit=5\n")
    host.put("etc/modprobe.d/zzz.conf", "options ttm pages_limit=1\n")
    result = host(options={"ttm": {"pages_limit": 25165824}})
    assert [(os.path.basename(c["path"]), c["line"], c["value"], c["wins"]) for c in result["conflicts"]] == [
        ("ttm.conf", 2, "27648000", False),
        ("zzz.conf", 1, "1", True),
    ]
    text = " ".join(str(warning) for warning in result["warnings"])
    assert "ttm.conf line 2" in text and "zzz.conf line 1" in text and "wins" in text
    assert len(host(options={"ttm": {"pages_limit": 25165824}})["conflicts"]) == 2


@pytest.mark.parametrize(("name", "asked"), [("ttm.conf", True), ("zzz.conf", False)])
def test_a_reload_that_cannot_help_is_not_asked_for(host, name, asked):
    host.put("sys/module/ttm/parameters/pages_limit", "27648000\n")
    host.put(f"etc/modprobe.d/{name}", "options ttm pages_limit=27648000\n")
    assert host(options={"ttm": {"pages_limit": 25165824}})["reload_required"] is asked


def test_a_purge_takes_out_what_is_not_asked_for_any_more(host):
    host.put(
        OURS, "install foo /bin/true\nblacklist nouveau\noptions ttm pages_limit=16777216 page_pool_size=1\n"
    )
    host.put("sys/module/ttm/parameters/pages_limit", "16777216\n")
    host.put("boot/initrd.img-6.8", "")
    kept = host(options={})
    assert not kept["changed"] and not kept["reload_required"], "without purge everything stays"
    switched = four_times(host, options={"amdttm": {"pages_limit": 16777216}}, purge=True)
    assert host.text().splitlines()[1:] == ["install foo /bin/true", "options amdttm pages_limit=16777216"]
    assert (
        switched["reload_reason"].startswith("ttm still runs with pages_limit=16777216")
        and switched["initramfs_required"]
    )
    assert switched["actions"][:2] == ["remove ttm pages_limit=16777216", "remove ttm page_pool_size=1"]
    removed = four_times(host, options={}, purge=True)
    assert host.text().splitlines()[1:] == ["install foo /bin/true"] and removed["after"]["options"] == {}


def test_a_purge_of_everything_removes_the_file(host):
    host(options={"ttm": {"pages_limit": 16777216}}, purge=True)
    assert four_times(host, options={}, purge=True)["diff"]["after"] == "" and host.text() is None
    assert not host(options={}, purge=True)["changed"], "nothing was there, nothing is made"


def test_the_file_takes_over_from_the_one_of_the_old_name(host):
    head = "# Written by amdgpu.fleet.module_options. Lines of another kind may be added and are kept.\n"
    old = host.put(BEFORE, head + "install foo /bin/true\noptions ttm pages_limit=1 other=2\n")
    checked = host(_check=True, options={"ttm": {"pages_limit": 1}}, purge=True)
    assert checked["changed"] and old.exists() and host.text() is None and checked["conflicts"] == []
    real = host(options={"ttm": {"pages_limit": 1}}, purge=True)
    assert real["diff"] == checked["diff"] and real["actions"] == checked["actions"]
    assert [part["before_header"] for part in real["diff"]] == [f"/{OURS}", f"/{BEFORE}"]
    assert not old.exists() and host.text() == head + "install foo /bin/true\noptions ttm pages_limit=1\n"
    assert not host(options={"ttm": {"pages_limit": 1}}, purge=True)["changed"]
    host.put(BEFORE, head + "options ttm pages_limit=1\n")
    assert host(state="absent")["changed"] and not old.exists() and host.text() is None


def test_a_file_of_the_old_name_that_somebody_else_wrote_stays(host):
    host.put(BEFORE, "options ttm pages_limit=1\n")
    assert len(host(options={"ttm": {"pages_limit": 2}})["conflicts"]) == 1 and (host.root / BEFORE).exists()


def test_what_has_to_follow(host):
    host.put("boot/initrd.img-6.8", "")
    host.put("sys/module/ttm/parameters/pages_limit", "16777216\n")
    result = host(options={"ttm": {"pages_limit": 25165824}})
    assert result["initramfs_required"]
    assert (
        result["reload_required"]
        and "16777216" in result["reload_reason"]
        and "25165824" in result["reload_reason"]
    )
    later = os.stat(host.root / OURS).st_mtime + 10
    os.utime(host.root / "boot/initrd.img-6.8", (later, later))
    host.put("sys/module/ttm/parameters/pages_limit", "25165824\n")
    done = host(options={"ttm": {"pages_limit": 25165824}})
    assert not done["initramfs_required"] and not done["reload_required"] and done["initramfs_reason"] == ""
    assert host(_check=True, options={"ttm": {"pages_limit": None}})["reload_required"]


def test_without_an_initramfs_or_a_loaded_module_nothing_has_to_follow(host):
    result = host(options={"ttm": {"pages_limit": 1}})
    assert result["changed"] and not result["initramfs_required"] and not result["reload_required"]


def test_a_blacklisted_module_that_is_loaded_is_said(host):
    host.put("sys/module/amdgpu/version", "1\n")
    assert "amdgpu is blacklisted but loaded" in host(blacklist=["amdgpu"])["reload_reason"]


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"options": {"ttm": {"a": "1\n2"}}}, "line break"),
        ({"options": {"t m": {"a": 1}}}, "t m"),
        ({"path": "/etc/modprobe.d/x"}, ".conf"),
        ({"options": {"ttm": {"a": 1}}, "path": "../x.conf"}, "absolute"),
        ({"options": {"ttm": {"a": 1}}, "path": "/etc/../x.conf"}, ".."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(host, arguments, word):
    result = host(**arguments)
    assert result["failed"] and word in result["msg"]
    assert list(host.root.iterdir()) == []


def test_a_link_or_a_directory_at_the_path_is_refused(host, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (host.root / "etc/modprobe.d").mkdir(parents=True)
    (host.root / OURS).symlink_to(victim)
    assert "symbolic link" in host(options={"ttm": {"a": 1}})["msg"] and victim.read_text() == "mine"
    (host.root / OURS).unlink()
    (host.root / OURS).mkdir()
    assert "directory" in host(options={"ttm": {"a": 1}})["msg"]


def test_garbage_in_the_files_never_ends_in_a_traceback(host):
    host.put(OURS, "").write_bytes(b'options ttm a=\xff\xfe\0 b="x\noptions\nblacklist\n\\\n\xe9')
    host.put("etc/modprobe.d/zz.conf", "").write_bytes(b"\0\0options ttm pages_limit=\xff\n")
    (host.root / "etc/modprobe.d/dir.conf").mkdir()
    result = host(options={"ttm": {"pages_limit": 1}})
    assert result["changed"] and result["problems"]
    assert not host(options={"ttm": {"pages_limit": 1}})["changed"]


def test_bytes_that_are_no_text_do_not_cost_the_answer(host):
    host.put(OURS, "").write_bytes(b"options amdgpu a=\xff\n")
    foreign = (host.root / "etc/modprobe.d").joinpath(os.fsdecode(b"zzz\xff.conf"))
    foreign.write_text("options ttm pages_limit=1\n")
    result = host(options={"amdgpu": {"a": 1}, "ttm": {"pages_limit": 2}})
    assert "change amdgpu a from \ufffd to 1" in result["actions"] and result["conflicts"][0][
        "path"
    ].endswith("/zzz\ufffd.conf")
    assert "options amdgpu a=1" in host.text()


def test_an_option_without_a_value_keeps_none(host):
    host.put(OURS, "options amdgpu exp_hw_support ppfeaturemask=\n")
    host.put("sys/module/amdgpu/parameters/exp_hw_support", "Y\n")
    result = host(options={"amdgpu": {"noretry": 1}})
    assert host.text().splitlines()[-1] == "options amdgpu exp_hw_support ppfeaturemask= noretry=1"
    assert [action for action in result["actions"] if "exp_hw" in action] == [] and "exp_hw" not in result[
        "reload_reason"
    ]
    assert not host(options={"amdgpu": {"noretry": 1}})["changed"]
    gone = host(options={"amdgpu": {"exp_hw_support": None}})
    assert (
        "remove amdgpu exp_hw_support" in gone["actions"]
        and "still runs with exp_hw_support=Y" in gone["reload_reason"]
    )


def test_a_folder_of_the_kernel_that_leads_out_of_the_root(host, tmp_path):
    (tmp_path / "elsewhere/module/amdgpu/parameters").mkdir(parents=True)
    (host.root / "sys").symlink_to(tmp_path / "elsewhere")
    for check in (True, False):
        result = host(options={"amdgpu": {"noretry": 1}}, _check=check)
        assert result["failed"] and "leaves" in result["msg"] and host.text() is None
