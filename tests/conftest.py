# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own import of collections, set up once and before any test imports one: afterwards it refuses."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader()
