# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenarios take minutes: the line of progress names each one."""

from __future__ import annotations

import pytest


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    _file, found, name = report.nodeid.partition("test_scenario[")
    if report.when != "call" or not found:
        return None
    return (
        report.outcome,
        f" {name.rstrip(']')} {report.duration:.0f} s {report.outcome} ",
        report.outcome.upper(),
    )
