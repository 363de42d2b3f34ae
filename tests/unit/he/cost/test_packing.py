"""The cheaper packing for a batch, with speeds that are the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.cost.packing import choose_packing
from wardline.he.cost.speeds import Speeds

SPEEDS = Speeds(
    transform={4096: 1e-5, 8192: 2e-5, 16384: 4e-5},
    expanded=4e-9,
    summed=1e-10,
    summed_alone=1e-10,
    passed=3e-10,
    keyed=1e-9,
    hidden=5e-9,
    calls=3e-6,
)


def program(*, inputs: int = 24, hidden: int = 16, degree: int = 2) -> Program:
    generator = np.random.default_rng(1)
    powers = (0.1, 0.2, *[0.3] * (degree - 1))
    layers = (
        Affine(weights=generator.normal(size=(hidden, inputs)) / 5, offset=np.ones(hidden)),
        Polynomial(coefficients=powers, units=hidden, interval=(-4.0, 4.0)),
        Affine(weights=generator.normal(size=(2, hidden)) / 4, offset=np.ones(2)),
    )
    return Program(input_shape=(inputs,), layers=layers, meaning=Meaning(gives="values"))


def rows(inputs: int = 24) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(100, inputs))


@pytest.fixture(scope="module")
def one():
    return choose_packing(program(), rows(), batch=1, speeds=SPEEDS)


def test_the_packing_that_takes_less_time_is_chosen(one):
    times = {name: each.server for name, each in one.predicted.items()}
    assert set(times) == {"columns", "diagonal"}
    assert one.packing == min(times, key=times.__getitem__)
    assert one.plan.rows == {"columns": one.plan.parameters.slots, "diagonal": 1}[one.packing]


def test_full_batches_go_in_columns_and_are_where_the_break_even_says(one):
    assert one.break_even is not None
    columns, diagonal = one.predicted["columns"].server, one.predicted["diagonal"].server
    assert columns <= one.break_even * diagonal
    assert one.break_even == 1 or columns > (one.break_even - 1) * diagonal
    for batch, packing in ((one.break_even, "columns"), (max(one.break_even - 1, 1), one.packing)):
        found = choose_packing(program(), rows(), batch=batch, speeds=SPEEDS)
        assert found.packing == packing
        assert found.break_even == one.break_even
    assert f"{one.break_even} rows" in one.explain()


def test_a_linear_model_needs_no_choice():
    layers = (Affine(weights=np.ones((1, 3)), offset=np.zeros(1)),)
    plain = Program(input_shape=(3,), layers=layers, meaning=Meaning(gives="values"))
    found = choose_packing(plain, rows(3), batch=10, speeds=SPEEDS)
    assert found.packing == "linear"
    assert found.plan.features == 3
    assert found.break_even is None


def test_a_packing_that_cannot_compute_a_layer_is_left_out_with_its_reason():
    found = choose_packing(program(degree=4), rows(), batch=1, speeds=SPEEDS)
    if "diagonal" in found.predicted:
        pytest.skip("diagonals compute this degree now")
    assert found.packing == "columns"
    assert "diagonal" in found.refused
    assert "refused" in found.explain()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="batch"):
        choose_packing(program(), rows(), batch=0, speeds=SPEEDS)
    with pytest.raises(ValueError, match="weighed"):
        choose_packing(program(), rows(), batch=1, weighed="client", speeds=SPEEDS)  # type: ignore[arg-type]
