# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kustomize layout: what is written, what stays, and what the filters say of nodes and pods."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.amdgpu.fleet.plugins.filter import kubernetes as filters
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _layout
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.handover.kubernetes_yaml import HEADER, text


def host(root: Path, name: str, shared: str = "one", objects: bool = True) -> _layout.Change:
    files = {f"hosts/{name}/shared/namespace-x.yaml": text({"kind": shared})}
    if objects:
        files[f"hosts/{name}/kustomization.yaml"] = text({"resources": ["a.yaml"]})
        files[f"hosts/{name}/a.yaml"] = text({"kind": "A"})
    change = _layout.of_host(root, name, files)
    _layout.apply(root, change)
    return change


def fleet(root: Path) -> _layout.Change:
    change = _layout.of_fleet(root)
    _layout.apply(root, change)
    return change


def resources(root: Path, path: str) -> list[str]:
    return yaml.safe_load((root / path / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]


def test_a_second_run_writes_nothing(tmp_path):
    assert host(tmp_path, "a") and host(tmp_path, "b") and fleet(tmp_path)
    assert not host(tmp_path, "a") and not host(tmp_path, "b") and not fleet(tmp_path)
    assert resources(tmp_path, ".") == ["hosts/a", "hosts/b", "shared"]
    assert resources(tmp_path, "shared") == ["namespace-x.yaml"]


def test_a_host_that_goes_takes_its_files_along(tmp_path):
    host(tmp_path, "a")
    host(tmp_path, "b", objects=False)
    fleet(tmp_path)
    # Kustomize refuses a folder without resources.
    assert resources(tmp_path, ".") == ["hosts/a", "shared"]
    _layout.apply(tmp_path, _layout.of_host(tmp_path, "a", {}))
    _layout.apply(tmp_path, _layout.of_host(tmp_path, "b", {}))
    fleet(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_stay(tmp_path):
    host(tmp_path, "a")
    own = tmp_path / "hosts/a/patch.yaml"
    own.write_text("kind: Patch\n", encoding="utf-8")
    _layout.apply(tmp_path, _layout.of_host(tmp_path, "a", {}))
    assert own.exists() and sorted(path.name for path in own.parent.iterdir()) == ["patch.yaml"]
    (tmp_path / "hosts/a/a.yaml").write_text("kind: Theirs\n", encoding="utf-8")
    with pytest.raises(_layout.LayoutError, match=r"a\.yaml was not written by amdgpu\.fleet\. Move it away"):
        host(tmp_path, "a")
    assert (tmp_path / "hosts/a/a.yaml").read_text(encoding="utf-8") == "kind: Theirs\n"
    (tmp_path / "kustomization.yaml").write_text("resources: [theirs]\n", encoding="utf-8")
    (tmp_path / "hosts/a/a.yaml").unlink()
    host(tmp_path, "a")
    with pytest.raises(_layout.LayoutError, match="handover_path"):
        fleet(tmp_path)


def test_hosts_that_need_different_things_of_one_name_are_named(tmp_path):
    host(tmp_path, "a")
    fleet(tmp_path)
    host(tmp_path, "b", shared="two")
    with pytest.raises(
        _layout.LayoutError, match=r"namespace-x\.yaml is not the same for a and b: .*kubernetes_pool"
    ):
        fleet(tmp_path)


@pytest.mark.parametrize("path", ["hosts/b/x.yaml", "../x.yaml", "hosts/a/../../x.yaml", "/etc/x"])
def test_nothing_is_written_outside_of_the_folder(tmp_path, path):
    with pytest.raises(_layout.LayoutError, match="does not lie in hosts/a"):
        _layout.of_host(tmp_path, "a", {path: HEADER})


def test_the_diff_shows_what_goes_and_what_comes(tmp_path):
    host(tmp_path, "a")
    change = _layout.of_host(tmp_path, "a", {"hosts/a/b.yaml": text({"kind": "B"})})
    shown = {each["after_header"]: (each["before"], each["after"]) for each in change.diff}
    assert shown["hosts/a/b.yaml"] == ("", f"{HEADER}kind: B\n")
    assert shown["hosts/a/a.yaml"] == (f"{HEADER}kind: A\n", "")


def pod(name: str, **more) -> dict:
    return {"metadata": {"name": name, "namespace": "n", **more.pop("metadata", {})}, **more}


def test_pods_that_must_leave():
    pods = [
        pod("server", status={"phase": "Running"}),
        pod("job", status={"phase": "Succeeded"}),
        pod("network", metadata={"ownerReferences": [{"kind": "DaemonSet"}]}),
        pod("apiserver", metadata={"annotations": {filters.MIRROR: "x"}}),
        pod("odd", metadata={"annotations": None, "ownerReferences": None}, status=None),
    ]
    assert filters.pods_left(pods) == ["n/odd", "n/server"]


def test_what_a_node_lacks():
    ready = {"type": "Ready", "status": "True"}
    node = {"metadata": {"name": "a"}, "status": {"allocatable": {"amd.com/gpu": "4"}, "conditions": [ready]}}
    assert filters.node_lacks([node], {"amd.com/gpu": 4}) == []
    assert filters.node_lacks([node], {"amd.com/gpu": 8}) == ["it offers 4 of 8 amd.com/gpu"]
    assert filters.node_lacks([{"metadata": {"name": "a"}}], {}) == ["it is not ready"]
    assert filters.node_lacks([], {}) == ["the cluster does not know it"]
    idle = {"metadata": {"name": "b"}, "status": {"allocatable": {"amd.com/gpu": "0", "cpu": "4"}}}
    assert filters.node_devices([node, idle], "a") == "amd.com/gpu"
    assert filters.node_devices([node, idle], "b") == filters.node_devices([], "c") == ""


def test_a_collection_that_is_missing_is_told_from_one_that_is_there():
    names = ["amdgpu.fleet", "nobody.nothing", "amdgpu.nothing"]
    assert filters.collections_missing(names) == names[1:]
