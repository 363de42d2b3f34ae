"""What boosted trees read from the data moves by no more than its noise is made for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import SecureRandom, Seeds
from wardline.dp.estimators import boosting
from wardline.dp.estimators.binning import FINE_BINS, Bins, Grid, edges, make_bins
from wardline.dp.estimators.boosting import LEAVES, _leaf_sums, _random_leaves, boost, noisy_histogram, plan_boosting
from wardline.dp.estimators.gaussian import gaussian_mu
from wardline.dp.estimators.targets import (
    QUANTUM,
    BinaryTarget,
    MultinomialTarget,
    RegressionTarget,
    quantise_outputs,
)

TARGETS = {
    "binary": lambda y: BinaryTarget(labels=y % 2),
    "five classes": lambda y: MultinomialTarget(labels=y % 5, outputs=5),
    "regression": lambda y: RegressionTarget(values=quantise_outputs((y % 21) / 10 - 1.0), unit=0.25),
}


@pytest.fixture
def silence(monkeypatch):
    """Takes all noise away, so that what lies under it can be looked at. Broken on purpose."""
    monkeypatch.setattr(boosting, "discrete_gaussian", lambda count, **_: np.zeros(count, dtype=np.int64))


@pytest.mark.parametrize("kind", TARGETS)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([0.0, 0.01, 1.0, 40.0]))
@settings(max_examples=40, deadline=None)
def test_residuals_are_bounded_and_whole(kind, seed, scale):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 1000, 50)
    target = TARGETS[kind](y)
    outputs = quantise_outputs(scale * rng.normal(size=(target.outputs, 50)))
    found = target.residuals(outputs)
    assert (found == np.rint(found)).all()
    assert np.linalg.norm(found, axis=0).max() <= target.sensitivity * QUANTUM * (1 + 1e-12)
    for place in range(50):
        alone = TARGETS[kind](y[place : place + 1]).residuals(outputs[:, place : place + 1])
        assert (alone[:, 0] == found[:, place]).all(), "a row's residual depends on nobody else's"


def test_residuals_are_those_of_the_losses():
    z = np.linspace(-8, 8, 101)
    for label in (0, 1):
        found = BinaryTarget(labels=np.full(101, label)).residuals(quantise_outputs(z)[None])[0] / QUANTUM
        np.testing.assert_allclose(found, label - 1 / (1 + np.exp(-z)), atol=3e-4)
    logits = Seeds(0).numpy("logits").normal(size=(4, 30)) * 2
    labels = np.arange(30) % 4
    odds = np.exp(logits)
    expected = np.eye(4)[labels].T - odds / odds.sum(axis=0)
    found = MultinomialTarget(labels=labels, outputs=4).residuals(quantise_outputs(logits)) / QUANTUM
    np.testing.assert_allclose(found, expected, atol=1e-3)
    values, start = quantise_outputs(np.array([-1.0, -0.1, 0.1, 1.0])), np.zeros((1, 4), dtype=np.int64)
    found = RegressionTarget(values=values, unit=0.5).residuals(start)[0] / QUANTUM * 0.5
    np.testing.assert_allclose(found, [-0.5, -0.1, 0.1, 0.5], atol=1e-4)


@pytest.mark.parametrize("kind", TARGETS)
@given(seed=st.integers(0, 2**32), rows_of_one=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_the_sums_of_a_step_move_by_at_most_the_sensitivity(kind, seed, rows_of_one):
    """Neighbours: the same table with and without one person, who has one row or several."""
    rng = np.random.default_rng(seed)
    others, bins = 40, 9
    rows = others + rows_of_one
    y, codes = rng.integers(0, 1000, rows), rng.integers(0, bins, rows).astype(np.uint8)
    weights = np.full(rows, QUANTUM)
    weights[others:] = QUANTUM // rows_of_one
    if rng.random() < 0.5:  # the worst case: all rows of the person are alike
        y[others:], codes[others:] = y[-1], codes[-1]
    leaf = rng.permutation(bins) % LEAVES
    outputs = quantise_outputs(rng.normal(size=(5, rows)))
    sums = []
    for count in (rows, others):
        target = TARGETS[kind](y[:count])
        residuals = target.residuals(outputs[: target.outputs, :count])
        sums.append(_leaf_sums(codes[:count], leaf, residuals, weights[:count]))
    moved = float(np.linalg.norm((sums[0] - sums[1]).astype(np.float64)))
    assert moved <= target.sensitivity * QUANTUM * (1 + 1e-12)


def test_a_person_whose_rows_each_counted_fully_would_move_them_further():
    """The control of the test above: without weights, ten equal rows move the sums ten times as far."""
    codes, leaf = np.zeros(10, dtype=np.uint8), np.zeros(1, dtype=np.intp)
    target = BinaryTarget(labels=np.ones(10, dtype=np.int64))
    residuals = target.residuals(quantise_outputs(np.full((1, 10), -9.0)))
    assert np.abs(_leaf_sums(codes, leaf, residuals, None)).max() > 9.9 * QUANTUM
    assert np.abs(_leaf_sums(codes, leaf, residuals, np.full(10, QUANTUM // 10))).max() <= QUANTUM


@given(seed=st.integers(0, 2**32), rows_of_one=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_counts_move_by_at_most_one(seed, rows_of_one):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 6, 30 + rows_of_one)
    weights = np.full(len(cells), QUANTUM)
    weights[30:] = QUANTUM // rows_of_one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting, "discrete_gaussian", lambda count, **_: np.zeros(count, dtype=np.int64))
        found = [
            noisy_histogram(cells[:count], weights[:count], size=6, noise_multiplier=1.0, random=SecureRandom())
            for count in (len(cells), 30)
        ]
    assert np.abs(found[0] - found[1]).sum() <= 1.0
    if rows_of_one == 1:
        assert np.abs(found[0] - found[1]).sum() == 1.0


def test_sums_are_exact_whatever_their_order():
    rng = Seeds(1).numpy("sums")
    codes = rng.integers(0, 200, 100_000).astype(np.uint8)
    residuals = np.rint(rng.uniform(-QUANTUM, QUANTUM, (1, 100_000)))
    leaf = rng.integers(0, LEAVES, 200)
    expected = [sum(int(one) for one in residuals[0][leaf[codes] == place]) for place in range(LEAVES)]
    order = rng.permutation(100_000)
    assert _leaf_sums(codes, leaf, residuals, None)[0].tolist() == expected
    assert _leaf_sums(codes[order], leaf, residuals[:, order], None)[0].tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 200])
@pytest.mark.parametrize("ordered", [True, False])
def test_leaves_part_the_bins(size, ordered):
    bins = Bins(of_cell=np.arange(size, dtype=np.uint8), mass=np.ones(size), ordered=ordered)
    for _ in range(20):
        leaf = _random_leaves(bins, SecureRandom())
        assert len(leaf) == size
        assert len(set(leaf.tolist())) == min(size, LEAVES)
        assert set(leaf.tolist()) == set(range(min(size, LEAVES)))
        if ordered:
            assert (np.diff(leaf) >= 0).all()


def test_every_cell_has_a_bin_and_sparse_stretches_keep_some():
    counts = np.zeros(FINE_BINS)
    counts[0] = 10_000.0
    made = make_bins(counts, noise=5.0, categorical=False)
    assert made.of_cell[0] == 0
    assert (np.diff(made.of_cell.astype(int)) >= 0).all()
    assert len(made.mass) == int(made.of_cell[-1]) + 1 == 1 + math.ceil((FINE_BINS - 1) / 16)
    assert made.mass.sum() == 10_000.0
    crowded = make_bins(np.full(FINE_BINS, 1e6), noise=0.1, categorical=False)
    assert len(crowded.mass) == 128
    # More bins than a byte can number are never made, whatever the noise.
    wild = make_bins(Seeds(2).numpy("wild").normal(size=FINE_BINS) * 1e9, noise=1e-9, categorical=False)
    assert len(wild.mass) <= 256


def test_edges_bound_the_values_of_a_bin():
    grid = Grid(lower=np.array([10.0, 3.0]), upper=np.array([20.0, 7.0]), categorical=np.array([False, True]))
    made = make_bins(np.full(FINE_BINS, 100.0), noise=1.0, categorical=False)
    values = Seeds(3).numpy("values").uniform(10, 20, 500)
    ends = edges(grid, 0, made)
    of_values = made.of_cell[grid.read(0, values)]
    assert ((ends[of_values] <= values) & (values <= ends[of_values + 1])).all()
    assert edges(grid, 1, make_bins(np.ones(5), noise=1.0, categorical=True)).tolist() == [3, 4, 5, 6, 7]


def test_a_plan_spends_its_budget_and_no_more():
    for epsilon, features, epochs in ((0.05, 1, 1), (1.0, 13, 50), (256.0, 2, 3)):
        plan = plan_boosting(epsilon=epsilon, delta=1e-6, features=features, epochs=epochs, draws=1000)
        square = (features + 1) / plan.counting_noise**2 + features * epochs / plan.step_noise**2
        mu = gaussian_mu(epsilon=epsilon, delta=1e-6)
        assert 0.999 * mu < math.sqrt(square) <= mu
        assert sum(event.steps / event.noise_multiplier**2 for event in plan.events) == pytest.approx(square)


def test_more_noise_than_is_accounted_for_is_refused():
    with pytest.raises(ValueError, match="numbers of noise"):
        plan_boosting(epsilon=1.0, delta=1e-6, features=10, epochs=10, draws=10**8)


def test_boosting_learns_a_step_and_leaves_an_unrelated_feature_alone(silence):
    rng = Seeds(4).numpy("boost")
    codes = [rng.integers(0, 40, 5000).astype(np.uint8) for _ in range(2)]
    labels = (codes[0] >= 20).astype(np.int64)
    bins = [
        Bins(of_cell=np.arange(40, dtype=np.uint8), mass=np.bincount(one, minlength=40).astype(float), ordered=True)
        for one in codes
    ]
    plan = plan_boosting(epsilon=10.0, delta=1e-6, features=2, epochs=50, draws=1000)
    scores = boost(
        codes,
        bins,
        BinaryTarget(labels=labels),
        plan=plan,
        weights=None,
        start=np.zeros(1),
        learning_rate=0.4,
        random=SecureRandom(),
    )
    assert (scores[0][0][:18] < -1).all()
    assert (scores[0][0][22:] > 1).all()
    assert np.abs(scores[1]).max() < 0.5
