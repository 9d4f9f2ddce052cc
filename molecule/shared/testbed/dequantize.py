# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a GGUF model as the folder of safetensors that vLLM serves. Run with the engine's Python: dequantize.py
GGUF_FILE FOLDER.

transformers loads the file and refuses to save what it loaded, because it was quantized. So the weights are
written by safetensors, and the configuration without its note of the quantization.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTION = "What is the capital of France? Answer in one short sentence."


def main(source: Path, folder: Path) -> None:
    """Weights, configuration and tokenizer with its chat template; then the model is asked."""
    words = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**words)
    model = AutoModelForCausalLM.from_pretrained(**words, dtype=torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.to(torch.bfloat16).contiguous()
        for name, weight in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config |= {"architectures": [type(model).__name__], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    _ask(folder)


def _ask(folder: Path) -> None:
    """What was written answers the question, or it is not kept."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**asked, max_new_tokens=24, do_sample=False)
    text = tokenizer.decode(answer[0][asked["input_ids"].shape[1] :], skip_special_tokens=True)
    print(text)
    if "Paris" not in text:
        sys.exit(f"{folder} answers {text!r} to {QUESTION!r}")


main(Path(sys.argv[1]), Path(sys.argv[2]))
