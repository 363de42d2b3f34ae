"""What stands in the evidence about the model: the digest of the very files that are attacked, of whatever kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wardline.core import DataError, IntegrityError, NoProgress
from wardline.models import Logistic, TrainedModel, model_digest, save
from wardline.models.text import TextArchitecture, TextModel
from wardline.models.text_features import TextFeatures
from wardline.models.text_store import save_text
from wardline.run.audited import Chosen, open_audited

RNG = np.random.default_rng(0)


def _saved_text(folder: Path, *, classes: tuple[str, str] = ("ham", "spam")) -> None:
    architecture = TextArchitecture(features=TextFeatures(buckets=256), width=3)
    parameters = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    save_text(TextModel(architecture=architecture, parameters=parameters, classes=classes), folder)


def _saved_numbers(folder: Path) -> None:
    parameters = {"head.weight": np.eye(2, dtype=np.float32), "head.bias": np.zeros(2, dtype=np.float32)}
    architecture = Logistic(inputs=2, classes=2)
    model = TrainedModel(architecture=architecture, parameters=parameters, features=("a", "b"), classes=("no", "yes"))
    save(model, folder)


@pytest.fixture
def texts(tmp_path: Path) -> Chosen:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\nwin a prize,1\nsee you,0\ncall now,1\nat home,0\n")
    return Chosen(data=path, text="text", label="label")


@pytest.fixture
def rows(tmp_path: Path) -> Chosen:
    np.savez(tmp_path / "rows.npz", x=RNG.random((6, 2)).astype(np.float32), y=np.arange(6) % 2)
    return Chosen(data=tmp_path / "rows.npz")


def test_a_text_model_has_a_digest_in_the_evidence(tmp_path, texts):
    folder = tmp_path / "filter"
    _saved_text(folder)
    for where in (folder, folder / "text.json", folder / "text.safetensors"):
        opened = open_audited(str(where), texts, progress=NoProgress())
        assert opened.about.sha256 == model_digest(folder)
        assert opened.about.kind.startswith("a model of wardline: TextModel(")
    before = opened.about.sha256
    _saved_text(folder)
    assert open_audited(str(folder), texts, progress=NoProgress()).about.sha256 != before


def test_classes_are_read_by_the_names_that_a_text_model_has_for_them(tmp_path):
    """In the order of the model, not of the alphabet: else every text would seem to be misjudged."""
    path = tmp_path / "texts.csv"
    path.write_text("text,label\nwin a prize,spam\nsee you,ham\n")
    _saved_text(tmp_path / "filter", classes=("spam", "ham"))
    chosen = Chosen(data=path, text="text", label="label")
    opened = open_audited(str(tmp_path / "filter"), chosen, progress=NoProgress())
    assert opened.data.held_out.y.tolist() == [0, 1]


def test_a_model_of_numbers_has_a_digest_whichever_of_its_files_is_named(tmp_path, rows):
    folder = tmp_path / "rows"
    _saved_numbers(folder)
    for where in (folder, folder / "model.json", folder / "model.safetensors"):
        opened = open_audited(str(where), rows, progress=NoProgress())
        assert opened.about.sha256 == model_digest(folder)
        assert opened.about.kind.startswith("a model of wardline: TrainedModel(")


def test_a_folder_with_two_models_is_not_audited_as_one_of_them(tmp_path, rows, texts):
    """The evidence would name one, and the attacks run on the other."""
    folder = tmp_path / "both"
    _saved_numbers(folder)
    _saved_text(folder)
    with pytest.raises(DataError, match="two models"):
        open_audited(str(folder), rows, progress=NoProgress())
    assert "TrainedModel" in open_audited(str(folder / "model.json"), rows, progress=NoProgress()).about.kind
    assert "TextModel" in open_audited(str(folder / "text.json"), texts, progress=NoProgress()).about.kind


def test_a_text_model_that_was_changed_is_refused(tmp_path, texts):
    folder = tmp_path / "filter"
    _saved_text(folder)
    weights = bytearray((folder / "text.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "text.safetensors").write_bytes(bytes(weights))
    with pytest.raises(IntegrityError, match="written with"):
        open_audited(str(folder), texts, progress=NoProgress())
