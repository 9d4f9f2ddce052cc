# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One test on this host: is it needed, may it run, run it, judge it, remember it."""

from __future__ import annotations

import os
import re
import shutil
import time
import typing as t

from .. import _gpu_memory, _health
from .._gpus import detect
from .._tree import Tree
from . import binding, judge, rise, run, state
from .formats import parse
from .merged import Merged
from .parsed import Parsed

STAMP = "%Y-%m-%dT%H:%M:%SZ"
GOOD = ("pass", "recorded")
# Seconds that GPUs have to become idle, and the load in percent that counts as none.
IDLE_WAIT, IDLE_LOAD = 30, 2
DAY = 86400
# The exit code with which a shell in a container says that a program is not there.
NOT_FOUND = 127
Values = t.Dict[str, t.Any]


class Test:
    """What the options of the module ``acceptance_test`` ask for."""

    def __init__(self, options: Values, dmesg: t.Callable[[], str | None]) -> None:
        self.options, self._dmesg = options, dmesg
        self.name: str = options["name"]
        self.folder = state.folder(options["root"])
        self.tree = Tree(options["root"])
        self.log = os.path.join(self.folder, "logs", f"{self.name}.log")
        self.program = find(options["programs"])
        self.thresholds = [
            judge.Threshold(each["metric"], each["least"], each["source"]) for each in options["thresholds"]
        ]

    def wanted(self) -> Values:
        """What a result must have been made with to count."""
        keys = ("command", "format", "devices", "thresholds", "environment", "each", "repeat")
        return {
            "spec": binding.digest([self.options[key] for key in keys]),
            "plan": self.options["plan"],
            "binding": binding.digest(binding.of(self.tree)),
        }

    def known(self, wanted: Values, kept: Values) -> Values | None:
        """The result of an earlier run that counts for this one."""
        before = kept["tests"].get(self.name)
        if self.options["again"] or not isinstance(before, dict) or before.get("verdict") not in GOOD:
            return None
        same = all(before.get(key) == value for key, value in wanted.items())
        return before if same and self._fresh(before.get("finished_at")) else None

    def _fresh(self, at: t.Any) -> bool:
        days = self.options["max_age"]
        return not days or (isinstance(at, int) and time.time() - at <= days * DAY)

    def argv(self) -> list[str]:
        words = {
            **self.options["values"],
            "program": self.program or self.options["programs"][0],
            "prefix": os.path.dirname(os.path.dirname(os.path.realpath(self.program or "/"))),
            "output": os.path.join(self.folder, "logs"),
        }
        return [_filled(word, words) for word in self.options["command"]]

    def health(self) -> Values:
        return _health.facts(self.tree, detect(self.tree)["gpus"], self._dmesg)

    def empty(self, verdict: str, *reasons: str) -> Values:
        # What was not run has no time: it would be another one in each run.
        at = 0 if verdict == "skip" else int(time.time())
        now = time.strftime(STAMP, time.gmtime(at)) if at else ""
        return {
            "name": self.name, "title": self.options["title"], "verdict": verdict, "reasons": list(reasons),
            "warnings": [], "metrics": {}, "seconds": 0.0, "started": now, "finished": now, "finished_at": at,
            "command": self.argv(), "log": "", "thresholds": self.options["thresholds"],
        }  # fmt: skip


def _filled(word: str, values: t.Mapping[str, str]) -> str:
    """Only our own words are put in: a brace of a program's own stays what it is."""
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def find(programs: t.Sequence[str]) -> str | None:
    """The first of them that can be run."""
    for program in programs:
        place = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin")
        if place:
            return place
    return None


def perform(test: Test) -> tuple[Values, bool]:
    """The result, and whether it is new. Raises BlockingIOError where another test does not end."""
    state.make(test.folder)
    with state.alone(test.folder, test.options["timeout"] + IDLE_WAIT) as free:
        kept = state.load(test.folder)
        if isinstance(kept.get("running"), dict):
            run.end_leftover(kept["running"])
            kept["running"] = None
        wanted = test.wanted()
        # One that another run had at work may just have passed: asked for again, that is what was meant.
        before = test.known(wanted, kept)
        if before is None and not free and test.options["again"]:
            before = kept["tests"].get(test.name)
        if before is not None:
            state.save(test.folder, "state.json", kept)
            return {**before, "resumed": True}, False
        result = {**_result(test, kept), **wanted, "resumed": False}
        _remember(test, kept, result)
    # What cannot run is the same the next time.
    return result, result["verdict"] != "skip"


