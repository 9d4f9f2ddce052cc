# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable of every role with values of a wrong type, out of range, of an unknown name and of hostile
text: one sentence that names the variable, and no plan, or a plan in which the text is nothing but a text.

The table is made from the roles' argument specifications, so a new variable is part of it.
"""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from test_confined import KEYS, rendered

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import checks
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.quadlet import for_podman

OPTIONS = checks.specification()
GATEWAY = {name: option for name, option in OPTIONS.items() if name.startswith("gateway_")}
# Those that are not the planner's: Ansible and the playbooks look at them.
NOT_PLANNED = ("plan_root", "plan_health", *GATEWAY)
INJECTED = "Injected=1"
HOSTILE = {
    "newline": f"a\n{INJECTED}", "return": f"a\r{INJECTED}", "quote": "a'\"b", "percent": "%n%s{x}", "dollar": "$(id)`id`", "semicolon": "a; reboot",
    "direction": "\u00e9\u4e2d\u202e", "separator": f"a\u2028{INJECTED}", "nul": "a\x00b", "long": "a" * 100000, "dots": "../../../etc/x",
    "template": "{{ lookup('pipe', 'id') }}", "option": "--help", "continued": "a\\", "escape": "\x1b]0;x\x07",
}  # fmt: skip
WRONG: dict[str, list[t.Any]] = {
    "int": ["many", 1.5, [1], {"a": 1}, 10**30, -(10**30), float("inf"), float("nan")],
    "float": ["x", [1], {"a": 1}, float("inf"), float("nan"), -1],
    "bool": ["perhaps", [1], {"a": 1}, 7],
    "list": [{"a": 1}, [{"a": 1}], [[1]], [None]],
    "dict": ["text", [1], 7],
    "str": [["a"], {"a": 1}],
    "path": [["a"], {"a": 1}],
}
# Whole entries, of which the table breaks one part.
ENTRIES: dict[str, dict[str, t.Any]] = {
    "serve_instances": {"name": "a", "model": "/srv/models/m"},
    "model_sources": {"model": "Qwen/Qwen3-8B"},
    "gateway_replicas": {"name": "r", "address": "10.0.0.1"},
}
# A key may look like this.
KEYS_OF_GATEWAY = {
    *(("gateway_api_keys", "[dollar]"), ("gateway_api_keys", "[dots]")),
    *(("gateway_replica_key", "dollar"), ("gateway_replica_key", "dots")),
}


def bad_values(option: dict) -> t.Iterator[tuple[str, t.Any]]:
    kind = option.get("type", "str")
    yield from ((repr(value), value) for value in WRONG[kind])
    if kind in ("str", "path"):
        yield from HOSTILE.items()
    elif kind == "list" and option.get("elements") in ("str", "path"):
        yield from ((f"[{name}]", [text]) for name, text in HOSTILE.items())
    elif kind == "dict" and not option.get("options"):
        yield from ((f"key {name}", {text: "1"}) for name, text in HOSTILE.items())
        yield from ((f"value {name}", {"some": text}) for name, text in HOSTILE.items())


def cases(options: dict) -> t.Iterator[tuple[str, str, t.Any]]:
    """Variable, what is wrong, value."""
    for name, option in options.items():
        yield from ((name, what, value) for what, value in bad_values(option))
        for part, inner in (option.get("options") or {}).items():
            for what, value in bad_values(inner):
                entry = {**ENTRIES.get(name, {}), part: value}
                yield f"{name}.{part}", what, [entry] if option["type"] == "list" else entry


def one_sentence(text: str, path: str) -> None:
    """It names the variable or the part of it, says what to do, and is short enough to be read."""
    assert any(word in text for word in (path.split(".")[0], path.split(".")[-1])), text
    assert "\n" not in text and "\x1b" not in text and len(text) < 6000 and "Traceback" not in text
    assert re.search(
        r"Correct|Copy|Write|Set|Put|[Gg]ive|Remove|Choose|may hold|Did you mean|Add|Name|Take|Replace|[Cc]lose|Name one|Parts are",
        text,
    ), text


PLANNED = {name: option for name, option in OPTIONS.items() if name not in NOT_PLANNED}


@pytest.mark.parametrize("name", sorted(PLANNED))
def test_a_bad_value_is_one_sentence_or_nothing_but_a_text(make_plan, name):
    for path, what, value in cases({name: PLANNED[name]}):
        wants: dict[str, t.Any] = {"serve_instances": [ENTRIES["serve_instances"]], name: value}
        if name == "serve_instances" and not all(
            isinstance(each, dict) and isinstance(each.get("model"), str) for each in value
        ):
            with pytest.raises(checks.WantsError) as raised:
                checks.normalize({name: value})
            one_sentence(str(raised.value), path)
            continue
        plan = make_plan("mi300x-8", **wants)
        stops = [finding for finding in plan["findings"] if finding["severity"] == "fail"]
        if "kernel" not in plan:
            # Nothing is planned: no role has anything to do, and the play stops.
            assert [each["id"] for each in stops] in (["inventory.variable"], ["inventory.catalog"]), (
                path,
                what,
            )
            one_sentence(stops[0]["remedy"], path)
        else:
            assert "\n" not in "".join(each["seen"] + each["remedy"] for each in stops)
        if not stops:
            nothing_injected(plan, path, what)


def nothing_injected(plan: dict, path: str, what: str) -> None:
    """No line of any file begins with what a text brought along, and none goes on in the next one."""
    if not plan["serve"]["instances"]:
        return
    instance = plan["serve"]["instances"][0]
    texts = [rendered(plan, "server.service.j2", instance), rendered(plan, "server.container.j2", instance)]
    texts.append(for_podman(texts[1], "5.4", KEYS))
    texts += [f"{name}={value}" for name, value in instance["environment"].items()]
    texts += [str(value) for value in plan["kernel"]["sysctl"].values()]
    texts += [*plan["kernel"]["present"], *plan["devices"]["join"]]
    assert not [line for text in texts[:3] for line in text.splitlines() if line.endswith("\\")], (path, what)
    for text in texts:
        assert not [line for line in text.splitlines() if line.strip() == INJECTED], (path, what)
        assert "\0" not in text and "\x1b" not in text, (path, what)
    # systemd fills in what follows a per cent sign, but for our own section.
    for line in "\n".join(text.partition("[X-")[0] for text in texts[:3]).splitlines():
        assert "%s{x}" not in line.replace("%%", ""), (path, what, line)


def test_the_table_has_every_variable_of_every_role():
    named = {path.split(".")[0] for path, _what, _value in cases(OPTIONS)}
    assert named == set(OPTIONS) and len(list(cases(OPTIONS))) > 1900


@pytest.mark.parametrize("name", sorted(GATEWAY))
def test_a_bad_value_of_the_gateway_is_named_before_haproxy_reads_it(gateway_checks, name):
    for path, what, value in cases({name: GATEWAY[name]}):
        try:
            refused = ArgumentSpecValidator({name: GATEWAY[name]}).validate({name: value}).error_messages
        except (OverflowError, ValueError, TypeError):
            continue  # Ansible ends the play with the name of the variable
        if refused:
            assert path.split(".")[-1] in refused[0] or name in refused[0]
            continue
        if GATEWAY[name].get("choices"):
            raise AssertionError(f"{path} {what}: a choice that is none passed")
        found = yaml.safe_load(gateway_checks(**{name: value}))
        wrong = [check for check in found if not check["that"]]
        if (path, what) in KEYS_OF_GATEWAY:
            assert not wrong
            continue
        assert {check["variable"] for check in wrong} == {name}, (path, what)
        assert all(check["expected"] for check in wrong)


@pytest.mark.parametrize(
    ("wants", "words"),
    [
        ({"serve_instances": [{"name": "a", "model": "/m"}, {"name": "a", "model": "/m", "port": 8001}]}, "serve.name"),
        ({"serve_instances": [{"name": "a", "model": "/m"}, {"name": "b", "model": "/m"}]}, "serve.port"),
        ({"serve_instances": [{"name": "a", "model": "/m", "count": 2, "nodes": "rack"}]}, "count"),
        ({"kernel_arguments_present": ["iommu=pt"], "kernel_arguments_absent": ["iommu=pt"]}, "iommu=pt"),
        ({"model_sources": [{"model": "a/b"}, {"model": "a/b"}]}, "model_sources"),
        ({"model_sources": [{"model": "a/b", "archive": "/a.tar", "sha256": "0" * 64, "revision": "main"}]}, "archive"),
        ({"serve_user": "alice", "serve_kind": "quadlet"}, "serve.quadlet"),
        ({"serve_secret_environment": {"A": "x"}, "vllm_environment": {"A": "y"}}, "serve_secret_environment"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_named(make_plan, wants, words):
    plan = make_plan("mi300x-8", **{"serve_instances": [ENTRIES["serve_instances"]], **wants})
    stops = [finding for finding in plan["findings"] if finding["severity"] == "fail"]
    assert any(words in finding["id"] + finding["remedy"] for finding in stops), stops


@pytest.mark.parametrize("name", sorted(set(PLANNED) | set(GATEWAY)))
def test_a_misspelt_name_is_told(make_plan, name):
    misspelt = name[:-2] + name[-1] + name[-2]
    if misspelt == name or misspelt in OPTIONS or name in GATEWAY:
        misspelt = f"{name}s" if f"{name}s" not in OPTIONS else f"{name}_x"
    plan = make_plan("mi300x-8", **{misspelt: "x"})
    (finding,) = [each for each in plan["findings"] if each["severity"] == "fail"]
    assert misspelt in finding["remedy"] and "Did you mean" in finding["remedy"] and "kernel" not in plan
