# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files that were made to hurt: whatever they claim, the reader says one sentence, soon, and in little memory."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest
import tiny_gguf as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _gguf_model
from ansible_collections.amdgpu.fleet.plugins.module_utils._gguf import BLOCKS, SCALARS
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

MEMORY = 16 << 20
# Of the processor, and not what it takes, which is milliseconds: a reader without a bound would take minutes.
SECONDS = 20


def numbers(form: str, *given: int) -> bytes:
    return struct.pack(f"<{form}", *given)


def tensor(name: str, sides: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return tiny.text(name) + numbers(f"I{len(sides)}QIQ", len(sides), *sides, kind, offset)


def file_of(tensors: list[bytes], values: dict | None = None, size: int = 1 << 20) -> bytes:
    """A whole header with these tensors, and ``size`` bytes of weights."""
    values = tiny.llama(layers=2) if values is None else values
    data = b"GGUF" + numbers("IQQ", 3, len(tensors), len(values))
    data += b"".join(tiny.text(name) + tiny.value(each) for name, each in values.items())
    return data + b"".join(tensors) + bytes(size)


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """look(bytes) -> what is said of such a file, within the bounds."""
    folder = tmp_path_factory.mktemp("hostile")

    def read(data: bytes, length: int | None = None) -> dict:
        path = folder / "a.gguf"
        with path.open("wb") as file:
            file.write(data)
            if length is not None:
                file.truncate(length)
        tree, started = Tree(str(folder)), time.process_time()
        tracemalloc.start()
        try:
            found = _gguf_model.of_path(tree, "/a.gguf")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEMORY and time.process_time() - started < SECONDS
        check(found, path.stat().st_size)
        return found

    return read


def check(found: dict, size: int) -> None:
    """Whatever a file says: one sentence, or numbers that it can have."""
    problem = found["problem"]
    if problem is None:
        assert 0 < found["total_bytes"] <= size and found["weights_bytes"] <= found["total_bytes"]
    else:
        assert isinstance(problem, str) and 0 < len(problem) < 300 and problem.isprintable()
        assert found["weights_bytes"] <= size


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        # Counted twice, they would be more than there is.
        ([tensor("a", [1024]), tensor("b", [1024], offset=2048)], "lie over each other"),
        ([tensor("a", [1024]), tensor("b", [1024])], "lie over each other"),
        ([tensor(f"t{at}", [200000]) for at in range(500)], "lie over each other"),
        ([tensor("a", [1024]), tensor("a", [1024], offset=4096)], "has the tensor a twice"),
        ([tensor("a", [1024], offset=7)], "where none can begin"),
        ([tensor("a", [])], "a tensor of 0 dimensions"),
        ([tensor("a", [1, 1, 1, 1, 1])], "a tensor of 5 dimensions"),
        ([tensor("a", [0])], "of a size that F32 cannot have"),
        ([tensor("a", [256, 0, 4], kind=12)], "of a size that Q4_K cannot have"),
        # Negative, as llama.cpp reads it.
        ([tensor("a", [(1 << 64) - 1])], "of a size that F32 cannot have"),
        ([tensor("a", [1 << 32, 1 << 32])], "of a size that F32 cannot have"),
        ([tensor("a", [255], kind=12)], "of a size that Q4_K cannot have"),
        ([tensor("a", [32], offset=(1 << 64) - 32)], "of a size that F32 cannot have"),
        ([tensor("a", [1 << 40])], "ends before its weights do"),
        ([tensor("a" * 129, [32])], "has a name of 129 bytes"),
        ([tensor("", [32])], "has a name of 0 bytes"),
        ([tensor("a", [32], kind=4)], "unknown type 4"),
        ([], "has no weights"),
        ([tensor("\x1b[31m\n", [1024]), tensor("\x1b[31m\n", [1024], offset=4096)], "the tensor ?[31m? twice"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be(look, tensors, said):
    assert said in look(file_of(tensors))["problem"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("block_count", (1 << 32) - 1, "no number that could be in llama.block_count"),
        ("block_count", 0, "does not say how many layers"),
        ("block_count", 100_000, "does not say how many layers"),
        ("attention.head_count_kv", [3], "has no number for each layer"),
        ("attention.head_count_kv", [1 << 31, 3], "has no number for each layer"),
        ("attention.head_count_kv", "three", "no number that could be in"),
        ("context_length", True, "no number that could be in"),
        ("attention.key_length", (1 << 32) - 1, "no number that could be in"),
        ("ssm.state_size", 4_000_000_000, "no number that could be in"),
    ],
)
def test_metadata_that_cannot_be(look, name, value, said):
    values = {**tiny.llama(layers=2), f"llama.{name}": value}
    assert said in look(file_of([tensor("a", [1024])], values))["problem"]


@pytest.mark.parametrize("alignment", [0, 3, 24, 1 << 31])
def test_an_alignment_that_none_could_have(look, alignment):
    values = {**tiny.llama(layers=2), "general.alignment": alignment}
    assert "alignment" in look(file_of([tensor("a", [1024])], values))["problem"]


def test_bombs_of_texts_and_lists(look):
    """A million texts, thousands of lists, a text as long as the file: skipped, not kept."""
    key = tiny.text("tokenizer.ggml.tokens")
    many = (
        b"GGUF" + numbers("IQQ", 3, 0, 1) + key + numbers("IIQ", 9, 8, 1 << 20) + numbers("Q", 0) * (1 << 20)
    )
    assert "does not say what architecture" in look(many)["problem"]
    lists = b"".join(tiny.text(f"k{at}") + numbers("IIQ", 9, 4, 2048) + bytes(8192) for at in range(4000))
    assert "does not say what architecture" in look(b"GGUF" + numbers("IQQ", 3, 0, 4000) + lists)["problem"]
    long = b"GGUF" + numbers("IQQ", 3, 0, 1) + key + numbers("IQ", 8, 80 << 20)
    assert "does not say what architecture" in look(long, 90 << 20)["problem"]
    claims = b"GGUF" + numbers("IQQ", 3, 0, 1) + key + numbers("IIQ", 9, 8, 1 << 23)
    assert "has lists of 8388608 texts" in look(claims, 1 << 27)["problem"]
    past = (
        b"GGUF"
        + numbers("IQQ", 3, 0, 1)
        + key
        + numbers("IIQ", 9, 8, 3)
        + numbers("Q", 1)
        + b"x"
        + numbers("Q", 1 << 63)
    )
    assert "is cut off in its header" in look(past + bytes(64))["problem"]


def test_many_parts_cost_no_more_than_one(tmp_path):
    """Each of them a header of some MiB: they are read until the bound of one file."""
    header = b"GGUF" + numbers("IQQ", 3, 0, 1) + tiny.text("x") + numbers("IQ", 8, 20 << 20)
    for part in range(1, 512):
        with (tmp_path / f"m-{part:05}-of-00511.gguf").open("wb") as file:
            file.write(header)
            file.truncate(21 << 20)
    found = _gguf_model.of_path(Tree(str(tmp_path)), "/m-00001-of-00511.gguf")
    assert found is not None and "has headers of 100 MiB" in found["problem"]


def test_texts_that_cross_the_block_they_are_read_in(look):
    """A vocabulary of a megabyte and more, and what follows it is read right."""
    words = [("w" * (at % 23)) for at in range(90_000)]
    values = tiny.llama(layers=2)
    values["tokenizer.ggml.tokens"] = words
    values["tokenizer.ggml.merges"] = ["m" * 3_000_000, "n", "", "o" * 70]
    values["llama.context_length"] = values.pop("llama.context_length")
    found = look(file_of([tensor("a", [1024])], values))
    assert (found["problem"], found["context"], found["total_bytes"]) == (None, 8192, 4096)


def test_files_that_hold_each_other_end(tmp_path):
    """A folder that leads to itself, and parts that are links to one another."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/inner").symlink_to(tmp_path / "m")
    (tmp_path / "m/x-00001-of-00002.gguf").symlink_to("x-00002-of-00002.gguf")
    (tmp_path / "m/x-00002-of-00002.gguf").symlink_to("x-00001-of-00002.gguf")
    found = _gguf_model.of_path(Tree(str(tmp_path)), "/m")
    assert found is not None and found["problem"]


# --- made at random, from what a file consists of


LENGTHS = st.one_of(
    st.integers(0, 40), st.sampled_from([(1 << 31) - 1, 1 << 32, 1 << 40, 1 << 63, (1 << 64) - 1])
)
KINDS = st.one_of(st.sampled_from([*SCALARS, 8, 9]), st.integers(0, (1 << 32) - 1))
NAMES = st.one_of(
    st.sampled_from(
        ["general.architecture", "general.alignment", "llama.block_count", "split.count", "general.type"]
    ),
    st.text(max_size=12),
)


@st.composite
def an_entry(draw: st.DrawFn) -> bytes:
    """A key with a value, whose type, length and bytes need not fit."""
    kind = draw(KINDS)
    body = draw(st.binary(max_size=24))
    if kind in (8, 9) and draw(st.booleans()):
        body = numbers("Q", draw(LENGTHS)) + body
    if kind == 9:
        body = numbers("I", draw(KINDS)) + body
    return tiny.text(draw(NAMES)) + numbers("I", kind) + body


@st.composite
def a_tensor(draw: st.DrawFn) -> bytes:
    sides = draw(st.lists(LENGTHS, max_size=5))
    kind = draw(st.one_of(st.sampled_from(list(BLOCKS)), st.integers(0, (1 << 32) - 1)))
    return tensor(draw(st.text(max_size=8)), sides, kind, draw(LENGTHS))


@st.composite
def a_file(draw: st.DrawFn) -> bytes:
    """A file of entries and tensors, some right, with counts that need not be theirs."""
    right = [tiny.text(name) + tiny.value(each) for name, each in tiny.llama(layers=2).items()]
    entries = (right if draw(st.booleans()) else []) + draw(st.lists(an_entry(), max_size=4))
    tensors = draw(st.lists(st.one_of(a_tensor(), st.just(tensor("blk.0.x", [64]))), max_size=4))
    keys = draw(st.one_of(st.just(len(entries)), LENGTHS))
    count = draw(st.one_of(st.just(len(tensors)), LENGTHS))
    return (
        b"GGUF"
        + numbers("IQQ", draw(st.sampled_from([2, 3])), count, keys)
        + b"".join([*entries, *tensors, bytes(512)])
    )


BOUNDS = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@BOUNDS
@given(data=a_file(), length=st.one_of(st.none(), st.integers(0, 4096)))
def test_files_of_wrong_parts(look, data, length):
    look(data, length)


@BOUNDS
@given(data=st.data())
def test_a_good_file_with_some_bytes_changed(look, data):
    good = bytearray(
        file_of([tensor("token_embd.weight", [32, 32]), tensor("blk.0.x", [64], offset=4096)], size=8192)
    )
    for _at in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(good) - 8192))
        piece = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), LENGTHS.map(lambda n: numbers("Q", n)))
        )
        good[at : at + len(piece)] = piece
    look(bytes(good))
