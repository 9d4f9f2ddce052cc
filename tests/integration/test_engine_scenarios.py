# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Molecule scenario in which vLLM serves."""

from __future__ import annotations

import pytest
from scenarios import ENGINE, run

LIMIT_SECONDS = 3000


@pytest.mark.parametrize("scenario", ENGINE)
def test_scenario(scenario: str) -> None:
    run(scenario, LIMIT_SECONDS)
