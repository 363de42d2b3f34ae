"""Junction trees against the whole joint table, which small domains allow."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.synthetic._inference import Calibrator, project, spread_shape
from wardline.dp.synthetic._marginals import marginal, pairs
from wardline.dp.synthetic._tree import cells_of, junction_tree, maximal_cliques


@st.composite
def models(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=6))
    every = [c for k in (1, 2, 3) for c in itertools.combinations(range(len(sizes)), k)]
    parts = draw(st.lists(st.sampled_from(every), min_size=1, max_size=8, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    potentials = [rng.normal(0, draw(st.sampled_from([0.5, 3.0, 8.0])), [sizes[c] for c in part]) for part in parts]
    return sizes, parts, potentials


def joint_of(sizes, parts, potentials):
    total = np.zeros(sizes)
    for part, potential in zip(parts, potentials, strict=True):
        total = total + potential.reshape(spread_shape(sizes, tuple(range(len(sizes))), part))
    total = np.exp(total - total.max())
    return total / total.sum()


@given(models())
@settings(max_examples=150, deadline=None)
def test_every_marginal_is_that_of_the_joint_table(model):
    sizes, parts, potentials = model
    joint, full = joint_of(*model), tuple(range(len(sizes)))
    tree = junction_tree(sizes, parts)
    calibrator = Calibrator(sizes, tree, parts)
    tables = calibrator.run(potentials)
    for table, clique in zip(tables, tree.cliques, strict=True):
        np.testing.assert_allclose(table, project(joint, full, clique), atol=1e-12)
    for table, part in zip(calibrator.parts_of(tables), parts, strict=True):
        np.testing.assert_allclose(table, project(joint, full, part), atol=1e-12)
    found = dict(pairs(tree, tables))
    assert set(found) == set(itertools.combinations(full, 2))
    for pair, table in found.items():
        np.testing.assert_allclose(table, project(joint, full, pair), atol=1e-12)
    for size in range(1, min(len(sizes), 4) + 1):
        for wanted in itertools.combinations(full, size):
            np.testing.assert_allclose(marginal(tree, tables, wanted), project(joint, full, wanted), atol=1e-12)


@given(models())
@settings(max_examples=150, deadline=None)
def test_the_tree_has_every_clique_and_the_running_intersection(model):
    sizes, parts, _ = model
    tree = junction_tree(sizes, parts)
    assert all(tree.home(part) is not None for part in parts)
    assert {column for clique in tree.cliques for column in clique} == set(range(len(sizes)))
    for place, (parent, separator) in enumerate(zip(tree.parents, tree.separators, strict=True)):
        assert parent < place
        before = {column for clique in tree.cliques[:place] for column in clique}
        assert set(tree.cliques[place]) & before == set(separator)
        assert parent == -1 or set(separator) <= set(tree.cliques[parent])


def test_a_cycle_is_triangulated_and_counted():
    sizes, cycle = [2, 3, 4, 5], [(0, 1), (1, 2), (2, 3), (0, 3)]
    cliques = maximal_cliques(sizes, cycle)
    assert {frozenset(c) for c in cliques} in (
        {frozenset({0, 1, 2}), frozenset({0, 2, 3})},
        {frozenset({0, 1, 3}), frozenset({1, 2, 3})},
    )
    assert cells_of(sizes, cliques) == sum(math.prod(sizes[c] for c in clique) for clique in cliques)


def test_potentials_that_differ_by_thousands_do_not_overflow():
    sizes, parts = [3, 3, 3], [(0, 1), (1, 2)]
    steep = np.array([[0.0, -5000.0, 9000.0]] * 3)
    tree = junction_tree(sizes, parts)
    tables = Calibrator(sizes, tree, parts).run([steep, -steep])
    for table in tables:
        assert np.isfinite(table).all()
        assert table.sum() == pytest.approx(1.0)


def test_a_potential_without_a_home_is_refused():
    tree = junction_tree([2, 2, 2], [(0, 1)])
    with pytest.raises(ValueError, match="no clique"):
        Calibrator([2, 2, 2], tree, [(0, 2)])


def test_pairs_that_are_too_large_are_left_out():
    sizes, parts = [2, 9, 9, 3], [(0, 1), (1, 3)]
    tree = junction_tree(sizes, parts)
    tables = Calibrator(sizes, tree, parts).run([np.zeros((2, 9)), np.zeros((9, 3))])
    assert set(dict(pairs(tree, tables, most_cells=27))) == {(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)}
