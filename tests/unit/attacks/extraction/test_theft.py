"""How copies are judged, and the two attacks that train them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wardline.attacks.extraction.jbda import Jbda
from wardline.attacks.extraction.knockoff import Knockoff
from wardline.attacks.extraction.theft import ExtractionData
from wardline.attacks.protocol.ledger import BudgetSpent, QueryLedger
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec, TextSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds, UsageError, Verdict
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Logistic, Mlp
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.answers import TopOnly

SPEC = InputSpec(shape=(64,))


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)


@pytest.fixture(scope="module")
def model(digits):
    x, y = digits
    names, classes = tuple(f"p{i}" for i in range(64)), tuple(map(str, range(10)))
    examples = Examples(x=x[:600], y=y[:600], unit=np.arange(600), features=names, classes=classes)
    config = PlainConfig(batch=64, epochs=12, learning_rate=5e-3)
    return TorchPredictor.of(
        train_plain(Mlp(inputs=64, hidden=(32,), classes=10), examples, config=config, seeds=Seeds(0))
    )


@pytest.fixture(scope="module")
def data(digits):
    x, y = digits
    return ExtractionData(pool=x[600:1297], held_out=x[1297:], truth=y[1297:])


def agreements(result):
    return [point["agreement"] for point in result.details["curve"]]


@pytest.mark.parametrize("choose", ["random", "adaptive"])
def test_knockoff_copies_a_network_from_natural_inputs(model, data, choose):
    target = Target(model, SPEC, access=Access.SCORES)
    result = Knockoff(queries=400, choose=choose, steps=300).run(target, data, Budget(), 0)
    assert result.rate >= 0.85
    assert result.chance < 0.2
    assert result.verdict is Verdict.FAIL
    assert agreements(result)[-1] > agreements(result)[0]
    assert result.details["attack_queries"] == 400
    assert result.queries == 400 + 500 + 64
    assert result.details["copy_accuracy"]["value"] >= 0.75


def test_scores_teach_more_than_labels(model, data):
    attack = Knockoff(queries=150, steps=300)
    scores = attack.run(Target(model, SPEC, access=Access.SCORES), data, Budget(), 0)
    labels = attack.run(Target(TopOnly(model), SPEC), data, Budget(), 0)
    assert scores.rate > labels.rate > 0.6


def test_knockoff_asks_about_nothing_twice(model, data):
    asked = []

    class Listening(TopOnly):
        def answer(self, x):
            asked.append(x.copy())
            return super().answer(x)

    Knockoff(queries=300, choose="adaptive", steps=20).run(Target(Listening(model), SPEC), data, Budget(), 0)
    rows = np.concatenate(asked[2:])  # the first two are the comparison
    assert len(rows) == 300
    pool = {row.tobytes() for row in data.pool}
    assert all(row.tobytes() in pool for row in rows)
    assert len(np.unique(rows, axis=0)) >= 0.99 * len(np.unique(data.pool, axis=0)) * 300 / len(data.pool)


@pytest.mark.parametrize("variant", ["jacobian", "t-rnd"])
def test_augmentation_makes_more_of_few_inputs(model, data, variant):
    attack = Jbda(seed_rows=60, rounds=3, step=0.1, variant=variant, steps=300)
    result = attack.run(Target(TopOnly(model), SPEC), data, Budget(), 0)
    curve = result.details["curve"]
    assert [point["queries"] for point in curve] == [60, 120, 240, 480]
    assert result.rate > curve[0]["agreement"] + 0.01
    assert result.rate >= 0.7


def test_synthetic_inputs_keep_groups_and_steps():
    spec = InputSpec(
        shape=(5,), low=0, high=np.array([9, 1, 1, 1, 1], dtype=np.float32), groups=((1, 2, 3),),
        steps=np.array([1, 0, 0, 0, 0], dtype=np.float32),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x = spec.repair((rng.random((200, 5)) * spec.high).astype(np.float32), np.full((200, 5), np.nan, np.float32))
    asked = []

    class Answers:
        classes, gives = 2, "labels"

        def answer(self, x):
            asked.append(x.copy())
            return (x[:, 0] + 4 * x[:, 2] > 5).astype(np.int64)

    data = ExtractionData(pool=x[:50], held_out=x[50:])
    result = Jbda(seed_rows=30, rounds=2, step=0.3, steps=100).run(Target(Answers(), spec), data, Budget(), 0)
    rows = np.concatenate(asked)
    assert spec.admissible(rows, rows).all()
    assert np.abs(rows[:, 0] - np.round(rows[:, 0])).max() < 1e-3
    assert result.rate > 0.8


def test_a_copy_that_was_never_made_has_no_rate(model, data):
    target = Target(model, SPEC, ledger=QueryLedger(cap=570))
    result = Jbda(seed_rows=60, rounds=1, steps=5).run(target, data, Budget(), 0)
    assert target.ledger.queries <= 570
    assert result.n == len(data.held_out)  # six questions are few, and a copy was made of them
    with pytest.raises(BudgetSpent):
        Knockoff().run(Target(model, SPEC, ledger=QueryLedger(cap=10)), data, Budget(), 0)


def test_a_copy_that_cannot_fit_leaves_the_matter_open(digits, data):
    class Odd:
        """Parity of a pixel's fine digits: nothing that a linear copy learns."""

        classes, gives = 2, "labels"

        def answer(self, x):
            return (np.floor(x.sum(axis=1) * 97) % 2).astype(np.int64)

    attack = Knockoff(queries=300, steps=50, architecture=Logistic(inputs=64, classes=2))
    result = attack.run(Target(Odd(), SPEC), ExtractionData(pool=data.pool, held_out=data.held_out), Budget(), 0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any(check.name == "copy-fits" and check.outcome is Verdict.INCONCLUSIVE for check in result.checks)


def test_answers_that_are_no_numbers_do_not_count(data):
    class Silent:
        classes, gives = 2, "labels"

        def answer(self, x):
            return np.where(x[:, 20] > 0.5, -1, (x.sum(axis=1) > 20).astype(np.int64))

    result = Knockoff(queries=200, steps=100).run(Target(Silent(), SPEC), data, Budget(), 0)
    assert result.n < len(data.held_out)
    assert any(check.name == "finite-answers" and check.outcome is Verdict.INCONCLUSIVE for check in result.checks)


@pytest.mark.parametrize(
    "attack",
    [Knockoff(queries=100, steps=30), Knockoff(queries=100, steps=30, choose="adaptive"), Jbda(rounds=1, steps=30)],
)
def test_equal_seeds_give_equal_json(model, data, attack):
    first, again, other = (attack.run(Target(model, SPEC), data, Budget(), seed).to_json() for seed in (1, 1, 2))
    assert first == again
    assert first["details"] != other["details"]


def test_bad_settings_and_data_are_refused(model, data):
    texts = np.array(["a", "b"], dtype=object)
    with pytest.raises(UsageError, match="text"):
        Knockoff().run(Target(model, TextSpec()), ExtractionData(pool=texts, held_out=texts), Budget(), 0)
    with pytest.raises(ValueError, match="judge"):
        ExtractionData(pool=data.pool, held_out=data.held_out[:0])
    with pytest.raises(ValueError, match="true classes"):
        ExtractionData(pool=data.pool, held_out=data.held_out, truth=np.zeros(3, dtype=np.int64))
    for attack, bad in ((Knockoff, {"choose": "best"}), (Jbda, {"variant": "x"}), (Jbda, {"step": 0.0})):
        with pytest.raises(ValueError, match=next(iter(bad))):
            attack(**bad)
