# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files: what good ones say, and that bad ones cost nothing and say one thing."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc

import pytest
import tiny_gguf as tiny

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf, _gguf_model, _model
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree


@pytest.fixture
def known(tmp_path):
    return lambda path: _gguf_model.of_path(Tree(str(tmp_path)), path)


def test_a_model_says_what_memory_is_computed_from(tmp_path, known):
    tiny.write(tmp_path / "m/a.gguf", tiny.llama(), tiny.layers_of(30))
    found = known("/m/a.gguf")
    assert found == known("/m")
    layer = 576 * 576 // 32 * 20
    assert found["problem"] is None
    assert found["file"] == "/m/a.gguf"
    assert (found["architecture"], found["quantization"], found["context"]) == ("llama", "Q8_0", 8192)
    # The embedding of a tied model lies on the GPU too: llama-server logs CPU_Mapped 28.69 MiB beside it.
    assert found["embedding_bytes"] == 30_081_024
    assert found["weights_bytes"] == 30_081_024 + 30 * layer
    assert (found["key_width"], found["value_width"]) == (30 * 3 * 64, 30 * 3 * 64)
    assert found["chat_template"] is True


def test_an_embedding_beside_an_output_stays_on_the_host(tmp_path, known):
    tensors = {**tiny.layers_of(2), "output.weight": ("Q6_K", [576 * 4, 12288])}
    tiny.write(tmp_path / "a.gguf", tiny.llama(layers=2), tensors)
    found = known("/a.gguf")
    assert found["weights_bytes"] == 2 * 576 * 576 // 32 * 20 + 576 * 4 * 12288 // 256 * 210


@pytest.mark.parametrize(
    ("values", "wide", "narrow"),
    [
        # Layers without attention, as a hybrid has them.
        ({"attention.head_count_kv": [0, 3, 0, 3]}, 2 * 3 * 64, 0),
        ({"full_attention_interval": 4}, 3 * 64, 0),
        (
            {"attention.sliding_window": 512, "attention.sliding_window_pattern": [True, True, True, False]},
            192,
            576,
        ),
        ({"attention.sliding_window": 512, "attention.sliding_window_pattern": 2}, 384, 384),
        # A window whose layers nobody names saves nothing.
        ({"attention.sliding_window": 512}, 4 * 192, 0),
        ({"attention.key_length": 128, "attention.value_length": 32}, 4 * 3 * 128, 0),
        ({"attention.shared_kv_layers": 1}, 3 * 192, 0),
    ],
)
def test_the_width_of_the_cache(tmp_path, known, values, wide, narrow):
    tiny.write(tmp_path / "a.gguf", tiny.llama(layers=4, **values), tiny.layers_of(4))
    found = known("/a.gguf")
    assert (found["key_width"], found["window_key_width"]) == (wide, narrow)


def test_latent_attention_keeps_no_values(tmp_path, known):
    values = {"attention.head_count_kv": 1, "attention.key_length": 576, "attention.key_length_mla": 192}
    tiny.write(tmp_path / "a.gguf", tiny.llama("deepseek2", layers=4, **values), tiny.layers_of(4))
    found = known("/a.gguf")
    assert (found["key_width"], found["value_width"]) == (4 * 576, 0)


def test_states_of_recurrent_layers(tmp_path, known):
    values = {f"ssm.{name}": number for name, number in
              (("conv_kernel", 4), ("inner_size", 1024), ("state_size", 128), ("group_count", 2))}  # fmt: skip
    tensors = {**tiny.layers_of(4), "blk.0.ssm_out.weight": ("F32", [8]), "blk.0.ssm_a": ("F32", [8])}
    tiny.write(tmp_path / "a.gguf", tiny.llama(layers=4, **values), tensors)
    assert known("/a.gguf")["state_bytes"] == 4 * (3 * (1024 + 2 * 2 * 128) + 128 * 1024)


def test_parts_projectors_and_drafts(tmp_path, known):
    for part in (1, 2, 3):
        values = tiny.llama(layers=2) if part == 1 else {}
        tensors = {f"blk.{part}.attn_q.weight": ("Q4_K", [256, 256])}
        tiny.write(tmp_path / f"m/big-{part:05}-of-00003.gguf", {**values, "split.count": 3}, tensors)
    tiny.write(
        tmp_path / "m/mmproj-f16.gguf", {"general.architecture": "clip"}, {"v.weight": ("F16", [64, 2])}
    )
    tiny.write(tmp_path / "m/big-draft-Q4.gguf", tiny.llama(layers=1), tiny.layers_of(1))
    found = known("/m")
    assert (found["file"], found["files"]) == ("/m/big-00001-of-00003.gguf", 3)
    assert found["weights_bytes"] == 3 * 256 * 144
    assert (found["projector"], found["projector_bytes"]) == ("/m/mmproj-f16.gguf", 256)
    assert found["draft"] == "/m/big-draft-Q4.gguf"
    (tmp_path / "m/big-00002-of-00003.gguf").unlink()
    assert known("/m")["problem"] == "lacks big-00002-of-00003.gguf"
    assert "name the first one" in known("/m/big-00003-of-00003.gguf")["problem"]
    assert "is no model but a projector" in known("/m/mmproj-f16.gguf")["problem"]


