# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a wanted server serves: its unit as systemd sees it, then what it answers. Nothing is waited
for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

from . import _systemd
from ._inference import PROMPT, NoAnswer, Server

PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts",
    "StateChangeTimestampMonotonic", "NeedDaemonReload",
)  # fmt: skip
# So many restarts of a server that runs now are no accident.
MANY_RESTARTS = 3
# Seconds for each request: a server that is well answers /health at once.
PATIENCE = 10


class Unit(NamedTuple):
    """One unit."""

    known: bool
    active: str
    sub: str
    result: str
    exit_status: str
    restarts: int
    # Seconds since it entered its state; None where systemd does not say.
    since: Optional[float]


class Wanted(NamedTuple):
    """One server as the plan wants it."""

    name: str
    unit: str
    url: str
    model: str
    # What it is asked besides; nothing where this is empty.
    question: str
    api_key: Optional[str]
    # What the server's own version has to be; empty where nobody knows.
    version: str = ""


def units(run: _systemd.Run, names: list[str], uptime: float) -> dict[str, Unit]:
    """All units in one call of systemctl."""
    try:
        return {state.get("Id", ""): _unit(state, uptime) for state in _systemd.show(run, names, PROPERTIES)}
    except _systemd.Untold as error:
        raise NoAnswer(str(error)) from error


def _unit(state: Mapping[str, str], uptime: float) -> Unit:
    restarts, changed = state.get("NRestarts", ""), state.get("StateChangeTimestampMonotonic", "")
    since = uptime - int(changed) / 1e6 if re.fullmatch(r"[0-9]{1,18}", changed) and int(changed) else None
    return Unit(
        known=state.get("LoadState") == "loaded",
        active=state.get("ActiveState", "unknown"),
        sub=state.get("SubState", ""),
        result=state.get("Result", ""),
        exit_status=state.get("ExecMainStatus", ""),
        restarts=int(restarts) if re.fullmatch(r"[0-9]{1,9}", restarts) else 0,
        since=max(since, 0.0) if since is not None else None,
    )


def ago(seconds: Optional[float]) -> str:
    if seconds is None:
        return ""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f" for {seconds / length:.0f} {unit}"
    return f" for {seconds:.0f} s"


def judge(wanted: Wanted, unit: Optional[Unit], ask: Callable[[Wanted], dict[str, Any]]) -> dict[str, Any]:
    """``verdict`` ok, absent, down, restarting, starting, deaf or other_model; ``reason`` says what was
    seen."""
    answer: dict[str, Any] = {}
    verdict, reason, expected = _of_unit(wanted, unit)
    if verdict in ("ok", "starting"):
        answer = ask(wanted)
        verdict, reason, expected = _of_answer(wanted, unit, verdict, answer)
    if answer.get("version") is not None:
        answer["other_version"] = bool(wanted.version) and not is_version(answer["version"], wanted.version)
    state = unit._asdict() if unit else {}
    return {"name": wanted.name, "unit": wanted.unit, "url": wanted.url, "verdict": verdict, "reason": reason,
            "expected": expected, "state": state,
            "wanted_version": wanted.version, **answer}  # fmt: skip


def is_version(told: str, wanted: str) -> bool:
    """Whether a server tells of the wanted version: 0.33.0+rocm723 of 0.33.0, b11669-Debian of b11669."""
    return re.split("[+-]", told, maxsplit=1)[0] == re.split("[+-]", wanted, maxsplit=1)[0]


def _of_unit(wanted: Wanted, unit: Optional[Unit]) -> tuple[str, str, str]:
    if unit is None or not unit.known:
        return "absent", f"{wanted.unit} does not exist", "a unit that runs"
    if unit.sub == "auto-restart" or (unit.active == "activating" and unit.restarts >= MANY_RESTARTS):
        reason = f"{wanted.unit} ended {unit.restarts} times (last exit status {unit.exit_status})"
        return "restarting", reason, "a server that stays up"
    if unit.active == "activating":
        return "starting", f"{wanted.unit} is starting{ago(unit.since)}", "an answer"
    if unit.active not in ("active", "reloading"):
        result = (
            f" ({unit.result}, exit status {unit.exit_status})" if unit.result not in ("", "success") else ""
        )
        return "down", f"{wanted.unit} is {unit.active}{ago(unit.since)}{result}", "active"
    return "ok", "", ""


def _of_answer(
    wanted: Wanted, unit: Optional[Unit], before: str, answer: dict[str, Any]
) -> tuple[str, str, str]:
    error, models = answer.get("error"), answer.get("models")
    if error:
        if unit and unit.restarts >= MANY_RESTARTS:
            return (
                "restarting",
                f"{wanted.unit} ended {unit.restarts} times; {error}",
                "a server that stays up",
            )
        state = f"{unit.active}{ago(unit.since)}" if unit else "unknown"
        verdict = "starting" if before == "starting" else "deaf"
        return verdict, f"{wanted.unit} is {state}; {error}", "an answer"
    if models is not None and wanted.model not in models:
        return "other_model", f"{wanted.url} serves {', '.join(models) or 'no model'}", wanted.model
    return "ok", "", ""


def ask(wanted: Wanted) -> dict[str, Any]:
    """What the server says of itself; ``error`` where it does not answer."""
    try:
        server = Server(wanted.url, wanted.api_key, timeout=PATIENCE)
        server.healthy(PATIENCE)
        if not wanted.model:
            return {"models": None}
        seen: dict[str, Any] = {"models": server.models()}
        server.settled()
        if wanted.version:
            seen["version"] = server.version()
        if not wanted.question or wanted.model not in seen["models"]:
            return seen
        if wanted.question != "completion":
            return {**seen, "answered": server.ask(wanted.question, wanted.model, 120)}
        return {**seen, "completion": server.completion(wanted.model, PROMPT, 16, 120)}
    except (NoAnswer, ValueError) as error:
        return {"error": str(error)}
