"""Trees of counts against plain linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.dp.releases.trees import Tree, best_tree

SHAPES = [(7, (1,)), (8, (4, 2, 1)), (10, (4, 2, 1)), (9, (3, 1)), (13, (12, 4, 1)), (12, (12, 6, 1)), (8, (8, 4, 1))]


def matrix(tree: Tree) -> np.ndarray:
    """Which node counts which bin."""
    return np.concatenate([np.kron(np.eye(tree.padded // block), np.ones((1, block))) for block in tree.blocks])


@pytest.mark.parametrize(("bins", "blocks"), SHAPES)
def test_fit_and_variances_are_those_of_least_squares(bins: int, blocks: tuple[int, ...]) -> None:
    tree = Tree(bins=bins, blocks=blocks)
    nodes = matrix(tree)
    covariance = np.linalg.inv(nodes.T @ nodes)
    noisy = np.random.default_rng(1).normal(size=(3, tree.nodes))
    fitted = noisy @ nodes @ covariance
    np.testing.assert_allclose(tree.fit(noisy), fitted[:, :bins])
    for prob in (0.0, 0.3, 0.5):
        weights = np.tril(np.ones((bins, tree.padded))) - prob * (np.arange(tree.padded) < bins)
        expected = np.einsum("ij,jk,ik->i", weights, covariance, weights)
        np.testing.assert_allclose(tree.rank_variances(prob), expected)
    for block in blocks:
        one = (np.arange(tree.padded) < block).astype(float)
        assert tree.block_variance(block) == pytest.approx(one @ covariance @ one)


@pytest.mark.parametrize(("bins", "blocks"), SHAPES)
def test_measuring_adds_up_and_fitting_undoes_it(bins: int, blocks: tuple[int, ...]) -> None:
    tree = Tree(bins=bins, blocks=blocks)
    counts = np.random.default_rng(2).integers(0, 50, (4, bins))
    nodes = tree.measure(counts)
    padded = np.zeros((4, tree.padded), dtype=np.int64)
    padded[:, :bins] = counts
    assert (nodes == padded @ matrix(tree).T.astype(np.int64)).all()
    np.testing.assert_allclose(tree.fit(nodes.astype(float)), counts, atol=1e-9)


@pytest.mark.parametrize("growth", [1.0, 2.0])
def test_the_best_tree_beats_plain_bins_where_there_are_many(growth: float) -> None:
    best = best_tree(1024, growth=growth)
    plain = Tree(bins=1024, blocks=(1,))

    def cost(tree: Tree) -> float:
        return float(tree.rank_variances(0.5).mean()) * tree.levels**growth

    assert cost(best) < 0.5 * cost(plain)
    assert best_tree(2, growth=growth).blocks == (1,)


@pytest.mark.parametrize("blocks", [(), (2,), (4, 3, 1), (1, 1)])
def test_blocks_that_do_not_nest_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="tree"):
        Tree(bins=8, blocks=blocks)
