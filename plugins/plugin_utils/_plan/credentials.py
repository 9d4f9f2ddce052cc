# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords and tokens within variables that everybody may read: in addresses and in arguments of programs.

Such a value would stand in the plan, in units and package sources, on command lines and in logs. It is
refused before anything else is said of it, and what is said never holds it.
"""

from __future__ import annotations

import re
import typing as t

# Written to files of secrets; or never written anywhere.
KEPT_SECRET = ("serve_secret_environment", "__secrets")
# Names of a variable, of an option or of a part of an address whose value is nobody's business.
NAME = re.compile(
    r"(.*[_-])?(TOKEN|PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|SECRET|SECRETS|API[_-]?KEY|ACCESS[_-]?KEY|SECRET[_-]?KEY"
    r"|PRIVATE[_-]?KEY|AUTH[_-]?KEY|ENCRYPTION[_-]?KEY|SIGNING[_-]?KEY|KEY|AUTH|AUTHORIZATION|BEARER|COOKIE"
    r"|CREDENTIALS?|CREDS?|DSN|SAS|SIG|SIGNATURE|JWT|PAT)"
    r"|.*(TOKEN|PASSWORD|PASSWD|APIKEY|SECRET|CREDENTIALS?)",
    re.IGNORECASE,
)
# Without its password a user is no secret, but no server that is asked over HTTP wants one alone.
_ACCOUNT = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s'\"]*@")
# An address without its scheme, as Podman takes it; what follows the @ of a digest is none.
_BARE_ACCOUNT = re.compile(r"^[^\s/@]*:[^\s/@]+@(?!sha256:)")
_BARE = ("plan_mirror.registry", "vllm_image", "llama_cpp_image")
_QUERY = re.compile(r"://[^\s?]*\?([^\s#]*)")
_ARGUMENT = re.compile(r"(?:^|\s)(?:-e|--env)[ =]?['\"]?([A-Za-z_][A-Za-z0-9_]*)=")
_OPTION = re.compile(r"(?:^|\s)--([a-z-]+)(?:[= ])\S")
_OF_PODMAN_WITH_SECRETS = ("creds", "decryption-key", "passwd", "password")

OF_PIP = "pip and uv read it from root's .netrc on the host"
# Where it belongs instead, by the beginning of the variable's name.
ELSEWHERE = (
    (("driver_repository", "rocm_repository"), "apt reads it from /etc/apt/auth.conf.d on the host"),
    (("plan_mirror.registry",), "`podman login` on the host keeps it in a file of root"),
    (("plan_mirror.url",), "apt reads it from /etc/apt/auth.conf.d on the host"),
    (("vllm_pip_arguments", "model_pip_arguments", "plan_mirror.pip_index"), OF_PIP),
    (("model_hub", "plan_mirror.hub"), "a token belongs into model_hf_token"),
    (("vllm_image", "llama_cpp_image"), "`podman login` on the host keeps it in a file of root"),
    (("vllm_packages",), OF_PIP),
)  # fmt: skip
OTHERWISE = "a variable of the server belongs into serve_secret_environment"


def find(variables: t.Mapping[str, t.Any]) -> str:
    """What is wrong, as a sentence that names the variable and not its value; empty where nothing is."""
    for name, value in variables.items():
        if name in KEPT_SECRET:
            continue
        for path, text in _texts(name, value):
            if _holds(text) or (path in _BARE and _BARE_ACCOUNT.match(text)):
                return (
                    f"{path} holds a password or a token, which would stand in the plan, on command lines "
                    f"and in files that everybody may read. Take it out; {_where(path)}."
                )
    return ""


def _holds(text: str) -> bool:
    if _ACCOUNT.search(text):
        return True
    parts = [part.partition("=") for query in _QUERY.findall(text) for part in re.split("[&;]", query)]
    if any(value and NAME.fullmatch(name) for name, _equals, value in parts):
        return True
    if any(NAME.fullmatch(name) for name in _ARGUMENT.findall(text)):
        return True
    return any(name in _OF_PODMAN_WITH_SECRETS for name in _OPTION.findall(text))


def _where(path: str) -> str:
    return next((place for names, place in ELSEWHERE if path.startswith(names)), OTHERWISE)


def _texts(path: str, value: t.Any) -> t.Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, t.Mapping):
        for key, entry in value.items():
            if isinstance(key, str) and not _holds(key):
                yield from _texts(f"{path}.{key}", entry)
            elif isinstance(key, str):
                yield path, key
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts(f"{path}[]", entry)
