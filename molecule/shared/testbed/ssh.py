# SPDX-License-Identifier: GPL-3.0-or-later
"""`ssh -F .cache/bed/ssh_config HOST`: inventories need the names of the hosts alone.

The file is read by every lane of tests that runs, so it lists every container of the test bed. A host that
restarts, or that is stopped, stays in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from .machine import CACHE, LABEL, podman

CONNECTIONS = Path("/tmp/amdgpu-fleet-bed-ssh")
_COMMON = (
    "Host *\n  User root\n  IdentityFile {folder}/id_ed25519\n  IdentitiesOnly yes\n"
    "  ServerAliveInterval 2\n  ServerAliveCountMax 2\n  StrictHostKeyChecking no\n"
    "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
)


def write_config(folder: Path = CACHE) -> None:
    """Write the file from all containers of the test bed, running or not, and replace it in one step."""
    listed = podman(
        "ps",
        "--all",
        f"--filter=label={LABEL}=host",
        f'--format={{{{.Names}}}} {{{{index .Labels "{LABEL}.address"}}}}',
    )
    text = render(dict(line.split() for line in listed.splitlines()), folder)
    # A name of its own for each writer: two that write at once must not mix their lines.
    made = folder / f"ssh_config.{os.getpid()}"
    made.write_text(text, encoding="utf-8")
    made.replace(folder / "ssh_config")


def render(addresses: dict[str, str], folder: Path) -> str:
    """The text of the file for containers and their addresses."""
    entries = [
        f"Host {name.removeprefix(f'{LABEL}-')}\n  HostName {address}\n"
        for name, address in sorted(addresses.items())
    ]
    return "".join(entries) + _COMMON.format(folder=folder)
