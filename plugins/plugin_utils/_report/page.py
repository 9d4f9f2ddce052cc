# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: one HTML file that needs no network. Python decides what is said, the template how it looks."""

from __future__ import annotations

import collections
import re
import typing as t
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import (
    accepted,
    changes,
    groups,
    plans,
    siblings,
    table,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report import words as say
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._report.shapes import (
    BY_FINDINGS,
    LEVELS,
    Endpoint,
    Past,
    Record,
    Run,
    Unlike,
    count,
    level,
    state,
)

TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "report" / "templates"
# Up to this many hosts the page shows every endpoint in one table; of more, each host shows its own.
FEW = 30
# Of more hosts than this those that are well are folded.
MOST_OPEN = 60
# Bytes; a page that would be larger leaves out what the files beside it hold.
LARGEST = 1_900_000
VERDICTS = {"ok": "ok", "watch": "warn", "drain": "drain", "replace": "fail"}


class Cell(t.NamedTuple):
    """One GPU in the grid."""

    css: str
    title: str
    partitions: int


class Card(t.NamedTuple):
    """One host on the page."""

    record: Record
    anchor: str
    level: str
    state: str
    age: str
    cells: list[Cell]
    endpoints: str
    # Colour and words of what is known of its GPUs.
    health: list[tuple[str, str]]
    history: Markup
    plan: plans.Share
    words: str


def page(records: list[Record], run: Run, title: str) -> str:
    """The whole page. Failed hosts come first, hosts that were not asked stay among the others."""
    text = _render(records, run, title, whole=True)
    return (
        text if len(text.encode(errors="replace")) <= LARGEST else _render(records, run, title, whole=False)
    )


def _render(records: list[Record], run: Run, title: str, whole: bool) -> str:
    order = sorted(records, key=_urgency)
    common, shares = plans.shared(order) if whole else ([], {})
    cards = [
        _card(record, number, run, shares.get(record["host"], plans.NOTHING))
        for number, record in enumerate(order)
    ]
    anchors = {card.record["host"]: card.anchor for card in cards}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=_harmless,
    )  # fmt: skip
    environment.filters.update(
        accepted=accepted.sentence,
        changed=changes.sentence,
        code=code,
        gib=say.gib,
        plural=say.plural,
        number=number,
        age=lambda at: say.age(at, run.at),
    )
    template = environment.get_template("report.html.j2")
    text = template.render(
        title=title, run=run, cards=cards, anchors=anchors, plans=common, whole=whole,
        totals=_totals(records, cards), stopped=_stopped(order), reboots=groups.reboots(order),
        commands=table.next_commands([each for each in records if each["asked"]], run),
        unlike=_unlike(records), changed=groups.changed(order),
        found=groups.of_records(order), right=groups.put_right(order),
        few=len(records) <= FEW, most_open=MOST_OPEN, memory=_memory(order), models=_models(order),
    )  # fmt: skip
    # Indentation is for those who read the template.
    return re.sub(r"\n\s+", "\n", re.sub(r"[^\S\n]+\n", "\n", text))


def _harmless(value: t.Any) -> t.Any:
    """What every expression of the template goes through. Numbers and markup stay what they are."""
    return say.harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def code(text: t.Any) -> Markup:
    """A text whose `commands` are marked up."""
    parts = say.harmless(text).split("`")
    if len(parts) % 2 == 0:  # one that is never closed is left out
        parts = ["".join(parts)]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def number(value: t.Any, unit: str, digits: int = 0) -> str:
    return f"{value:.{digits}f} {unit}" if isinstance(value, (int, float)) else "–"


def _urgency(record: Record) -> tuple[t.Any, ...]:
    worst = LEVELS.index(level(record))
    return worst, -count(record, "fail"), -count(record, "warn"), say.natural(record["host"])


def _card(record: Record, place: int, run: Run, share: plans.Share) -> Card:
    # The age of the record, where this run did not look at the host.
    known = record["known_at"] or record["at"]
    old = (
        ""
        if record["asked"] and record["run"] == run.id and known == record["at"]
        else say.age(known, run.at)
    )
    words = [record["host"], record["gpus"], record["title"], record["os"], record["kernel"], state(record)]
    words += [each["id"] for each in record["findings"]]
    words += [each["model"] for each in record["endpoints"]]
    return Card(
        record=record, anchor=f"h{place}", level=level(record), state=state(record), age=old,
        cells=_cells(record), endpoints=_answering(record["endpoints"]), health=_health(record),
        history=_history(record["history"]),
        plan=share, words=" ".join(dict.fromkeys(" ".join(words).lower().split())),
    )  # fmt: skip


