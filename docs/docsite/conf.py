# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation site: pages of docs/ and a page for each plugin and role. `make site` builds it."""

from __future__ import annotations

import typing as t

project = "amdgpu.fleet"
author = "The amdgpu.fleet authors"
project_copyright = "2026, the amdgpu.fleet authors"
title = html_title = "amdgpu.fleet"
html_short_title = "amdgpu.fleet"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
myst_heading_anchors = 3
myst_fence_as_directive: list[str] = []
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
html_copy_source = False
display_version = False
highlight_language = "YAML+Jinja"
pygments_style = "ansible"
# GitHub draws them; here they stay text. Command lines in pages are not always whole programs.
suppress_warnings = ["misc.highlighting_failure"]

# Labels of Ansible's own documentation. The build asks no network where they lead.
ELSEWHERE = (
    "ansible_collections.ansible.",
    "action_plugins",
    "common_return_values",
    "ansible_configuration_settings",
)


def elsewhere(_app: t.Any, _environment: t.Any, node: t.Any, content: t.Any) -> t.Any:
    """Leave the text of a reference to Ansible's own documentation."""
    return content if str(node.get("reftarget", "")).startswith(ELSEWHERE) else None


def setup(app: t.Any) -> None:
    app.connect("missing-reference", elsewhere)
