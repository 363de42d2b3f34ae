"""The fit against McKenna's library, and against what can be computed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from wardline.dp.synthetic import Measured, fit
from wardline.dp.synthetic._marginals import marginal
from wardline.dp.synthetic.fitting import combine, total_of

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "graphical-model.json").read_text())


def measured(clique, counts, sigma):
    counts = np.array(counts, dtype=np.float64)
    return Measured(clique=tuple(clique), counts=counts, variance=np.full(counts.shape, float(sigma) ** 2))


@pytest.mark.crosscheck
@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_it_finds_what_mbi_finds(case):
    given = [measured(one["clique"], one["counts"], one["sigma"]) for one in case["measurements"]]
    found = fit(case["sizes"], given, steps=12_000, tolerance=0.0)
    assert found.total == pytest.approx(case["total"], rel=1e-9)
    theirs = sum(
        0.5 * float(((np.array(table) - one.counts) ** 2 / one.variance).sum())
        for table, one in zip(case["fitted"], given, strict=True)
    )
    assert found.loss == pytest.approx(theirs, rel=2e-3)
    for table, one in zip(case["fitted"], given, strict=True):
        ours = marginal(found.tree, found.tables, one.clique)
        np.testing.assert_allclose(ours, np.array(table) / case["total"], atol=5e-4)


def test_consistent_counts_are_met_exactly():
    joint = np.random.default_rng(1).dirichlet(np.ones(24)).reshape(2, 3, 4) * 1000
    given = [measured((0, 1), joint.sum(2), 1.0), measured((1, 2), joint.sum(0), 1.0)]
    found = fit([2, 3, 4], given, steps=3000, tolerance=0.0)
    assert found.total == pytest.approx(1000)
    np.testing.assert_allclose(marginal(found.tree, found.tables, (0, 1)) * 1000, joint.sum(2), atol=0.05)
    # The greatest entropy: 0 and 2 are independent given 1.
    pair = joint.sum(2)[:, :, None] * joint.sum(0)[None] / joint.sum((0, 2))[None, :, None]
    np.testing.assert_allclose(marginal(found.tree, found.tables, (0, 2)) * 1000, pair.sum(1), atol=0.1)


def test_what_was_not_measured_is_uniform_and_independent():
    found = fit([2, 3], [measured((0,), [30.0, 10.0], 1.0)], steps=500)
    np.testing.assert_allclose(
        marginal(found.tree, found.tables, (0, 1)), np.outer([0.75, 0.25], np.ones(3) / 3), atol=1e-4
    )


def test_the_better_measurement_counts_for_more():
    given = [measured((0,), [100.0, 0.0], 1.0), measured((0,), [0.0, 100.0], 10.0)]
    (one,) = combine(given)
    np.testing.assert_allclose(one.counts, np.array([100.0, 1.0]) / 1.01)
    np.testing.assert_allclose(one.variance, 1 / 1.01)


def test_the_total_weighs_sums_by_their_noise():
    given = [measured((0,), [60.0, 40.0], 1.0), measured((1,), [50.0] * 4, 1.0)]
    assert total_of(given) == pytest.approx((100 / 2 + 200 / 4) / (1 / 2 + 1 / 4))
    assert total_of([measured((0,), [-5.0, -5.0], 1.0)]) == 1.0


def test_a_start_from_potentials_goes_on_where_they_ended():
    given = [measured((0, 1), np.arange(6.0).reshape(2, 3) * 10, 3.0), measured((2,), [70.0, 80.0], 3.0)]
    first = fit([2, 3, 2], given, steps=400, tolerance=0.0)
    again = fit([2, 3, 2], given, steps=1, start=first.potentials)
    assert again.loss <= first.loss * (1 + 1e-9)
    assert fit([2, 3, 2], given, steps=1).loss > 2 * first.loss


def test_negative_counts_leave_no_chance():
    found = fit([3], [measured((0,), [50.0, -20.0, 50.0], 1.0)], steps=2000, tolerance=0.0)
    shares = marginal(found.tree, found.tables, (0,))
    assert shares[1] < 1e-3
    assert shares.min() >= 0


@pytest.mark.parametrize(
    ("clique", "counts", "variance"),
    [
        ((0, 1), np.ones(2), np.ones(2)),
        ((1, 0), np.ones((2, 2)), np.ones((2, 2))),
        ((0,), np.ones(2), np.zeros(2)),
        ((0,), np.array([1.0, np.nan]), np.ones(2)),
        ((0,), np.ones(2), np.ones(3)),
    ],
)
def test_senseless_measurements_are_refused(clique, counts, variance):
    with pytest.raises(ValueError):
        Measured(clique=clique, counts=counts, variance=variance)


def test_a_fit_needs_something_to_fit():
    with pytest.raises(ValueError, match="nothing"):
        fit([2], [])