def _cells(record: Record) -> list[Cell]:
    """Each GPU with the colour of its verdict, or of its host where nobody read its health."""
    cells = []
    for gpu in record["gpu_list"]:
        css = VERDICTS.get(str(gpu["verdict"]), level(record))
        about = " ".join(str(part) for part in (gpu["verdict"], gpu["evidence"]) if part)
        cells.append(Cell(css, f"GPU {gpu['index']}: {about}" if about else "", gpu["partitions"]))
    return cells


def _health(record: Record) -> list[tuple[str, str]]:
    """What is wrong with a GPU in words, and how many are well."""
    known = [gpu for gpu in record["gpu_list"] if gpu["verdict"]]
    bad = [gpu for gpu in known if gpu["verdict"] != "ok"]
    lines = [
        (VERDICTS[str(gpu["verdict"])], f"GPU {gpu['index']}: {gpu['verdict']}, {gpu['evidence']}")
        for gpu in bad
        if gpu["verdict"] in VERDICTS
    ]
    well = len(known) - len(bad)
    return (
        [*lines, ("ok", f"{say.plural(well, 'GPU')} {'is' if well == 1 else 'are'} well")] if well else lines
    )


def _answering(endpoints: list[Endpoint]) -> str:
    if not endpoints:
        return ""
    asked = [each for each in endpoints if each["answered"] is not None]
    if not asked:
        return f"{say.plural(len(endpoints), 'endpoint')}, not asked"
    answer = sum(bool(each["answered"]) for each in asked)
    return f"{answer} of {say.plural(len(endpoints), 'endpoint')} {'answers' if answer == 1 else 'answer'}"


def _history(past: list[Past]) -> Markup:
    """Findings of the last runs as bars, the last run at the right."""
    if len(past) < 2:
        return Markup("")
    lines: dict[str, list[str]] = {"fail": [], "warn": [], "ok": []}
    for place, each in enumerate(past):
        bad = "failed" in each["state"] or each["fail"]
        css = "fail" if bad else "warn" if each["warn"] else "ok"
        lines[css].append(f"M{4 * place + 2} 16v-{min(3 + 2 * (each['fail'] + each['warn']), 15)}")
    paths = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(css, "".join(bars)) for css, bars in lines.items() if bars
    )
    label = f"{say.plural(len(past), 'run')} since {past[0]['at'][:10]}"
    return Markup('<svg class="hist" width="{}" height="16" role="img" aria-label="{}">{}</svg>').format(
        4 * len(past) + 2, label, paths
    )


def _totals(records: list[Record], cards: list[Card]) -> dict[str, t.Any]:
    endpoints = [each for record in records for each in record["endpoints"]]
    levels = collections.Counter(card.level for card in cards)
    return {
        "hosts": len(records),
        "not_asked": sum(not record["asked"] for record in records),
        "levels": levels,
        "gpus": sum(len(record["gpu_list"]) for record in records),
        "partitions": sum(each["partitions"] for record in records for each in record["gpu_list"]),
        "bytes": sum(record["usable_bytes"] for record in records),
        "endpoints": len(endpoints),
        "asked": sum(each["answered"] is not None for each in endpoints),
        "answer": sum(bool(each["answered"]) for each in endpoints),
        "fail": sum(count(record, "fail") for record in records),
        "warn": sum(count(record, "warn") for record in records),
        "reboot": sum(bool(record["reboot"]) for record in records),
    }


def _stopped(records: list[Record]) -> dict[str, list[str]]:
    """Hosts by what stopped them, where no finding says it."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record["failure"] and not record["failure"].startswith(BY_FINDINGS):
            found.setdefault(record["failure"], []).append(record["host"])
    return found


def _unlike(records: list[Record]) -> list[tuple[str, list[Unlike]]]:
    """By the kind of the hosts that should be equal."""
    kinds: dict[str, list[Unlike]] = {}
    for each in siblings.unlike(records):
        kinds.setdefault(each["kind"], []).append(each)
    return list(kinds.items())


def _memory(records: list[Record]) -> list[tuple[list[str], Endpoint]]:
    """How models fit, once for all hosts where it is the same."""
    found: dict[str, tuple[list[str], Endpoint]] = {}
    for record in records:
        for each in record["endpoints"]:
            if each["memory"]:
                key = f"{each['model']} {sorted(each['memory'].items())!r}"
                found.setdefault(key, ([], each))[0].append(record["host"])
    return list(found.values())


def _models(records: list[Record]) -> list[dict[str, t.Any]]:
    """How many servers of each model and version there are, and how many answer."""
    found: dict[tuple[str, str, str], list[Endpoint]] = {}
    for record in records:
        for each in record["endpoints"]:
            found.setdefault((each["model"], each["engine"], each["version"]), []).append(each)
    return [
        {"model": model, "engine": engine, "version": version, "all": len(each), "answers": _answering(each)}
        for (model, engine, version), each in sorted(found.items())
    ]
