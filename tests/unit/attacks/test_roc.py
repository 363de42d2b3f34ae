from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from wardline.attacks.roc import MAX_POINTS, non_members_needed, non_members_to_bound, roc_curve, tpr_at_fpr

whole = st.lists(st.integers(-5, 5), min_size=1, max_size=40).map(lambda values: np.array(values, dtype=np.float64))


def _brute_force(members: np.ndarray, non_members: np.ndarray, allowed: float) -> float:
    """The best rate over every threshold that there is."""
    thresholds = np.concatenate([members, non_members, [-np.inf]])
    kept = [t for t in thresholds if (non_members > t).sum() <= allowed]
    return max(float((members > t).mean()) for t in kept)


@given(members=whole, non_members=whole)
def test_every_point_is_the_best_that_a_threshold_reaches(members: np.ndarray, non_members: np.ndarray) -> None:
    roc = roc_curve(members, non_members)
    assert (roc.fpr[-1], roc.tpr[-1]) == (1.0, 1.0)
    assert list(roc.fpr) == sorted(roc.fpr)
    assert list(roc.tpr) == sorted(roc.tpr)
    for fpr, tpr in zip(roc.fpr, roc.tpr, strict=True):
        assert tpr <= _brute_force(members, non_members, round(fpr * len(non_members))) + 1e-12


@given(members=whole, non_members=whole)
def test_area_is_that_of_scikit_learn(members: np.ndarray, non_members: np.ndarray) -> None:
    labels = [1] * len(members) + [0] * len(non_members)
    expected = roc_auc_score(labels, np.concatenate([members, non_members]))
    assert roc_curve(members, non_members).auc == pytest.approx(expected)


@given(members=whole, fpr=st.sampled_from([0.5, 0.2, 0.1]), data=st.data())
def test_rate_is_the_best_within_the_bound(members: np.ndarray, fpr: float, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-5, 5), min_size=10, max_size=40))
    non_members = np.array(values, dtype=np.float64)
    rate = tpr_at_fpr(members, non_members, fpr=fpr)
    assert rate.reached_fpr <= fpr
    assert rate.interval.low <= rate.value <= rate.interval.high
    # Thresholds on non-members alone: nothing better is known without looking at members.
    assert rate.value == pytest.approx(_brute_force_on_non_members(members, non_members, fpr))


def _brute_force_on_non_members(members: np.ndarray, non_members: np.ndarray, fpr: float) -> float:
    return max(float((members > t).mean()) for t in non_members if (non_members > t).mean() <= fpr + 1e-12)


def test_too_few_non_members_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match="needs 1000 non-members, there are 999"):
        tpr_at_fpr(np.zeros(5), np.zeros(999), fpr=0.001)
    assert tpr_at_fpr(np.ones(5), np.zeros(1000), fpr=0.001).value == 1.0
    assert [non_members_needed(fpr) for fpr in (0.1, 0.01, 0.001, 0.3)] == [10, 100, 1000, 4]


def test_constant_scores_recognise_nobody() -> None:
    """A model that says the same about everybody gives nobody away."""
    assert tpr_at_fpr(np.zeros(50), np.zeros(200), fpr=0.01).value == 0.0
    assert roc_curve(np.zeros(50), np.zeros(200)).auc == 0.5


def test_a_curve_is_thinned_to_what_a_chart_needs() -> None:
    scores = np.arange(20_000, dtype=np.float64)
    roc = roc_curve(scores + 300, scores)
    assert len(roc.fpr) <= MAX_POINTS
    assert sum(0 < fpr <= 0.01 for fpr in roc.fpr) > 30


def test_scores_that_are_not_finite_are_refused() -> None:
    for bad in (np.array([np.nan]), np.array([np.inf]), np.array([])):
        with pytest.raises(ValueError):
            roc_curve(bad, np.zeros(3))


@pytest.mark.parametrize(("fpr", "level"), [(0.01, 0.95), (0.05, 0.9), (0.001, 0.95)])
def test_an_interval_starts_above_zero_as_soon_as_there_are_enough_non_members(fpr: float, level: float) -> None:
    needed = non_members_to_bound(fpr, level=level)
    members = np.full(500, 10.0)
    for count, above in ((needed, True), (needed - 1, False)):
        rate = tpr_at_fpr(members, np.arange(count) / count, fpr=fpr, level=level)
        assert rate.value == 1.0
        assert (rate.interval.low > 0) == above
