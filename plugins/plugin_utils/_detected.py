# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the record of a host's last run says about it, for the inventory plugin ``detected``.

A record was written by a run that may be of another release, and its texts come from a host. So every key
may be missing or of another type, and only values of known form become names of groups."""

from __future__ import annotations

import datetime
import json
import re
import typing as t
from pathlib import Path

LARGEST = 4 << 20
GFX = re.compile(r"gfx[0-9a-f]{3,5}")
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
HOST = re.compile(r"[\w.:-]{1,253}", re.ASCII)
COMPUTE = re.compile(r"[SDTQC]PX")
MEMORY = re.compile(r"NPS[1-8]")
HEALTH = ("fail", "warn", "ok")


class Seen(t.TypedDict):
    """What a host's groups and variables are made from."""

    host: str
    at: str
    gfx: list[str]
    profile: str
    partition_modes: list[str]
    health: str
    gpu_count: int


class RecordError(ValueError):
    """A file that is no record. The message names it."""


def _dict(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: t.Any) -> list[dict[str, t.Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _texts(value: t.Any, form: re.Pattern[str]) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and form.fullmatch(text)]


def _gpus(record: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The GPUs of the fact amd_gpus, wherever a release keeps it in the record."""
    facts = _dict(record.get("facts"))
    for holder in (record.get("amd_gpus"), facts.get("amd_gpus"), facts, record):
        gpus = _dicts(_dict(holder).get("gpus"))
        if gpus:
            return gpus
    return []


def _modes(record: dict[str, t.Any], gpus: list[dict[str, t.Any]]) -> list[str]:
    """Pairs such as CPX_NPS4, in order, each once."""
    pairs = [text.split("_", 1) for text in record.get("partition_modes") or [] if isinstance(text, str)]
    pairs += [
        [str(gpu.get("compute_partition") or ""), str(gpu.get("memory_partition") or "")]
        for gpu in gpus
        if gpu.get("supported", True)
    ]
    known = [
        "_".join(part for part in pair if part)
        for pair in pairs
        if COMPUTE.fullmatch(pair[0]) and (len(pair) == 1 or not pair[1] or MEMORY.fullmatch(pair[1]))
    ]
    return list(dict.fromkeys(known))


def _health(record: dict[str, t.Any]) -> str:
    plan = _dict(record.get("plan"))
    findings = _dicts(record.get("findings")) + _dicts(plan.get("findings"))
    severities = {finding.get("severity") for finding in findings}
    if record.get("failure") or record.get("failed") is True:
        return "fail"
    return next((word for word in HEALTH if word in severities), "ok")


def _count(record: dict[str, t.Any], gpus: list[dict[str, t.Any]]) -> int:
    value = record.get("gpu_count")
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else len(gpus)


def summary(record: dict[str, t.Any], name: str) -> Seen:
    """What one record says; ``name`` is the host where the record does not say one."""
    gpus = _gpus(record)
    profile = (
        _texts(record.get("profile"), NAME) or _texts(_dict(record.get("plan")).get("profile"), NAME) or [""]
    )[0]
    gfx = _texts(record.get("gfx"), GFX) or [text for gpu in gpus for text in _texts(gpu.get("gfx"), GFX)]
    at = record.get("at")
    return Seen(
        host=(_texts(record.get("host"), HOST) or [name])[0],
        at=at
        if isinstance(at, str) and age(at, datetime.datetime.now(datetime.timezone.utc)) is not None
        else "",
        gfx=sorted({*gfx}) or _texts(profile, GFX),
        profile=profile,
        partition_modes=_modes(record, gpus),
        health=_health(record),
        gpu_count=_count(record, gpus),
    )


def read(path: Path) -> Seen:
    """One file of ``hosts/`` in the report's folder."""
    remedy = "Delete the file and run amdgpu.fleet.doctor again"
    try:
        if path.stat().st_size > LARGEST:
            raise RecordError(f"{path} is larger than any record of a host. {remedy}.")
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read ({error.strerror}). Make it readable for this user."
        ) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path} is no JSON. {remedy}.") from error
    if not isinstance(record, dict):
        raise RecordError(f"{path} is not the record of a host. {remedy}.")
    if not HOST.fullmatch(path.stem):
        raise RecordError(f"{path} is not named after a host. Delete the file.")
    return summary(record, path.stem)


def age(at: str, now: datetime.datetime) -> float | None:
    """Hours since the record was made; ``None`` where it does not say when."""
    try:
        moment = datetime.datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
    return (now - moment).total_seconds() / 3600


def groups(seen: Seen, now: datetime.datetime, max_age_hours: float) -> list[str]:
    """The groups of one host, without a prefix. An old record says nothing but that it is old."""
    hours = age(seen["at"], now)
    if max_age_hours > 0 and (hours is None or hours > max_age_hours):
        return ["stale"]
    names = [*seen["gfx"], f"health_{seen['health']}"]
    names += [f"profile_{seen['profile']}"] if seen["profile"] else []
    names += [f"partition_{mode.lower()}" for mode in seen["partition_modes"]]
    return names
