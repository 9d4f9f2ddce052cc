# SPDX-License-Identifier: GPL-3.0-or-later
"""The written InferenceServices and ServingRuntimes, read by KServe's own Python models."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
LAYOUT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "handover"
MODELS = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object, "datetime": str}


@pytest.fixture(scope="module")
def models() -> Any:
    """The package kserve.models. Importing kserve itself would need its server and all of its clouds."""
    subprocess.run([REPOSITORY / "molecule/shared/kserve-models"], check=True)
    folder = REPOSITORY / ".cache/kserve"
    sys.path.append(str(folder))
    package = types.ModuleType("kserve")
    package.__path__ = [str(folder / "kserve")]
    sys.modules["kserve"] = package
    return importlib.import_module("kserve.models")


def build(models: Any, kind: str, data: Any, where: str) -> Any:
    """The object of a model, whose own checks run. A field that the model does not know is an error."""
    listed = re.fullmatch(r"[Ll]ist\[(.+)\]", kind)
    if listed:
        return [build(models, listed[1], each, f"{where}[{place}]") for place, each in enumerate(data)]
    mapped = re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind)
    if mapped:
        return {name: build(models, mapped[1], each, f"{where}.{name}") for name, each in data.items()}
    if kind in PLAIN:
        assert isinstance(data, PLAIN[kind]), f"{where}: {data!r} is no {kind}"
        return data
    # KServe's models name those of Kubernetes by their package.
    model = getattr(models, kind, None) or getattr(kubernetes.client, re.sub(r"^K8sIo\w+?(?=V\d)", "", kind))
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    assert set(data) <= set(attributes), f"{where}: {kind} has no {sorted(set(data) - set(attributes))}"
    values = {
        attributes[name]: build(models, model.openapi_types[attributes[name]], each, f"{where}.{name}")
        for name, each in data.items()
    }
    return model(**values)


def test_the_models_of_kserve_know_every_field(models):
    files = [*LAYOUT.glob("hosts/*/inferenceservice-*.yaml"), *LAYOUT.glob("hosts/*/servingruntime-*.yaml")]
    assert len(files) == 4
    for path in files:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert build(models, MODELS[data["kind"]], data, data["kind"])


def test_a_field_that_kserve_does_not_know_is_found(models):
    (path, *_more) = LAYOUT.glob("hosts/*/inferenceservice-*.yaml")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["spec"]["predictor"]["replicas"] = 2
    with pytest.raises(AssertionError, match=r"spec.predictor: V1beta1PredictorSpec has no \['replicas'\]"):
        build(models, "V1beta1InferenceService", data, "InferenceService")
