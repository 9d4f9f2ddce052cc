# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record as JUnit XML, which every CI server reads."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as xml

# What XML has no place for.
_REFUSED = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ELEMENTS = {"fail": "failure", "error": "error", "skip": "skipped"}


def render(record: t.Mapping[str, t.Any]) -> str:
    tests = record["tests"]
    counts = {
        name: str(sum(test["verdict"] == verdict for test in tests))
        for name, verdict in (("failures", "fail"), ("errors", "error"), ("skipped", "skip"))
    }
    seconds = f"{sum(_seconds(test) for test in tests):.1f}"
    about = {"name": text(f"acceptance {record['level']}"), "tests": str(len(tests)), "time": seconds}
    root = xml.Element("testsuites", {**about, **counts})
    suite = xml.SubElement(
        root,
        "testsuite",
        {**about, **counts, "hostname": text(record["host"]), "timestamp": text(record["finished"])},
    )
    properties = xml.SubElement(suite, "properties")
    for name, value in _properties(record):
        xml.SubElement(properties, "property", {"name": name, "value": text(value)})
    for test in tests:
        _case(suite, str(record["host"]), test)
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: xml.Element, host: str, test: t.Mapping[str, t.Any]) -> None:
    case = xml.SubElement(
        suite,
        "testcase",
        {
            "classname": text(f"acceptance.{host}"),
            "name": text(test["name"]),
            "time": f"{_seconds(test):.1f}",
        },
    )
    if test["verdict"] in ELEMENTS:
        reasons = [text(each) for each in test["reasons"]]
        words = {"message": reasons[0] if reasons else test["verdict"]}
        xml.SubElement(case, ELEMENTS[test["verdict"]], words).text = "\n".join(reasons)
    lines = [f"{name} {each['value']} {each['unit']}" for name, each in test["metrics"].items()]
    lines += [
        f"at least {each['least']:.10g} is asked of {each['metric']} ({each['source']})"
        for each in test["thresholds"]
    ]
    lines += [f"warning: {each}" for each in test["warnings"]]
    if lines:
        xml.SubElement(case, "system-out").text = text("\n".join(lines))


def _properties(record: t.Mapping[str, t.Any]) -> list[tuple[str, t.Any]]:
    bound = record["binding"]
    found = [(name, record[name]) for name in ("level", "verdict", "plan", "boot_id")]
    found.append(("driver", bound["driver"]))
    for at, gpu in enumerate(bound["gpus"]):
        found += [
            (f"gpu{at}.{name}", gpu.get(name))
            for name in ("product", "address", "serial", "vbios")
            if gpu.get(name)
        ]
    return found


def _seconds(test: t.Mapping[str, t.Any]) -> float:
    seconds = test["seconds"]
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0


def text(value: t.Any) -> str:
    return _REFUSED.sub("\ufffd", str(value))
