"""Matrices in the clear by the moves of ciphertexts: every way gives the product, wherever numbers stand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.he.diagonal.moves import (
    Layout,
    Move,
    applied,
    beside,
    fold_steps,
    moves,
    plaintexts,
    plaintexts_beside,
    power_of_two,
)
from wardline.he.diagonal.search import cheapest

SLOTS = 64


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 16),
    inputs=st.integers(1, 16),
    kind=st.sampled_from(["tiled", "blocks"]),
    share=st.integers(0, 3),
    last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_move_gives_the_product(outputs, inputs, kind, share, last, seed) -> None:
    generator = np.random.default_rng(seed)
    room = power_of_two(inputs)
    width = SLOTS // room
    valid = 0 if kind == "tiled" else max(1, width - share * width // 4)
    source = Layout(kind=kind, size=room, slots=SLOTS, valid=valid)
    weights, x = generator.normal(size=(outputs, inputs)), generator.normal(size=inputs)
    places = source.places()
    # What is in slots that hold no number must not matter.
    known = (places >= 0) & (places < inputs)
    values = np.where(known, x[np.minimum(np.maximum(places, 0), inputs - 1)], generator.normal(size=SLOTS))
    wanted = weights @ x
    ways = list(moves(source, outputs, last=last))
    assert ways
    for move in ways:
        found = applied(move, plaintexts(move, weights), values[None])[0]
        if last:
            assert move.target.kind == "tiled"
            np.testing.assert_allclose(found.reshape(-1, move.target.size).sum(axis=0)[:outputs], wanted, atol=1e-9)
            continue
        held = move.target.places()
        there = (held >= 0) & (held < outputs)
        assert set(held[there].tolist()) == set(range(outputs))
        np.testing.assert_allclose(found[there], wanted[held[there]], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    outputs=st.integers(1, 16),
    readings=st.integers(1, 20),
    folded=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_first_matrix_beside_its_inputs_gives_the_product(outputs, readings, folded, last, seed) -> None:
    generator = np.random.default_rng(seed)
    weights = np.zeros((outputs, 30))
    reads = np.full((outputs, readings), -1, dtype=np.int32)
    for output in range(outputs):
        count = generator.integers(1, readings + 1)
        reads[output, :count] = generator.permutation(30)[:count]
        weights[output, reads[output, :count]] = generator.normal(size=count)
    target = Layout(kind="tiled", size=power_of_two(outputs), slots=SLOTS)
    folds = ((SLOTS // 4, SLOTS // 2, 3 * SLOTS // 4),) if folded and not last else ()
    move = Move(source=None, target=target, folds=folds, last=last)
    inputs = beside(move, reads, -(-readings // move.parts))
    x = generator.normal(size=30)
    values = np.where(inputs >= 0, x[np.maximum(inputs, 0)], 0.0)
    found = applied(move, plaintexts_beside(move, weights, inputs), values[None])[0]
    if last:
        np.testing.assert_allclose(found.reshape(-1, target.size).sum(axis=0)[:outputs], weights @ x, atol=1e-9)
    else:
        copies = [weights @ x] * (SLOTS // target.size)
        np.testing.assert_allclose(found.reshape(-1, target.size)[:, :outputs], copies, atol=1e-9)


def test_folds_add_up_every_slot_once() -> None:
    assert list(fold_steps(3, 1)) == [()]
    for count in (2, 4, 8, 16):
        for folds in fold_steps(3, count):
            offsets = [0]
            for fold in folds:
                offsets = [one + step for one in offsets for step in (0, *fold)]
            assert sorted(offsets) == [3 * one for one in range(count)]


def test_few_rotations_are_found() -> None:
    """A network of 256, 64 and 10 numbers: the last matrix needs no rotation, and others few."""
    levels = [(10, 2), (9, 3), (6, 3)]
    route = cheapest([(256, 784), (64, 256), (10, 64)], 49, slots=8192, levels=levels)
    assert route.ciphertexts == 2
    assert route.moves[-1].rotations == 0
    assert sum(one.rotations for one in route.moves) <= 24
    # A matrix whose diagonals outnumber what can be laid out at once takes baby and giant steps.
    (wide,) = cheapest([(512, 512)], 512, slots=512, levels=[(3, 1)]).moves[:1]
    assert len(wide.babies) > 1
    assert wide.giants > 1
    with pytest.raises(ValueError, match="more numbers than the 64 slots"):
        cheapest([(65, 3)], 3, slots=64, levels=levels)
