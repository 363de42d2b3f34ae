import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.training.ftrl_matrix import best_bands, expected_error, sensitivity, square_root


def dense(coefficients, steps):
    """The matrix written out."""
    matrix = np.zeros((steps, steps))
    for band, value in enumerate(coefficients[:steps]):
        matrix += value * np.eye(steps, k=-band)
    return matrix


def most_moved(matrix, separation):
    """The definition of sensitivity by trying every set of steps that a unit may join, with equal gradients."""
    steps = len(matrix)
    most = 0.0
    for pattern in itertools.product((0.0, 1.0), repeat=steps):
        joined = np.flatnonzero(pattern)
        if len(joined) < 2 or np.diff(joined).min() >= separation:
            most = max(most, np.linalg.norm(matrix @ pattern))
    return most


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_square_root_times_itself_is_the_sum_over_steps(momentum):
    steps = 40
    root = dense(square_root(steps, momentum=momentum), steps)
    workload = dense(np.cumsum(momentum ** np.arange(steps)), steps)
    np.testing.assert_allclose(root @ root, workload, rtol=1e-12)


def test_the_known_coefficients():
    # Binomial(2k, k) / 4^k.
    np.testing.assert_allclose(square_root(5), [1, 1 / 2, 3 / 8, 5 / 16, 35 / 128], rtol=1e-15)
    np.testing.assert_array_equal(square_root(1, momentum=0.9), [1.0])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 10),
    separation=st.integers(1, 12),
    falls=st.lists(st.floats(0, 1), min_size=1, max_size=10),
)
def test_sensitivity_is_the_most_that_any_allowed_set_of_steps_moves(steps, separation, falls):
    coefficients = np.cumsum(falls[::-1])[::-1]
    exact = most_moved(dense(coefficients, steps), separation)
    assert sensitivity(coefficients, steps=steps, separation=separation) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("bands", [1, 3, 6, 12])
def test_gradients_that_differ_from_step_to_step_move_no_more(bands, momentum):
    steps, separation, random = 12, 4, np.random.default_rng(0)
    coefficients = square_root(bands, momentum=momentum)
    limit = sensitivity(coefficients, steps=steps, separation=separation)
    matrix = dense(coefficients, steps)
    largest = 0.0
    for first, _ in itertools.product(range(separation), range(300)):
        gradients = np.zeros((steps, 2))
        joined = np.arange(first, steps, separation)
        directions = random.normal(loc=[3.0, 0.0], size=(len(joined), 2))
        gradients[joined] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        largest = max(largest, np.linalg.norm(matrix @ gradients))
    assert 0.9 * limit < largest <= limit * (1 + 1e-12)
    # The control: somebody who forgot that a unit joins in every epoch would be too low.
    assert sensitivity(coefficients, steps=steps, separation=steps) < 0.9 * largest


def test_bands_no_wider_than_the_separation_leave_epochs_at_right_angles():
    coefficients = square_root(5)
    single = np.linalg.norm(coefficients)
    assert sensitivity(coefficients, steps=20, separation=5) == pytest.approx(2 * single)
    assert sensitivity(coefficients, steps=20, separation=4) > 2 * single


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("bands", "separation"), [(1, 4), (4, 4), (7, 3), (24, 24)])
def test_the_expected_error_is_that_of_the_matrices_written_out(bands, separation, momentum):
    steps = 24
    coefficients = square_root(bands, momentum=momentum)
    workload = dense(np.cumsum(momentum ** np.arange(steps)), steps)
    decoder = workload @ np.linalg.inv(dense(coefficients, steps))
    exact = np.sqrt((decoder**2).sum() / steps) * sensitivity(coefficients, steps=steps, separation=separation)
    found = expected_error(coefficients, steps=steps, separation=separation, momentum=momentum)
    assert found == pytest.approx(exact, rel=1e-9)


def test_correlated_noise_is_worth_it():
    for momentum in (0.0, 0.9):
        setting = {"steps": 500, "separation": 50, "momentum": momentum}
        bands = best_bands(**setting)
        assert bands > 8
        errors = {b: expected_error(square_root(b, momentum=momentum), **setting) for b in (1, bands // 2, bands)}
        # Independent noise is that of DP-SGD without sampling; seen: 4.2 and 5.6 times as much.
        assert errors[1] > 4 * errors[bands]
        assert errors[bands] <= errors[bands // 2]
    assert best_bands(steps=500, separation=50, most=5) == 4
    assert best_bands(steps=1, separation=1) == 1


@pytest.mark.parametrize("coefficients", [[], [1.0, -0.1], [0.5, 1.0], [float("nan")], [float("inf")]])
def test_coefficients_without_a_known_sensitivity_are_refused(coefficients):
    with pytest.raises(ValueError, match="coefficients"):
        sensitivity(coefficients, steps=3, separation=1)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="bands"):
        square_root(0)
    with pytest.raises(ValueError, match="momentum"):
        square_root(3, momentum=1.0)
    with pytest.raises(ValueError, match="steps"):
        sensitivity([1.0], steps=0, separation=1)
    with pytest.raises(ValueError, match="separation"):
        sensitivity([1.0], steps=1, separation=0)
    with pytest.raises(ValueError, match="most"):
        best_bands(steps=3, separation=1, most=0)
