# SPDX-License-Identifier: GPL-3.0-or-later
"""The real module against a repository that a real gpg key signs."""

from __future__ import annotations

import contextlib
import functools
import gzip
import shutil
import socket
import stat
import subprocess
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

KEYRING = "etc/apt/keyrings/lab.gpg"
SOURCE = "etc/apt/sources.list.d/lab.sources"
RPM_KEY = "etc/pki/rpm-gpg/RPM-GPG-KEY-lab"
REPO = "etc/yum.repos.d/lab.repo"
OS_RELEASE = {
    "deb": "ID=debian\nVERSION_ID=13\n",
    "rpm": 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\n',
}


class Handler(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.startswith("/broken/"):
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"-----BEGIN PGP SIGNED MESSAGE-----\n")
            return
        if self.path.startswith("/trickle/"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _piece in range(300):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            return
        if self.path.startswith("/endless/"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _piece in range(100):
                    self.wfile.write(b"x" * 65536)
            return
        if self.path.startswith("/gzip/"):
            name, kind = self.path.rsplit("/", 2)[1:]
            packed = gzip.compress(
                b"x" * (5 << 20) if kind == "bomb" else (Path(self.directory) / name).read_bytes()
            )
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(
                {"cut": packed[:-20], "damaged": packed[:20] + b"\xff" * 40 + packed[60:]}.get(kind, packed)
            )
            return
        super().do_GET()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A signed repository on HTTP: `folder`, `url`, `asked`, and the fingerprints of its key and of another
    one."""
    if not shutil.which("gpg"):
        pytest.fail("gpg is not on the PATH. Remedy: install gnupg", pytrace=False)
    folder, home = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)

    def gpg(*arguments: str) -> bytes:
        command = [
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--yes",
            "--no-tty",
            "--quiet",
            "--pinentry-mode=loopback",
            "--passphrase=",
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    class Repository:
        pass

    made = Repository()
    made.folder, made.asked, made.keys = folder, Handler.asked, {}
    for name in ("vendor", "other"):
        gpg("--quick-generate-key", f"{name} <{name}@example.invalid>", "rsa2048", "sign", "never")
        lines = gpg("--with-colons", "--fingerprint", name).decode().splitlines()
        made.keys[name] = [line for line in lines if line.startswith("fpr:")][0].split(":")[9]
        (folder / f"{name}.gpg").write_bytes(gpg("--export", name))
        (folder / f"{name}.asc").write_bytes(gpg("--armor", "--export", name))
    # The same key as it was before it was issued again, at the end of its time, and near to it.
    for name, expires in (("expired", "seconds=1"), ("soon", "seconds=86400"), ("vendor", "2y")):
        gpg("--quick-set-expire", made.keys["vendor"], expires)
        (folder / f"{name}.gpg").write_bytes(gpg("--export", "vendor"))
        (folder / f"{name}.asc").write_bytes(gpg("--armor", "--export", "vendor"))
    vendor, armored = (folder / "vendor.gpg").read_bytes(), (folder / "vendor.asc").read_bytes()
    (folder / "truncated.gpg").write_bytes(vendor[:-40])
    (folder / "truncated.asc").write_bytes(armored[:-200])
    (folder / "damaged.asc").write_bytes(armored.replace(b"\n", b"\n!", 4))
    (folder / "noise.gpg").write_bytes(bytes(range(256)) * 4)
    (folder / "page.asc").write_bytes(b"<html>sign in first</html>")
    (folder / "empty.gpg").write_bytes(b"")
    (folder / "two.gpg").write_bytes(vendor + (folder / "other.gpg").read_bytes())
    (folder / "two.asc").write_bytes(armored + (folder / "other.asc").read_bytes())
    for suite in ("stable", "testing", "unsigned"):
        release = folder / "dists" / suite / "Release"
        release.parent.mkdir(parents=True)
        release.write_text(
            f"Suite: {suite}\nComponents: main extra\nArchitectures: amd64\n", encoding="utf-8"
        )
        if suite == "unsigned":
            (release.parent / "InRelease").write_bytes(release.read_bytes())
        else:
            gpg(
                "--local-user",
                "vendor",
                "--clearsign",
                "--output",
                str(release.parent / "InRelease"),
                str(release),
            )
    for place in ("rpm", "rpm/testing"):
        (folder / place / "repodata").mkdir(parents=True)
        (folder / place / "repodata/repomd.xml").write_text(
            '<?xml version="1.0"?>\n<repomd></repomd>\n', encoding="utf-8"
        )
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.fixture
def host(tmp_path, run_module, repository):
    """host(...) runs the module for the right repository; arguments replace those of it, ``None`` takes one
    away."""

    class Host:
        root = tmp_path / "root"

        def __call__(self, _check=False, **changes):
            arguments = {
                "name": "lab",
                "uri": repository.url,
                "suite": "stable",
                "components": ["main"],
                "key_url": f"{repository.url}/vendor.asc",
                "fingerprint": repository.keys["vendor"],
                "timeout": 5,
                "root": str(self.root),
                **changes,
            }
            return run_module(
                "package_repository",
                _check=_check,
                **{key: value for key, value in arguments.items() if value is not None},
            )

        def rpm(self, _check=False, **changes):
            return self(
                _check,
                **{
                    "format": "rpm",
                    "uri": f"{repository.url}/rpm",
                    "suite": None,
                    "components": None,
                    **changes,
                },
            )

        def absent(self, _check=False, name="lab", **options):
            return run_module(
                "package_repository", _check=_check, name=name, state="absent", root=str(self.root), **options
            )

        def tree(self):
            return {
                str(path.relative_to(self.root)): (
                    stat.S_IMODE(path.lstat().st_mode),
                    path.read_bytes() if path.is_file() else None,
                )
                for path in sorted(self.root.rglob("*"))
            }

    Host.root.mkdir()
    return Host()


def four_times(host, run):
    """Check, real, check again, real again."""
    before = host.tree()
    checked = run(True)
    assert checked["changed"] and host.tree() == before
    real = run(False)
    assert real["changed"] and host.tree() != before
    assert checked["actions"] == real["actions"] and checked["diff"] == real["diff"]
    settled = host.tree()
    for check in (True, False):
        again = run(check)
        assert (
            not again["changed"]
            and again["actions"] == []
            and again["diff"]["before"] == again["diff"]["after"]
        )
    assert host.tree() == settled
    return real


def test_create_update_delete(host, repository):
    created = four_times(host, lambda check: host(_check=check))
    assert created["actions"] == [f"write /{KEYRING}", f"write /{SOURCE}"]
    text = (
        "# Written by amdgpu.fleet\nTypes: deb\n"
        f"URIs: {repository.url}\nSuites: stable\nComponents: main\nArchitectures: amd64\nSigned-By: "
        f"/{KEYRING}\n"
    )
    assert created["diff"] == {
        "before": "",
        "after": text,
        "before_header": f"/{SOURCE}",
        "after_header": f"/{SOURCE}",
    }
    tree = host.tree()
    assert tree[SOURCE] == (0o644, text.encode())
    assert tree[KEYRING] == (0o644, (repository.folder / "vendor.gpg").read_bytes())

    updated = four_times(
        host, lambda check: host(_check=check, suite="testing", components=["main", "extra"])
    )
    assert updated["actions"] == [f"write /{SOURCE}"]
    assert (
        "Suites: stable" in updated["diff"]["before"]
        and "Suites: testing\nComponents: main extra\n" in updated["diff"]["after"]
    )
    assert host.tree()[KEYRING] == tree[KEYRING]

    deleted = four_times(host, host.absent)
    assert (
        deleted["actions"] == [f"remove /{KEYRING}", f"remove /{SOURCE}"] and deleted["diff"]["after"] == ""
    )
    assert not [name for name in host.tree() if "lab" in name]


@pytest.mark.parametrize("key", ["vendor.asc", "vendor.gpg"])
def test_armored_and_binary_keys_give_the_same_keyring_that_gpgv_accepts(host, repository, key):
    assert host(key_url=f"{repository.url}/{key}")["changed"]
    assert host.tree()[KEYRING][1] == (repository.folder / "vendor.gpg").read_bytes()
    command = [
        "gpgv",
        "--keyring",
        str(host.root / KEYRING),
        str(repository.folder / "dists/stable/InRelease"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_compressed_answer(host, repository):
    assert host(key_url=f"{repository.url}/gzip/vendor.asc/whole")["changed"]
    assert host.tree()[KEYRING][1] == (repository.folder / "vendor.gpg").read_bytes()


def test_a_key_from_a_file_of_the_host(host, repository):
    assert host(key_url=f"file://{repository.folder}/vendor.asc")["changed"]


def test_the_fingerprint_as_people_write_it(host, repository):
    wanted = repository.keys["vendor"].lower()
    spaced = " ".join(wanted[place : place + 4] for place in range(0, 40, 4))
    assert host(fingerprint=spaced)["changed"] and not host()["changed"]


def test_a_slash_at_the_end_of_the_address(host, repository):
    assert host(uri=repository.url + "/")["changed"]
    assert "//dists" not in "".join(repository.asked)


def test_a_repository_in_place_needs_no_network(host, repository):
    host()
    asked = len(repository.asked)
    for check in (True, False):
        assert not host(_check=check)["changed"]
    assert len(repository.asked) == asked
    assert not host(key_url="http://127.0.0.1:9/none")["changed"]
    host.absent()
    assert len(repository.asked) == asked


@pytest.mark.parametrize("content", [b"", b"noise", None])
def test_a_keyring_that_was_damaged_is_fetched_again(host, repository, content):
    host()
    right = (host.root / KEYRING).read_bytes()
    (host.root / KEYRING).write_bytes(right[:-30] if content is None else content)
    result = host()
    assert result["actions"] == [f"write /{KEYRING}"] and (host.root / KEYRING).read_bytes() == right


def test_another_key_in_the_keyring_is_replaced(host, repository):
    host()
    for other in ("other.gpg", "two.gpg"):
        shutil.copy(repository.folder / other, host.root / KEYRING)
        assert host()["actions"] == [f"write /{KEYRING}"]
        assert (host.root / KEYRING).read_bytes() == (repository.folder / "vendor.gpg").read_bytes()


@pytest.mark.parametrize("kind", ["deb", "rpm"])
@pytest.mark.parametrize("name", ["expired", "soon"])
def test_a_key_that_has_expired_or_will_soon_is_replaced_by_the_one_that_was_issued_again(
    host, repository, kind, name
):
    write, suffix = (host, "gpg") if kind == "deb" else (host.rpm, "asc")
    write()
    place = host.root / (KEYRING if kind == "deb" else RPM_KEY)
    right = place.read_bytes()
    shutil.copy(repository.folder / f"{name}.{suffix}", place)
    result = four_times(host, lambda check: write(_check=check))
    assert len(result["actions"]) == 1 and place.read_bytes() == right


def test_a_key_near_its_end_that_was_not_issued_again_changes_nothing(host, repository):
    near = f"{repository.url}/soon.asc"
    assert host(key_url=near)["changed"]
    for check in (True, False):
        assert not host(_check=check, key_url=near)["changed"]


def nobody() -> str:
    """An address on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


FAILURES = {
    "the repository cannot be reached": (
        lambda r: {"uri": nobody()},
        ["package repository", "refused", "Correct its address"],
    ),
    "the key cannot be reached": (
        lambda r: {"key_url": nobody() + "/k"},
        ["repository key", "refused", "Correct key_url"],
    ),
    "a name that does not exist": (
        lambda r: {"uri": "http://no-such-host.invalid/x"},
        ["package repository", "no-such-host.invalid"],
    ),
    "no InRelease": (lambda r: {"suite": "nothing"}, ["dists/nothing/InRelease", "404"]),
    "no key": (lambda r: {"key_url": f"{r.url}/none.asc"}, ["none.asc", "404"]),
    "no key file": (lambda r: {"key_url": f"file://{r.folder}/none.asc"}, ["none.asc", "No such file"]),
    "a scheme that there is not": (lambda r: {"key_url": "gopher://x/k"}, ["gopher"]),
    "an answer cut short": (lambda r: {"uri": f"{r.url}/broken"}, ["package repository", "/broken/"]),
    "a key cut short": (lambda r: {"key_url": f"{r.url}/broken/k"}, ["repository key", "/broken/"]),
    "an unsigned InRelease": (lambda r: {"suite": "unsigned"}, ["not signed", "unsigned"]),
    "another key": (lambda r: {"key_url": f"{r.url}/other.asc"}, ["other.asc", "not the pinned"]),
    "another fingerprint": (lambda r: {"fingerprint": "0" * 40}, ["0" * 40, "not the pinned"]),
    "two keys": (lambda r: {"key_url": f"{r.url}/two.gpg"}, ["two.gpg", "not the pinned"]),
    "two armored keys": (lambda r: {"key_url": f"{r.url}/two.asc"}, ["two.asc", "not the pinned"]),
    "a truncated key": (
        lambda r: {"key_url": f"{r.url}/truncated.gpg"},
        ["truncated.gpg", "no repository key"],
    ),
    "a truncated armored key": (
        lambda r: {"key_url": f"{r.url}/truncated.asc"},
        ["truncated.asc", "no repository key"],
    ),
    "a damaged key": (lambda r: {"key_url": f"{r.url}/damaged.asc"}, ["damaged.asc", "no repository key"]),
    "noise": (lambda r: {"key_url": f"{r.url}/noise.gpg"}, ["noise.gpg", "no repository key"]),
    "a page": (lambda r: {"key_url": f"{r.url}/page.asc"}, ["page.asc", "not an OpenPGP key"]),
    "an expired key": (
        lambda r: {"key_url": f"{r.url}/expired.asc"},
        ["expired.asc", "expired on 20", "Give a key_url"],
    ),
    "an empty key": (lambda r: {"key_url": f"{r.url}/empty.gpg"}, ["empty.gpg", "no public key"]),
    "a short fingerprint": (
        lambda r: {"fingerprint": "9386B48A1A693C5C"},
        ["40 hexadecimal digits", "9386B48A1A693C5C"],
    ),
    "a fingerprint that is none": (lambda r: {"fingerprint": "x" * 40}, ["40 hexadecimal digits"]),
    "a name with a slash": (lambda r: {"name": "../../etc/x"}, ["name", "../../etc/x"]),
    "no uri": (lambda r: {"uri": None}, ["uri"]),
    "an empty uri": (lambda r: {"uri": ""}, ["uri must be an address such as", "''"]),
    "a uri without a scheme": (
        lambda r: {"uri": "repo.example.net/debian"},
        ["uri must be an address such as", "repo.example.net"],
    ),
    "no components": (lambda r: {"components": []}, ["components are missing"]),
    "an empty component": (lambda r: {"components": [""]}, ["components are missing"]),
    "an empty component among others": (lambda r: {"components": ["main", ""]}, ["components are missing"]),
    "no time": (lambda r: {"timeout": -1}, ["timeout must be at least 1 second, not -1"]),
    "a key that trickles": (
        lambda r: {"key_url": f"{r.url}/trickle/k", "timeout": 1},
        ["/trickle/k", "it took longer than 1 s"],
    ),
    "an index that trickles": (
        lambda r: {"uri": f"{r.url}/trickle", "timeout": 1},
        ["/trickle/", "it took longer than 1 s"],
    ),
    "a key without an end": (
        lambda r: {"key_url": f"{r.url}/endless/k"},
        ["/endless/k", "longer than 4 MiB"],
    ),
    "a compressed key cut short": (
        lambda r: {"key_url": f"{r.url}/gzip/vendor.asc/cut"},
        ["vendor.asc", "broke off"],
    ),
    "a damaged compressed key": (
        lambda r: {"key_url": f"{r.url}/gzip/vendor.asc/damaged"},
        ["vendor.asc", "broke off"],
    ),
    "a compressed key without an end": (
        lambda r: {"key_url": f"{r.url}/gzip/vendor.asc/bomb"},
        ["vendor.asc", "longer than 4 MiB"],
    ),
}


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize("there", [False, True], ids=["bare", "older"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_leaves_the_host_as_it_was(host, repository, name, there, check):
    if there:
        # Another suite and another key are in place, so that both files would have to change.
        host()
        (host.root / SOURCE).write_text("# by hand\n", encoding="utf-8")
        shutil.copy(repository.folder / "other.gpg", host.root / KEYRING)
    before = host.tree()
    change, words = FAILURES[name]
    result = host(_check=check, **change(repository))
    assert result["failed"] and all(word in result["msg"] for word in words), result["msg"]
    assert "\n" not in result["msg"] and "<urlopen" not in result["msg"], result["msg"]
    assert host.tree() == before


def test_a_folder_in_the_place_of_the_source_changes_nothing(host):
    (host.root / SOURCE).mkdir(parents=True)
    before = host.tree()
    result = host()
    assert result["failed"] and SOURCE in result["msg"] and host.tree() == before


def test_absent_where_nothing_was(host):
    for check in (True, False):
        assert not host.absent(_check=check)["changed"]
    assert host.tree() == {}


# --- one file without the other


@pytest.mark.parametrize(
    ("kind", "key", "folder"),
    [("deb", KEYRING, "etc/apt/sources.list.d"), ("rpm", RPM_KEY, "etc/yum.repos.d")],
)
def test_where_the_second_file_cannot_be_written_the_first_is_taken_back(host, repository, kind, key, folder):
    write = host if kind == "deb" else host.rpm
    (host.root / folder).parent.mkdir(parents=True)
    (host.root / folder).symlink_to("nowhere")
    before = host.tree()
    result = write()
    assert result["failed"] and folder in result["msg"], result["msg"]
    assert host.tree() == before, "neither the key nor its folder stays"

    # A key that was there before is put back as it was.
    (host.root / key).parent.mkdir(parents=True)
    (host.root / key).write_bytes(b"the key of somebody")
    before = host.tree()
    assert write()["failed"] and host.tree() == before


# --- rpm


def test_create_update_delete_rpm(host, repository):
    created = four_times(host, lambda check: host.rpm(_check=check))
    assert created["actions"] == [f"write /{RPM_KEY}", f"write /{REPO}"]
    text = (
        f"# Written by amdgpu.fleet\n[lab]\nname=lab\nbaseurl={repository.url}/rpm\nenabled=1\npriority=50\ngpgcheck=1\nrepo_gpgcheck=0\n"
        f"gpgkey=file:///{RPM_KEY}\n"
    )
    assert created["diff"] == {
        "before": "",
        "after": text,
        "before_header": f"/{REPO}",
        "after_header": f"/{REPO}",
    }
    tree = host.tree()
    assert tree[REPO] == (0o644, text.encode())
    assert tree[RPM_KEY][0] == 0o644

    updated = four_times(
        host, lambda check: host.rpm(_check=check, uri=f"{repository.url}/rpm/testing/", repo_gpgcheck=True)
    )
    assert updated["actions"] == [f"write /{REPO}"]
    assert "repo_gpgcheck=0" in updated["diff"]["before"] and "repo_gpgcheck=1" in updated["diff"]["after"]
    assert host.tree()[RPM_KEY] == tree[RPM_KEY]

    deleted = four_times(host, lambda check: host.absent(_check=check, format="rpm"))
    assert deleted["actions"] == [f"remove /{RPM_KEY}", f"remove /{REPO}"] and deleted["diff"]["after"] == ""
    assert not [name for name in host.tree() if "lab" in name]


@pytest.mark.parametrize("key", ["vendor.asc", "vendor.gpg"])
def test_rpm_gets_the_key_armored_as_gpg_would_write_it(host, repository, key):
    assert host.rpm(key_url=f"{repository.url}/{key}")["changed"]
    written = host.tree()[RPM_KEY][1]
    assert (
        written.split(b"\n\n", 1)[1].split()
        == (repository.folder / "vendor.asc").read_bytes().split(b"\n\n", 1)[1].split()
    )


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_the_distribution_decides_the_format(host, repository, kind):
    (host.root / "etc").mkdir()
    (host.root / "etc/os-release").write_text(OS_RELEASE[kind], encoding="utf-8")
    # Folders of the other kind decide nothing.
    (host.root / ("etc/yum.repos.d" if kind == "deb" else "etc/apt")).mkdir()
    result = host() if kind == "deb" else host.rpm(format="auto")
    assert result["actions"][1] == f"write /{SOURCE if kind == 'deb' else REPO}"
    assert host.absent()["actions"][1] == f"remove /{SOURCE if kind == 'deb' else REPO}"


def test_without_os_release_the_folders_decide_the_format(host):
    (host.root / "etc/yum.repos.d").mkdir(parents=True)
    assert host.rpm(format="auto")["actions"][1] == f"write /{REPO}"


def test_another_package_manager_is_named(host):
    (host.root / "etc").mkdir()
    (host.root / "etc/os-release").write_text("ID=sles\nID_LIKE=suse\nVERSION_ID=16.0\n", encoding="utf-8")
    before = host.tree()
    result = host()
    assert result["failed"] and "zypper" in result["msg"] and host.tree() == before
    assert not host.absent()["changed"] and host.tree() == before, (
        "where there never was one, there is nothing to complain about"
    )


def test_a_rpm_repository_in_place_needs_no_network(host, repository):
    host.rpm()
    asked = len(repository.asked)
    for check in (True, False):
        assert not host.rpm(_check=check, key_url="http://127.0.0.1:9/none")["changed"]
    assert len(repository.asked) == asked


RPM_FAILURES = {
    "the repository cannot be reached": (lambda r: {"uri": nobody()}, ["package repository", "refused", "Correct its address"]),
    "no repomd.xml": (lambda r: {"uri": f"{r.url}/dists"}, ["dists/repodata/repomd.xml", "404"]),
    "an answer cut short": (lambda r: {"uri": f"{r.url}/broken"}, ["package repository", "/broken/"]),
    "something else": (lambda r: {"uri": f"{r.url}/elsewhere"}, ["no index of an rpm repository", "elsewhere"]),
    "a line break": (lambda r: {"uri": f"{r.url}/rpm\nenabled=0"}, ["uri", "line breaks"]),
    **{name: FAILURES[name] for name in (
        "the key cannot be reached", "another key", "another fingerprint", "two keys", "a truncated armored key", "a page",
        "a short fingerprint", "a name with a slash", "no uri",
    )},
}  # fmt: skip


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize("there", [False, True], ids=["bare", "older"])
@pytest.mark.parametrize("name", RPM_FAILURES)
def test_a_failure_with_rpm_leaves_the_host_as_it_was(host, repository, name, there, check):
    (repository.folder / "elsewhere/repodata").mkdir(parents=True, exist_ok=True)
    (repository.folder / "elsewhere/repodata/repomd.xml").write_text(
        "<html>sign in first</html>", encoding="utf-8"
    )
    if there:
        host.rpm()
        (host.root / REPO).write_text("# by hand\n", encoding="utf-8")
        shutil.copy(repository.folder / "other.asc", host.root / RPM_KEY)
    before = host.tree()
    change, words = RPM_FAILURES[name]
    result = host.rpm(_check=check, **change(repository))
    assert result["failed"] and all(word in result["msg"] for word in words), result["msg"]
    assert host.tree() == before


def test_debian_packages_need_a_suite(host):
    before = host.tree()
    result = host(suite=None)
    assert result["failed"] and "suite" in result["msg"] and host.tree() == before
