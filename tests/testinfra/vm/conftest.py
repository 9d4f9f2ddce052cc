# SPDX-License-Identifier: GPL-3.0-or-later
"""A command in the emulated machine costs seconds, so that each file of tests asks everything at once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def seen(request, host) -> dict[str, str]:
    """What each command of the file's QUESTIONS printed, errors included."""
    questions = request.module.QUESTIONS
    script = "".join(f"echo '=={name}=='; {{ {command}; }} 2>&1\n" for name, command in questions.items())
    parts = host.run(script).stdout
    answers = {}
    for name in reversed(questions):
        parts, _mark, answers[name] = parts.rpartition(f"=={name}==\n")
        answers[name] = answers[name].strip()
    return answers
