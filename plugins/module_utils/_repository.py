# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package repository as its two files, a source and a key, in the form of apt or of dnf."""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.amdgpu.fleet.plugins.module_utils import _files
from ansible_collections.amdgpu.fleet.plugins.module_utils._openpgp import (
    NotAKey,
    armored,
    dearmored,
    expires_at,
    fingerprints,
)
from ansible_collections.amdgpu.fleet.plugins.module_utils._os import operating_system
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree
from ansible_collections.amdgpu.fleet.plugins.module_utils._write import below

# A vendor issues a key again some time before it expires.
RENEW_BEFORE = 14 * 24 * 3600
FORMATS = {"apt": "deb", "dnf": "rpm"}


class RepositoryError(ValueError):
    """A repository that cannot be described or trusted; the message is a sentence."""


def format_of(root: str, wanted: bool) -> str:
    """``deb`` or ``rpm``: what the distribution uses; without os-release the folders decide.

    Where the distribution has another package manager there is nothing to take away.
    """
    tree = Tree(root)
    manager = operating_system(tree)["package_manager"]
    if manager is None:
        return "rpm" if tree.exists("etc/yum.repos.d") else "deb"
    if manager not in FORMATS and wanted:
        raise RepositoryError(
            f"The package manager {manager} is not supported; repositories are written for apt and dnf."
        )
    return FORMATS.get(manager, "deb")


class Repository(t.NamedTuple):
    """What is wanted. ``suite`` and ``components`` are of no concern to rpm."""

    kind: str
    name: str
    uri: str = ""
    suite: str = ""
    components: tuple[str, ...] = ()
    fingerprint: str = ""
    repo_gpgcheck: bool = False

    @property
    def key_path(self) -> str:
        return (
            f"/etc/apt/keyrings/{self.name}.gpg"
            if self.kind == "deb"
            else f"/etc/pki/rpm-gpg/RPM-GPG-KEY-{self.name}"
        )

    @property
    def path(self) -> str:
        return (
            f"/etc/apt/sources.list.d/{self.name}.sources"
            if self.kind == "deb"
            else f"/etc/yum.repos.d/{self.name}.repo"
        )

    @property
    def index_url(self) -> str:
        """The file by which the repository answers."""
        file = f"dists/{self.suite}/InRelease" if self.kind == "deb" else "repodata/repomd.xml"
        return f"{self.uri.rstrip('/')}/{file}"

    def text(self) -> str:
        lines = ["# Written by amdgpu.fleet"]
        if self.kind == "deb":
            lines += [
                "Types: deb",
                f"URIs: {self.uri}",
                f"Suites: {self.suite}",
                f"Components: {' '.join(self.components)}",
                "Architectures: amd64",
                f"Signed-By: {self.key_path}",
            ]
        else:
            lines += [
                f"[{self.name}]",
                f"name={self.name}",
                f"baseurl={self.uri}",
                "enabled=1",
                "priority=50",
                "gpgcheck=1",
                # Said either way: a host may ask for signed indexes by default, and most repositories have
                # none.
                f"repo_gpgcheck={int(self.repo_gpgcheck)}",
                f"gpgkey=file://{self.key_path}",
            ]
        return "\n".join([*lines, ""])

    def check(self) -> None:
        """Raise where a value would not give the two files that are meant."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            raise RepositoryError(f"name may hold letters, digits, '.', '_' and '-' only, not {self.name!r}.")

    def check_source(self) -> None:
        """The same for what only a repository that is wanted needs."""
        for name, value in (
            ("uri", self.uri),
            ("suite", self.suite),
            ("components", "".join(self.components)),
        ):
            if re.search(r"\s", value):
                raise RepositoryError(f"{name} may not hold spaces or line breaks, as {value!r} does.")
        if not re.fullmatch(r"(https?|ftp|file):/.+", self.uri, re.IGNORECASE):
            raise RepositoryError(
                f"uri must be an address such as https://repo.example.net/debian or file:///srv/debian, not "
                f"{self.uri!r}."
            )
        if self.kind == "deb" and not (self.components and all(self.components)):
            raise RepositoryError(
                "components are missing, and apt stops at a source without them. Give those of the suite, or "
                "leave them out."
            )
        if self.kind == "deb" and not self.suite:
            raise RepositoryError("suite is missing: a repository of Debian packages has suites. Give suite.")
        if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", self.fingerprint):
            raise RepositoryError(
                f"fingerprint must be 40 hexadecimal digits (64 of a key of version 6), not "
                f"{self.fingerprint!r}."
            )

    def check_index(self, data: bytes) -> None:
        """Raise where the answer is not that of a repository, or not of one whose packages can be trusted."""
        if self.kind == "deb" and b"PGP SIGNED MESSAGE" not in data:
            raise RepositoryError(
                f"{self.index_url} is not signed, so no package of it can be trusted. The host was left as "
                f"it was."
            )
        if self.kind == "rpm" and b"<repomd" not in data:
            raise RepositoryError(
                f"{self.index_url} is no index of an rpm repository. Correct uri; the host was left as it "
                f"was."
            )

    def key(self, data: bytes, origin: str, now: float) -> bytes:
        """The key as the package manager wants it: binary for apt, armored for rpm. Raises where it is
        another one, or out of date."""
        try:
            found, expires = fingerprints(data), expires_at(data)
        except NotAKey as error:
            raise RepositoryError(
                f"{origin} is no repository key: {error}. Correct key_url; the host was left as it was."
            ) from error
        if found != [self.fingerprint]:
            raise RepositoryError(
                f"{origin} holds the key {', '.join(found)}, not the pinned {self.fingerprint}. If the "
                f"vendor announced a new key, give "
                "its fingerprint; otherwise somebody else signs this repository. The host was left as it was."
            )
        if expires is not None and expires <= now:
            day = time.strftime("%Y-%m-%d", time.gmtime(expires))
            raise RepositoryError(
                f"{origin} holds the pinned key, which expired on {day}: nothing that it signs is accepted. "
                f"Give a key_url with the key as "
                "the vendor issued it again, or set the clock of the host right. The host was left as it was."
            )
        return dearmored(data) if self.kind == "deb" else armored(data)

    def key_in_place(self, data: bytes | None, now: float) -> bool:
        """Whether a file holds the right key, and no other, and the key is not about to expire."""
        try:
            if data is None or fingerprints(data) != [self.fingerprint]:
                return False
            expires = expires_at(data)
        except NotAKey:
            return False
        return expires is None or expires > now + RENEW_BEFORE


def change(root: str, contents: t.Mapping[str, bytes | None]) -> None:
    """Write files, or with ``None`` remove them: all of them or none."""

    def nothing(_command: list[str]) -> tuple[int, str, str]:
        raise AssertionError("no file of a repository is validated by a command")

    _files.carry_out(
        [
            _files.Change(
                _files.File(path, content, 0o644, None, None, False, []), below(root, path), None, "", [path]
            )
            for path, content in contents.items()
        ],
        nothing,
        False,
    )
