from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import norm

from wardline.attacks.membership.scores import (
    lira_offline_scores,
    lira_scores,
    log_confidence,
    loss_scores,
    rmia_log_ratio,
    rmia_offline_log_ratio,
    rmia_scores,
    scaled_confidence,
    unit_means,
)

GENERATOR = np.random.default_rng(7)
REFERENCES, ROWS, CLASSES = 10, 60, 4
LOGITS = GENERATOR.normal(size=(REFERENCES, ROWS, CLASSES)) * 3
TARGET = GENERATOR.normal(size=(ROWS, CLASSES)) * 3
Y = GENERATOR.integers(CLASSES, size=ROWS)
INSIDE = np.stack([GENERATOR.permutation(REFERENCES) < REFERENCES // 2 for _ in range(ROWS)], axis=1)
MANY = np.random.default_rng(8).normal(size=(18, ROWS, CLASSES)) * 3


def test_scaled_confidence_is_the_logit_of_the_probability() -> None:
    p = np.exp(log_softmax(LOGITS, axis=-1))[:, np.arange(ROWS), Y]
    phi = scaled_confidence(LOGITS, Y)
    np.testing.assert_allclose(phi, np.log(p / (1 - p)), rtol=1e-9)
    np.testing.assert_allclose(log_confidence(phi), np.log(p), rtol=1e-9)


def test_scaled_confidence_tells_apart_what_the_probability_rounds_to_one() -> None:
    logits = np.array([[60.0, 0.0], [70.0, 0.0]], dtype=np.float32)
    assert scaled_confidence(logits, np.array([0, 0])).tolist() == [60.0, 70.0]
    assert np.diff(loss_scores(np.array([60.0, 70.0])))[0] > 0


def test_rmia_is_the_share_of_dominated_pairs() -> None:
    phi, references = scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y)
    p = 1 / (1 + np.exp(-phi))
    average = (1 / (1 + np.exp(-references))).mean(axis=0)
    ratio = p / average
    for gamma in (1.0, 2.0):
        expected = [(ratio[i] / ratio >= gamma - 1e-12).mean() for i in range(ROWS)]
        logs = rmia_log_ratio(phi, references)
        np.testing.assert_allclose(rmia_scores(logs + 1e-12, logs, gamma=gamma), expected)


def test_rmia_refuses_a_gamma_below_one() -> None:
    with pytest.raises(ValueError):
        rmia_scores(np.zeros(2), np.zeros(2), gamma=0.5)


def test_lira_per_example_is_the_ratio_of_fitted_densities() -> None:
    phi, references = scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y)
    scores = lira_scores(phi, references, INSIDE, fixed_variance=False)
    for row in range(ROWS):
        inside, outside = references[INSIDE[:, row], row], references[~INSIDE[:, row], row]
        expected = norm.logpdf(phi[row], inside.mean(), inside.std(ddof=1)) - norm.logpdf(
            phi[row], outside.mean(), outside.std(ddof=1)
        )
        assert scores[row] == pytest.approx(expected)


def test_lira_pools_variances_up_to_sixteen_references_and_not_beyond() -> None:
    phi = scaled_confidence(TARGET, Y)
    for count, fixed in ((16, True), (18, False)):
        references = scaled_confidence(MANY, Y)[:count]
        inside = np.stack([GENERATOR.permutation(count) < count // 2 for _ in range(ROWS)], axis=1)
        by_default = lira_scores(phi, references, inside)
        np.testing.assert_array_equal(by_default, lira_scores(phi, references, inside, fixed_variance=fixed))
        assert not np.allclose(by_default, lira_scores(phi, references, inside, fixed_variance=not fixed))


def test_lira_with_pooled_variance_uses_one_variance_a_side() -> None:
    phi, references = scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y)
    scores = lira_scores(phi, references, INSIDE, fixed_variance=True)
    sides = []
    for chosen in (INSIDE, ~INSIDE):
        means = np.array([references[chosen[:, row], row].mean() for row in range(ROWS)])
        variances = [references[chosen[:, row], row].var(ddof=1) for row in range(ROWS)]
        sides.append(norm.logpdf(phi, means, np.sqrt(np.mean(variances))))
    np.testing.assert_allclose(scores, sides[0] - sides[1])


def test_lira_needs_two_models_a_side() -> None:
    inside = INSIDE.copy()
    inside[:, 3] = np.arange(REFERENCES) < 1
    with pytest.raises(ValueError, match="at least two"):
        lira_scores(scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y), inside)


def test_a_unit_scores_the_mean_of_its_rows() -> None:
    values, unit = np.array([1.0, 2.0, 6.0, 5.0]), np.array([1, 1, 0, 1])
    assert unit_means(values, unit, 2).tolist() == [6.0, pytest.approx(8 / 3)]


def test_lira_offline_is_how_unlikely_phi_is_without_the_example() -> None:
    phi, references = scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y)
    scores = lira_offline_scores(phi, references, INSIDE, fixed_variance=False)
    for row in range(ROWS):
        outside = references[~INSIDE[:, row], row]
        expected = norm.cdf(phi[row], outside.mean(), outside.std(ddof=1))
        assert norm.cdf(scores[row]) == pytest.approx(expected)
    all_outside = lira_offline_scores(phi, references, fixed_variance=False)
    np.testing.assert_allclose(all_outside, (phi - references.mean(axis=0)) / references.std(axis=0, ddof=1))


def test_lira_offline_pools_variances_up_to_eight_references_a_row() -> None:
    phi = scaled_confidence(TARGET, Y)
    for count, fixed in ((8, True), (10, False)):
        references = scaled_confidence(LOGITS, Y)[:count]
        by_default = lira_offline_scores(phi, references)
        np.testing.assert_array_equal(by_default, lira_offline_scores(phi, references, fixed_variance=fixed))


@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_rmia_offline_guesses_the_other_half_from_models_without_the_example(a: float) -> None:
    phi, references = scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y)
    p, all_p = 1 / (1 + np.exp(-phi)), 1 / (1 + np.exp(-references))
    for row in range(ROWS):
        out = all_p[~INSIDE[:, row], row].mean()
        expected = np.log(p[row] / (((1 + a) * out + 1 - a) / 2))
        assert rmia_offline_log_ratio(phi, references, INSIDE, a=a)[row] == pytest.approx(expected)


def test_offline_scores_refuse_rows_that_every_reference_was_trained_on() -> None:
    phi, references = scaled_confidence(TARGET, Y), scaled_confidence(LOGITS, Y)
    inside = np.ones_like(INSIDE)
    for score in (rmia_offline_log_ratio, lira_offline_scores):
        with pytest.raises(ValueError, match="without it"):
            score(phi, references, inside)
    with pytest.raises(ValueError, match="between 0 and 1"):
        rmia_offline_log_ratio(phi, references, a=1.5)
