"""HopSkipJump against models whose margins are known, and against ART's at equal queries."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wardline.attacks.evasion.hopskipjump import HopSkipJump
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds, UsageError, Verdict
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball

WIDTH = 20
SPEC = InputSpec(shape=(WIDTH,), low=-10, high=10)


class Line:
    """Two classes, parted by a hyperplane; it says nothing but labels, and NaN beyond a distance if so wished."""

    classes, gives = 2, "labels"

    def __init__(self, *, silent_beyond=np.inf):
        self.slope = np.random.default_rng(7).normal(size=WIDTH)
        self.silent_beyond = silent_beyond

    def margins(self, x):
        return x.astype(np.float64) @ self.slope + 0.5

    def answer(self, x):
        labels = (self.margins(x) > 0).astype(np.int64)
        return np.where(np.abs(x).max(axis=1) > self.silent_beyond, -1, labels)


def labelled(model, *, rows=12):
    x = np.random.default_rng(1).normal(size=(rows, WIDTH)).astype(np.float32)
    return Labelled(x=x, y=model.answer(x))


def attacked(*, norm="l2", radius=1.0, queries=3000, model=None, spec=SPEC, budget=None, seed=3):
    model = model or Line()
    data = labelled(model)
    target = Target(model, spec)
    attack = HopSkipJump(ball=Ball(norm=norm, radius=radius), queries=queries)
    return attack.run(target, data, budget or Budget(), seed), data, target


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_distances_approach_the_margin_of_a_linear_model_and_never_fall_below_it(norm, dual):
    result, data, _ = attacked(norm=norm)
    model = Line()
    truth = np.abs(model.margins(data.x)) / np.linalg.norm(model.slope, ord=dual)
    distance = result.examples["distance"]
    assert (distance >= truth * (1 - 1e-4)).all()
    assert np.median(distance / truth) < 1.05
    curve = [point["median"] for point in result.details["distance"]["curve"]]
    assert curve == sorted(curve, reverse=True)


def test_the_interval_of_the_median_holds_it():
    told = attacked(queries=500)[0].details["distance"]
    assert told["median_interval"].low <= told["quantiles"]["0.5"] <= told["median_interval"].high


def test_pictures_and_rows_are_attacked_alike():
    class Pictured(Line):
        def answer(self, x):
            return super().answer(x.reshape(len(x), -1))

    flat = attacked(queries=400)[0]
    data = labelled(Line())
    pictures = Labelled(x=data.x.reshape(-1, 1, 4, 5), y=data.y)
    target = Target(Pictured(), InputSpec(shape=(1, 4, 5), low=-10, high=10))
    result = HopSkipJump(queries=400).run(target, pictures, Budget(), 3)
    assert result.examples["distance"].tolist() == flat.examples["distance"].tolist()
    assert result.examples["adversarial"].shape == pictures.x.shape


def test_success_within_a_radius_is_what_the_distances_say():
    wide, data, _ = attacked()
    radius = float(np.median(wide.examples["distance"]))
    result, _, _ = attacked(radius=radius)
    assert (result.examples["found"] == (result.examples["distance"] <= radius)).all()
    assert 0 < result.rate < 1
    changed = result.examples["adversarial"]
    assert (Line().answer(changed)[result.examples["found"]] != data.y[result.examples["found"]]).all()
    assert attacked(radius=0.0)[0].rate == 0


def test_no_example_gets_more_questions_than_it_may():
    result, data, target = attacked(queries=150)
    checks = 3 * len(data)  # clean, clean again, final
    assert target.ledger.queries == result.queries <= 150 * len(data) + checks


def test_a_budget_that_ends_in_the_middle_keeps_what_was_found():
    result, _, target = attacked(radius=100.0, budget=Budget(queries=400))
    assert target.ledger.queries <= 400
    assert result.rate == 1.0
    assert any(check.name == "budget" and check.outcome is not Verdict.PASS for check in result.checks)
    assert np.isfinite(result.examples["distance"]).all()


def test_an_answer_that_is_no_number_is_no_success():
    # Everything that the noise could start from is silent; the only other classes are the batch's own inputs.
    model = Line(silent_beyond=4.0)
    x = labelled(model).x
    data = Labelled(x=x[model.answer(x) == 1], y=model.answer(x)[model.answer(x) == 1])
    attack = HopSkipJump(ball=Ball(norm="l2", radius=100.0), queries=100)
    result = attack.run(Target(model, SPEC), data, Budget(), 0)
    assert result.rate == 0
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any(check.name == "starting-points" and check.outcome is Verdict.INCONCLUSIVE for check in result.checks)


def test_what_cannot_be_changed_stays():
    mutable = np.ones(WIDTH, dtype=np.bool_)
    mutable[::2] = False
    spec = InputSpec(shape=(WIDTH,), low=-10, high=10, mutable=mutable)
    result, data, _ = attacked(radius=100.0, queries=500, spec=spec)
    assert result.rate > 0.5
    assert (result.examples["adversarial"][:, ~mutable] == data.x[:, ~mutable]).all()


def test_where_nothing_can_be_changed_nothing_is_found():
    spec = InputSpec(shape=(WIDTH,), low=-10, high=10, mutable=np.zeros(WIDTH, dtype=np.bool_))
    result, _, _ = attacked(radius=100.0, queries=100, spec=spec)
    assert result.rate == 0
    assert result.verdict is Verdict.INCONCLUSIVE


def test_equal_seeds_give_equal_json_and_others_do_not():
    first, again, other = (attacked(queries=300, seed=seed)[0].to_json() for seed in (3, 3, 4))
    assert first == again
    assert first["details"] != other["details"]


def test_inputs_with_groups_and_unknown_norms_are_refused():
    grouped = InputSpec(shape=(WIDTH,), low=-10, high=10, steps=1.0)
    with pytest.raises(UsageError, match="groups or steps"):
        attacked(spec=grouped)
    with pytest.raises(ValueError, match="l2 and linf"):
        HopSkipJump(ball=Ball(norm="l1", radius=1))
    with pytest.raises(ValueError, match="queries"):
        HopSkipJump(queries=9)


def digits_model():
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int64)
    names = tuple(f"p{i}" for i in range(64))
    examples = Examples(
        x=x[:1200], y=y[:1200], unit=np.arange(1200), features=names, classes=tuple(map(str, range(10)))
    )
    config = PlainConfig(batch=128, epochs=8, learning_rate=5e-3)
    model = train_plain(Mlp(inputs=64, hidden=(32,), classes=10), examples, config=config, seeds=Seeds(0))
    return TorchPredictor.of(model), x[1200:1225], y[1200:1225]


@pytest.mark.crosscheck
@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", np.inf)])
def test_as_near_as_art_at_equal_queries(norm, order):
    pytest.importorskip("art")
    from art.attacks.evasion import HopSkipJump as Theirs
    from art.estimators.classification import BlackBoxClassifier

    predictor, x, y = digits_model()
    right = predictor.answer(x).argmax(axis=1) == y
    asked = 0

    def predict(rows):
        nonlocal asked
        asked += len(rows)
        return np.eye(10, dtype=np.float32)[predictor.answer(rows.astype(np.float32)).argmax(axis=1)]

    np.random.seed(0)
    theirs = Theirs(
        BlackBoxClassifier(predict, (64,), 10, clip_values=(0, 1)),
        norm=order,
        max_iter=5,
        init_eval=100,
        batch_size=64,
        verbose=False,
    )
    distances = np.linalg.norm(theirs.generate(x[right]) - x[right], ord=order, axis=1)
    attack = HopSkipJump(ball=Ball(norm=norm, radius=0.1), queries=asked // int(right.sum()))
    result = attack.run(
        Target(predictor, InputSpec(shape=(64,)), access=Access.LABELS), Labelled(x=x, y=y), Budget(), 0
    )
    # A factor of 1.15 is allowed; measured 0.9 to 1.0 on MNIST.
    assert np.nanmedian(result.examples["distance"]) <= 1.15 * np.median(distances)
