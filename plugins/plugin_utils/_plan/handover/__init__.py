# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that a cluster takes over: what it needs to know of them, as data."""
