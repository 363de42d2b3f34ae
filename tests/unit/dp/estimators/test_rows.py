"""Rows are bounded by public rules, each by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wardline.core import SecureRandom
from wardline.dp.estimators.rows import RowScaler, check_bounds, unit_weights

VALUES = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays(np.float64, (7, 4), elements=VALUES), st.sampled_from([1e-3, 0.5, 2.0, 100.0]))
def test_no_row_is_longer_than_it_may_be_and_none_depends_on_another(x, clip_norm):
    lower, upper = check_bounds(([-3.0, 0.0, -1e300, 1.0], [5.0, 1.0, 1e-300, 1.0000001]), 4)
    scaler = RowScaler(lower=lower, upper=upper, clip_norm=clip_norm)
    rows = scaler.transform(x)
    assert np.isfinite(rows).all()
    assert (np.linalg.norm(rows[:, :-1].astype(np.longdouble), axis=1) <= clip_norm).all()
    assert (np.linalg.norm(rows.astype(np.longdouble), axis=1) <= scaler.row_norm).all()
    assert (rows[:, -1] == 1.0).all()
    for place in range(len(x)):
        assert (scaler.transform(x[place : place + 1]) == rows[place]).all()


def test_indicators_stay_and_other_features_are_centred():
    scaler = RowScaler(lower=np.array([0.0, 10.0]), upper=np.array([1.0, 20.0]), clip_norm=50.0)
    found = scaler.transform(np.array([[0.0, 10.0], [1.0, 15.0], [1.0, 99.0]]))
    np.testing.assert_allclose(found, [[0, -1, 1], [1, 0, 1], [1, 1, 1]], atol=1e-9)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (None, "must be given"),
        (3, "pair"),
        ((0, 1, 2), "pair"),
        ((1, 0), "feature 0 is not below"),
        (([0, 0, 5], [1, 1, 5]), "feature 2 is not below"),
        ((0, [1, 1]), "upper bounds must be one number, or 3 numbers"),
        ((-np.inf, 1), "finite"),
        ((np.nan, 1), "finite"),
        ((-1e308, 1e308), "differences"),
        (("a", 1), "could not convert"),
    ],
)
def test_bad_bounds_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        check_bounds(bounds, 3)


def test_rows_of_a_person_share_one_weight():
    groups = np.array(["b", "a", "b", "c", "b"])
    kept, shared = unit_weights(groups, 5, most=None, random=SecureRandom())
    assert kept.tolist() == [0, 1, 2, 3, 4]
    assert shared.tolist() == [3, 1, 3, 1, 3]
    seen = set()
    for _ in range(60):
        kept, shared = unit_weights(groups, 5, most=2, random=SecureRandom())
        assert {1, 3} < set(kept.tolist())
        assert len(kept) == 4
        assert shared.tolist() == [2 if groups[place] == "b" else 1 for place in kept]
        seen.add(tuple(kept.tolist()))
    assert len(seen) == 3, "each of the three pairs is chosen; one is missed with a probability of 3 (2/3)^60 < 1e-10"


@pytest.mark.parametrize("groups", [[1, 2], [[1, 2, 3]], [1.0, np.nan, 2.0], ["a", None, "b"]])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match="groups must"):
        unit_weights(np.array(groups, dtype=object), 3, most=2, random=SecureRandom())
