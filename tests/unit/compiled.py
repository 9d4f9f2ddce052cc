# SPDX-License-Identifier: GPL-3.0-or-later
"""Imported first by the tests: where Python may not write what it compiled beside the sources, it writes into .cache.

Each process of a run would compile all sources again otherwise, those of Ansible too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).resolve().parents[2] / ".cache/python")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", sys.pycache_prefix)
