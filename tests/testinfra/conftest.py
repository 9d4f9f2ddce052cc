# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of several scenarios ask a host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# Engines and workers by the name that vLLM gives them, or by the command that Python starts them with:
# setproctitle fails in silence where the first variable of the environment was changed, and Podman hands the
# variables over in an order that is another one each time.
ENGINES = "VLLM::|multiprocessing.spawn"


@pytest.fixture
def engines(host) -> Callable[[], set[str]]:
    """The processes of vLLM that hold the memory of the GPUs: not the server, which is their parent."""
    return lambda: set(host.run(f"pgrep -f '{ENGINES}'").stdout.split())
