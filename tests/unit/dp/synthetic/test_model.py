import itertools

import numpy as np
import pytest

from wardline.core import SecureRandom
from wardline.data import Column, Contract
from wardline.dp.synthetic import Domain, MarginalModel, Measured, fit
from wardline.dp.synthetic.coarsen import Coarsening, identity

RANDOM = SecureRandom()
CONTRACT = Contract(
    columns=(
        Column(name="ward", kind="category", values=("north", "south", "west")),
        Column(name="age", kind="integer", low=0, high=5),
        Column(name="sick", kind="boolean"),
        Column(name="old", kind="boolean", missing=True),
    ),
    target="sick",
)


@pytest.fixture(scope="module")
def model():
    domain = Domain.of(CONTRACT, cells=6)
    rng = np.random.default_rng(5)
    joint = rng.dirichlet(np.full(3 * 3 * 2 * 3, 0.5)).reshape(3, 3, 2, 3) * 3000
    halves = Coarsening(groups=np.array([0, 0, 1, 1, 2, 2]), shares=np.array([0.25, 0.75, 0.5, 0.5, 1.0, 0.0]))
    coarsenings = (identity(3), halves, identity(2), identity(3))
    given = [
        Measured(clique=clique, counts=counts, variance=np.ones(counts.shape))
        for clique, counts in (((0, 1), joint.sum((2, 3))), ((1, 2), joint.sum((0, 3))), ((2, 3), joint.sum((0, 1))))
    ]
    fitted = fit([3, 3, 2, 3], given, steps=2000)
    return MarginalModel(domain=domain, coarsenings=coarsenings, measurements=tuple(given), fitted=fitted)


def test_marginals_are_told_on_the_cells_in_the_order_asked_for(model):
    pair = model.marginal("age", "ward")
    assert pair.shape == (6, 3)
    np.testing.assert_allclose(pair.T, model.marginal("ward", "age"))
    np.testing.assert_allclose(pair.sum(1), model.marginal("age"))
    assert pair.sum() == pytest.approx(1)
    np.testing.assert_allclose(pair[0] * 3, pair[1])
    assert pair[5].max() == 0
    assert model.marginal("old", "ward").shape == (3, 3)
    assert model.measured == (("ward", "age"), ("age", "sick"), ("sick", "old"))
    with pytest.raises(KeyError):
        model.marginal("weight")
    with pytest.raises(ValueError, match="once"):
        model.marginal("age", "age")


def test_drawn_rows_have_the_models_marginals(model):
    rows = 20_000
    cells = model.domain.encode(model.sample(rows, random=RANDOM))
    for one, other in itertools.combinations(range(4), 2):
        names = model.domain.names[one], model.domain.names[other]
        shape = model.domain.sizes[one], model.domain.sizes[other]
        found = np.bincount(cells[one] * shape[1] + cells[other], minlength=shape[0] * shape[1]).reshape(shape) / rows
        # Independent draws would have a standard deviation of at most 0.0035; these have less.
        np.testing.assert_allclose(found, model.marginal(*names), atol=0.02)


def test_shares_of_a_clique_are_kept_to_the_row(model):
    rows = 5000
    cells = model.domain.encode(model.sample(rows, random=RANDOM))
    root = model.fitted.tree.cliques[0]
    merged = [model.coarsenings[column].groups[cells[column]] for column in root]
    shape = tuple(model.fitted.sizes[column] for column in root)
    found = np.bincount(np.ravel_multi_index(merged, shape), minlength=int(np.prod(shape))).reshape(shape)
    assert np.abs(found - rows * model.fitted.tables[0]).max() <= 1 + 1e-6


def test_one_row_can_be_drawn_and_none_cannot(model):
    assert model.sample(1, random=RANDOM).num_rows == 1
    with pytest.raises(ValueError):
        model.sample(0, random=RANDOM)


def test_two_samples_differ_and_rows_are_in_no_order(model):
    one, other = (model.domain.encode(model.sample(400, random=RANDOM)) for _ in range(2))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))
    ward = one[0]
    assert np.count_nonzero(np.diff(ward)) > 100, "sorted rows would change twice"


def test_the_noisy_counts_can_be_taken_elsewhere(model):
    told = model.to_json()
    assert told["total"] == pytest.approx(3000, rel=0.01)
    assert told["measurements"][0]["columns"] == ["ward", "age"]
    np.testing.assert_allclose(told["measurements"][0]["counts"], model.measurements[0].counts)
