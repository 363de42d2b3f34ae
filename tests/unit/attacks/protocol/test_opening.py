"""Models by name: files of ours, import paths, and a clear word for everything else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wardline.attacks.protocol.examination import preflight
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.opening import open_target
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access
from wardline.core import DataError, UsageError, Verdict
from wardline.models import Cnn, Logistic, TrainedModel, build, save
from wardline.models.text import TextArchitecture, TextModel
from wardline.models.text_features import TextFeatures
from wardline.models.text_store import save_text

X = np.random.default_rng(0).random((30, 4)).astype(np.float32)

MODULE = """
import numpy as np
from torch import nn
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

_x = np.random.default_rng(0).random((30, 4)).astype(np.float32)
_y = np.arange(30) % 3

network = nn.Linear(4, 3)
linear = LogisticRegression().fit(_x, _y)
number = 7

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)

class Wide(nn.Module):
    def __init__(self, width):
        super().__init__()

def tree():
    return DecisionTreeClassifier().fit(_x, _y)

def scores(x):
    return x[:, :3] * 4 - 2

def labels(x):
    return (x.sum(axis=1) > 2).astype(int)

def broken():
    raise OSError("no weights")

class space:
    inner = linear
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wl_models_of_mine.py").write_text(MODULE)
    (tmp_path / "wl_broken_module.py").write_text("import wl_nothing_of_that_name")
    (tmp_path / "wl_raising_module.py").write_text("raise RuntimeError('boom')")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("wl_")]:
        del sys.modules[name]


def trained(architecture) -> TrainedModel:
    parameters = {name: value.detach().numpy() for name, value in build(architecture).state_dict().items()}
    return TrainedModel(
        architecture=architecture,
        parameters=parameters,
        features=tuple(f"f{index}" for index in range(architecture.inputs)),
        classes=tuple(f"c{index}" for index in range(architecture.classes)),
    )


@pytest.mark.parametrize(
    ("name", "classes", "access"),
    [
        ("network", 3, Access.WHITE_BOX),
        ("linear", 3, Access.WHITE_BOX),
        ("Net", 2, Access.WHITE_BOX),
        ("tree", 3, Access.SCORES),
        ("scores", 3, Access.SCORES),
        ("space.inner", 3, Access.WHITE_BOX),
    ],
)
def test_an_import_path_names_a_model_or_what_makes_one(here: Path, name: str, classes: int, access: Access) -> None:
    before = list(sys.path)
    target = open_target(f"wl_models_of_mine:{name}", examples=X, cap=100)
    assert (target.classes, target.access) == (classes, access)
    assert target.labels(X).shape == (30,)
    assert target.ledger.left() == 70
    assert sys.path == before


def test_a_model_that_gives_labels_needs_its_classes_stated(here: Path) -> None:
    with pytest.raises(UsageError, match="number of classes must be stated"):
        open_target("wl_models_of_mine:labels", examples=X)
    target = open_target("wl_models_of_mine:labels", examples=X, classes=2)
    assert target.access is Access.LABELS
    with pytest.raises(UsageError, match="cannot have scores"):
        open_target("wl_models_of_mine:labels", examples=X, classes=2, access=Access.SCORES)


def test_a_saved_model_opens_by_folder_or_file(tmp_path: Path) -> None:
    save(trained(Cnn(shape=(1, 8, 8), channels=(2,), hidden=4, classes=3)), tmp_path)
    for where in (tmp_path, tmp_path / "model.json", tmp_path / "model.safetensors"):
        target = open_target(str(where))
        assert target.spec.shape == (1, 8, 8)
        assert target.labels(np.zeros((2, 1, 8, 8), np.float32)).shape == (2,)
    restricted = open_target(str(tmp_path), access=Access.LABELS)
    with pytest.raises(ValueError, match="needs scores"):
        restricted.scores(np.zeros((2, 1, 8, 8), np.float32))


def test_a_saved_model_of_texts_opens_and_can_be_examined(tmp_path: Path) -> None:
    architecture = TextArchitecture(features=TextFeatures(buckets=256), width=4, classes=2)
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(size=shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    save_text(TextModel(architecture=architecture, parameters=parameters, classes=("ham", "spam")), tmp_path)
    target = open_target(str(tmp_path))
    assert target.access is Access.SCORES
    texts = np.array([f"some text of number {index}" for index in range(40)], dtype=object)
    labels = target.labels(texts)
    assert set(labels) <= {0, 1}
    checks = {check.name: check for check in preflight(target, Labelled(x=texts, y=labels))}
    assert checks["deterministic"].outcome is checks["batch-independent"].outcome is Verdict.PASS
    assert "preprocessing" not in checks


def test_a_saved_model_of_tables_needs_examples_or_a_spec(tmp_path: Path) -> None:
    save(trained(Logistic(inputs=4, classes=2)), tmp_path)
    with pytest.raises(UsageError, match="nothing says what the model's inputs look like") as caught:
        open_target(str(tmp_path))
    assert "examples" in caught.value.hint
    assert open_target(str(tmp_path), examples=X).classes == 2
    assert open_target(str(tmp_path), spec=InputSpec(shape=(4,))).classes == 2
    with pytest.raises(UsageError, match="tells 2 classes apart, not 5"):
        open_target(str(tmp_path), examples=X, classes=5)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("no/such/folder", "there is no such model"),
        ("wl_nothing:model", "wl_nothing cannot be imported: ModuleNotFoundError"),
        ("wl_broken_module:model", "cannot be imported: ModuleNotFoundError"),
        ("wl_raising_module:model", "RuntimeError: boom"),
        ("wl_models_of_mine:missing", "has no missing"),
        ("wl_models_of_mine:number", "int is no model"),
        ("wl_models_of_mine:broken", "could not make the model: OSError: no weights"),
        ("wl_models_of_mine:Wide", "could not make the model: TypeError"),
        ("os.system('true'):x", "there is no such model"),
        ("wl_models_of_mine.py", r"\.py files are not read"),
    ],
)
def test_what_is_no_model_is_told_with_a_remedy(here: Path, where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_target(where, examples=X)
    assert caught.value.hint
    assert caught.value.where


@pytest.mark.parametrize("name", ["model.pkl", "model.PT", "model.joblib", "model.ckpt"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    import pickle

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UsageError, match="unpickled"):
        open_target(str(tmp_path / name), examples=X)
    assert not (tmp_path / "exploded").exists()
    pickle.loads((tmp_path / name).read_bytes())
    assert (tmp_path / "exploded").exists(), "the control: unpickling would have run it"


def test_other_files_and_empty_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"\.onnx files are not read"):
        open_target(str(tmp_path / "model.onnx"), examples=X)
    with pytest.raises(UsageError, match="no model of this package"):
        open_target(str(tmp_path / "notes.txt"), examples=X)
    with pytest.raises(DataError, match="cannot read the model"):
        open_target(str(tmp_path), examples=X)
