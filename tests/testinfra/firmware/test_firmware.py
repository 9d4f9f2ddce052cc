# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


def test_the_bad_firmware_is_replaced(host):
    package = host.package("firmware-amd-graphics")
    assert package.is_installed
    assert package.version == "20260110-1"
