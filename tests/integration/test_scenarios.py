# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Molecule scenario in which vLLM does not serve."""

from __future__ import annotations

import pytest
from scenarios import OTHERS, run

LIMIT_SECONDS = 1500


@pytest.mark.parametrize("scenario", OTHERS)
def test_scenario(scenario: str) -> None:
    run(scenario, LIMIT_SECONDS)
