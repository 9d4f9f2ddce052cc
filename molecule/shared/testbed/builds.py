# SPDX-License-Identifier: GPL-3.0-or-later
"""What builds of images need where no index is reached: vLLM's source distribution and the tools it is built with."""

from __future__ import annotations

import inspect

import yaml

from .descriptions import REPOSITORY
from .engine import IMAGE, VLLM, WHEELS, in_container
from .machine import CA_BUNDLE, CACHE, digest, empty, pip_folders, pip_settings, step

# Hosts with an engine see it as /srv/wheels/sources.
SOURCES = WHEELS / "sources"


def prepare() -> None:
    """The source distribution that the catalog names, checked against its hash, unless it is there."""
    builds = yaml.safe_load((REPOSITORY / "roles/plan/files/catalog/builds.yml").read_text(encoding="utf-8"))
    tools, source = builds["tools"], builds["sources"][f"vllm-{VLLM}"]
    stamp = SOURCES / "built-from"
    key = digest(" ".join(tools), source["sha256"], inspect.getsource(prepare))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    empty(SOURCES)
    settings = CACHE / "pip.conf"
    settings.write_text(
        "".join(["[global]\n", *(f"{key} = {value}\n" for key, value in pip_settings().items())]),
        encoding="utf-8",
    )
    wanted = SOURCES / "source.txt"
    wanted.write_text(f"vllm=={VLLM} --hash=sha256:{source['sha256']}\n", encoding="utf-8")
    pip = "/opt/vllm/bin/pip --quiet --no-cache-dir"
    with step(f"fetching the source of vLLM {VLLM}"):
        # pip asks the source for its metadata, which needs the engine's own torch and the tools.
        in_container(
            IMAGE,
            [
                f"{settings}:/etc/pip.conf:ro",
                f"{CA_BUNDLE}:{CA_BUNDLE}:ro",
                f"{SOURCES}:/srv/sources",
                *(f"{folder}:{folder}:ro" for folder in pip_folders()),
            ],
            f"cd /srv/sources && {pip} download --dest . {' '.join(tools)} && {pip} install --no-index *.whl"
            f" && VLLM_TARGET_DEVICE=empty VLLM_SKIP_VERSION_SUFFIX=1 {pip} download --no-deps --no-binary vllm --no-build-isolation --require-hashes"
            " --dest . --requirement source.txt",
            "--network=host",
        )
    stamp.write_text(key, encoding="utf-8")
