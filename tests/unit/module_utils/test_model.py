# SPDX-License-Identifier: GPL-3.0-or-later
"""Model folders: their weights and the shape of the model, whatever state the folder is in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _model, _model_links
from ansible_collections.amdgpu.fleet.plugins.module_utils._tree import Tree

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096,
    "vocab_size": 128256, "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
}  # fmt: skip
FOLDER = "/srv/model"


@pytest.fixture
def read(tmp_path: Path):
    """read({file name: size or text}) -> what is found in such a folder, and the problems."""

    def make(files: dict[str, int | str | bytes]) -> tuple[dict, list[str]]:
        folder = tmp_path / FOLDER.lstrip("/")
        folder.mkdir(parents=True)
        for name, content in files.items():
            if isinstance(content, int):
                with (folder / name).open("wb") as file:
                    file.truncate(content)
            else:
                (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        tree = Tree(str(tmp_path))
        return _model.paths(tree, [FOLDER])[FOLDER], [problem["problem"] for problem in tree.problems]

    return make


def index(size: object) -> str:
    return json.dumps(
        {"metadata": {"total_size": size}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    )


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"model.safetensors": 70}, 70),
        ({"model-00001-of-00002.safetensors": 50, "model-00002-of-00002.safetensors": 30}, 80),
        ({"model.safetensors": 70, "pytorch_model.bin": 70, "training_args.bin": 5}, 70),
        ({"pytorch_model-00001-of-00001.bin": 40, "training_args.bin": 5, "optimizer.bin": 90}, 40),
        ({"model.safetensors": 70, "consolidated.safetensors": 71, "adapter_model.safetensors": 9}, 70),
        ({"consolidated.safetensors": 71}, 71),
        ({"model-00001-of-00002.safetensors": 50, "model.safetensors.index.json": index(80)}, 80),
        ({"model.safetensors.index.json": index(80.0)}, 80),
        ({"pytorch_model.bin.index.json": index(60)}, 60),
        ({"model.safetensors": 0}, 0),
        ({"model.gguf": 70}, None),
        ({}, None),
    ],
)
def test_size_of_the_weights(read, files, size):
    found, problems = read({"config.json": json.dumps(LLAMA), **files})
    assert found["weights_bytes"] == size and problems == []


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"model-00001-of-00002.safetensors": 50}, "has only some of the weight files"),
        ({"model.safetensors.index.json": "{"}, "does not say how large the weights are"),
        ({"model.safetensors.index.json": index("many")}, "does not say how large the weights are"),
        ({"model.safetensors.index.json": index(-1)}, "does not say how large the weights are"),
        ({"model.safetensors.index.json": "[" * 100000}, "does not say how large the weights are"),
    ],
)
def test_weights_that_are_not_whole(read, files, problem):
    found, problems = read({"config.json": json.dumps(LLAMA), **files})
    assert found["weights_bytes"] is None and problems == [problem]


def test_a_link_to_weights_that_are_gone(read, tmp_path):
    (tmp_path / "srv/model").mkdir(parents=True)
    (tmp_path / "srv/model/model.safetensors").symlink_to("../blobs/0")
    tree = Tree(str(tmp_path))
    assert _model.paths(tree, [FOLDER])[FOLDER]["weights_bytes"] is None
    assert tree.problems[0]["problem"] == "has only some of the weight files"


def test_the_fact_is_small(read):
    layers = {
        "layer_types": ["full_attention"] * 64,
        "num_hidden_layers": 64,
        "sliding_window": 4096,
        "architectures": ["x" * 500],
    }
    found, _problems = read({"config.json": json.dumps({**LLAMA, **layers}), "model.safetensors": 1})
    assert len(json.dumps(found)) < 550
    assert found["shape"] == {
        "type": "llama", "layers": 64, "heads": 32, "kv_heads": 8, "head_dim": 128, "hidden": 4096, "vocabulary": 128256, "context": 8192,
        "dtype": "bfloat16", "attention": {"full": 64},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"num_key_value_heads": None}, "kv_heads", 32),
        ({"multi_query": True, "num_key_value_heads": None}, "kv_heads", 1),
        ({"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8}, "kv_heads", 8),
        ({"head_dim": 64}, "head_dim", 64),
        ({"dtype": "float16", "torch_dtype": None}, "dtype", "float16"),
        ({"torch_dtype": "torch.float32"}, "dtype", "float32"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "context", 32768),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2}}, "context", 16384),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "context", 8192),
        (
            {"rope_scaling": {"rope_type": "longrope"}, "original_max_position_embeddings": 4096},
            "context",
            4096,
        ),
        ({"rope_scaling": {"type": "linear", "factor": float("inf")}}, "context", 8192),
        ({"rope_scaling": {"type": "linear", "factor": None}}, "context", 8192),
        ({"sliding_window": 4096}, "attention", {"sliding": 32}),
        ({"sliding_window": 4096, "use_sliding_window": False}, "attention", {"full": 32}),
        (
            {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 28},
            "attention",
            {"full": 28, "sliding": 4},
        ),
        ({"sliding_window": 4096, "model_type": "gemma2"}, "attention", {"full": 16, "sliding": 16}),
        ({"sliding_window": 512, "sliding_window_pattern": 4}, "attention", {"full": 8, "sliding": 24}),
        ({"sliding_window": 512, "sliding_window_pattern": "LLLG"}, "attention", {"full": 8, "sliding": 24}),
        ({"sliding_window": 512, "sliding_window_pattern": "odd"}, "uncounted", "sliding_window_pattern"),
        ({"sliding_window_pattern": "odd"}, "uncounted", None),
        ({"block_types": ["recurrent", "attention"]}, "uncounted", "block_types"),
        ({"full_attention_interval": 4}, "attention", {"full": 8, "state": 24}),
        (
            {"layer_types": ["linear_attention", "full_attention"] * 16},
            "attention",
            {"full": 16, "state": 16},
        ),
        ({"layer_types": ["linear_attention"]}, "attention", {"full": 32}),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "kv_cache_scheme": {"num_bits": 8},
                }
            },
            "kv_dtype",
            "fp8",
        ),
        (
            {"quantization_config": {"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}},
            "kv_dtype",
            "fp8",
        ),
        (
            {"quantization_config": {"quant_method": "quark", "kv_cache_scheme": {"num_bits": 8}}},
            "kv_dtype",
            None,
        ),
        ({"index_topk": 2048}, "uncounted", "index_topk"),
        ({"is_encoder_decoder": False}, "uncounted", None),
    ],
)
def test_shape(change, name, value):
    assert _model.shape({**LLAMA, **change}).get(name) == value


def test_a_model_that_also_sees():
    nested = {
        "model_type": "gemma3",
        "torch_dtype": "bfloat16",
        "vision_config": {"num_hidden_layers": 27},
        "text_config": LLAMA,
    }
    assert _model.shape(nested) == _model.shape(LLAMA)
    assert (
        _model.quantization(
            {**nested, "text_config": {**LLAMA, "quantization_config": {"quant_method": "fp8"}}}
        )
        == "fp8"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 64, b"[]", b'"x"', b"{", b"[" * 100000, b"\xff\xfe", b'{"quantization_config": 1}'],
)
def test_a_damaged_configuration(read, content):
    found, problems = read({"config.json": content, "model.safetensors": 7})
    assert found["model"] and found["shape"] is None and found["weights_bytes"] == 7
    assert problems == ([] if not content else ["is not the configuration of a model"])


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": None},
        {"num_attention_heads": "32"},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": True},
    ],
)
def test_a_configuration_without_sizes(read, change):
    found, problems = read({"config.json": json.dumps({**LLAMA, **change})})
    assert found["shape"] is None and found["model_type"] == "llama"
    assert problems == ["does not say how many layers and heads the model has"]


@pytest.mark.parametrize(
    ("quantization", "scales"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "block"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "tensor"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}},
            },
            "channel",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int", "strategy": "group"}}},
            },
            None,
        ),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": [], "h": {"weights": 8}}}, None),
        ({"quant_method": "awq", "config_groups": 3}, None),
        ({}, None),
    ],
)
def test_scales_of_weights_in_8_bits(quantization, scales):
    assert _model.fp8_scales({**LLAMA, "quantization_config": quantization}) == scales


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["full_attention", "llama", "fp8"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["factor", "type", "quant_method", "num_hidden_layers"]), inner)
    ),
    max_leaves=8,
)
KEYS = sorted(
    {*LLAMA, *_model.CONTEXT, *_model.HEAD_DIM, *_model.KV_HEADS, *_model.UNCOUNTED, "sliding_window", "layer_types", "rope_scaling",
     "text_config", "quantization_config", "use_sliding_window", "max_window_layers", "sliding_window_pattern", "full_attention_interval",
     "kv_lora_rank", "qk_rope_head_dim", "multi_query", "thinker_config"}
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_no_configuration_ends_in_a_traceback(change):
    for configuration in (change, {**LLAMA, **change}):
        found = _model.shape(configuration)
        assert found is None or len(json.dumps(found)) < 1000
        _model.quantization(configuration)
        _model.fp8_scales(configuration)


def tensor_file(size: int, cut: int = 0) -> bytes:
    header = json.dumps(
        {"a": {"data_offsets": [0, size // 2]}, "b": {"data_offsets": [size // 2, size]}}
    ).encode()
    return (len(header).to_bytes(8, "little") + header + bytes(size))[: -cut or None]


def of_index(*names: str) -> str:
    return json.dumps(
        {"metadata": {}, "weight_map": {str(number): name for number, name in enumerate(names)}}
    )


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"model.safetensors": tensor_file(64)}, None),
        ({"model.safetensors": tensor_file(64, cut=1)}, "the end of model.safetensors"),
        ({"model.safetensors": b""}, "the end of model.safetensors"),
        ({"model.safetensors": b"\xff" * 8}, "the end of model.safetensors"),
        ({"a.safetensors": tensor_file(8), "b.safetensors": tensor_file(8), INDEX: of_index("a.safetensors", "b.safetensors")}, None),
        ({"a.safetensors": tensor_file(8), INDEX: of_index("a.safetensors", "b.safetensors")}, f"b.safetensors of {INDEX}"),
        ({"a.safetensors": tensor_file(8), INDEX: of_index("b.safetensors", "c.safetensors")}, f"b.safetensors and 1 more of {INDEX}"),
        ({"a.safetensors": tensor_file(8), "b.safetensors": "", INDEX: of_index("b.safetensors")}, f"b.safetensors of {INDEX}"),
        # The other format was left out on purpose, its index was not.
        ({"model.safetensors": tensor_file(8), "pytorch_model.bin.index.json": of_index("pytorch_model-1.bin")}, None),
        ({"a.bin": 9, "pytorch_model.bin.index.json": of_index("a.bin", "b.bin")}, "b.bin of pytorch_model.bin.index.json"),
        ({"model-00001-of-00003.safetensors": tensor_file(8)}, "2 of 00003 parts like model-00001-of-00003.safetensors"),
        ({"model-00001-of-00001.safetensors": tensor_file(8)}, None),
        ({"model.safetensors": tensor_file(8), INDEX: "[]"}, None),
        ({"consolidated.00.pth": 9}, None),
        ({"README.md": 9}, "the weights"),
    ],
)  # fmt: skip
def test_what_of_the_weights_is_missing(read, files, missing):
    assert read({"config.json": "{}", **files})[0]["missing"] == missing


def test_nothing_is_missing_of_what_is_no_model(read):
    assert read({"model.safetensors": 1})[0]["missing"] is None


@pytest.fixture
def snapshot(tmp_path):
    """snapshot({link: target}, folder) -> the facts of a model in the cache of the Hub with these links in
    it."""

    def make(links: dict[str, str], folder: str = "/cache/hub/snapshots/1") -> tuple[dict, list[str]]:
        there = (
            "/cache/hub/snapshots/1/config.json",
            "/cache/hub/blobs/1",
            "/cache/hub/blobs/2",
            "/elsewhere/1",
            "/other/2",
            "/etc/x",
        )
        for name in there:
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        by = tmp_path / "cache/hub/snapshots/by"
        by.mkdir()
        (by / "1").symlink_to("../../blobs/1")
        for name, target in links.items():
            path = tmp_path / "cache/hub/snapshots/1" / name
            path.parent.mkdir(exist_ok=True)
            path.symlink_to(target)
        tree = Tree(str(tmp_path))
        return _model.paths(tree, [folder])[folder], [problem["problem"] for problem in tree.problems]

    return make


BLOBS = "/cache/hub/blobs"


@pytest.mark.parametrize(
    ("links", "folders"),
    [
        ({"a": "../../blobs/1", "b": "../../blobs/2"}, [BLOBS]),
        ({"below/a": "../../../blobs/1"}, [BLOBS]),
        # By way of another link, which must be there too.
        ({"a": "../by/1"}, [BLOBS, "/cache/hub/snapshots/by"]),
        ({"a": "config.json", "b": "./c", "c": "b"}, []),
        # What leads to nothing, to a folder, or to no file, is no file of the model.
        ({"a": "../../blobs/none", "b": "/elsewhere", "c": ".", "d": "..", "e": "/dev/null"}, []),
    ],
)
def test_files_that_lie_elsewhere(snapshot, links, folders):
    found, problems = snapshot(links)
    assert found["elsewhere"] == folders and problems == [
        "does not say how many layers and heads the model has"
    ] * bool(problems)
    assert found["place"] == "/cache/hub/snapshots/1"


def test_a_link_to_the_folder_of_a_model(snapshot, tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/qwen").symlink_to("../cache/hub/snapshots/1")
    found, _problems = snapshot({"a": "../../blobs/1"}, "/srv/qwen")
    assert (found["place"], found["elsewhere"]) == ("/cache/hub/snapshots/1", [BLOBS])


def test_folders_of_the_system_are_given_to_nobody(snapshot):
    found, problems = snapshot({"a": "/etc/x", "b": "../../blobs/1"})
    assert found["elsewhere"] == [BLOBS] and "has links into /etc, which no server is given" in problems


def test_links_into_every_folder(snapshot, tmp_path):
    links = {}
    for number in range(12):
        (tmp_path / f"cache/hub/data{number}").mkdir(parents=True)
        (tmp_path / f"cache/hub/data{number}/file").write_text("")
        links[str(number)] = f"../../data{number}/file"
    found, problems = snapshot(links)
    assert len(found["elsewhere"]) == 8 and "has links into 12 folders, which no server is given" in problems


SECRETS = (
    "/root/.ssh/id",
    "/home/alice/.aws/credentials",
    "/home/bob/.ssh/id",
    "/var/lib/containers/storage/secrets",
    "/home/bob/.local/share/containers/secrets",
    "/etc/vllm/a.secret",
    "/var/lib/amdgpu-fleet/before-upgrade.tar",
    "/srv/other/model.safetensors",
)


@pytest.fixture
def of_bob(tmp_path):
    """of_bob() -> the facts of the model at /home/bob/m, and those of its cache at /home/bob/hub."""
    for name in (
        *SECRETS,
        "/home/bob/m/config.json",
        "/home/bob/hub/snapshots/1/config.json",
        "/home/bob/hub/blobs/1",
    ):
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    def read(path: str = "/home/bob/m") -> dict:
        return _model.paths(Tree(str(tmp_path)), [path])[path]

    return read


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("folder", ["/home/bob/m", "/home/bob/hub/snapshots/1"])
def test_a_link_hands_nothing_on_that_is_not_the_models(of_bob, tmp_path, secret, folder):
    """Straight, by way of a folder of its own, and by a link in the place of the blobs."""
    own = tmp_path / folder.lstrip("/")
    target = tmp_path / secret.lstrip("/")
    (own / "a.safetensors").symlink_to(os.path.relpath(target, own))
    assert of_bob(folder)["elsewhere"] == [] and of_bob(folder)["barred"] == [os.path.dirname(secret)]
    (own / "a.safetensors").unlink()
    hop = own.parent.parent / "detour"
    hop.symlink_to(os.path.relpath(target.parent, hop.parent))
    (own / "a.safetensors").symlink_to(os.path.relpath(hop / target.name, own))
    found = of_bob(folder)
    assert found["elsewhere"] == [] and len(found["barred"]) == 1


def test_the_blobs_of_the_own_cache_are_given(of_bob, tmp_path):
    (tmp_path / "home/bob/hub/snapshots/1/a.safetensors").symlink_to("../../blobs/1")
    found = of_bob("/home/bob/hub/snapshots/1")
    assert (found["elsewhere"], found["barred"], found["astray"]) == (["/home/bob/hub/blobs"], [], None)


@pytest.mark.parametrize(
    ("target", "owner", "astray"),
    [
        ("../alice/.aws", 1000, "/home/alice/.aws"),
        ("../../root/.ssh", 1000, "/root/.ssh"),
        ("hub/snapshots/1", 1000, None),
        ("../../srv/other", 1000, None),
        # Root may lead wherever it likes.
        ("../alice/.aws", 0, None),
    ],
)
def test_a_folder_that_is_a_link_itself(of_bob, tmp_path, monkeypatch, target, owner, astray):
    link = tmp_path / "home/bob/link"
    link.symlink_to(target)
    real = os.lstat

    def changed(path):
        return os.stat_result((*real(path)[:4], owner, *real(path)[5:]))

    monkeypatch.setattr(_model_links.os, "lstat", changed)
    assert of_bob("/home/bob/link")["astray"] == astray
