# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose every answer is hostile: the doctor runs for real on a host whose Python is a hostile program.

Whatever it answers, nothing runs on the controller, nothing is written outside of the report's folder, the
terminal obeys nothing, the page holds no element of the host's, and no run ends in a traceback.
"""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from play_server import PlayServer

from testbed.tree import load_host, write_tree

# Answers for the module that reads the host with what lies in a file, and for every other one with what it says.
INTERPRETER = """\
#!{python}
import subprocess, sys
if any("AnsiballZ_host_facts" in word for word in sys.argv):
    sys.stdout.write(open({answer!r}, encoding="utf-8").read())
    sys.stderr.write({noise!r})
else:
    done = subprocess.run([{python!r}, *sys.argv[1:]], stdin=sys.stdin, capture_output=True, text=True)
    sys.stdout.write(done.stdout)
    sys.stderr.write({noise!r} + done.stderr)
"""
Mutation = t.Callable[[t.Any], t.Any]


def texts_of(marker: Path) -> list[str]:
    """What a host may call things."""
    return [
        "{{ lookup('pipe', 'touch " + str(marker) + "') }}",
        "{% set x = lookup('pipe', 'touch " + str(marker) + "') %}{{ x }}",
        "$(touch " + str(marker) + ")`touch " + str(marker) + "`; touch " + str(marker),
        "!!python/object/apply:os.system ['touch " + str(marker) + "']",
        "\x1b[2J\x1b[1;1Hall is well\x1b]0;owned\x07\x9b31m",
        '</script><script>window.owned=1</script><img src=x onerror=owned()>" onload="owned()',
        "../../../../" + str(marker),
        "a\r\nPLAY RECAP ok=1\u2028x\u202eoks",
        "javascript:owned()",
        "`owned` **owned** [owned](javascript:owned())",
    ]


def each_text(facts: t.Any, texts: list[str]) -> t.Any:
    """Every text of the facts replaced, one after the other; keys stay, as only known ones are read."""
    count = -1

    def change(value: t.Any) -> t.Any:
        nonlocal count
        if isinstance(value, str):
            count += 1
            return texts[count % len(texts)]
        if isinstance(value, dict):
            # The keys of mappings that the host fills by itself are its texts, too.
            return {key: change(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [change(entry) for entry in value] or [texts[0]]
        return value

    return change(facts)


def every_second(facts: t.Any, texts: list[str]) -> t.Any:
    """Texts behind the right one, so that more of the planner believes them."""

    def change(value: t.Any) -> t.Any:
        if isinstance(value, str):
            return value + texts[len(value) % len(texts)]
        if isinstance(value, dict):
            return {key: change(entry) for key, entry in value.items()}
        return [change(entry) for entry in value] if isinstance(value, list) else value

    return change(facts)


def other_types(facts: t.Any, _texts: list[str]) -> t.Any:
    """Numbers for texts, texts for numbers, mappings for lists."""
    if isinstance(facts, dict):
        return {key: other_types(entry, []) for key, entry in facts.items()}
    if isinstance(facts, list):
        return {str(at): other_types(entry, []) for at, entry in enumerate(facts)}
    if isinstance(facts, str):
        return len(facts)
    return (
        {True: "yes", False: [], None: {"a": 1}}.get(facts, "many")
        if isinstance(facts, (bool, type(None)))
        else "many"
    )


def all_nothing(facts: t.Any, _texts: list[str]) -> t.Any:
    return dict.fromkeys(facts) if not isinstance(facts, dict) else {
        name: dict.fromkeys(entry) for name, entry in facts.items()
    }  # fmt: skip


def endless(facts: t.Any, _texts: list[str]) -> t.Any:
    """A hundred thousand entries and texts of a megabyte."""
    facts["amd_host"]["os"]["name"] = "x" * (1 << 20)
    facts["amd_host"]["programs"] = {f"p{number}": "y" * 40 for number in range(20000)}
    facts["amd_host"]["serve_units"] = [
        f"/etc/systemd/system/vllm-{number}.service" for number in range(20000)
    ]
    facts["amd_gpus"]["gpus"] = facts["amd_gpus"]["gpus"] * 200
    return facts


def nested(facts: t.Any, _texts: list[str]) -> t.Any:
    deep: t.Any = "x"
    for _level in range(400):
        deep = [deep]
    facts["amd_host"]["memory"] = facts["amd_rocm"]["driver"] = deep
    return facts


MUTATIONS = {
    name: mutation
    for name, mutation in globals().items()
    if name in ("each_text", "every_second", "other_types", "all_nothing", "endless", "nested")
}


# What a terminal obeys.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Page(html.parser.HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.owned: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.owned += [name for name, value in attrs if name.startswith("on") and "owned" in str(value)]
        self.owned += [
            str(value) for name, value in attrs if name in ("href", "src") and "owned" in str(value)
        ]
        self.owned += [tag] if tag in ("img", "iframe", "object") else []


class Victim:
    """A folder with a report in it, and the hosts of an inventory, each with a Python of its own."""

    def __init__(self, folder: Path, ansible: PlayServer) -> None:
        self.folder, self.marker, self.ansible = folder, folder / "owned", ansible
        self.reports = folder / "reports"

    def host(self, number: int, answer: str, noise: str) -> dict[str, t.Any]:
        """A host that answers with a text, whatever it is asked about itself."""
        place = self.folder / f"host-{number}"
        place.mkdir(exist_ok=True)
        (place / "answer").write_text(answer, encoding="utf-8")
        text = INTERPRETER.format(python=sys.executable, answer=str(place / "answer"), noise=noise)
        (place / "python3").write_text(text, encoding="utf-8")
        (place / "python3").chmod(0o755)
        return {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": str(place / "python3"),
        }

    def run(self, playbook: str, answers: dict[str, str], noise: str = "") -> subprocess.CompletedProcess:
        hosts = {name: self.host(number, text, noise) for number, (name, text) in enumerate(answers.items())}
        wanted = {"serve_instances": [{"name": "a", "model": "/srv/m"}]}
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": wanted}}), encoding="utf-8")
        before = self.others()
        done = self.ansible.run(
            *("ansible-playbook", f"playbooks/{playbook}.yml", "-i", inventory),
            *("-e", f"report_directory={self.reports}"),
            timeout=900,
        )
        assert self.others() == before, "something was written outside of the report"
        return done

    def others(self) -> set[str]:
        """Everything near the report that is none of it."""
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if self.reports not in (path, *path.parents)
        }

    def holds(self, done: subprocess.CompletedProcess, hosts: int) -> None:
        """What must be true however hostile the answers were."""
        said = done.stdout + done.stderr
        assert not self.marker.exists()
        assert done.returncode == 2 and "Traceback" not in said, said[-5000:]
        found = CONTROL.search(said)
        assert not found, said[max(0, found.start() - 300) : found.end() + 100]
        assert len(said) < 300_000, len(said)
        page = Page()
        text = (self.reports / "report.html").read_text(encoding="utf-8")
        page.feed(text)
        # Its own script, and none of a host.
        assert page.scripts <= 1 and page.owned == [] and len(text) < 3_000_000
        records = sorted((self.reports / "hosts").iterdir())
        assert len(records) == hosts
        for path in self.reports.rglob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))
            assert path.stat().st_size < 10_000_000
        assert {path.parent for path in self.reports.rglob("*.*")} == {
            self.reports / name for name in (".", "hosts", "history")
        }
        rows = [line for line in said.splitlines() if line.startswith("victim")]
        assert rows


@pytest.fixture
def victim(tmp_path, ansible) -> Victim:
    return Victim(tmp_path, ansible)


@pytest.fixture(scope="module")
def true_facts(tmp_path_factory, find_facts) -> str:
    root = tmp_path_factory.mktemp("mi300x")
    write_tree(load_host("mi300x-8"), root)
    return json.dumps(find_facts("host_facts", root, network=True))


ANSWERS = (
    "", "amd_host", "[]", "null", "[" * 100000, "\x1b[2J{}\x1b]0;x\x07", '{"ansible_facts": {"amd_host": []}}',
    '{"ansible_facts": {"amd_host": {}, "amd_rocm": {}, "amd_gpus": {}}}', '{"ansible_facts": []}',
    '{"failed": true, "msg": ["\\u001b[2J{{ 1 }}"]}',
    '{"changed": false, "ansible_facts": {"amd_host": {"os": 1}, "amd_rocm": {"driver": 1}, "amd_gpus": {"gpus": [1, null, "x"]}}}',
    '{"failed": true, "msg": "\\u001b[2J<script>owned</script>", "exception": "x", "warnings": ["\\u001b[2J"], "deprecations": [1], "diff": 7}',
    '{"changed": false, "skipped": true, "invocation": 7, "_ansible_verbose_always": true, "ansible_facts": {"amd_host": {}}}',
)  # fmt: skip
NAMES = ("../../victim", "<img src=x onerror=owned()>", ".hidden", "victim`owned`")


def test_hosts_whose_answers_are_hostile(victim, true_facts):
    """All kinds of them in one run, beside a host that is well and gets its report."""

    def answer(facts: t.Any) -> str:
        return json.dumps({"changed": False, "ansible_facts": facts})

    answers = {"victim-well": answer(json.loads(true_facts))}
    for name, mutation in MUTATIONS.items():
        answers[f"victim-{name}"] = answer(mutation(json.loads(true_facts), texts_of(victim.marker)))
    answers |= {f"victim-{number}": text for number, text in enumerate(ANSWERS)}
    answers |= {name: answer(json.loads(true_facts)) for name in NAMES}
    done = victim.run("doctor", answers, noise="\x1b[2Jowned\x07")
    victim.holds(done, len(answers))
    records = {path.name: json.loads(path.read_text()) for path in (victim.reports / "hosts").iterdir()}
    assert (
        "fit" not in records["victim-well.json"]["failure"] and records["victim-well.json"]["gpu_count"] == 8
    )
    for name in ("other_types", "all_nothing", "endless", "nested"):
        assert "what the host answers does not fit" in records[f"victim-{name}.json"]["failure"], name
    assert not [name for name in records if name.startswith(".")]
