from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec, TextSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.attacks.reconstruction.inversion import InversionData, ModelInversion
from wardline.core import Seeds, Verdict, canonical_json
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor

SPEC = InputSpec(shape=(1, 8, 8))
PATTERNS = np.zeros((5, 8, 8), dtype=np.float32)
for index, place in enumerate([np.s_[:3, :], np.s_[5:, :], np.s_[:, :3], np.s_[:, 5:], np.s_[2:6, 2:6]]):
    PATTERNS[index][place] = 0.8


def _pictures(rows: int, stream: str) -> tuple[np.ndarray, np.ndarray]:
    generator = Seeds(1).numpy(stream)
    y = generator.integers(5, size=rows)
    return np.clip(PATTERNS[y] + 0.15 * generator.normal(size=(rows, 8, 8)), 0, 1).astype(np.float32)[:, None], y


def _model(stream: str) -> TorchPredictor:
    x, y = _pictures(400, stream)
    examples = Examples(
        x=x.reshape(-1, 64), y=y, unit=np.arange(400, dtype=np.int64),
        features=tuple(f"p{i}" for i in range(64)), classes=tuple("abcde"),
    )  # fmt: skip
    config = PlainConfig(batch=32, epochs=15, learning_rate=0.01)
    model = train_plain(Mlp(inputs=64, hidden=(32,), classes=5), examples, config=config, seeds=Seeds(2).child(stream))
    return TorchPredictor(nn.Sequential(nn.Flatten(), model.module()), classes=5)


MODEL = _model("target")
DATA = InversionData(judge=_model("judge"), means=PATTERNS[:, None], twin=MODEL)


def test_representatives_are_recognised_and_resemble_their_class() -> None:
    result = ModelInversion().run(Target(MODEL, SPEC), DATA, Budget(), 0)
    assert result.n == 15
    assert result.rate == 1.0
    assert result.verdict is Verdict.FAIL
    assert result.details["correlation_to_class_mean"] > result.details["correlation_of_overall_mean"] + 0.2
    assert (SPEC.admissible(result.examples["x"], result.examples["x"])).all()


def test_a_model_that_knows_nothing_gives_nothing_and_the_control_works() -> None:
    blank = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        blank[1].weight.uniform_(-0.1, 0.1, generator=generator)
    result = ModelInversion(starts=10, steps=60).run(Target(TorchPredictor(blank, classes=5), SPEC), DATA, Budget(), 0)
    assert result.rate < 0.5
    assert result.details["correlation_to_class_mean"] < 0.3
    assert result.verdict is not Verdict.FAIL
    assert {check.name: check.outcome for check in result.checks}["control"] is Verdict.PASS


def test_a_start_that_was_cut_short_does_not_count() -> None:
    result = ModelInversion(steps=50).run(Target(MODEL, SPEC), DATA, Budget(queries=300), 0)
    assert result.n == 5
    assert result.verdict is not Verdict.PASS
    assert {check.name: check.outcome for check in result.checks}["budget"] is Verdict.INCONCLUSIVE


def test_the_same_seed_gives_the_same_json() -> None:
    first, second = (ModelInversion(steps=20).run(Target(MODEL, SPEC), DATA, Budget(), 5).to_json() for _ in range(2))
    assert canonical_json(first) == canonical_json(second)


def test_less_access_texts_and_other_classes_are_refused() -> None:
    with pytest.raises(AccessDenied):
        ModelInversion().run(Target(MODEL, SPEC, access=Access.SCORES), DATA, Budget(), 0)
    with pytest.raises(ValueError, match="numeric"):
        ModelInversion().run(Target(MODEL, TextSpec()), DATA, Budget(), 0)
    with pytest.raises(ValueError, match="judge and means"):
        ModelInversion().run(Target(MODEL, SPEC), InversionData(judge=MODEL, means=PATTERNS), Budget(), 0)
