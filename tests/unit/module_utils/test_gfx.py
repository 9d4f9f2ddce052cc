# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.module_utils._driver import release_of
from ansible_collections.amdgpu.fleet.plugins.module_utils._gfx import family_of, name_of, supported_by_rocm


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (90008, "gfx908"), (90010, "gfx90a"), (90402, "gfx942"), (90500, "gfx950"), (100300, "gfx1030"), (110000, "gfx1100"),
        (110003, "gfx1103"), (110501, "gfx1151"), (120000, "gfx1200"), (120001, "gfx1201"), (120500, "gfx1250"),
        (0, None), (-1, None), (9999999999, None), (90099, None),
    ],
)  # fmt: skip
def test_target_version(version, name):
    assert name_of(version) == name


def test_what_is_known_of_a_name():
    assert family_of("gfx942") == "cdna3"
    assert supported_by_rocm("gfx942")
    assert not supported_by_rocm("gfx1036")
    assert family_of(None) is None and not supported_by_rocm("gfx9999")


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("7.1.3.31500000", "31.50.0"),
        ("6.19.14.31400100", "31.40.1"),
        ("6.16.13.30300400", "30.30.4"),
        ("6.12.12", None),
        (None, None),
        ("", None),
    ],
)
def test_driver_release(version, release):
    assert release_of(version) == release
