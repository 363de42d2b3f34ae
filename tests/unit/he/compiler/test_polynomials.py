"""Fits are as good as theory says they can be, and report what they leave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial

from wardline.core import DataError
from wardline.he.compiler.layers import KINDS, Activation, Affine, Polynomial, activation_values
from wardline.he.compiler.polynomials import fit_activations, fit_polynomial
from wardline.he.compiler.program import Meaning, Program


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    degree=st.integers(2, 4),
    low=st.floats(-6, -0.5),
    width=st.floats(1, 9),
    seed=st.integers(0, 99),
)
def test_each_method_wins_by_its_own_measure(kind, degree: int, low: float, width: float, seed: int) -> None:
    sample = np.clip(np.random.default_rng(seed).normal(low + width / 2, width / 8, 4000), low, low + width)

    def function(x: np.ndarray) -> np.ndarray:
        return activation_values(kind, x)

    if kind == "relu" and low + width <= 0:
        with pytest.raises(ValueError, match="constant"):
            fit_polynomial(function, (low, low + width), degree=degree, sample=sample)
        return

    fits = {
        method: fit_polynomial(function, (low, low + width), degree=degree, method=method, sample=sample)
        for method in ("least-squares", "minimax")
    }
    assert fits["minimax"].largest_error <= 1.001 * fits["least-squares"].largest_error + 1e-9
    # Five per cent of the weight is spread evenly, so that the other one may be a little ahead on the sample.
    assert fits["least-squares"].typical_error <= 1.3 * fits["minimax"].typical_error + 1e-9
    for fit in fits.values():
        places = np.linspace(low, low + width, 777)
        error = np.abs(fit.polynomial.apply(places) - function(places)).max()
        assert error <= 1.01 * fit.largest_error + 1e-12
        np.testing.assert_allclose(
            polynomial.polyval(places, fit.polynomial.powers), fit.polynomial.apply(places), atol=1e-7
        )


def test_minimax_of_the_absolute_value_is_the_known_one() -> None:
    """The best quadratic for |x| on [-1, 1] is x^2 + 1/8, off by 1/8 (Cheney 1966, chapter 3)."""
    fit = fit_polynomial(np.abs, (-1.0, 1.0), degree=2, method="minimax")
    assert fit.largest_error == pytest.approx(0.125, abs=1e-5)
    np.testing.assert_allclose(fit.polynomial.powers, (0.125, 0.0, 1.0), atol=1e-4)


def test_a_polynomial_is_found_again() -> None:
    for method in ("least-squares", "minimax"):
        fit = fit_polynomial(lambda x: 1 - 2 * x + 0.5 * x**3, (-2, 5), degree=3, method=method)
        np.testing.assert_allclose(fit.polynomial.powers, (1, -2, 0, 0.5), atol=1e-6)
        assert fit.largest_error < 1e-6


def test_an_odd_function_needs_no_even_degree() -> None:
    fit = fit_polynomial(np.tanh, (-1.0, 1.0), degree=2)
    assert fit.polynomial.degree in (1, 2)
    assert abs(fit.polynomial.powers[-1]) > 0


@pytest.mark.parametrize(
    "bad", [{"degree": 1}, {"degree": 5}, {"interval": (1.0, 1.0)}, {"interval": (0.0, np.inf)}, {"method": "best"}]
)
def test_bad_arguments(bad: dict) -> None:
    settled = {"interval": (-1.0, 1.0), "degree": 2} | bad
    with pytest.raises(ValueError, match="must"):
        fit_polynomial(np.tanh, settled.pop("interval"), **settled)


def network(seed: int) -> Program:
    rng = np.random.default_rng(seed)
    return Program(
        input_shape=(6,),
        layers=(
            Affine(weights=rng.normal(size=(8, 6)) / 3, offset=rng.normal(size=8), name="first"),
            Activation(kind="relu", units=8, name="bend"),
            Affine(weights=rng.normal(size=(5, 8)) / 3, offset=np.zeros(5), name="second"),
            Activation(kind="tanh", units=5, name="squash"),
            Affine(weights=rng.normal(size=(3, 5)), offset=np.zeros(3), name="third"),
        ),
        meaning=Meaning(gives="values"),
    )


def test_activations_of_a_program_are_fitted_where_its_values_lie() -> None:
    program = network(0)
    x = np.random.default_rng(1).normal(size=(3000, 6))
    errors = []
    for degree in (2, 3, 4):
        fitted, fits = fit_activations(program, x, degree=degree)
        assert fitted.exact
        assert not program.exact
        assert [fit.what for fit in fits] == ["relu", "tanh"]
        assert "bend: relu by degree" in str(fits[0])
        errors.append(np.sqrt(np.mean((fitted.evaluate(x) - program.evaluate(x)) ** 2)))
    assert errors[2] < errors[0]
    assert errors[2] < 0.2 * program.evaluate(x).std()
    values = list(program.trace(x))[1]
    low, high = fits[0].polynomial.interval
    assert low < values.min()
    assert high > values.max()


def test_degrees_may_differ_and_must_fit() -> None:
    x = np.random.default_rng(1).normal(size=(100, 6))
    fitted, _ = fit_activations(network(0), x, degree=(2, 4), method="minimax")
    assert [layer.degree for layer in fitted.layers if isinstance(layer, Polynomial)] == [2, 4]
    with pytest.raises(ValueError, match="do not fit"):
        fit_activations(network(0), x, degree=(2,))


def test_samples_that_say_nothing() -> None:
    with pytest.raises(DataError, match="two rows"):
        fit_activations(network(0), np.zeros((1, 6)))
    flat = Program(
        input_shape=(1,), layers=(Activation(kind="relu", units=1, name="bend"),), meaning=Meaning(gives="values")
    )
    with pytest.raises(DataError, match="alike") as refused:
        fit_activations(flat, np.zeros((5, 1)))
    assert "bend" in str(refused.value)
