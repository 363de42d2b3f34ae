"""What is public of numbers that follow from weights."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wardline.he.linear.plan import plan_linear
from wardline.he.ranges import coarse


@given(st.floats(min_value=0.0, max_value=1e300))
def test_a_coarse_number_bounds_what_it_was_and_has_four_bits(value: float) -> None:
    found = coarse(value)
    assert value <= found <= value * 9 / 8 + 5e-324
    assert coarse(found) == found
    assert value < 1e-300 or (math.frexp(found)[0] * 16).is_integer()


def test_the_bound_of_a_single_weight_no_longer_tells_it() -> None:
    rows = np.linspace(-1.0, 1.0, 50)[:, None]
    told = {}
    for weight in (1.2345, 1.2346, 1.2351):
        plan, _ = plan_linear(np.array([[weight]]), np.zeros(1), low=rows.min(0), high=rows.max(0), sample=rows)
        assert math.isclose(plan.bound, weight), "the control: with all digits it is the weight"
        told[weight] = coarse(plan.bound)
    assert len(set(told.values())) == 1
