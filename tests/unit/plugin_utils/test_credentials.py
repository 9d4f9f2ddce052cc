# SPDX-License-Identifier: GPL-3.0-or-later
"""A password in an address or an argument, whichever variable it stands in, reaches nothing that is written or said."""

from __future__ import annotations

import json

import pytest

from ansible_collections.amdgpu.fleet.plugins.filter.plan import failure_reason
from ansible_collections.amdgpu.fleet.plugins.plugin_utils import _harmless
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import checks, credentials
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import read_yaml

PASSWORD = "hunter2-of-somebody"
ADDRESS = f"https://robot:{PASSWORD}@mirror.example/path"
# Every variable of every role that can hold a text.
OPTIONS = {
    name: option
    for name, option in checks.specification().items()
    if option["type"] in ("str", "path", "dict") or option.get("elements") in ("str", "path", "dict")
}
# It is there for values that nobody sees.
SECRET = ("serve_secret_environment",)


def holding(option: dict, text: str) -> object:
    """A value of the option's type that holds the text at its innermost place."""
    if option.get("elements") == "dict" or (option["type"] == "dict" and option.get("options")):
        entry = {
            "name": "a",
            "model": "m",
            **{key: text for key, each in option["options"].items() if each["type"] in ("str", "path")},
        }
        entry = {key: value for key, value in entry.items() if key in option["options"]}
        return [entry] if option["type"] == "list" else entry
    if option["type"] == "list":
        return [text]
    return {"some": {"deep": [text]}} if option["type"] == "dict" else text


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - set(SECRET)))
def test_no_variable_may_hold_a_password(make_plan, name):
    plan = (
        make_plan("mi300x-8", **{name: holding(OPTIONS[name], ADDRESS)})
        if name != "serve_instances"
        else None
    )
    if plan is None:
        with pytest.raises(checks.WantsError) as raised:
            checks.normalize({name: holding(OPTIONS[name], ADDRESS)})
        said, text = str(raised.value), str(raised.value)
    else:
        (finding,) = [each for each in plan["findings"] if each["severity"] == "fail"]
        assert finding["id"] == "inventory.variable" and "kernel" not in plan
        said, text = finding["remedy"], json.dumps(plan)
    assert said.startswith(name) and "holds a password or a token" in said and "\n" not in said
    assert PASSWORD not in text and "robot" not in text


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"plan_mirror": {"url": ADDRESS}}, "/etc/apt/auth.conf.d"),
        ({"plan_mirror": {"registry": f"robot:{PASSWORD}@registry.example"}}, "podman login"),
        ({"plan_mirror": {"pip_index": ADDRESS}}, ".netrc"),
        ({"plan_mirror": {"hub": f"https://hub.example/?access_token={PASSWORD}"}}, "model_hf_token"),
        ({"vllm_image": f"robot:{PASSWORD}@registry.example/vllm:1"}, "podman login"),
        ({"vllm_pip_arguments": f"--index-url {ADDRESS}"}, ".netrc"),
        ({"vllm_packages": [f"vllm @ https://x.example/v.whl?X-Signature={PASSWORD}"]}, ".netrc"),
        ({"vllm_environment": {"HTTPS_PROXY": f"http://robot:{PASSWORD}@proxy.example:3128"}}, "serve_secret_environment"),
        ({"vllm_options": {"kv-transfer-config": json.dumps({"url": ADDRESS})}}, "serve_secret_environment"),
        ({"serve_podman_arguments": f"--env=WANDB_TOKEN={PASSWORD}"}, "serve_secret_environment"),
        ({"serve_podman_arguments": f"--ulimit=a=1 -e DB_PASSWORD={PASSWORD}"}, "serve_secret_environment"),
        ({"serve_podman_arguments": f"--creds=robot:{PASSWORD}"}, "serve_secret_environment"),
        ({"driver_repository_uri": f"https://{PASSWORD}@mirror.example"}, "/etc/apt/auth.conf.d"),
        # A message of another check would have quoted it.
        ({"driver_repository_uri": f"https://robot:{PASSWORD}@mirror.example/a b"}, "/etc/apt/auth.conf.d"),
        ({"plan_catalog": {ADDRESS: 1}}, "plan_catalog"),
    ],
)  # fmt: skip
def test_where_it_belongs_is_said(variables, where):
    with pytest.raises(checks.WantsError) as raised:
        checks.normalize(variables)
    assert where in str(raised.value) and PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://mirror.example/ubuntu", "http://10.0.0.1:8080/a@b/c", "docker.io/vllm/vllm:v1@sha256:" + "a" * 64,
        "localhost/vllm:1", "git+https://github.com/a/b@main", "-e OMP_NUM_THREADS=1", "user@host", "https://h/?page=2&q=a@b",
        "--ulimit=nofile=1048576:1048576 --ulimit=memlock=-1:-1", "registry.example:5000/vllm/vllm:v1",
    ],
)  # fmt: skip
def test_what_is_no_password_passes(text):
    for name in ("vllm_image", "vllm_pip_arguments", "serve_podman_arguments", "plan_catalog"):
        assert credentials.find({name: text}) == ""


def test_a_value_that_is_kept_secret_may_hold_one():
    assert credentials.find({"serve_secret_environment": {"HTTPS_PROXY": ADDRESS}}) == ""
    assert checks.normalize({"serve_secret_environment": {"HTTPS_PROXY": ADDRESS}})


def test_what_programs_say_of_an_address_is_said_without_its_password():
    said = failure_reason({"msg": f"could not reach {ADDRESS}", "stderr": f"GET {ADDRESS}: 401"})
    assert PASSWORD not in said and "https://***@mirror.example/path" in said
    facts = _harmless.everywhere({"repositories": [ADDRESS], ADDRESS: "http://a.example/b@c"})
    assert PASSWORD not in str(facts) and "http://a.example/b@c" in str(facts)


def test_every_specification_is_looked_at():
    roles = {path.parents[1].name for path in checks.ROLES.glob("*/meta/argument_specs.yml")}
    assert {"gateway", "serve", "model", "rocm", "driver", "plan"} <= roles
    assert all(name in OPTIONS for name in read_yaml(checks.ROLES / "serve/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
               if name.endswith(("_image", "_arguments", "_environment", "_options")))  # fmt: skip
