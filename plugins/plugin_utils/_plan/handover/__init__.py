# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster has to be told of a host: one file for each kind of cluster."""
