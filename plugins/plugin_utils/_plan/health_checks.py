# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with one GPU, by the rules of the catalog. Each check gives evidence, and judges nothing
else."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from .facts_gpu import Gpu
    from .facts_health import AmdHealth, Counters, GpuHealth

DAY = 86400
HEAT = ("prochot", "socket_thm", "vr_thm", "hbm_thm")
# What makes a fatal error record believable.
WITNESSES = ("uncorrectable", "deferred", "poison", "reset_failed", "reset", "vram_lost", "lost")
LINK_ERRORS = {1: "one", 2: "several"}


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One thing that was seen, against the limit that it is beyond."""

    finding: str
    # ok, watch, drain or replace.
    verdict: str
    seen: str
    limit: str
    # Where the limit is known from, and what to do.
    source: str
    action: str
    # Its entry in the catalog, for those who count rules and not findings.
    rule: str


@dataclasses.dataclass(frozen=True)
class Case:
    """A GPU with all that its checks read."""

    gpu: Gpu
    health: GpuHealth
    rules: t.Mapping[str, t.Any]
    catalog: t.Mapping[str, t.Any]
    # How long the counters have run, in days; a host that was just started counts as one day old.
    days: float

    @property
    def instinct(self) -> bool:
        return (self.gpu["family"] or "").startswith("cdna")

    @property
    def idle(self) -> bool:
        """Where nobody knows, a slow link is more likely one that saves power."""
        return not self.health["busy_percent"]

    def limit(self, rule: str) -> float:
        return float(self.rules[rule]["limit"] or 0)

    def evidence(self, rule: str, seen: str, limit: str) -> Evidence:
        known = self.rules[rule]
        return Evidence(
            known["finding"], known["verdict"], seen, limit, known["source"], known["action"], rule
        )


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def case(gpu: Gpu, health: GpuHealth, facts: AmdHealth, catalog: t.Mapping[str, t.Any]) -> Case:
    days = max((facts["uptime_seconds"] or DAY) / DAY, 1.0)
    return Case(gpu, health, catalog["rules"], catalog, days)


def of(one: Case, log: t.Sequence[str]) -> list[Evidence]:
    """All evidence. ``log``: the kinds of lines that name this GPU."""
    found = [
        *_links(one),
        *_link_errors(one),
        *_errors(one),
        *_pages(one),
        *_xgmi(one),
        *_heat(one),
        *_power(one),
        *_throttling(one),
    ]
    return [*found, *_records(one, log)]


def not_in_kfd(one: Case) -> list[Evidence]:
    """A GPU that the compute driver leaves out, where it shows others or could."""
    if one.gpu["supported"] and not one.gpu["partitions"]:
        return [one.evidence("not_in_kfd", "no KFD node", "a KFD node")]
    return []


def _links(one: Case) -> t.Iterator[Evidence]:
    kind = "_instinct" if one.instinct else ""
    for hop in one.health["links"]:
        where = f" between {hop['partner']} and {hop['device']}" if hop["partner"] else ""
        width, most = hop["width"], hop["max_width"]
        if width and most and width < most:
            yield one.evidence(f"link_width{kind}", f"x{width}{where}", f"x{most}, which both ends have")
        speed, fastest = hop["speed"], hop["max_speed"]
        # A card that has nothing to do lowers the speed; an accelerator does not.
        if speed and fastest and speed < fastest and (one.instinct or not one.idle):
            yield one.evidence(
                f"link_speed{kind}", f"{speed:g} GT/s{where}", f"{fastest:g} GT/s, which both ends can do"
            )


def _link_errors(one: Case) -> t.Iterator[Evidence]:
    errors, metrics = one.health["pcie_errors"], one.health["metrics"]
    for kind in ("fatal", "nonfatal"):
        count = errors["fatal"] if kind == "fatal" else errors["nonfatal"]
        if count and count > one.limit(f"pcie_{kind}"):
            yield one.evidence(f"pcie_{kind}", f"{_plural(count, f'{kind} error')} of PCIe", "none")
    replays = max(one.health["replay_count"] or 0, (metrics["pcie_replay"] or 0) if metrics else 0)
    trained = (metrics["pcie_l0_to_recovery"] or 0) if metrics else 0
    for rule, count, words in (
        ("pcie_replay", replays, "packets sent again"),
        ("pcie_recovery", trained, "times trained again"),
    ):
        if count / one.days > one.limit(rule):
            yield one.evidence(
                rule, f"{count} {words} in {one.days:.0f} days", f"at most {one.limit(rule):g} a day"
            )


def _errors(one: Case) -> t.Iterator[Evidence]:
    ras = one.health["ras"]
    if not ras:
        return
    # The links between GPUs have rules of their own.
    blocks = {name: counts for name, counts in ras["blocks"].items() if name != "xgmi_wafl"}
    lost, waiting = _by_block(blocks, "uncorrectable"), _by_block(blocks, "deferred")
    if sum(lost.values()) > one.limit("ecc_uncorrectable"):
        yield one.evidence("ecc_uncorrectable", f"{_listed(lost)} uncorrectable", "none")
    if sum(waiting.values()) > one.limit("ecc_deferred"):
        yield one.evidence("ecc_deferred", f"{_listed(waiting)} deferred", "none")
    corrected = _by_block(blocks, "correctable")
    if sum(corrected.values()) / one.days > one.limit("ecc_correctable"):
        yield one.evidence(
            "ecc_correctable",
            f"{_listed(corrected)} corrected in {one.days:.0f} days",
            f"at most {one.limit('ecc_correctable'):g} a day",
        )
    if (ras["fatal_events"] or 0) > one.limit("fatal_event"):
        yield one.evidence(
            "fatal_event", f"{_plural(ras['fatal_events'] or 0, 'fatal event')} of its hive", "none"
        )


def _by_block(
    blocks: t.Mapping[str, Counters], kind: t.Literal["correctable", "uncorrectable", "deferred"]
) -> dict[str, int]:
    return {name: counts[kind] or 0 for name, counts in blocks.items() if counts[kind]}


def _listed(counts: t.Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {block}" for block, count in counts.items())


def _pages(one: Case) -> t.Iterator[Evidence]:
    pages = one.health["bad_pages"]
    if not pages:
        return
    told = pages["threshold"]
    limit = told if told and told <= one.catalog["bad_pages_highest"] else int(one.limit("bad_pages"))
    total = pages["retired"] + pages["pending"] + pages["failed"]
    near = one.limit("bad_pages_near") * limit
    if total > limit:
        yield one.evidence("bad_pages", _plural(total, "bad page"), f"at most {limit}")
    elif total >= near:
        yield one.evidence("bad_pages_near", _plural(total, "bad page"), f"below {near:.0f}, 90 % of {limit}")
    if pages["failed"] > one.limit("bad_pages_failed"):
        yield one.evidence(
            "bad_pages_failed", f"{_plural(pages['failed'], 'bad page')} that cannot be retired", "none"
        )
    if pages["pending"] > one.limit("bad_pages_pending"):
        yield one.evidence(
            "bad_pages_pending", f"{_plural(pages['pending'], 'bad page')} not retired yet", "none"
        )


def _xgmi(one: Case) -> t.Iterator[Evidence]:
    ras, xgmi = one.health["ras"], one.health["xgmi"]
    block = ras["blocks"].get("xgmi_wafl") if ras else None
    lost = block["uncorrectable"] or 0 if block else 0
    if lost > one.limit("xgmi_uncorrectable"):
        yield one.evidence("xgmi_uncorrectable", f"{lost} uncorrectable in xgmi_wafl", "none")
    error = xgmi["error"] if xgmi else None
    if error:
        seen = f"{LINK_ERRORS.get(error, error)} since the last look (xgmi_error)"
        yield one.evidence("xgmi_uncorrectable", seen, "none")
    corrected = (block["correctable"] or 0) + (block["deferred"] or 0) if block else 0
    if corrected > one.limit("xgmi_correctable"):
        yield one.evidence("xgmi_correctable", f"{corrected} corrected in xgmi_wafl", "none")


def _heat(one: Case) -> t.Iterator[Evidence]:
    kind = "instinct" if one.instinct else "apu" if one.gpu["apu"] else "card"
    for sensor in one.health["temperatures"]:
        degrees = sensor["celsius"]
        limit = sensor["critical"] or int(one.catalog["temperature_limits"][kind])
        if degrees is None:
            continue
        seen = f"{sensor['name']} at {degrees} degrees"
        if degrees >= limit:
            yield one.evidence("temperature", seen, f"below {limit}")
        # Below its limit a GPU under load is where its maker wants it; without load it is not.
        elif one.idle and degrees >= limit - one.limit("temperature_near"):
            yield one.evidence("temperature_near", f"{seen} without load", f"below {limit}")


def _power(one: Case) -> t.Iterator[Evidence]:
    power = one.health["power"]
    cap, own = power["cap"], power["cap_default"]
    if own is None:
        # What is documented of a board is the most that one of its kind may draw.
        documented = one.catalog["board_power"].get(one.gpu["product"])
        own = documented if cap and documented and cap < documented else cap
    if cap and own and cap != own:
        yield one.evidence("power_cap", f"{cap} W", f"{own} W")


def _throttling(one: Case) -> t.Iterator[Evidence]:
    metrics = one.health["metrics"]
    if not metrics:
        return
    if "temperature" in (metrics["throttled_by"] or []):
        yield one.evidence("throttling", "clocks lowered by temperature now", "no throttling by heat")
    counts: dict[str, t.Any] = dict(metrics["residencies"])
    samples, limit = counts["accumulation"] or 0, one.limit("throttling")
    hot = {name: (counts[name] or 0) / samples for name in HEAT} if samples else {}
    worst = {name: share for name, share in hot.items() if share > limit}
    if worst:
        seen = ", ".join(f"{name} {min(share, 1):.0%} of the time" for name, share in worst.items())
        yield one.evidence("throttling", seen, f"at most {limit:.0%}")


def _records(one: Case, log: t.Sequence[str]) -> t.Iterator[Evidence]:
    """A driver writes fatal records of GPUs that are well, so one counts with a second sign alone."""
    records, ras = one.health["records"], one.health["ras"]
    if not records or records["fatal"] <= one.limit("error_records"):
        return
    blocks = ras["blocks"].values() if ras else ()
    when = f", the latest of {records['latest']}" if records["latest"] else ""
    seen = f"{_plural(records['fatal'], 'fatal record')}{when}"
    if (
        any(counts["uncorrectable"] or counts["deferred"] for counts in blocks)
        or (ras and ras["fatal_events"])
        or set(log) & set(WITNESSES)
    ):
        yield one.evidence("error_records", seen, "none")
    else:
        yield one.evidence("false_alarm", f"{seen}, no error counted, no line in the log", "none")
