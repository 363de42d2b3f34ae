"""Ranges cover the sample, rows beyond them are clipped or refused, and scaled programs are the same function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import DataError
from wardline.he.compiler.calibration import Ranges, balanced, calibrate, unit_inputs
from wardline.he.compiler.convolution import convolve
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Meaning, Program


def network(seed: int, *, inputs: int = 6, hidden: int = 5, size: float = 1.0) -> Program:
    rng = np.random.default_rng(seed)
    return Program(
        input_shape=(inputs,),
        layers=(
            Affine(weights=size * rng.normal(size=(hidden, inputs)), offset=rng.normal(size=hidden)),
            Polynomial(coefficients=(0.0, 0.0, 1.0), units=hidden),
            Affine(weights=rng.normal(size=(3, hidden)), offset=rng.normal(size=3)),
        ),
        meaning=Meaning(gives="values"),
        features=tuple(f"f{index}" for index in range(inputs)),
    )


def sample(seed: int, rows: int = 200, inputs: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, inputs)) * rng.uniform(0.1, 1000, size=inputs) + rng.normal(size=inputs)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), margin=st.floats(0, 1))
def test_every_value_of_the_sample_lies_in_its_range(seed: int, margin: float) -> None:
    program, x = network(seed), sample(seed)
    found = calibrate(program, x, margin=margin)
    for values, ranges, squares in zip(program.trace(x), found.ranges, found.squares, strict=True):
        assert (values >= ranges.low).all()
        assert (values <= ranges.high).all()
        np.testing.assert_allclose(np.mean(values**2, axis=0), squares)
        width = values.max(axis=0) - values.min(axis=0)
        np.testing.assert_allclose(ranges.high - ranges.low, (1 + 2 * margin) * width)
    rows, changed = found.within(x)
    assert changed == 0
    np.testing.assert_array_equal(rows, x)


def test_a_new_row_lies_beyond_as_rarely_as_is_guaranteed() -> None:
    """At most 2 in 51 numbers of new rows lie beyond the extremes of 50: of 24,000, 941 are expected.

    The ten rows of a round share a range, so that the deviation is 33 (that of a beta-binomial), and 1,200 is passed
    with probability below 1e-12. A range that left out the extremes, with 4 in 51 beyond (1,882), would be found.
    """
    rng = np.random.default_rng(5)
    beyond = 0
    for _ in range(400):
        found = calibrate(network(0), rng.normal(size=(50, 6)), margin=0.0)
        beyond += found.within(rng.normal(size=(10, 6)))[1]
    assert 700 < beyond < 1200


def test_rows_beyond_are_clipped_or_refused_by_name_and_never_by_value() -> None:
    program, x = network(1), sample(1)
    far = x[:3].copy()
    far[1, 4] = 123456.0
    clipped, changed = calibrate(program, x).within(far, program.features)
    assert changed == 1
    assert clipped[1, 4] < 123456.0
    refusing = calibrate(program, x, policy="refuse")
    with pytest.raises(DataError, match="f4") as refused:
        refusing.within(far, program.features)
    assert "123456" not in str(refused.value) + refused.value.hint
    far[0, 2] = np.nan
    with pytest.raises(DataError, match="not finite in column 2"):
        refusing.within(far)
    with pytest.raises(ValueError, match="5 numbers"):
        refusing.within(np.zeros((2, 5)))
    rows, changed = refusing.within(np.empty((0, 6)))
    assert rows.shape == (0, 6)
    assert changed == 0


@pytest.mark.parametrize(("rows", "said"), [(np.zeros((1, 6)), "two rows"), (np.full((3, 6), np.nan), "not finite")])
def test_samples_that_are_refused(rows: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        calibrate(network(0), rows)


def test_bad_ranges_and_arguments() -> None:
    with pytest.raises(ValueError, match="low to high"):
        Ranges(low=np.ones(2), high=np.zeros(2))
    with pytest.raises(ValueError, match="margin"):
        calibrate(network(0), sample(0), margin=-0.1)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999))
def test_inputs_are_scaled_to_one_without_changing_the_function(seed: int) -> None:
    program, x = network(seed), sample(seed)
    x[:, 2] = 7.0  # a constant stays inside, too
    found = calibrate(program, x)
    scaled, scaling = unit_inputs(program, found.ranges[0])
    u = scaling.apply(x)
    assert np.abs(u).max() <= 1.0
    assert len(scaled.layers) == len(program.layers)
    wanted = program.evaluate(x)
    np.testing.assert_allclose(scaled.evaluate(u), wanted, atol=1e-9 * (1 + np.abs(wanted).max()))


def test_images_share_a_scale_by_channel() -> None:
    rng = np.random.default_rng(0)
    layer = convolve(rng.normal(size=(2, 2, 3, 3)), None, input_shape=(2, 5, 5), padding=(1, 1, 1, 1))
    program = Program(input_shape=(2, 5, 5), layers=(layer,), meaning=Meaning(gives="values"))
    x = rng.uniform(0, 1, size=(30, 2, 5, 5)) * np.array([1.0, 9.0])[:, None, None]
    scaled, scaling = unit_inputs(program, calibrate(program, x).ranges[0])
    assert len(scaled.layers) == 1
    assert len(np.unique(scaling.half_width)) == 2
    assert np.abs(scaling.apply(x)).max() <= 1.0
    np.testing.assert_allclose(scaled.evaluate(scaling.apply(x)), program.evaluate(x), atol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), size=st.floats(0.001, 1000))
def test_balanced_programs_stay_near_one_before_squares(seed: int, size: float) -> None:
    x = np.random.default_rng(seed).uniform(-1, 1, size=(50, 6))
    program = simplify(network(seed, size=size))
    level = balanced(program, calibrate(program, x))
    before = list(level.trace(x))[1]
    assert 0.3 < np.abs(before).max() <= 1.0
    wanted = program.evaluate(x)
    np.testing.assert_allclose(level.evaluate(x), wanted, atol=1e-9 * (1 + np.abs(wanted).max()))
    with pytest.raises(ValueError, match="another program"):
        balanced(Program(input_shape=(6,), layers=program.layers[:2], meaning=program.meaning), calibrate(program, x))
