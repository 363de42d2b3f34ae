"""The door to the rows: it never opens for more than was paid, and what it says moves no further than it claims."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import NoProgress, SecureRandom
from wardline.data import Column, Contract
from wardline.dp.synthetic import Domain, SynthesisOptions, _private
from wardline.dp.synthetic._learn import learn_model
from wardline.dp.synthetic._marginals import pairs
from wardline.dp.synthetic._private import PrivateRows, Purse
from wardline.dp.synthetic.coarsen import Coarsening

RANDOM = SecureRandom()


def rows_of(columns, sizes, *, per_unit=1, rho=1e9):
    return PrivateRows(columns, sizes, rows_per_unit=per_unit, purse=Purse(rho), random=RANDOM)


def test_a_purse_gives_what_is_in_it_and_not_an_ulp_more():
    purse = Purse(1.0)
    for _ in range(3):
        purse.spend(1 / 3)  # each a little below a third
    with pytest.raises(ValueError, match="budget"):
        purse.spend(math.nextafter(purse.left, 1) if purse.left else 1e-300)
    assert 0 <= purse.left < 1e-15
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError):
            purse.spend(bad)


def test_what_is_refused_is_not_counted(monkeypatch):
    rows = rows_of([np.zeros(5, dtype=np.int64)], [2], rho=0.1)
    monkeypatch.setattr(PrivateRows, "_count", lambda *_: pytest.fail("the rows were looked at"))
    with pytest.raises(ValueError, match="budget"):
        rows.measure((0,), rho=0.2)
    with pytest.raises(ValueError, match="budget"):
        rows.choose([((0,), np.zeros(2), 1, 0.0)], epsilon=math.sqrt(8 * 0.2))


@pytest.mark.parametrize("per_unit", [1, 3])
def test_noise_is_as_large_as_rho_demands(per_unit):
    rows = rows_of([np.zeros(5, dtype=np.int64)], [2], per_unit=per_unit)
    for rho in (0.3, 0.001, 7.1e-5):
        sigma = rows.sigma(rho)
        assert Fraction(per_unit**2) / (2 * Fraction(sigma) ** 2) <= Fraction(rho)
        assert per_unit**2 / (2 * sigma**2) == pytest.approx(rho)


@st.composite
def neighbours(draw):
    """Two tables that differ in the rows of one unit, expected counts, and weights."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    per_unit = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    more, fewer = draw(st.integers(1, per_unit)), draw(st.integers(0, 30))
    large = [rng.integers(0, size, fewer + more) for size in sizes]
    cliques = [(a, b) for a in range(len(sizes)) for b in range(a + 1, len(sizes))] + [(0,)]
    candidates = [
        (clique, rng.uniform(0, 9, [sizes[c] for c in clique]), int(rng.integers(1, 4)), float(rng.uniform(0, 20)))
        for clique in cliques
    ]
    return sizes, per_unit, large, [column[:fewer] for column in large], candidates


@given(neighbours())
@settings(max_examples=200, deadline=None)
def test_one_unit_moves_scores_and_counts_no_further_than_claimed(case):
    sizes, per_unit, large, small, candidates = case
    seen = []

    def spy(scores, *, epsilon, sensitivity, random):
        seen.append((np.array(scores), sensitivity))
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_private, "exponential", spy)
        for columns in (large, small):
            rows_of(columns, sizes, per_unit=per_unit).choose(candidates, epsilon=1.0)
    (one, sensitivity), (other, same) = seen
    assert sensitivity == same
    assert np.abs(one - other).max() <= sensitivity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_private, "discrete_gaussian", lambda count, *, sigma, random: np.zeros(count, dtype=np.int64))
        for clique, *_ in candidates:
            counts = [
                rows_of(columns, sizes, per_unit=per_unit).measure(clique, rho=1.0).counts for columns in (large, small)
            ]
            assert np.linalg.norm(counts[0] - counts[1]) <= per_unit
            assert (counts[0] >= counts[1]).all()


def test_scores_are_the_deviations_in_whole_numbers():
    seen = []
    rows = rows_of([np.array([0, 0, 1])], [3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_private, "exponential", lambda scores, **more: seen.append((scores, more)) or 0)
        rows.choose([((0,), np.array([1.5, 1.25, 0.0]), 2, 0.5)], epsilon=1.0)
    scores, more = seen[0]
    assert scores.tolist() == [2 * (512 + 256 - 512)]
    assert scores.dtype == np.int64
    assert more["sensitivity"] == 2 * 1024


def test_merged_cells_are_paid_out_of_the_same_purse():
    rows = rows_of([np.array([0, 1, 2, 2])], [3], rho=1.0)
    merged = rows.coarsened([Coarsening(groups=np.array([0, 0, 1]), shares=np.array([0.5, 0.5, 1.0]))])
    merged.measure((0,), rho=0.75)
    assert rows.purse.left == pytest.approx(0.25)
    with pytest.raises(ValueError, match="budget"):
        rows.measure((0,), rho=0.5)


@pytest.mark.parametrize("method", ["aim", "mst"])
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_a_method_spends_all_and_no_more(method, columns):
    contract = Contract(
        columns=(
            Column(name="sick", kind="boolean"),
            *(Column(name=f"c{i}", kind="category", values=("a", "b", "c")) for i in range(max(columns - 1, 1))),
        ),
        target="sick",
    )
    domain = Domain(attributes=Domain.of(contract).attributes[:columns])
    rng = np.random.default_rng(0)
    for rho in (1e-4, 0.1, 40.0):
        rows = PrivateRows(
            [rng.integers(0, size, 200) for size in domain.sizes],
            domain.sizes,
            rows_per_unit=1,
            purse=Purse(rho),
            random=RANDOM,
        )
        options = SynthesisOptions(steps=20)
        learn_model(rows, domain, method=method, options=options, progress=NoProgress())
        assert 0 <= rows.purse.left < 1e-6 * rho


@pytest.mark.parametrize("method", ["aim", "mst"])
def test_columns_whose_pair_would_fill_the_memory_stay_independent(method, monkeypatch):
    contract = Contract(
        columns=(
            Column(name="sick", kind="boolean"),
            *(Column(name=name, kind="integer", low=0, high=99) for name in ("one", "other")),
        ),
        target="sick",
    )
    for module in ("_mst", "_marginals"):
        monkeypatch.setattr(f"wardline.dp.synthetic.{module}.MOST_CELLS_OF_A_PAIR", 300)
    monkeypatch.setitem(pairs.__kwdefaults__, "most_cells", 300)
    domain, rng = Domain.of(contract), np.random.default_rng(0)
    rows = rows_of([rng.integers(0, size, 20_000) for size in domain.sizes], domain.sizes, rho=100.0)
    options = SynthesisOptions(steps=20, merge=False, bins=100)
    model = learn_model(rows, domain, method=method, options=options, progress=NoProgress())
    assert ("one", "other") not in model.measured
    assert model.marginal("one", "other").shape == (100, 100)
