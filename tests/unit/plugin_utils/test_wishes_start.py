# SPDX-License-Identifier: GPL-3.0-or-later
"""What strangers ask for that ends or holds up vLLM at its start, as its source distributions (0.19.1 to 0.33.0) have it."""

from __future__ import annotations

import pytest
from plans import said
from wishes import llama

ODD = {"config.json": llama()}


@pytest.mark.parametrize(
    ("gpus", "given", "word"),
    [
        ([0, 1], {"distributed-executor-backend": "uni"}, "uni for 2 x 1 devices"),
        ([0, 1], {"distributed-executor-backend": "uni", "data-parallel-size": 2}, ""),
        ([0], {"distributed-executor-backend": "uni"}, ""),
        ([0, 1], {"distributed-executor-backend": "mp"}, ""),
        ([0], {"distributed-executor-backend": "external_launcher"}, "a unit has none"),
        ([0, 1], {"distributed-executor-backend": "ray"}, "Ray is no part of vLLM"),
    ],
)
def test_who_starts_the_workers(wish, gpus, given, word):
    found = " ".join(said(wish(ODD, options=given, gpus=gpus), "vllm.refused"))
    assert (word in found) if word else not found


@pytest.mark.parametrize(("seed", "taken"), [(0, True), (4294967295, True), (-1, False), (4294967296, False)])
def test_a_seed_that_numpy_takes(wish, seed, taken):
    found = said(wish(ODD, options={"seed": seed}, gpus=[0]), "vllm.option")
    assert bool(found) is not taken
