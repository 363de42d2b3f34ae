"""Counts of operations are sums that can be made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.cost.work import Shares, Work, dropped, relinearised, work_of
from wardline.he.linear.plan import plan_linear
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network


def linear(features: int, outputs: int):
    generator = np.random.default_rng(features)
    x = generator.normal(size=(200, features))
    return plan_linear(
        generator.normal(size=(outputs, features)),
        generator.normal(size=outputs),
        low=x.min(0),
        high=x.max(0),
        sample=x,
    )


def network(inputs: int, hidden: int, *, half: bool = False) -> tuple[Program, np.ndarray]:
    generator = np.random.default_rng(inputs)
    weights = generator.normal(size=(hidden, inputs))
    if half:
        weights[:, ::2] = 0.0
        weights[::2] *= np.arange(inputs) < 2
    layers = (
        Affine(weights=weights, offset=np.ones(hidden)),
        Polynomial(coefficients=(0.0, 0.0, 1.0), units=hidden, interval=(-4.0, 4.0)),
        Affine(weights=generator.normal(size=(2, hidden)), offset=np.ones(2)),
    )
    program = Program(input_shape=(inputs,), layers=layers, meaning=Meaning(gives="values"))
    return program, generator.normal(size=(100, inputs))


def together(shares: Shares) -> Work:
    return shares.shared + shares.alone


def test_a_linear_model_expands_every_column_and_sums_both_parts():
    plan, _ = linear(7, 5)
    size = plan.parameters.degree * len(plan.parameters.moduli)
    found = together(work_of(plan))
    assert found.expanded == 7 * size
    assert found.summed == 4 * 7 * 2 * size
    assert found.summed_alone == 7 * 2 * size
    assert found.hidden == 5 * size
    assert found.keyed == 0.0


def test_work_grows_with_features_and_outputs():
    small, wide, many = (together(work_of(linear(*shape)[0])) for shape in ((4, 1), (40, 1), (4, 3)))
    assert wide.expanded == 10 * small.expanded
    assert wide.hidden == small.hidden
    assert many.expanded == small.expanded
    assert many.transforms == 3 * small.transforms


def test_a_network_relinearises_the_outputs_and_not_the_inputs_of_a_layer():
    program, rows = network(3, 6)
    plan, secret = unsafe_plan_unprotected_network(program, rows)
    first, last = plan.layers
    degree = plan.parameters.degree
    found = together(work_of(plan, secret=secret))
    expected = (
        dropped(first.limbs, first.dropped, degree).transforms * 6
        + (dropped(last.limbs, last.dropped, degree).transforms + relinearised(last.limbs, degree).transforms) * 2
    )
    assert found.transforms == expected
    assert found.hidden == 0.0
    assert found.summed + found.summed_alone == (2 * 6 * 3 * first.limbs + 3 * 2 * 6 * last.limbs) * degree


def test_protection_costs_noise_and_transforms_of_every_output():
    program, rows = network(3, 6)
    plan, secret = plan_network(program, rows)
    last = plan.layers[-1]
    found = together(work_of(plan, secret=secret))
    assert found.hidden == 2 * (last.limbs - last.dropped) * plan.parameters.degree


def test_weights_that_are_0_save_work_and_without_them_a_bound_is_given():
    program, rows = network(8, 8, half=True)
    plan, secret = plan_network(program, rows)
    known, bound = together(work_of(plan, secret=secret)), together(work_of(plan))
    assert known.summed + known.summed_alone < bound.summed + bound.summed_alone
    assert known.expanded <= bound.expanded
    assert known.transforms == bound.transforms


def test_work_of_anything_else_is_refused():
    _plan, secret = linear(3, 1)
    program, rows = network(3, 4)
    with pytest.raises(TypeError, match="another kind"):
        work_of(plan_network(program, rows)[0], secret=secret)
    with pytest.raises(TypeError, match="no plan"):
        work_of(program)  # type: ignore[arg-type]


def test_work_is_added_and_multiplied_field_by_field():
    one = Work(transforms=1.0, passed=2.0, calls=3.0)
    assert one + one == one * 2 == Work(transforms=2.0, passed=4.0, calls=6.0)
