"""Text classifiers on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wardline.core import DataError, IntegrityError, canonical_json
from wardline.models.text import TextArchitecture, TextModel
from wardline.models.text_features import TextFeatures
from wardline.models.text_store import FORMAT, load_text, save_text, text_model_files, text_model_from_files

DESCRIPTION_FILE, WEIGHTS_FILE = FORMAT.names


@pytest.fixture
def model() -> TextModel:
    architecture = TextArchitecture(features=TextFeatures(buckets=256), width=3, hidden=2, classes=2)
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(size=shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    return TextModel(architecture=architecture, parameters=parameters, classes=("ham", "späm"))


def test_what_is_saved_is_what_is_loaded(model, tmp_path):
    save_text(model, tmp_path / "new")
    found = load_text(tmp_path / "new")
    assert found.architecture == model.architecture
    assert found.classes == model.classes
    assert all(np.array_equal(found.parameters[name], value) for name, value in model.parameters.items())
    assert text_model_files(found) == text_model_files(model)


def changed(model: TextModel, **values: object) -> dict[str, bytes]:
    files = text_model_files(model)
    description = json.loads(files[DESCRIPTION_FILE]) | values
    return files | {DESCRIPTION_FILE: canonical_json(description)}


def test_files_that_are_no_model_are_refused(model):
    files = text_model_files(model)
    architecture = json.loads(files[DESCRIPTION_FILE])["architecture"]
    bad = [
        {DESCRIPTION_FILE: files[DESCRIPTION_FILE]},
        files | {DESCRIPTION_FILE: files[DESCRIPTION_FILE] + b" "},
        files | {DESCRIPTION_FILE: b"{" * 50_000},
        files | {DESCRIPTION_FILE: b"[]"},
        files | {WEIGHTS_FILE: files[WEIGHTS_FILE][:-4]},
        changed(model, schema="wardline.text/2"),
        changed(model, more=1),
        changed(model, classes=["ham"]),
        changed(model, classes=["ham", 1]),
        changed(model, architecture=architecture | {"width": True}),
        changed(model, architecture=architecture | {"width": 4}),
        changed(model, architecture=architecture | {"width": 10**9}),
        changed(model, architecture=architecture | {"features": None}),
        changed(model, architecture=architecture | {"more": 1}),
        changed(model, architecture=architecture | {"features": {"buckets": 256}}),
        changed(model, architecture=architecture | {"features": architecture["features"] | {"buckets": 257}}),
        changed(model, architecture=[]),
    ]
    for case in bad:
        with pytest.raises(IntegrityError):
            text_model_from_files(case)
    assert text_model_from_files(files).classes == model.classes


def test_a_file_that_is_missing_or_too_long_is_refused(model, tmp_path):
    with pytest.raises(DataError):
        load_text(tmp_path)
    _, weights = save_text(model, tmp_path)
    with weights.open("ab") as file:
        file.truncate(1 << 22)
    with pytest.raises(IntegrityError):
        load_text(tmp_path)


def test_weights_that_no_machine_could_hold_are_refused_before_they_are_read(model, tmp_path):
    """A sparse file takes no room on disk: 16 GiB of zeros, which every single size of the architecture allows."""
    description, weights = save_text(model, tmp_path)
    value = json.loads(description.read_bytes())
    value["architecture"] |= {"width": 1024, "hidden": 0}
    value["architecture"]["features"] |= {"buckets": 1 << 22}
    description.write_bytes(canonical_json(value))
    with weights.open("r+b") as file:
        file.truncate(1 << 34)
    with pytest.raises(IntegrityError, match="at most 268435456 parameters"):
        load_text(tmp_path)
