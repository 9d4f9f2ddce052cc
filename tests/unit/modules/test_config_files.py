# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import stat
import sys

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _write


@pytest.fixture
def host(tmp_path, run_module):
    class Host:
        root = tmp_path / "root"

        def __call__(self, *files, _check=False):
            return run_module("config_files", _check=_check, root=str(self.root), files=list(files))

        def tree(self):
            return {
                str(path.relative_to(self.root)): (
                    stat.S_IMODE(path.lstat().st_mode),
                    path.read_bytes().decode(errors="replace") if path.is_file() else None,
                )
                for path in sorted(self.root.rglob("*"))
            }

    Host.root.mkdir()
    return Host()


def four_times(host, *files):
    before = host.tree()
    checked = host(*files, _check=True)
    assert checked["changed"] and host.tree() == before
    real = host(*files)
    assert real["changed"] and host.tree() != before
    for key in ("changed_paths", "absent_paths", "actions", "diff"):
        assert checked[key] == real[key], key
    settled = host.tree()
    for check in (True, False):
        again = host(*files, _check=check)
        assert (
            not again["changed"]
            and again["changed_paths"] == again["absent_paths"] == again["actions"] == again["diff"] == []
        )
    assert host.tree() == settled and not any(name.endswith(".new") for name in settled)
    return real


def test_create_update_delete(host):
    a, b = (
        {"path": "/etc/new/dir/a.conf", "content": "a\n"},
        {"path": "/etc/b", "content": "b\n", "mode": "0600"},
    )
    created = four_times(host, a, b)
    assert created["changed_paths"] == ["/etc/new/dir/a.conf", "/etc/b"]
    assert created["actions"][:3] == [
        "create directory /etc",
        "create directory /etc/new",
        "create directory /etc/new/dir",
    ]
    assert host.tree()["etc/b"] == (0o600, "b\n") and host.tree()["etc/new"][0] == 0o755

    updated = four_times(host, dict(a, content="a2\n"), dict(b, mode="0640"))
    assert updated["diff"][0] == {
        "before": "a\n",
        "after": "a2\n",
        "before_header": a["path"],
        "after_header": a["path"],
    }
    assert "0640" in updated["diff"][1]["after"] and "0600" in updated["diff"][1]["before"]
    assert host.tree()["etc/b"] == (0o640, "b\n")

    deleted = four_times(host, {"path": a["path"], "state": "absent"}, {"path": b["path"], "state": "absent"})
    assert deleted["absent_paths"] == [a["path"], b["path"]] and deleted["changed_paths"] == []


def test_only_what_differs_is_touched(host):
    host({"path": "/a", "content": "1"}, {"path": "/b", "content": "2"})
    inode = os.stat(host.root / "a").st_ino
    result = host({"path": "/a", "content": "1"}, {"path": "/b", "content": "3"})
    assert result["changed_paths"] == ["/b"] and os.stat(host.root / "a").st_ino == inode


CHECK = [
    sys.executable,
    "-c",
    "import sys; t = open(sys.argv[1]).read(); sys.exit('bad: ' + t if 'bad' in t else 0)",
    "%s",
]


@pytest.mark.parametrize("check", [True, False])
def test_one_refused_file_stops_all(host, check):
    host({"path": "/etc/old", "content": "old"})
    before = host.tree()
    result = host(
        {"path": "/etc/old", "content": "new"},
        {"path": "/etc/gone/x", "content": "x", "validate": CHECK},
        {"path": "/etc/y", "content": "bad", "validate": CHECK},
        _check=check,
    )
    assert (
        result["failed"]
        and "/etc/y" in result["msg"]
        and "bad: bad" in result["msg"]
        and "nothing was changed" in result["msg"]
    )
    assert host.tree() == before


def test_the_reason_of_a_program_that_says_who_it_is_first(host):
    """As HAProxy does."""
    script = [
        "sh",
        "-c",
        "echo '[NOTICE] (7) : haproxy version is 2.6' >&2; echo \"[ALERT] (7) : unknown keyword in $0\" >&2; "
        "exit 1",
        "%s",
    ]
    result = host({"path": "/v", "content": "x", "validate": script})
    assert result["failed"] and "([ALERT] (7) : unknown keyword in /v)" in result["msg"]


def test_a_file_is_validated_before_it_stands_there(host):
    script = f"{sys.executable} -c \"import os,sys; sys.exit(os.path.exists('{host.root}/v'))\" %s"
    assert host({"path": "/v", "content": "x", "validate": script})["changed"]


@pytest.mark.parametrize("check", [False, True])
def test_a_file_is_validated_under_its_own_name_and_alone(host, check):
    def answer(name):
        script = [
            "sh",
            "-c",
            f'echo "unsupported key in $0/v.unit" >&2; test "$(ls $0)" = {name} && grep -q x "$1"',
            "%d",
            "%s",
        ]
        file = {"path": "/v.unit", "content": "x", "validate": script, "validator": "Podman 5.4.2"}
        return host(file, _check=check)

    refused = answer("other.unit")
    assert (
        refused["failed"]
        and "/v.unit: Podman 5.4.2 refuses" in refused["msg"]
        and "(unsupported key in /v.unit)" in refused["msg"]
    )
    assert host.tree() == {}
    assert answer("v.unit")["changed"]


