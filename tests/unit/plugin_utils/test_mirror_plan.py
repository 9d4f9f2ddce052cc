# SPDX-License-Identifier: GPL-3.0-or-later
"""How an inventory with a group ``mirror`` leads its hosts there."""

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.amdgpu.fleet.plugins.filter.mirror import mirror_addresses, mirror_routes
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _mirror
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import mirror as planned
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import FOLDER
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import normalize, specification

IMAGE = "docker.io/vllm/vllm-openai-rocm:v0.33.0"
GROUPS = {"mirror": ["store", "spare"], "all": ["store", "spare", "rack"]}


def led(given: object = None, groups: object = None, **variables: object):
    hostvars = {"store": variables, "spare": {}, "rack": {}}
    return mirror_addresses(given or {}, GROUPS if groups is None else groups, hostvars)


def test_a_group_leads_every_kind_there():
    assert led(ansible_host="192.0.2.9") == {
        "url": "http://192.0.2.9:8090/files",
        "hub": "http://192.0.2.9:8090/hub",
        "registry": "192.0.2.9:8090",
        "registry_keeps_host": True,
        "registry_tls": False,
        "closed": False,
    }
    # Where the other hosts reach it is not always where the controller does.
    assert (
        led(ansible_host="192.0.2.9", mirror_url="https://mirror.example/")["hub"]
        == "https://mirror.example/hub"
    )
    assert led(mirror_port=8443, mirror_tls_certificate="/c.pem")["hub"] == "https://store:8443/hub"
    assert led(ansible_host="2001:db8::1")["registry"] == "[2001:db8::1]:8090"


def test_wheels_are_fetched_there_where_the_mirror_was_told_an_index():
    def catalog(index: object) -> dict[str, object]:
        return {"mirror": {"pip_index": index}}

    named = led(plan_catalog=catalog({"address": "https://index.example/simple"}))
    assert named["pip_index"] == "http://store:8090/pip/simple"
    for nothing in ({}, {"address": ""}, None, "no mapping"):
        assert "pip_index" not in led(plan_catalog=catalog(nothing))


def test_what_the_inventory_gives_wins():
    given = {"hub": "http://own/hub", "registry": "own:5000"}
    found = led(given)
    assert {name: found[name] for name in given} == given
    assert found["url"] == "http://store:8090/files"
    # Its registry is laid out as before, and what was a closed network stays one.
    assert "registry_keeps_host" not in found and "closed" not in found
    assert led({"registry": ""})["registry"] == ""


def test_without_a_mirror_nothing_changes():
    assert led({}, {}) == {} and led({"hub": "http://h"}, {"mirror": []}) == {"hub": "http://h"}
    assert led(mirror_state="absent")["hub"] == "http://spare:8090/hub"
    # What does not fit is said with everything else.
    assert led("no mapping") == "no mapping"


@pytest.mark.parametrize("address", ["mirror.example", "ftp://m", "http://m/path", "http://m?x", "http://"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(AnsibleFilterError, match="mirror_url of store is .* Correct it in the inventory"):
        led(mirror_url=address)


def test_the_planner_takes_what_comes_out():
    wants = normalize({"plan_mirror": led()})
    assert planned.image(wants, IMAGE) == f"store:8090/{IMAGE}"
    assert planned.is_clear(wants, f"store:8090/{IMAGE}") and not planned.is_clear(wants, IMAGE)
    assert planned.address(wants, "https://repo.radeon.com/rocm/rocm.gpg.key") == (
        "http://store:8090/files/repo.radeon.com/rocm/rocm.gpg.key"
    )
    before = normalize({"plan_mirror": {"registry": "own:5000"}})
    assert planned.image(before, IMAGE) == "own:5000/vllm/vllm-openai-rocm:v0.33.0"
    assert not planned.is_clear(before, f"own:5000/{IMAGE}") and before.plan_mirror.closed


def test_the_default_port_is_that_of_the_role():
    assert specification()["mirror_port"]["default"] == _mirror.PORT


def test_every_source_of_the_catalog_is_kept():
    kept = {route["path"] for route in mirror_routes({})}
    text = "".join((FOLDER / name).read_text() for name in ("releases.yml", "engines/vllm/releases.yml"))
    hosts = set(re.findall(r"https://([a-z0-9.-]+)", text)) - {"github.com"}
    assert "repo.radeon.com" in hosts
    for host in hosts:
        assert f"/files/{host}/" in kept, host


def test_sources_are_overridden_as_the_rest_of_the_catalog():
    override = {"mirror": {"files": {"repo.radeon.com": {"address": "http://far:8081/amd"}}}}
    [route] = [each for each in mirror_routes(override) if each["path"] == "/files/repo.radeon.com/"]
    assert route["target"] == "/http/far:8081/amd/"
    with pytest.raises(
        AnsibleFilterError, match=r"plan_catalog.mirror.files.repo.radeon.com.address: .* Correct it"
    ):
        mirror_routes({"mirror": {"files": {"repo.radeon.com": {"address": "file:///etc"}}}})


def test_an_index_has_a_host_for_its_links_or_is_that_itself():
    def of_index(**index: str) -> dict[str, str]:
        found = mirror_routes({"mirror": {"pip_index": index}})
        return {each["path"]: each["target"] for each in found if each["path"].startswith("/pip/")}

    assert of_index() == {}
    alone = of_index(address="https://index.example/a/simple")
    assert alone == {
        "/pip/files/": "/https/index.example/",
        "/pip/root/": "/https/index.example/",
        "/pip/": "/https/index.example/a/",
    }
    apart = of_index(address="https://index.example/a/simple", files="https://files.example")
    assert apart["/pip/files/"] == "/https/files.example/"
