# SPDX-License-Identifier: GPL-3.0-or-later
"""The file trees of the hosts of this scenario, each with a model of a few bytes."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from testbed.tree import load_host, write_tree  # noqa: E402

for name in ("mi300x-8", "strix-halo-128"):
    root = Path(sys.argv[1]) / name
    root.mkdir(parents=True)
    write_tree(load_host(name), root)
    model = root / "srv/models/chat"
    model.mkdir(parents=True)
    configuration = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (model / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
    header = json.dumps({"w": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