def test_a_failure_while_replacing_puts_the_first_files_back(host):
    host({"path": "/a", "content": "1"}, {"path": "/d/b", "content": "2"})
    before = host.tree()
    sabotage = [sys.executable, "-c", f"import os; os.makedirs('{host.root}/c/x')", "%s"]
    result = host(
        {"path": "/a", "content": "9"},
        {"path": "/d/b", "state": "absent"},
        {"path": "/c", "content": "3", "validate": sabotage},
    )
    assert result["failed"] and "/c" in result["msg"]
    assert {name: entry for name, entry in host.tree().items() if not name.startswith("c")} == before


def test_a_secret_is_nowhere_in_the_answer(host):
    secret = "hf_topsecretvalue"
    for check in (True, False):
        result = host(
            {"path": "/t", "content": secret + "\n", "secret": True, "mode": "0600"},
            {"path": "/u", "content": "open\n"},
            _check=check,
        )
        assert (
            result["changed"]
            and "topsecret" not in json.dumps(result)
            and "open" in json.dumps(result["diff"])
        )
    assert host.tree()["t"] == (0o600, secret + "\n")
    cat = [sys.executable, "-c", "import sys; sys.exit(open(sys.argv[1]).read())", "%s"]
    result = host({"path": "/t", "content": secret + "2", "secret": True, "validate": cat})
    assert result["failed"] and "topsecret" not in json.dumps(result)
    assert "topsecret" not in json.dumps(host({"path": "/t", "secret": True, "state": "absent"}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_and_group_drift_is_a_change(host):
    entry = {"path": "/o", "content": "x", "owner": "12345", "group": "54321"}
    assert host(entry)["changed"] and not host(entry)["changed"]
    os.chown(host.root / "o", 0, 54321)
    result = host(entry)
    assert (
        result["changed"]
        and "owner 12345" in result["actions"][0]
        and os.stat(host.root / "o").st_uid == 12345
    )
    assert not host({"path": "/o", "content": "x"})[
        "changed"
    ]  # no owner asked for: the one that is there stays


@pytest.mark.parametrize(
    "files, words",
    [
        ([{"path": "etc/x", "content": ""}], ["absolute"]),
        ([{"path": "/etc/../x", "content": ""}], [".."]),
        ([{"path": "/x"}], ["/x", "no content"]),
        ([{"path": "/x", "content": "", "mode": "rw"}], ["octal", "0644"]),
        ([{"path": "/x", "content": "", "owner": "nobody-here"}], ["user", "nobody-here"]),
        ([{"path": "/x", "content": "", "group": "no-such-group"}], ["group", "no-such-group"]),
        ([{"path": "/x", "content": "", "validate": "true"}], ["%s", "%d"]),
        ([{"path": "/x", "content": "", "validate": "'"}], ["validate"]),
        ([{"path": "/x", "content": "", "validate": "/no/such/program %s"}], ["/no/such/program"]),
        ([{"path": "/x", "content": "a"}, {"path": "//x", "content": "b"}], ["twice"]),
        ([{"path": "/x", "content": "a"}, {"path": "/x/y", "content": "b"}], ["/x/y"]),
        ([{"path": "/dir", "content": "a"}], ["directory"]),
        ([{"path": "/link", "content": "a"}], ["symbolic link"]),
        ([{"path": "/link", "state": "absent"}], ["symbolic link"]),
        ([{"path": "/out/x", "content": "a"}], ["leaves"]),
        ([{"path": "/file/x", "content": "a"}], ["not a directory"]),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_written(host, tmp_path, files, words):
    (host.root / "dir").mkdir()
    (host.root / "file").write_text("f")
    (host.root / "link").symlink_to("file")
    (host.root / "out").symlink_to(tmp_path)
    before = host.tree()
    for check in (True, False):
        result = host(*files, _check=check)
        assert result["failed"] and all(word in result["msg"] for word in words), result["msg"]
        assert host.tree() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_one_sentence(host):
    (host.root / "ro").mkdir(mode=0o555)
    result = host({"path": "/ro/x", "content": "x"})
    assert result["failed"] and "permission denied" in result["msg"]


def test_bytes_that_are_no_text_can_be_replaced(host):
    (host.root / "x").write_bytes(b"\xff\xfe\0")
    assert four_times(host, {"path": "/x", "content": "ü\n"})["changed"]


def test_a_message_that_is_no_text(host):
    command = [
        sys.executable,
        "-c",
        r"import sys; sys.stdout.buffer.write(b'error: ung\xfcltig'); sys.exit(1)",
        "%s",
    ]
    result = host({"path": "/x", "content": "a\n", "validate": command})
    assert result["failed"] and "ung\ufffdltig" in result["msg"]


@pytest.mark.parametrize(
    "wrong", [{"owner": "nobodyhere"}, {"mode": "999"}, {"validate": "true"}, {"path": "/x/"}, {"path": "x"}]
)
def test_a_secret_is_not_shown_by_a_failure(host, wrong):
    result = host({"path": "/x", "content": "S3CRET", "secret": True, **wrong})
    assert result["failed"] and "S3CRET" not in json.dumps(result) and host.tree() == {}


@pytest.mark.parametrize("name", ["99999999999", "4294967295", "9" * 5000, "\u00b2", "a\0b", "\udcff"])
@pytest.mark.parametrize("who", ["owner", "group"])
def test_a_number_that_is_of_nobody(host, who, name):
    result = host({"path": "/x", "content": "a\n", who: name})
    assert result["failed"] and len(result["msg"]) < 200 and host.tree() == {}


@pytest.mark.parametrize("other", ["/d/./x", "/d//x", "//d/x"])
def test_one_file_under_two_spellings(host, other):
    result = host({"path": "/d/x", "content": "a\n"}, {"path": other, "content": "b\n"})
    assert result["failed"] and "stands twice" in result["msg"] and host.tree() == {}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"path": "/new/."}, "is the path of a directory"),
        ({"path": "/x", "content": "a" * (5 << 20)}, "larger than 4 MiB"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_a_second_run_would_stumble_over_is_refused_by_the_first(host, check, file, words):
    result = host({"content": "a\n", **file}, _check=check)
    assert result["failed"] and words in result["msg"] and host.tree() == {}


def test_a_file_that_is_kept_is_not_written_and_its_rights_are_put_right(host):
    entry = {"path": "/etc/key", "content": "made\n", "mode": "0600", "keep": True, "secret": True}
    four_times(host, entry)
    other = dict(entry, content="another\n")
    assert not host(other)["changed"] and host.tree()["etc/key"] == (0o600, "made\n")
    (host.root / "etc/key").chmod(0o644)
    result = four_times(host, other)
    assert result["changed_paths"] == ["/etc/key"] and host.tree()["etc/key"] == (0o600, "made\n")
    four_times(host, dict(other, keep=False))
    assert host.tree()["etc/key"] == (0o600, "another\n")


def test_a_file_is_kept_only_where_it_holds_what_it_must(host):
    entry = {"path": "/etc/key", "content": "KEY=made\n", "keep": True, "keep_pattern": "^KEY=."}
    four_times(host, entry)
    other = dict(entry, content="KEY=another\n")
    assert not host(other)["changed"] and host.tree()["etc/key"][1] == "KEY=made\n"
    (host.root / "etc/key").write_text("# emptied\nKEY=\n")
    four_times(host, other)
    assert host.tree()["etc/key"][1] == "KEY=another\n"
    refused = host(dict(other, keep_pattern="("))
    assert refused["failed"] and "keep_pattern is no regular expression" in refused["msg"]


def test_a_secret_is_never_open_to_others(tmp_path, monkeypatch):
    """Not before its rename and not after: looked at before every call that changes a file."""
    rights: list[int] = []

    def watched(name):
        real = getattr(os, name)

        def call(*arguments):
            rights.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
            result = real(*arguments)
            rights.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
            return result

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "fchmod", "fchown", "replace", "fdopen"):
        watched(name)
    before = os.umask(0)
    try:
        _write.write(str(tmp_path / "key"), b"secret\n", 0o600)
    finally:
        os.umask(before)
    assert rights and set(rights) == {0o600}


def test_what_follows_a_change_is_not_lost_by_a_kill(host, run_module):
    note, rules = "/var/lib/fleet/pending", {"path": "/etc/rules", "content": "a\n"}

    def run(*files, check=False):
        return run_module("config_files", _check=check, root=str(host.root), files=list(files), pending=note)

    assert run(rules, check=True)["pending_paths"] == ["/etc/rules"] and host.tree() == {}
    assert run(rules)["pending_paths"] == ["/etc/rules"]
    # Nobody followed: the run was killed. The next one changes nothing and knows all the same.
    again = run(rules)
    assert not again["changed"] and again["pending_paths"] == ["/etc/rules"]
    assert run(rules, {"path": "/etc/b", "content": "b\n"})["pending_paths"] == ["/etc/rules", "/etc/b"]
    (host.root / note[1:]).unlink()
    assert run(rules)["pending_paths"] == [] and not (host.root / note[1:]).exists()


def test_a_note_that_cannot_be_read_is_a_sentence(host, run_module):
    (host.root / "note").mkdir()
    result = run_module(
        "config_files", root=str(host.root), files=[{"path": "/x", "content": "a\n"}], pending="/note"
    )
    assert result["failed"] and "/note cannot be read" in result["msg"] and "x" not in host.tree()
