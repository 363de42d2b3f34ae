"""Stages compute what the program does, and blocks all of its outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import UsageError
from wardline.he.compiler.convolution import average_pool, convolve
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.network.stages import SecondBend, balanced, blocks_of, groups_of, last_uses, most_live, stages_of


def through(stages, values):
    for stage in stages:
        values = stage.bend(stage.linear(values))
    return values


def make(*layers, inputs: int) -> Program:
    return Program(input_shape=(inputs,), layers=layers, meaning=Meaning(gives="values"))


DEGREES = {"square": 2, "cube": 3, "fourth": 4}
# Up to degree 64 in all: five quartics in a row leave what doubles can hold, and then nothing can be compared.
KINDS = st.lists(st.sampled_from(["dense", "diagonal", "line", *DEGREES]), max_size=6).filter(
    lambda kinds: math.prod(DEGREES.get(kind, 1) for kind in kinds) <= 64
)


@given(seed=st.integers(0, 10_000), kinds=KINDS)
@settings(max_examples=60, deadline=None)
def test_stages_compute_the_program(seed: int, kinds: list[str]) -> None:
    generator = np.random.default_rng(seed)
    width, layers = 3, []
    for kind in kinds or ["square"]:
        match kind:
            case "dense":
                new = int(generator.integers(1, 5))
                layers.append(Affine(weights=generator.normal(size=(new, width)), offset=generator.normal(size=new)))
                width = new
            case "diagonal":
                layers.append(Diagonal(factors=generator.normal(size=width), offset=generator.normal(size=width)))
            case "square" | "cube" | "fourth":
                powers = tuple(generator.uniform(0.1, 0.9, DEGREES[kind] + 1))
                layers.append(Polynomial(coefficients=powers, units=width))
            case "line":
                layers.append(Polynomial(coefficients=tuple(generator.normal(size=2)), units=width))
    program = make(*layers, inputs=3)
    stages = stages_of(program)
    rows = generator.uniform(-1, 1, (20, 3))
    assert stages[-1].slope is None
    assert all(stage.slope is not None for stage in stages[:-1])
    np.testing.assert_allclose(through(stages, rows), program.evaluate(rows), rtol=1e-9, atol=1e-9)
    reach, values = [], rows
    for stage in stages:
        reach.append(np.abs(stage.linear(values)).max(axis=0))
        values = stage.bend(stage.linear(values))
    even = balanced(stages, tuple(reach))
    np.testing.assert_allclose(through(even, rows), program.evaluate(rows), rtol=1e-8, atol=1e-8)
    values = rows
    for stage in even[:-1]:
        assert np.abs(stage.linear(values)).max() <= 1 + 1e-9
        values = stage.bend(stage.linear(values))


def test_outputs_that_read_the_same_are_computed_together() -> None:
    layer = convolve(np.ones((4, 1, 3, 3)), None, input_shape=(1, 9, 9), stride=(3, 3))
    groups = groups_of(layer.matrix())
    assert len(groups) == 9
    assert all(len(one.outputs) == 4 and len(one.inputs) == 9 for one in groups)
    blocks = blocks_of(groups)
    assert sorted(one for block in blocks for group in block for one in group.outputs.tolist()) == list(range(36))
    assert all(sum(len(group.outputs) for group in block) <= 32 for block in blocks)
    assert most_live(blocks) == 72  # eight of the nine windows
    assert last_uses(blocks)[0] == 0


def test_a_full_matrix_is_one_group_cut_into_blocks() -> None:
    blocks = blocks_of(groups_of(np.ones((70, 5))))
    assert [len(group.outputs) for block in blocks for group in block] == [32, 32, 6]
    assert most_live(blocks) == 5


def test_an_output_without_weights_is_computed_too() -> None:
    weights = np.zeros((3, 8))
    weights[0, 7] = 1.0
    outputs = [one for group in groups_of(weights) for one in group.outputs.tolist()]
    assert sorted(outputs) == [0, 1, 2]


@given(
    powers=st.lists(st.floats(-2.0, 2.0, width=32), min_size=4, max_size=5).filter(lambda one: abs(one[-1]) > 1e-2),
    basis=st.sampled_from(["power", "chebyshev"]),
)
@settings(max_examples=100, deadline=None)
def test_polynomials_of_degree_3_and_4_take_two_products(powers: list[float], basis: str) -> None:
    layer = Polynomial(coefficients=tuple(powers), units=1, basis=basis, interval=(-2.0, 3.0))
    one, two = stages_of(make(layer, inputs=1))
    assert one.degree == len(powers) - 1
    assert two.slope is None
    x = np.linspace(-2, 3, 21)[:, None]
    terms = sum(abs(power) * np.abs(x) ** place for place, power in enumerate(one.powers))
    # The terms of the products may cancel: what rounding leaves is in proportion to them.
    atol = 1e-12 * abs(layer.powers[-1]) * float((terms + (x**2 + abs(one.slope or 0.0) * np.abs(x)) ** 2).max())
    np.testing.assert_allclose(through((one, two), x), layer.apply(x), rtol=1e-9, atol=atol + 1e-12)
    values = sum(power * x**place for place, power in enumerate(one.powers))
    np.testing.assert_allclose(values, one.bend(x), rtol=1e-9, atol=atol / abs(layer.powers[-1]) + 1e-9)


def test_a_highest_term_of_rounding_errors_is_left_out() -> None:
    even = Polynomial(coefficients=(0.1, 0.5, 0.3, 1e-17), units=2, interval=(-2.0, 2.0))
    assert stages_of(make(even, inputs=2))[0].degree == 2


def test_what_is_no_second_product_is_refused() -> None:
    with pytest.raises(ValueError, match="degree 3, without a factor"):
        SecondBend(degree=3, factor=1.0)
    with pytest.raises(ValueError, match="or degree 4"):
        SecondBend(degree=5)


def test_what_cannot_be_computed_is_named() -> None:
    with pytest.raises(UsageError, match="relu is no polynomial"):
        stages_of(make(Activation(kind="relu", units=2), inputs=2))


def test_pooling_merges_into_the_map_behind() -> None:
    generator = np.random.default_rng(3)
    dense = Affine(weights=generator.normal(size=(2, 4)), offset=np.ones(2))
    program = Program(
        input_shape=(1, 4, 4),
        layers=(average_pool((1, 4, 4), (2, 2), stride=(2, 2)), dense),
        meaning=Meaning(gives="values"),
    )
    rows = generator.normal(size=(5, 16))
    (stage,) = stages_of(program)
    np.testing.assert_allclose(stage.linear(rows), program.evaluate(rows))
