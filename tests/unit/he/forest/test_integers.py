"""Thresholds as bits, and values of leaves as integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.he.forest.integers import Thresholds, canonical, reach, sums, thresholds_of, to_integers


@given(
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    value=st.floats(allow_nan=False, width=32, allow_infinity=False),
    near=st.integers(-2, 2),
)
def test_a_threshold_of_32_bits_compares_as_that_of_64_did(threshold: float, value: float, near: int) -> None:
    (found,) = canonical(np.array([threshold]), "float32")
    assert found == np.float32(found)
    with np.errstate(over="ignore"):
        close = np.float32(threshold)
        for _ in range(abs(near)):
            close = np.nextafter(close, np.float32(np.sign(near) * np.inf))
    for one in (np.float32(value), close):
        # Below the least 32-bit float no finite row can lie, and only that float itself is taken for it.
        if np.isfinite(one) and not threshold < float(np.finfo(np.float32).min):
            assert (float(one) <= threshold) == (float(one) <= found)


def test_integers_are_the_forest_up_to_rounding(random_forest, rows) -> None:
    for seed in range(10):
        forest, sample = random_forest(seed, trees=4, depth=4, outputs=2), rows(seed)
        thresholds = thresholds_of(forest)
        step = 1e-3
        trees, base = to_integers(forest, thresholds, step=step, centre=np.array([1.0, -1.0]))
        found = sums(trees, base, thresholds.bits(sample))
        off = np.abs(found * step + [1.0, -1.0] - forest.evaluate(sample))
        assert off.max() <= step * 5 / 2 + 1e-12
        assert (np.abs(found).max(axis=0) <= reach(trees, base)).all()


def test_decoys_are_further_thresholds_between_values_of_the_sample(random_forest, rows) -> None:
    forest, sample = random_forest(3), rows(3)
    used, hidden = thresholds_of(forest), thresholds_of(forest, decoys=6, sample=sample)
    own = set(zip(used.feature.tolist(), used.threshold.tolist(), strict=True))
    every = set(zip(hidden.feature.tolist(), hidden.threshold.tolist(), strict=True))
    assert own < every
    assert set(hidden.feature.tolist()) == {0, 1, 2}
    for feature in range(3):
        added = [value for one, value in every - own if one == feature]
        assert len(added) <= 6
        assert sample[:, feature].min() < min(added) <= max(added) < sample[:, feature].max()
    one, other = (to_integers(forest, each, step=1e-3, centre=np.zeros(1)) for each in (used, hidden))
    np.testing.assert_array_equal(sums(*one, used.bits(sample)), sums(*other, hidden.bits(sample)))


def test_what_does_not_fit_is_refused(random_forest) -> None:
    forest = random_forest(1)
    with pytest.raises(ValueError, match="drawn from a sample"):
        thresholds_of(forest, decoys=2)
    with pytest.raises(ValueError, match="rise"):
        Thresholds(feature=np.array([0, 0]), threshold=np.array([1.0, 1.0]), number="float32")
    with pytest.raises(ValueError, match="rise"):
        Thresholds(feature=np.array([1, 0]), threshold=np.array([1.0, 2.0]), number="float32")
    with pytest.raises(OverflowError, match="62 bits"):
        to_integers(forest, thresholds_of(forest), step=1e-40, centre=np.zeros(1))
