"""A model in two parts: the front in the clear, the back on ciphertexts, and decisions as of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from wardline.core import DataError, IntegrityError, UsageError  # noqa: E402
from wardline.he.compiled.compiling import compile_model  # noqa: E402
from wardline.he.compiler.activations import Square  # noqa: E402
from wardline.he.compiler.from_torch import read_torch  # noqa: E402
from wardline.he.hybrid.cutting import split  # noqa: E402
from wardline.he.hybrid.front import ProgramFront, check_front, load_front, save_front  # noqa: E402
from wardline.he.network.choice import plan_network  # noqa: E402
from wardline.models.architecture import Cnn, Mlp, parameter_shapes  # noqa: E402
from wardline.models.trained import TrainedModel  # noqa: E402


def images(count: int, seed: int = 0) -> np.ndarray:
    """Two kinds of pictures, dark and bright in one corner."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 1, 8, 8)).astype(np.float32)
    x[::2, :, :4, :4] += 1.5
    return x


def picture_model(seed: int = 0, *, steps: int = 40) -> nn.Sequential:
    """With rectifiers and maxima, which no ciphertext computes, and a small head; trained for some steps."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(96, 12),
            nn.GELU(),
            nn.Linear(12, 8),
            Square(),
            nn.Linear(8, 2),
        )
        x, y = torch.from_numpy(images(256)), torch.arange(256) % 2
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return picture_model()


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return images(300, seed=1)


@pytest.mark.parametrize(("at", "named", "features"), [(7, "7", 8), ("5", "5", 12), (-3, "5", 12), (2, "2", 96)])
def test_both_parts_compute_what_the_whole_does(
    model: nn.Sequential, sample: np.ndarray, at: int | str, named: str, features: int
) -> None:
    found = split(model, sample, at=at)
    assert found.at == named
    assert found.features.shape == (300, features)
    with torch.no_grad():
        whole = model(torch.from_numpy(sample)).numpy()
    assert np.abs(found.evaluate(sample) - whole).max() < 1e-4
    np.testing.assert_array_equal(found.decide(sample), whole.argmax(axis=1))
    assert found.largest_difference < 1e-4
    assert (found.ranges.low < found.features.min(axis=0) + 1e-12).all()
    assert (found.ranges.high > found.features.max(axis=0) - 1e-12).all()
    total = sum(one.numel() for one in model.parameters()) + 2 * 6  # with running figures
    assert found.leakage.front_parameters + found.leakage.back_parameters == total


def test_a_cut_within_a_nested_part_is_by_name(model: nn.Sequential, sample: np.ndarray) -> None:
    friendly = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2)), nn.Flatten(), nn.Linear(18, 2)
    )
    found = split(friendly, sample, at="0.2")
    assert found.front.output_shape == (2, 6, 6)
    assert found.back.inputs == 72
    assert split(friendly, sample, at=1).front.output_shape == (2, 3, 3)


def test_a_front_is_written_and_read_without_code(model: nn.Sequential, sample: np.ndarray, tmp_path: Path) -> None:
    found = split(model, sample, at=5)
    paths = save_front(found.front, tmp_path / "front")
    assert [path.name for path in paths] == ["front.safetensors", "front.json"]
    again = load_front(tmp_path / "front")
    assert again.digest == found.front.digest
    np.testing.assert_array_equal(again.features(sample), found.features)
    np.testing.assert_array_equal(again.features(sample.reshape(300, 64)), found.features)
    check_front(again, found.back.features)
    other = split(picture_model(1, steps=0), sample, at=5)
    with pytest.raises(IntegrityError, match="not the one that this encrypted model"):
        check_front(other.front, found.back.features)
    with pytest.raises(DataError, match=r"program\.json cannot be read"):
        load_front(tmp_path)


def test_what_a_client_gets_is_said(model: nn.Sequential, sample: np.ndarray) -> None:
    last = split(model, sample, at=7).leakage
    assert last.rows_to_determine == 9  # eight features, and an offset
    assert last.features == 8
    assert any("9 scores determine the back" in one for one in last.warnings)
    assert any("parameters are given away" in one for one in last.warnings)
    assert last.front_share == last.front_parameters / (last.front_parameters + last.back_parameters) > 0.9
    text = str(last)
    assert "9 metered rows determine it" in text
    assert "the server never sees rows" in text
    assert set(last.to_json()) == set(last.__slots__)
    squared = split(model, sample, at=5).leakage
    assert squared.rows_to_determine == 91  # terms of degree 2 in 12 numbers
    wide = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 200), nn.GELU(), nn.Linear(200, 2))
    early = split(wide, sample, at=1).leakage
    assert early.rows_to_determine == early.back_parameters == 64 * 200 + 200 + 402
    assert early.warnings == ()


def test_a_program_is_split_too(sample: np.ndarray, tmp_path: Path) -> None:
    flat = sample.reshape(300, 64)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 3))
    program = read_torch(network, (64,), classes=("a", "b", "c"))
    found = split(program, flat, at=2)
    np.testing.assert_allclose(found.evaluate(flat), program.evaluate(flat), atol=1e-12)
    assert found.back.meaning == program.meaning
    assert isinstance(found.front, ProgramFront)
    save_front(found.front, tmp_path)
    np.testing.assert_array_equal(load_front(tmp_path).features(flat), found.features)


def test_a_cnn_of_the_house_is_split_behind_its_maxima() -> None:
    generator = np.random.default_rng(4)
    architecture = Cnn(shape=(1, 8, 8), channels=(3, 4), hidden=6, classes=2)
    parameters = {
        name: generator.normal(size=shape).astype(np.float32) / 3
        for name, shape in parameter_shapes(architecture).items()
    }
    features = tuple(f"pixel {index}" for index in range(64))
    trained = TrainedModel(architecture=architecture, parameters=parameters, features=features, classes=("cat", "dog"))
    rows = generator.normal(size=(50, 64)).astype(np.float32)
    found = split(trained, rows, at="head")
    assert found.back.meaning.classes == ("cat", "dog")
    assert found.features.shape == (50, 6)
    np.testing.assert_allclose(found.evaluate(rows), trained.logits(rows), atol=1e-4)
    assert split(trained, rows, at="flat").features.shape == (50, 16)
    branched = Mlp(inputs=4, hidden=(3,), classes=2, linear_inputs=2)
    empty = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(branched).items()}
    named = tuple(f"column {index}" for index in range(6))
    other = TrainedModel(architecture=branched, parameters=empty, features=named, classes=("a", "b"))
    with pytest.raises(UsageError, match="no place to cut"):
        split(other, np.zeros((5, 6)), at=1)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (0, "leaves nothing"),
        (8, "no layer 8"),
        ("nothing", "no single layer called 'nothing'"),
        ("0.0", "leaves nothing in front"),
        ("0.3", "no ciphertext can compute a maximum"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(
    model: nn.Sequential, sample: np.ndarray, at: int | str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        split(model, sample, at=at)


def test_layers_that_are_not_what_they_seem_are_refused(sample: np.ndarray) -> None:
    class Doubling(nn.ReLU):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    tail = [nn.Flatten(), nn.Linear(64, 2)]
    with pytest.raises(UsageError, match="Doubling cannot be written"):
        split(nn.Sequential(Doubling(), *tail), sample, at=1)
    hooked = nn.ReLU()
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(UsageError, match="hooks"):
        split(nn.Sequential(hooked, *tail), sample, at=1)
    with pytest.raises(UsageError, match="mixes rows"):
        split(nn.Sequential(nn.Softmax(dim=0), *tail), sample, at=1)
    with pytest.raises(UsageError, match="running figures"):
        split(nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), *tail), sample, at=1)
    with pytest.raises(UsageError, match="cannot be written into a front"):
        split(nn.Sequential(nn.Conv2d(3, 4, 3), *tail), sample, at=1)  # three channels
    patched = nn.ReLU()
    patched.forward = lambda x: 3 * x  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="off by"):
        split(nn.Sequential(patched, *tail), sample, at=1)
    with pytest.raises(UsageError, match="is not split"):
        split(nn.Linear(64, 2), sample, at=1)
    with pytest.raises(DataError, match="at least two rows"):
        split(nn.Sequential(nn.ReLU(), *tail), sample[:1], at=1)


def test_an_encrypted_linear_back_decides_as_the_whole_model(model: nn.Sequential, sample: np.ndarray) -> None:
    pytest.importorskip("tenseal")
    from wardline.he.frames.evaluation_keys import expand_keys
    from wardline.he.linear.rows import decrypt_outputs, encrypt_rows
    from wardline.he.seal.bridge import SealLattice

    found = split(model, sample, at=7)
    compiled = compile_model(found.back, found.features)
    assert compiled.public.features == found.back.features
    assert compiled.fidelity.agreement is not None
    assert compiled.fidelity.agreement >= 0.999
    plan = compiled.public.plan
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys())
    fresh = images(400, seed=2)
    (columns,) = encrypt_rows(lattice, plan, found.front.features(fresh))
    reply = compiled.evaluator.evaluate(columns, keys, rows=400)
    decided = found.back.meaning.decide(decrypt_outputs(lattice, plan, [reply], rows=400))
    with torch.no_grad():
        whole = model(torch.from_numpy(fresh)).numpy()
    assert (decided == whole.argmax(axis=1)).mean() >= 0.995


def test_an_encrypted_squaring_back_decides_as_the_whole_model(model: nn.Sequential, sample: np.ndarray) -> None:
    pytest.importorskip("tenseal")
    from wardline.he.frames.evaluation_keys import expand_keys
    from wardline.he.network.evaluation import replies
    from wardline.he.network.rows import decrypt_outputs, encrypt_rows
    from wardline.he.seal.bridge import SealLattice

    found = split(model, sample, at=5)
    plan, secret = plan_network(found.back, found.features)
    with torch.no_grad():
        whole = model(torch.from_numpy(images(400, seed=2))).numpy()
    features = found.front.features(images(400, seed=2))
    random = np.random.default_rng(0)
    simulated = found.back.meaning.decide(secret.simulate(features, plan, random=random))
    assert (simulated == whole.argmax(axis=1)).mean() >= 0.995
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=True))
    (columns,) = encrypt_rows(lattice, plan, features)
    reply = replies(columns, keys, plan=plan, secret=secret)
    outputs = decrypt_outputs(lattice, plan, [reply], rows=400)
    assert (found.back.meaning.decide(outputs) == whole.argmax(axis=1)).mean() >= 0.995
