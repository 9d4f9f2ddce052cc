# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of an engine as the inventory writes them: one spelling of each name, and each of them once."""

from __future__ import annotations

import typing as t

from .forms import CORRECT
from .wants import WantsError

# Options of vLLM that the plan decides, and where each is asked for: a second place would go past its checks.
ELSEWHERE = {
    "host": "serve_instances[].host",
    "port": "serve_instances[].port",
    "model": "serve_instances[].model",
    "api-key": "serve_api_key, which is written where only root can read it",
    "hf-token": "model_hf_token, which is written where only root can read it",
    "config": "serve_instances[].options",
    **dict.fromkeys(
        ("ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs"),
        "gateway_tls_certificate of the role gateway",
    ),
    **dict.fromkeys(("nnodes", "node-rank", "master-addr", "headless"), "serve_instances[].nodes"),
}
# What the plan looks up, so it must be a word.
OF_TEXT = ("quantization", "served-model-name", "dtype", "kv-cache-dtype")


def read(options: dict[str, t.Any], path: str) -> dict[str, t.Any]:
    """The options with the names that the engine has for them."""
    named: dict[str, t.Any] = {}
    for key, value in options.items():
        # What follows a full stop is a key inside of the option, which vLLM takes as it is.
        head, stop, rest = key.partition(".")
        name = head.replace("_", "-") + stop + rest
        if name in named and named[name] != value:
            raise WantsError(f"{path}: {name} is there twice, with {named[name]!r} and {value!r}. Keep one.")
        named[name] = value
    for name, value in named.items():
        if name in ELSEWHERE:
            raise WantsError(f"{path}: {name} does not belong there. Set {ELSEWHERE[name]}.")
        names = name == "served-model-name" and isinstance(value, list) and value
        texts = value if names else [value]
        if name in OF_TEXT and not all(isinstance(text, (str, type(None))) for text in texts):
            raise WantsError(f"{path}.{name}: {value!r} is not a text. {CORRECT}")
        if value is True and named.get(f"no-{name}") is True:
            raise WantsError(f"{path}: {name} and no-{name} contradict each other. Keep one.")
    return named
