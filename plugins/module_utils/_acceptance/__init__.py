# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance tests: what their output says, how a run is judged, and what is remembered of it on the host."""
