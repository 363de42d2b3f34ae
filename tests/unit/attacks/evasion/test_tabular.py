"""Tabular evasion: every proposal could exist, and where the optimum is known it is found."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from wardline.attacks.evasion.moves import Columns
from wardline.attacks.evasion.tabular import Tabular
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec, TextSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import UsageError, Verdict
from wardline.models.scikit_predictor import scikit_predictor
from wardline.models.torch_predictor import TorchPredictor

# Two numbers, one of them in whole steps, a number that cannot be changed, and a category of three values.
SPEC = InputSpec(
    shape=(6,),
    low=np.array([0, 0, 0, 0, 0, 0], dtype=np.float32),
    high=np.array([10, 5, 1, 1, 1, 1], dtype=np.float32),
    steps=np.array([0, 1, 0, 0, 0, 0], dtype=np.float32),
    mutable=np.array([True, True, False, True, True, True]),
    groups=((3, 4, 5),),
    names=("amount", "months", "age", "job=a", "job=b", "job=c"),
)

SLOPE = np.array([0.2, -0.5, 9.0, 1.0, -1.0, 0.2])  # mostly what cannot be changed


def rows_of(spec, rng, rows):
    x = np.asarray(spec.low) + rng.random((rows, spec.features)) * (np.asarray(spec.high) - np.asarray(spec.low))
    free = InputSpec(shape=spec.shape, low=spec.low, high=spec.high, steps=spec.steps, groups=spec.groups)
    return free.repair(x.astype(np.float32), np.full(x.shape, np.nan, dtype=np.float32))


def linear(slope, offset):
    module = nn.Linear(len(slope), 2)
    with torch.no_grad():
        module.weight[0], module.weight[1] = torch.zeros(len(slope)), torch.tensor(slope, dtype=torch.float32)
        module.bias[:] = torch.tensor([0.0, offset])
    return TorchPredictor(module, classes=2)


def best_gains(x, y, slope, spec):
    """How much each column alone can raise the margin: the ends of its range, or the best category."""
    sign = 1 if y == 0 else -1
    gains = []
    for column in Columns(spec).all:
        f = list(column.features)
        if not column.mutable:
            gains.append(0.0)
        elif len(f) > 1:
            gains.append(max(sign * slope[f]) - sign * slope[f] @ x[f])
        else:
            ends = np.array([spec.low[f[0]], spec.high[f[0]]])
            gains.append(max(sign * slope[f[0]] * (ends - x[f[0]])))
    return np.array(gains)


@pytest.mark.parametrize("access", [Access.WHITE_BOX, Access.SCORES])
@pytest.mark.parametrize("changes", [1, 2, 3])
def test_exactly_those_rows_of_a_linear_model_fall_that_can_fall(access, changes):
    rng = np.random.default_rng(5)
    x = rows_of(SPEC, rng, 80)
    predictor = linear(SLOPE, -float(np.median(x @ SLOPE)))
    y = predictor.answer(x).argmax(axis=1)
    result = Tabular(changes=changes).run(Target(predictor, SPEC, access=access), Labelled(x=x, y=y), Budget(), 0)
    margins = np.abs(np.diff(predictor.answer(x), axis=1))[:, 0]
    reach = np.array([np.sort(best_gains(r, c, SLOPE, SPEC))[-changes:].sum() for r, c in zip(x, y, strict=True)])
    clear = np.abs(reach - margins) > 1e-4
    assert clear.all()
    assert (result.examples["found"] == (reach > margins)).all()
    assert 0 < result.rate < 1


@pytest.mark.parametrize("changes", [1, 2])
def test_labels_alone_find_no_more_than_there_is_and_all_single_changes(changes):
    rng = np.random.default_rng(5)
    x = rows_of(SPEC, rng, 80)
    predictor = linear(SLOPE, -float(np.median(x @ SLOPE)))
    y = predictor.answer(x).argmax(axis=1)
    data = Labelled(x=x, y=y)
    seen = Tabular(changes=changes).run(Target(predictor, SPEC, access=Access.LABELS), data, Budget(), 0)
    best = Tabular(changes=changes).run(Target(predictor, SPEC), data, Budget(), 0)
    assert (best.examples["found"] >= seen.examples["found"]).all()
    if changes == 1:
        assert (best.examples["found"] == seen.examples["found"]).all()
    assert seen.rate >= 0.7 * best.rate > 0


class Hashed:
    """A jagged model of any number of classes: nearly every change is another class somewhere."""

    gives = "probabilities"

    def __init__(self, seed, classes, features):
        rng = np.random.default_rng(seed)
        self.classes = classes
        self._first, self._second = rng.normal(size=(features, 16)), rng.normal(size=(16, classes))

    def answer(self, x):
        scores = np.sin(3 * x @ self._first) @ self._second
        return (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float32)


@st.composite
def specs(draw):
    groups, at = [], 0
    for size in draw(st.lists(st.integers(2, 4), max_size=3)):
        groups.append(tuple(range(at, at + size)))
        at += size
    numbers = draw(st.integers(1, 4))
    features = at + numbers
    low, high, steps = np.zeros(features), np.ones(features), np.zeros(features)
    for f in range(at, features):
        low[f] = draw(st.sampled_from([-3.0, 0.0, 19.0]))
        steps[f] = draw(st.sampled_from([0.0, 1.0, 2.5]))
        high[f] = low[f] + draw(st.sampled_from([5.0, 7.3, 40.0]))
    mutable = np.ones(features, dtype=np.bool_)
    for part in (*groups, *((f,) for f in range(at, features))):
        mutable[list(part)] = draw(st.booleans())
    f32 = np.float32
    return InputSpec(
        shape=(features,),
        low=low.astype(f32),
        high=high.astype(f32),
        steps=steps.astype(f32),
        mutable=mutable,
        groups=tuple(groups),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    spec=specs(),
    seed=st.integers(0, 10),
    classes=st.integers(2, 3),
    changes=st.integers(1, 3),
    cost=st.sampled_from([None, 0.3, 1.2]),
    access=st.sampled_from([Access.LABELS, Access.SCORES]),
)
def test_every_proposal_is_a_row_that_could_exist(spec, seed, classes, changes, cost, access):
    model = Hashed(seed, classes, spec.features)
    x = rows_of(spec, np.random.default_rng(seed), 8)
    y = model.answer(x).argmax(axis=1).astype(np.int64)
    attack = Tabular(changes=changes, cost=cost, values=5, beam=2)
    result = attack.run(Target(model, spec, access=access), Labelled(x=x, y=y), Budget(), seed)
    proposed = result.examples["adversarial"]
    columns = Columns(spec)
    assert all(check.outcome is Verdict.PASS for check in result.checks if check.name == "within-threat")
    assert spec.admissible(proposed, x).all()
    assert (columns.changed(proposed, x).sum(axis=1) <= changes).all()
    assert cost is None or (columns.cost(proposed, x) <= cost + 1e-5).all()
    found = result.examples["found"]
    assert (model.answer(proposed).argmax(axis=1)[found] != y[found]).all()


def test_one_change_is_searched_completely():
    rng = np.random.default_rng(0)
    model = Hashed(1, 2, 6)
    x = rows_of(SPEC, rng, 20)
    y = model.answer(x).argmax(axis=1).astype(np.int64)
    result = Tabular(changes=1, cost=0.2).run(Target(model, SPEC), Labelled(x=x, y=y), Budget(), 0)
    columns = Columns(SPEC)
    moves = columns.moves(x, values=12)
    for row in range(20):
        tried = moves.apply(np.repeat(x[row : row + 1], len(moves), axis=0), np.arange(len(moves)))
        allowed = columns.cost(tried, np.broadcast_to(x[row], tried.shape)) <= 0.2
        falls = allowed & (model.answer(tried).argmax(axis=1) != y[row])
        assert result.examples["found"][row] == falls.any()


def test_fewest_changes_and_least_cost_count_and_are_told():
    x = rows_of(SPEC, np.random.default_rng(5), 80)
    predictor = linear(SLOPE, -float(np.median(x @ SLOPE)))
    data = Labelled(x=x, y=predictor.answer(x).argmax(axis=1))
    one, three = (Tabular(changes=k).run(Target(predictor, SPEC), data, Budget(), 0) for k in (1, 3))
    assert set(three.details["changes"]) <= {"1", "2", "3"}
    assert three.details["changes"]["1"] == one.details["changes"]["1"]
    assert sum(three.details["changes"].values()) == three.examples["found"].sum()
    assert set(three.details["columns"]) <= {"amount", "months", "job"}
    assert one.details["median_cost"] <= 1


def test_questions_for_each_example_are_limited_and_that_is_said():
    x = rows_of(SPEC, np.random.default_rng(5), 30)
    predictor = linear(SLOPE, -float(np.median(x @ SLOPE)))
    data = Labelled(x=x, y=predictor.answer(x).argmax(axis=1))
    for access in (Access.LABELS, Access.SCORES):
        target = Target(predictor, SPEC, access=access)
        result = Tabular(queries=12).run(target, data, Budget(), 0)
        assert target.ledger.queries <= (12 + 3) * len(data)
        assert any(check.name == "searched" and check.outcome is Verdict.INCONCLUSIVE for check in result.checks)


def test_rows_without_a_gradient_are_counted_once_and_doubted():
    class Flat(nn.Module):
        def forward(self, x):
            return torch.stack([torch.ones(len(x)), torch.zeros(len(x))], dim=1) + 0 * x[:, :2]

    x = rows_of(SPEC, np.random.default_rng(0), 5)
    target = Target(TorchPredictor(Flat(), classes=2), SPEC)
    result = Tabular(changes=3, beam=1).run(target, Labelled(x=x, y=np.zeros(5, np.int64)), Budget(), 0)
    told = {check.name: check for check in result.checks}["zero-gradients"]
    assert told.outcome is Verdict.INCONCLUSIVE
    assert told.detail.startswith("5 of 5 rows")


def test_equal_seeds_give_equal_json_whatever_the_access():
    model, x = Hashed(3, 3, 6), rows_of(SPEC, np.random.default_rng(1), 20)
    data = Labelled(x=x, y=model.answer(x).argmax(axis=1).astype(np.int64))
    for access in (Access.LABELS, Access.SCORES):
        first, again = (Tabular().run(Target(model, SPEC, access=access), data, Budget(), 7).to_json() for _ in "ab")
        assert first == again


def test_pictures_texts_and_settings_out_of_range_are_refused():
    data = Labelled(x=np.zeros((1, 1, 4, 4), dtype=np.float32), y=np.zeros(1, dtype=np.int64))
    with pytest.raises(UsageError, match="no rows of a table"):
        Tabular().run(Target(Hashed(0, 2, 16), InputSpec(shape=(1, 4, 4))), data, Budget(), 0)
    with pytest.raises(UsageError, match="no columns"):
        Tabular().run(Target(Hashed(0, 2, 16), TextSpec()), data, Budget(), 0)
    for bad in ({"changes": 0}, {"values": 1}, {"beam": 0}, {"cost": 0.0}, {"queries": 9}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Tabular(**bad)


MUTABLE = ("purpose", "credit_amount", "duration_months", "savings")


def german_credit(root):
    """Rows with every code as a one-hot group and every number as it is; rules that hold, and rules without them."""
    table = pq.read_table(root / "german_credit" / "train.parquet")
    parts, low, high, steps, mutable, names, groups = [], [], [], [], [], [], []
    for name in table.column_names[:-1]:
        values = table[name].to_numpy(zero_copy_only=False)
        if values.dtype == object:
            kinds = sorted(set(values))
            groups.append(tuple(range(len(names), len(names) + len(kinds))))
            parts += [(values == kind).astype(np.float32) for kind in kinds]
            new, bounds, step = [f"{name}={kind}" for kind in kinds], (0, 1), 0
        else:
            parts.append(values.astype(np.float32))
            new, bounds, step = [name], (values.min(), values.max()), 1
        names += new
        low += [bounds[0]] * len(new)
        high += [bounds[1]] * len(new)
        steps += [step] * len(new)
        mutable += [name in MUTABLE] * len(new)
    f32 = {"dtype": np.float32}
    shared = {"shape": (len(names),), "low": np.array(low, **f32), "high": np.array(high, **f32)}
    strict = InputSpec(
        **shared, steps=np.array(steps, **f32), mutable=np.array(mutable), groups=tuple(groups), names=tuple(names)
    )
    loose = InputSpec(**shared, groups=tuple(groups), names=tuple(names))
    return np.stack(parts, axis=1), table["credit_class"].to_numpy().astype(np.int64) - 1, strict, loose


@pytest.mark.data
def test_a_forest_falls_to_few_admissible_changes_and_to_more_without_the_rules(data_root):
    x, y, strict, loose = german_credit(data_root)
    order = np.random.default_rng(0).permutation(len(x))
    train, held = order[:600], order[600:650]
    forest = RandomForestClassifier(30, min_samples_leaf=2, random_state=0).fit(x[train], y[train])
    data = Labelled(x=x[held], y=y[held])
    predictor = scikit_predictor(forest)
    rates = {}
    for access in (Access.SCORES, Access.LABELS):
        for changes in (1, 3):
            result = Tabular(changes=changes).run(Target(predictor, strict, access=access), data, Budget(), 0)
            assert strict.admissible(result.examples["adversarial"], data.x).all()
            assert set(result.details["columns"]) <= set(MUTABLE)
            rates[access, changes] = result.rate
    assert 0.15 < rates[Access.SCORES, 1] < rates[Access.SCORES, 3]
    assert rates[Access.LABELS, 3] >= 0.8 * rates[Access.SCORES, 3]
    free = Tabular(changes=1).run(Target(predictor, loose, access=Access.SCORES), data, Budget(), 0)
    assert free.rate > rates[Access.SCORES, 1]
    assert not set(free.details["columns"]) <= set(MUTABLE)
