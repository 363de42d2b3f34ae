"""Rankings, conformal p-values and the choice of rows are what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import canonical_json
from wardline.robust.sanitise.ranking import Ranking, conformal_p_values, false_discovery_rows


def _ranking(*scores: float) -> Ranking:
    return Ranking(method="by hand", reference="none", scores=np.array(scores))


def test_the_worst_come_first_and_equals_keep_their_order():
    ranking = _ranking(1.0, 3.0, 2.0, 3.0)
    assert ranking.worst(3).tolist() == [1, 3, 2]
    assert ranking.worst(0).tolist() == []
    assert ranking.keep(2).tolist() == [0, 2]
    with pytest.raises(ValueError, match="between 0 and 4"):
        ranking.worst(5)


@pytest.mark.parametrize(
    ("poisoned", "auc", "precision"),
    [([1, 3], 1.0, 1.0), ([0], 0.0, 0.0), ([0, 1], 0.375, 0.5), ([2, 1], 0.625, 0.5)],
    ids=str,
)
def test_quality_counts_pairs_and_a_tie_as_half(poisoned, auc, precision):
    quality = _ranking(1.0, 3.0, 2.0, 3.0).quality(np.array(poisoned))
    assert (quality.auc, quality.precision, quality.poisoned, quality.rows) == (auc, precision, len(poisoned), 4)


def test_quality_needs_both_kinds():
    for rows in ([], [0, 1]):
        with pytest.raises(ValueError, match="some rows"):
            _ranking(1.0, 2.0).quality(np.array(rows, dtype=np.int64))


def test_p_values_are_shares_of_clean_scores():
    p = conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.5, 9.0]))
    assert p.tolist() == [1.0, 0.75, 0.5, 0.25]
    with pytest.raises(ValueError, match="at least one clean"):
        conformal_p_values(np.array([]), np.array([1.0]))


def test_trusted_rows_are_never_suspicious():
    p = _ranking(9.0, 1.0, 5.0).p_values(np.array([0, 1]))
    assert p.tolist() == [1.0, 1.0, 2 / 3]


def test_benjamini_and_hochberg_step_up():
    # The third value is under its own line (3/4 of 0.1), which takes the first two along.
    assert false_discovery_rows(np.array([0.06, 0.5, 0.04, 0.07]), rate=0.1).tolist() == [0, 2, 3]
    assert false_discovery_rows(np.array([0.5, 0.9]), rate=0.1).tolist() == []


def test_what_is_no_ranking_is_refused():
    for scores in (np.zeros((2, 2)), np.zeros(0), np.array([np.nan])):
        with pytest.raises(ValueError, match="one row of finite"):
            Ranking(method="", reference="", scores=scores)
    with pytest.raises(ValueError, match="one label for each row"):
        Ranking(method="", reference="", scores=np.zeros(2), proposed=np.zeros(3, dtype=np.int64))


def test_a_ranking_has_a_json_form():
    assert canonical_json(_ranking(1.0).to_json()) == b'{"method":"by hand","reference":"none","scores":[1]}'
