# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPU architectures a library, a wheel, a folder or a container image has code for.

Nothing that is read is trusted: a damaged file gives an entry in the problems, never a claim.
"""
