"""Splitting by unit, and bounding what a unit contributes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import DataError, SecureRandom, Seeds
from wardline.data import Examples, bound_contribution, split_by_unit


def make(y: list[int], unit: list[int] | None = None, classes: int = 2) -> Examples:
    n = len(y)
    return Examples(
        x=np.arange(n, dtype=np.float32).reshape(n, 1),
        y=np.array(y, dtype=np.int64),
        unit=np.arange(n) if unit is None else np.unique(unit, return_inverse=True)[1].astype(np.int64),
        features=("row",),
        classes=tuple(f"class {index}" for index in range(classes)),
    )


@given(st.lists(st.integers(0, 2), min_size=6, max_size=60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_rows_are_stratified(y, holdout, seed):
    y = [0, 0, 1, 1, 2, 2, *y]
    examples = make(y, classes=3)
    split = split_by_unit(examples, holdout=holdout, seeds=Seeds(seed))
    assert sorted([*split.train_rows, *split.holdout_rows]) == list(range(len(y)))
    assert split.train.x[:, 0].tolist() == split.train_rows.tolist()
    assert split.holdout.x[:, 0].tolist() == split.holdout_rows.tolist()
    for group in range(3):
        size = y.count(group)
        kept = int((split.holdout.y == group).sum())
        assert 1 <= kept <= size - 1
        assert abs(kept - holdout * size) <= 1


@given(st.lists(st.integers(0, 9), min_size=40, max_size=80), st.integers(0, 3))
def test_no_person_stands_on_both_sides(unit, seed):
    unit = [*unit, 20, 20, 21, 21, 22, 22, 23, 23]
    examples = make([index % 2 for index in range(len(unit))], unit)
    split = split_by_unit(examples, holdout=0.5, seeds=Seeds(seed))
    one, other = (set(examples.unit[rows].tolist()) for rows in (split.train_rows, split.holdout_rows))
    assert not one & other
    assert one | other == set(range(examples.n_units))
    assert split.train.n_units == len(one)


def test_a_naive_split_of_rows_would_put_persons_on_both_sides():
    # The positive control of the test above: rows shuffled without regard to units.
    unit = np.repeat(np.arange(20), 4)
    mixed = np.random.default_rng(0).permutation(80)
    assert set(unit[mixed[:40]]) & set(unit[mixed[40:]])


def test_a_unit_of_one_row_each_is_stratified_whatever_its_order():
    examples = make([0] * 30 + [1] * 10, unit=list(range(39, -1, -1)))
    split = split_by_unit(examples, holdout=0.1, seeds=Seeds(1))
    assert np.bincount(split.holdout.y).tolist() == [3, 1]


def test_the_same_seed_splits_alike_and_another_differently():
    examples = make([0, 1] * 50)
    rows = [split_by_unit(examples, holdout=0.3, seeds=Seeds(seed)).holdout_rows.tolist() for seed in (4, 4, 5)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize("holdout", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_outside_is_refused(holdout):
    with pytest.raises(ValueError, match="holdout"):
        split_by_unit(make([0, 1] * 5), holdout=holdout, seeds=Seeds(0))


@pytest.mark.parametrize(
    "examples",
    [
        make([0, 0, 0, 1]),
        make([0, 0, 0, 0]),
        make([0, 0, 1, 1], unit=[0, 0, 1, 1]),
        make([0, 1, 0, 1], unit=[0, 0, 0, 0]),
    ],
)
def test_a_side_without_a_class_is_refused(examples):
    with pytest.raises(DataError, match=r"no row of class|fewer than two"):
        split_by_unit(examples, holdout=0.5, seeds=Seeds(0))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.integers(1, 5))
def test_nobody_contributes_more_than_allowed(unit, most):
    examples = make([0] * len(unit), unit)
    bounded = bound_contribution(examples, most, random=SecureRandom())
    before, after = np.bincount(examples.unit), np.bincount(bounded.unit)
    assert after.tolist() == np.minimum(before, most).tolist()
    kept = bounded.x[:, 0].astype(int)
    assert (np.diff(kept) > 0).all()
    assert examples.unit[kept].tolist() == bounded.unit.tolist()


def test_every_row_of_a_person_is_kept_equally_often():
    # 6000 draws of 2 rows out of 6, each kept with probability 1/3. By Hoeffding any count leaves 2000 +- 260 with
    # probability at most 6 * 2 exp(-2 * 260^2 / 6000) < 3e-9. Keeping the first rows, the plausible defect, gives
    # counts of 6000 and 0; a row kept with probability 0.25 instead of 1/3 is noticed with certainty above 0.999.
    examples = make([0] * 6, [0] * 6)
    random = SecureRandom()
    counts = np.zeros(6)
    for _ in range(6000):
        counts[bound_contribution(examples, 2, random=random).x[:, 0].astype(int)] += 1
    assert (np.abs(counts - 2000) < 260).all()


def test_a_bound_below_one_is_refused():
    with pytest.raises(ValueError, match="max_rows"):
        bound_contribution(make([0]), 0, random=SecureRandom())
