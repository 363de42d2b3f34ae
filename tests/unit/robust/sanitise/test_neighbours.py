"""Nearest neighbours find flipped labels, propose the right ones, and are fooled by rows that crowd together."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds
from wardline.robust.sanitise.neighbours import neighbour_disagreement


def test_scores_by_hand():
    x = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    y = np.array([0, 0, 1, 1, 1, 1])
    ranking = neighbour_disagreement(x, y, neighbours=2)
    assert ranking.scores.tolist() == [0.0, 0.0, 1.0, -1.0, -1.0, -1.0]
    assert ranking.proposed.tolist()[2:] == [0, 1, 1, 1]


def test_flipped_labels_come_first_and_the_true_one_is_proposed(digits, flipped):
    ranking = neighbour_disagreement(flipped.data.x, flipped.data.y)
    quality = ranking.quality(flipped.relabelled)
    assert quality.auc > 0.93
    assert quality.precision > 0.85
    assert (ranking.proposed == digits.y)[flipped.relabelled].mean() > 0.7


def test_cleaning_and_training_anew_brings_the_accuracy_back(digits, flipped, learner):
    ranking = neighbour_disagreement(flipped.data.x, flipped.data.y)
    kept = ranking.keep(len(flipped.relabelled))
    cleaned = learner(flipped.data.x[kept], flipped.data.y[kept], seeds=Seeds(0))
    assert flipped.accuracy() < 0.9
    assert flipped.accuracy(cleaned) > flipped.accuracy() + 0.03


def test_trusted_rows_turn_the_ranking_into_a_decision_with_a_bounded_share_of_errors(flipped):
    from wardline.robust.sanitise.ranking import false_discovery_rows

    ranking = neighbour_disagreement(flipped.data.x, flipped.data.y)
    right = np.setdiff1d(np.arange(len(flipped.data.y)), flipped.relabelled)
    called = false_discovery_rows(ranking.p_values(right[:200]), rate=0.1)
    assert np.isin(called, flipped.relabelled).mean() > 0.85
    assert np.isin(flipped.relabelled, called).mean() > 0.6


def test_adapted_images_under_one_strong_pattern_confirm_each_other(patched, veiled):
    apart = neighbour_disagreement(patched.data.x, patched.data.y).quality(patched.relabelled)
    crowded = neighbour_disagreement(veiled.data.x, veiled.data.y).quality(veiled.relabelled)
    assert apart.auc > 0.8
    assert crowded.auc < 0.6


def test_arguments_must_fit_together(digits):
    with pytest.raises(ValueError, match="more of them than neighbours"):
        neighbour_disagreement(digits.x[:5], digits.y[:5], neighbours=5)
    with pytest.raises(ValueError, match="as many labels"):
        neighbour_disagreement(digits.x, digits.y[:-1])
    with pytest.raises(ValueError, match="neighbours"):
        neighbour_disagreement(digits.x, digits.y, neighbours=0)
    one_class = neighbour_disagreement(digits.x[:20], np.zeros(20, dtype=np.int64))
    assert len(np.unique(one_class.scores)) == 1
