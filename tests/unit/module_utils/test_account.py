# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs containers without root, and where Podman keeps the images of such an account."""

from __future__ import annotations

import json

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils import _podman
from ansible_collections.amdgpu.fleet.plugins.module_utils._account import account
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nfleet:x:990:990::/srv/fleet:/bin/false\nbroken:x\n",
    "etc/subuid": "someone:100000:65536\nfleet:200000:65536\n",
    "etc/subgid": "990:200000:65536\n",
    "srv/fleet/.profile": "",
    "usr/bin/newuidmap": "",
    "usr/bin/newgidmap": "",
    "usr/local/bin/crun": "",
}


@pytest.fixture
def tree(tmp_path):
    def write(**files: str | None) -> Tree:
        for name, text in {
            **FILES,
            **{key.replace("__", "/"): value for key, value in files.items()},
        }.items():
            if text is not None:
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return Tree(str(tmp_path))

    return write


def test_who_it_is(tree):
    assert account(tree(var__lib__systemd__linger__fleet=""), "fleet") == {
        "name": "fleet",
        "uid": 990,
        "home": "/srv/fleet",
        "subordinate_ids": True,
        "linger": True,
        "lowest_port": 1024,
        "commands": ["newuidmap", "newgidmap", "crun"],
    }


def test_ports_that_an_account_may_listen_on(tree):
    found = account(tree(proc__sys__net__ipv4__ip_unprivileged_port_start="80\n"), "fleet")
    assert found is not None and found["lowest_port"] == 80


def test_nobody_was_named(tree):
    assert account(tree(), "") is None


@pytest.mark.parametrize("name", ["nobody-of-this-name", "broken", "flee"])
def test_there_is_no_such_account(tree, name):
    found = account(tree(), name)
    assert found is not None and (found["uid"], found["home"], found["subordinate_ids"]) == (
        None,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({"etc__subgid": ""}, False),
        ({"etc__subuid": "fleet:200000:0\n"}, False),
        ({"etc__subuid": "fleet:200000\n"}, False),
        ({"etc__subgid": "", "etc__nsswitch.conf": "passwd: files sss\nsubid: sss\n"}, True),
        ({"etc__subgid": "", "etc__nsswitch.conf": "subid: files\n"}, False),
    ],
)
def test_subordinate_ids(tree, files, there):
    found = account(tree(**files), "fleet")
    assert found is not None and found["subordinate_ids"] is there


@pytest.mark.parametrize(
    ("files", "store"),
    [
        ({}, "srv/fleet/.local/share/containers/storage"),
        ({"etc__containers__storage.conf": 'rootless_storage_path = "/data/$USER/$UID"\n'}, "data/fleet/990"),
        (
            {"srv__fleet__.config__containers__storage.conf": '[storage]\ngraphroot = "$HOME/images"\n'},
            "srv/fleet/images",
        ),
    ],
)
def test_its_images_and_not_those_of_root(tree, files, store):
    images = json.dumps([{"id": "1", "names": ["localhost/vllm:1"]}])
    of_root = json.dumps([{"id": "2", "names": ["localhost/vllm:2"]}])
    there = tree(
        **files,
        **{
            f"{store}/overlay-images/images.json": images,
            "var/lib/containers/storage/overlay-images/images.json": of_root,
        },
    )
    names = ["localhost/vllm:1", "localhost/vllm:2"]
    assert _podman.podman(there, {"podman": "5.4.2"}, names, account(there, "fleet"))["images"] == names[:1]
    assert _podman.podman(there, {"podman": "5.4.2"}, names, account(there, "no-account"))["images"] == []
    assert _podman.podman(there, {"podman": "5.4.2"}, names)["images"] == names[1:]