def test_a_folder_with_two_models_is_a_question(tmp_path, known):
    for name in "ab":
        tiny.write(tmp_path / f"m/{name}.gguf", tiny.llama(layers=1), tiny.layers_of(1))
    assert known("/m")["problem"] == "2 models lie in it (a.gguf, b.gguf): name the file itself"
    assert known("/m/b.gguf")["problem"] is None
    (tmp_path / "empty").mkdir()
    assert known("/empty") is None
    assert known("/nothing.gguf") is None


def numbers(form: str, *given: int) -> bytes:
    return struct.pack(f"<{form}", *given)


KEY = tiny.text("general.architecture")
HOSTILE = {
    "empty": (b"", "is no GGUF file"),
    "another format": (b"PK\3\4" + bytes(100), "is no GGUF file"),
    "other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is for machines of the other byte order"),
    "version": (b"GGUF" + numbers("IQQ", 9, 0, 0), "is GGUF of version 9"),
    "keys": (b"GGUF" + numbers("IQQ", 3, 0, 1 << 63), "claims 9223372036854775808 keys"),
    "tensors": (b"GGUF" + numbers("IQQ", 3, 1 << 40, 0), "claims 0 keys and 1099511627776 tensors"),
    "key without end": (b"GGUF" + numbers("IQQQ", 3, 0, 1, 1 << 62), "has a name of 4611686018427387904 bytes"),
    "text without end": (b"GGUF" + numbers("IQQ", 3, 0, 1) + KEY + numbers("IQ", 8, 1 << 62), "is cut off in its header"),
    "texts": (b"GGUF" + numbers("IQQ", 3, 0, 1) + KEY + numbers("IIQ", 9, 8, 1 << 60), "is cut off in its header"),
    "numbers": (b"GGUF" + numbers("IQQ", 3, 0, 1) + KEY + numbers("IIQ", 9, 5, 1 << 62), "is cut off in its header"),
    "lists of lists": (b"GGUF" + numbers("IQQ", 3, 0, 1) + KEY + numbers("IIQ", 9, 9, 1), "has a list of the type 9"),
    "type": (b"GGUF" + numbers("IQQ", 3, 0, 1) + KEY + numbers("IQ", 77, 1), "has a value of the unknown type 77"),
    "twice": (b"GGUF" + numbers("IQQ", 3, 0, 2) + 2 * (KEY + tiny.value("llama")), "says general.architecture twice"),
    "dimensions": (b"GGUF" + numbers("IQQ", 3, 1, 0) + tiny.text("a") + numbers("I", 1 << 31), "dimensions"),
    "sides": (b"GGUF" + numbers("IQQ", 3, 1, 0) + tiny.text("a") + numbers("I4QIQ", 4, *4 * [1 << 62], 0, 0), "of a size"),
    "weights of tomorrow": (b"GGUF" + numbers("IQQ", 3, 1, 0) + tiny.text("a") + numbers("IQIQ", 1, 32, 99, 0), "newer llama.cpp"),
    "alignment": (b"GGUF" + numbers("IQQ", 3, 0, 1) + tiny.text("general.alignment") + tiny.value(0), "alignment"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_says_one_thing_and_costs_nothing(tmp_path, known, name):
    data, problem = HOSTILE[name]
    (tmp_path / "bad.gguf").write_bytes(data)
    tracemalloc.start()
    try:
        found = known("/bad.gguf")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert problem in found["problem"]
    assert found["weights_bytes"] == 0


def test_a_header_without_end_in_a_large_file(tmp_path, known):
    with (tmp_path / "a.gguf").open("wb") as file:
        file.write(b"GGUF" + numbers("IQQ", 3, 0, 1) + KEY + numbers("IQ", 8, 1 << 33))
        file.truncate(1 << 34)
    assert known("/a.gguf")["problem"] == "has a header of more than 96 MiB"


def test_no_damage_of_a_header_ends_in_a_traceback(tmp_path, known):
    data, _length = tiny.header(tiny.llama(layers=3), tiny.layers_of(3))
    file, chance = tmp_path / "a.gguf", random.Random(7)
    for length in range(0, len(data), 3):
        file.write_bytes(data[:length])
        assert known("/a.gguf")["problem"]
    for _round in range(600):
        broken = bytearray(data)
        for _at in range(chance.randint(1, 8)):
            broken[chance.randrange(len(data))] = chance.choice((0, 1, 255, 128, chance.randrange(256)))
        file.write_bytes(broken)
        known("/a.gguf")


def test_what_is_cut_off_is_seen_without_a_hash(tmp_path, known):
    file = tiny.write(tmp_path / "a.gguf", tiny.llama(layers=2), tiny.layers_of(2))
    os.truncate(file, file.stat().st_size - 100_000)
    assert known("/a.gguf")["problem"] == "is cut off: a.gguf ends before its weights do"


def test_loops_and_pipes_keep_nobody_waiting(tmp_path, known):
    os.symlink("b.gguf", tmp_path / "a.gguf")
    os.symlink("a.gguf", tmp_path / "b.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    assert known("/pipe.gguf")["problem"] == "is no file"
    with pytest.raises(_gguf.GgufError, match="cannot be read"):
        _gguf.read(str(tmp_path / "a.gguf"))


def test_the_facts_of_a_path(tmp_path):
    tiny.write(tmp_path / "m/a.gguf", tiny.llama(layers=1), tiny.layers_of(1))
    tree = Tree(str(tmp_path))
    found = _model.paths(tree, ["/m", "/m/a.gguf", "/other"])
    assert found["/m"]["gguf"]["architecture"] == found["/m/a.gguf"]["gguf"]["architecture"] == "llama"
    assert found["/other"]["gguf"] is None
    assert tree.problems == []
