"""Circuits on plain bits: what they compute, and how deep they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.he.forest.circuit import BLOCK_WIRES, Circuit, build
from wardline.he.forest.integers import sums, thresholds_of, to_integers


def run(circuit: Circuit, bits: np.ndarray) -> np.ndarray:
    """What a circuit gives for bits [rows, bits], in Python's integers."""
    found = np.repeat(circuit.constant.astype(object)[None], len(bits), axis=0)
    for block in circuit.blocks:
        wires = list(bits.T.astype(object))

        def total(one, wires=wires):
            pairs = zip(one.wires.tolist(), one.weights.tolist(), strict=True)
            return sum((wires[wire] * weight for wire, weight in pairs), np.zeros(len(bits), dtype=object))

        for level in block.products:
            wires += [total(left) * total(right) for left, right in level]
        for output, linear in enumerate(block.linear):
            found[:, output] += total(linear)
            for wire, every in block.last:
                found[:, output] += wires[wire] * total(every[output])
    return found


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    trees=st.integers(1, 6),
    depth=st.integers(1, 9),
    features=st.integers(1, 6),
    outputs=st.integers(1, 3),
)
def test_a_circuit_gives_the_sum_of_the_trees(
    random_forest, rows, seed: int, trees: int, depth: int, features: int, outputs: int
) -> None:
    forest = random_forest(
        seed, trees=trees, depth=min(depth, 4 if trees > 3 else 9), features=features, outputs=outputs
    )
    thresholds = thresholds_of(forest)
    integers, base = to_integers(forest, thresholds, step=1e-3, centre=np.zeros(outputs))
    circuit = build(integers, base, thresholds.feature)
    bits = thresholds.bits(rows(seed, features, 60))
    np.testing.assert_array_equal(run(circuit, bits), sums(integers, base, bits))
    deepest = max(tree.depth for tree in forest.trees)
    assert circuit.depth <= max(deepest - 1, 0).bit_length()
    assert all(len(block.products) < max(circuit.depth, 1) for block in circuit.blocks)


def test_a_single_feature_needs_no_product(random_forest) -> None:
    forest = random_forest(2, trees=5, depth=5, features=1)
    thresholds = thresholds_of(forest)
    circuit = build(*to_integers(forest, thresholds, step=1e-3, centre=np.zeros(1)), thresholds.feature)
    assert (circuit.depth, circuit.products, circuit.last) == (0, 0, 0)


def test_trees_of_two_splits_need_at_most_a_product_for_each_threshold(random_forest) -> None:
    forest = random_forest(4, trees=60, depth=2, features=4)
    thresholds = thresholds_of(forest)
    circuit = build(*to_integers(forest, thresholds, step=1e-3, centre=np.zeros(1)), thresholds.feature)
    assert circuit.depth == 1
    assert circuit.products == 0
    assert 0 < circuit.last < len(thresholds)


def test_blocks_bound_what_is_held(random_forest) -> None:
    forest = random_forest(5, trees=40, depth=5, features=12)
    thresholds = thresholds_of(forest)
    circuit = build(*to_integers(forest, thresholds, step=1e-3, centre=np.zeros(1)), thresholds.feature)
    alone = max(
        build((tree,), np.zeros(1, dtype=np.int64), thresholds.feature).held
        for tree in to_integers(forest, thresholds, step=1e-3, centre=np.zeros(1))[0]
    )
    assert circuit.products > BLOCK_WIRES
    assert circuit.held <= BLOCK_WIRES + alone


def test_bits_that_are_none_give_something_else(random_forest) -> None:
    """What the circuit takes for granted: the client's bits are nested. Others give equations that no row gives."""
    forest = random_forest(6, trees=3, depth=3, features=2)
    thresholds = thresholds_of(forest)
    integers, base = to_integers(forest, thresholds, step=1e-3, centre=np.zeros(1))
    circuit = build(integers, base, thresholds.feature)
    sent = np.full((1, len(thresholds)), 7)
    rows = np.array([[a, b] for a in np.arange(-9, 10) / 4 for b in np.arange(-9, 10) / 4])
    honest = set(sums(integers, base, thresholds.bits(rows))[:, 0].tolist())
    assert int(run(circuit, sent)[0, 0]) not in honest


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_constant_tree_is_a_constant(random_forest, outputs: int) -> None:
    forest = random_forest(7, trees=1, depth=1, outputs=outputs)
    thresholds = thresholds_of(forest)
    (tree,), base = to_integers(forest, thresholds, step=1e-3, centre=np.zeros(outputs))
    tree.value[:] = 5  # all leaves alike
    circuit = build((tree,), base, thresholds.feature)
    assert circuit.depth == 0
    np.testing.assert_array_equal(circuit.constant, base + 5)
