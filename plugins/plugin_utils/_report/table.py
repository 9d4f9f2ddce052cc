# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run in the terminal: one row for each host, then each kind of finding once."""

from __future__ import annotations

import json
import shlex

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import accepted, changes, groups, siblings
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import (
    BY_FINDINGS,
    Record,
    Run,
    count,
    state,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.words import age, cut, line, names, plural

HEADER = ("HOST", "GPUS", "DRIVER", "FINDINGS", "ENDPOINTS", "STATE")
# More rows than this are shown of the hosts that were not asked only where something is wrong with them.
FEW = 20


def table(records: list[Record], run: Run, page: str) -> str:
    """``page`` is the line that says where the report lies."""
    rows = [list(HEADER), *(_row(record, run) for record in _shown(records))]
    if any(record["acceptance"]["verdict"] for record in _shown(records)):
        words = ["ACCEPTANCE", *(line(accepted.word(record)) for record in _shown(records))]
        rows = [[*row[:-1], word, row[-1]] for row, word in zip(rows, words)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    left_out = len(records) - (len(rows) - 1)
    if left_out:
        lines.append(f"{plural(left_out, 'host')} not asked in this run, as they were")
    asked = [record for record in records if record["asked"]]
    lines += [*_failures(asked), *_findings(asked), *_unlike(records, asked), *_changes(asked)]
    lines += [*_mended(asked), *_reboots(asked, run), *_answers(asked)]
    return "\n".join([*lines, "", page])


def _shown(records: list[Record]) -> list[Record]:
    others = sum(not record["asked"] for record in records)
    return [record for record in records if record["asked"] or others <= FEW]


def _row(record: Record, run: Run) -> list[str]:
    driver = record["driver"]
    found = [
        f"{number} {word}"
        for number, word in (
            (count(record, "fail"), "fail"),
            (count(record, "warn"), "warn"),
            (len(record["mended"]), "mended"),
            (len(record["applied"]), "set right"),
            (int(bool(record["failure"]) and not count(record, "fail")), "error"),
        )
        if number
    ]
    return [
        line(record["host"]),
        cut(line(record["gpus"]), 44) or "-",
        line(f"{driver['source']} {driver.get('release') or ''}") if driver.get("source") else "-",
        ", ".join(found) or "none",
        _endpoints(record),
        _state(record, run),
    ]


def _endpoints(record: Record) -> str:
    known = record["endpoints"]
    if len(known) == 1:
        return line(known[0]["url"])
    if not known:
        return "-"
    asked = [each for each in known if each["answered"] is not None]
    answer = sum(bool(each["answered"]) for each in asked)
    return f"{answer} of {len(known)} answer" if asked else f"{len(known)}, not asked"


def _state(record: Record, run: Run) -> str:
    word = state(record)
    word = "FAILED" if word == "failed" else word
    if not record["asked"]:
        return f"{word} ({age(record['at'], run.at) or 'some time'} ago, not asked)"
    if record["failure"] and record["known_at"] and record["known_at"] != record["at"]:
        return f"{word} (last seen {age(record['known_at'], run.at)} ago)"
    return word


def _failures(records: list[Record]) -> list[str]:
    """Hosts by what stopped them. One that a finding stopped has that finding."""
    reasons: dict[str, list[str]] = {}
    for record in records:
        if record["failure"] and not record["failure"].startswith(BY_FINDINGS):
            reasons.setdefault(record["failure"], []).append(record["host"])
    lines = []
    for reason, hosts in reasons.items():
        lines += [
            "",
            f"FAILED {names(hosts)}:",
            *(f"     {line(part)}" for part in reason.splitlines() if part),
        ]
    return lines


def _findings(records: list[Record]) -> list[str]:
    lines = []
    for each in groups.of_records(records, ("fail", "warn")):
        first = each.first
        lines += [
            "",
            f"{first['severity'].upper()} {names(each.hosts)}: {line(first['title'])} [{first['id']}]",
        ]
        for variant in each.variants[:5]:
            of = f"{names(variant.hosts, 4)}: " if len(each.variants) > 1 else ""
            lines.append(f"     {of}seen {line(variant.seen)}, expected {line(variant.expected)}")
        if len(each.variants) > 5:
            lines.append(f"     and {len(each.variants) - 5} other values; the page has them all")
        lines += [f"     because {line(why)}" for why in each.reasons[:3]]
        lines += [f"     {line(remedy)}" for remedy in each.remedies[:3]]
    return lines


def _unlike(records: list[Record], asked: list[Record]) -> list[str]:
    """Hosts of this run that differ from most of their kind."""
    here = {record["host"] for record in asked}
    kinds: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in siblings.unlike(records):
        hosts = tuple(host for host in each["hosts"] if host in here)
        if hosts:
            kinds.setdefault((each["kind"], hosts), []).append(siblings.sentence(each))
    lines = []
    for (kind, hosts), said in kinds.items():
        lines += ["", f"UNLIKE {names(hosts)}: not as others with {line(kind)}"]
        lines += [f"     {line(each)}" for each in said[:8]]
        lines += [f"     and {len(said) - 8} more; the page has them all"] if len(said) > 8 else []
    return lines


def _changes(records: list[Record]) -> list[str]:
    """What is not as in the last run; of many, the worst first."""
    found = groups.changed(records)
    lines = []
    for each in found[:FEW]:
        lines += ["", f"CHANGED {names(each.hosts)}: {line(changes.sentence(each.first))}"]
        lines.append(f"     {line(each.first['why'])}")
    more = len(found) - FEW
    return [*lines, "", f"and {plural(more, 'other change')}; the page has them all"] if more > 0 else lines


def _mended(records: list[Record]) -> list[str]:
    lines = []
    for word, found in groups.put_right(records).items():
        for each in found:
            first = each.first
            lines += ["", f"{word.upper()} {names(each.hosts)}: {line(first['title'])} [{first['id']}]"]
            lines.append(f"     was {line(first['seen'])}, expected {line(first['expected'])}")
    return lines


def _reboots(records: list[Record], run: Run) -> list[str]:
    lines = []
    for why, hosts in groups.reboots(records).items():
        lines += ["", f"REBOOT {names(hosts)}: {line(why)}"]
    lines += [f"     Next: {each}" for each in next_commands(records, run)]
    return lines


def next_commands(records: list[Record], run: Run) -> list[str]:
    """What to type where a reboot is left to somebody."""
    waiting = [record for record in records if record["reboot"]]
    here = any(record["local"] for record in waiting)
    remote = [record["host"] for record in waiting if not record["local"]]
    commands = [f"sudo systemctl reboot, and afterwards again {run.command}"] if here else []
    if remote:
        inventory = " ".join(f"-i {shlex.quote(source)}" for source in run.inventory)
        hosts = shlex.quote(",".join(remote))
        commands.append(f"ansible {hosts} {inventory} --become -m ansible.builtin.reboot")
    return commands


def _answers(records: list[Record]) -> list[str]:
    """What servers said; of many, the first ones."""
    said = [
        f"{line(record['host'])} {endpoint['kind']} {line(endpoint['url'])} {line(endpoint['model'])}: "
        f"{json.dumps(cut(line(endpoint['text']), 90), ensure_ascii=False)}"
        for record in records
        for endpoint in record["endpoints"]
        if endpoint["answered"] and endpoint["text"]
    ]
    more = [f"and {len(said) - FEW} more that answered"] if len(said) > FEW else []
    return ["", *said[:FEW], *more] if said else []