def _result(test: Test, kept: Values) -> Values:
    if test.program is None:
        package = test.options["package"]
        install = f"; the package {package} has it (acceptance_install)" if package else ""
        return test.empty("skip", f"{' or '.join(test.options['programs'])} is not installed{install}")
    before = test.health()
    if test.options["idle"]:
        busy = wait_until_idle(test)
        if busy:
            return test.empty("error", busy)
    result = test.empty("error")
    timeout = test.options["timeout"]

    def started(group: run.Group) -> None:
        kept["running"] = {"test": test.name, **group._asdict()}
        state.save(test.folder, "state.json", kept)

    try:
        ended, parsed = _runs(test, result["command"], started)
    except OSError as error:
        return test.empty("error", f"{test.program} cannot be started ({error.strerror or error})")
    if ended.code == NOT_FOUND and os.path.basename(test.program) == "podman":
        return test.empty("skip", "the image of the server has no such program")
    verdict = judge.judge(ended, parsed, test.thresholds, timeout)
    risen = rise.rose(before, test.health())
    earlier = kept["past"].get(test.name, {})
    result |= {
        "verdict": "fail" if risen else verdict.verdict,
        "reasons": risen + verdict.reasons,
        "warnings": [*verdict.warnings, *judge.past(parsed.metrics, earlier)],
        "metrics": {
            name: {"value": each.value, "unit": each.unit, "each": each.each}
            for name, each in parsed.metrics.items()
        },
        "seconds": ended.seconds,
        "finished": time.strftime(STAMP, time.gmtime()),
        "finished_at": int(time.time()),
        "log": test.log,
    }
    return result


def _runs(test: Test, argv: list[str], started: t.Callable[[run.Group], None]) -> tuple[judge.Ended, Parsed]:
    """Run it as often as it is asked for: once, or for each device by itself, and the best of several."""
    options = test.options
    output = os.path.join(test.folder, "logs", options["output"]) if options["output"] else test.log
    if output != test.log and os.path.exists(output):
        os.unlink(output)  # or an earlier one would be taken for this run's
    devices = [str(at) for at in range(options["devices"])] if options["each"] else [""]
    merged, seconds = Merged(), 0.0
    for device in devices:
        given = environment(options)
        if device:
            given["HIP_VISIBLE_DEVICES"] = device
        for turn in range(options["repeat"]):
            left = int(options["timeout"] - seconds)
            again = bool(turn or device != devices[0])
            before = os.path.getsize(test.log) if again else 0
            ended = run.run(run.Job(argv, given, test.log, left, again), started)
            seconds += ended.seconds
            text = run.read(output, before if output == test.log else 0)
            merged.take(device, parse(options["format"], text, 1 if device else options["devices"]))
            if ended.code != 0:
                return ended._replace(seconds=round(seconds, 1)), merged.parsed
    return judge.Ended(0, False, round(seconds, 1)), merged.parsed


def environment(options: Values) -> dict[str, str]:
    """What the program is given. A key comes from a file of root's, and stands on no command line."""
    given = {"PATH": f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8",
             "HOME": "/root"}  # fmt: skip
    given.update({name: str(value) for name, value in options["environment"].items()})
    # A server that asks for no key has no such file.
    if options["secret_file"] and os.path.exists(options["secret_file"]):
        with open(options["secret_file"], encoding="utf-8") as file:
            key = re.search(r"^(?:VLLM|LLAMA)_API_KEY=[^\S\n]*(\S.*)$", file.read(), re.M)
        if key:
            given["OPENAI_API_KEY"] = key.group(1).strip()
    return given


def wait_until_idle(test: Test) -> str:
    """Why the GPUs are not idle; empty where they are."""
    limit = time.monotonic() + IDLE_WAIT
    while True:
        held = _gpu_memory.holders(test.tree)
        loads = [gpu["busy_percent"] for gpu in test.health()["gpus"]]
        busy = [str(at) for at, load in enumerate(loads) if load is not None and load > IDLE_LOAD]
        if not held and not busy:
            return ""
        if time.monotonic() > limit:
            what = f"{', '.join(held)} use the GPUs" if held else f"GPU {', '.join(busy)} computes something"
            return f"{what}. End what does not belong there, or set acceptance_beside_servers"
        time.sleep(1)


def _remember(test: Test, kept: Values, result: Values) -> None:
    kept["running"] = None
    kept["tests"][test.name] = {key: value for key, value in result.items() if key != "resumed"}
    if result["verdict"] in GOOD:
        past = kept["past"].setdefault(test.name, {})
        for name, each in result["metrics"].items():
            values = past.get(name) if isinstance(past.get(name), list) else []
            past[name] = [*values, each["value"]][-judge.KEPT_PAST :]
    state.save(test.folder, "state.json", kept)


def wrong(options: Values) -> str:
    """What does not fit, in a sentence; empty where all does."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", options["name"]):
        return f"name: {options['name']!r} is no name of a test. Use small letters, digits and underscores."
    if not re.fullmatch(r"[\w.-]*", options["output"]) or options["output"].startswith("."):
        return f"output: {options['output']!r} is not the name of a file."
    for name in ("timeout", "repeat"):
        if options[name] < 1:
            return f"{name}: {options[name]} is less than 1."
    if not options["programs"] or not options["command"]:
        return "programs and command must name a program."
    return ""
