"""Programs check that their layers fit, take rows of any shape that fits, and say what outputs mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wardline.he.compiler.convolution import Convolution, convolve
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Polynomial
from wardline.he.compiler.program import Meaning, Program

ONE = Affine(weights=np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]]), offset=np.array([0.0, 1.0, -1.0]), name="one")
VALUES = Meaning(gives="values")


def test_a_program_by_hand() -> None:
    square = Polynomial(coefficients=(1.0, 0.0, 2.0), units=3)
    program = Program(input_shape=(2,), layers=(ONE, square), meaning=VALUES)
    np.testing.assert_array_equal(program.evaluate([[1.0, 2.0]]), [[51.0, 1.5, 51.0]])
    assert [values.shape for values in program.trace(np.zeros((4, 2)))] == [(4, 2), (4, 3), (4, 3)]
    assert program.evaluate(np.empty((0, 2))).shape == (0, 3)
    assert program.exact


def test_rows_may_be_images_or_flat() -> None:
    layer = convolve(np.ones((1, 1, 2, 2)), np.array([1.0]), input_shape=(1, 2, 3))
    program = Program(input_shape=(1, 2, 3), layers=(layer,), meaning=VALUES)
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(program.evaluate(x), [[9.0, 13.0]])
    np.testing.assert_array_equal(program.evaluate(x.reshape(1, 6)), [[9.0, 13.0]])
    for bad in (x.reshape(1, 1, 3, 2), np.zeros((1, 5)), np.zeros(6)):
        with pytest.raises(ValueError, match="shape"):
            program.evaluate(bad)
    with pytest.raises(ValueError, match="not finite"):
        program.evaluate(np.full((1, 6), np.inf))


def test_chunks_do_not_show() -> None:
    program = Program(input_shape=(2,), layers=(ONE,), meaning=VALUES)
    x = np.random.default_rng(0).normal(size=(5000, 2))
    np.testing.assert_allclose(program.evaluate(x), x @ ONE.weights.T + ONE.offset)


def test_layers_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="one reads 2 numbers, and 3 come in"):
        Program(input_shape=(3,), layers=(ONE,), meaning=VALUES)
    with pytest.raises(ValueError, match="meaning needs 2"):
        Program(input_shape=(2,), layers=(ONE,), meaning=Meaning(gives="logits", classes=("a", "b")))
    with pytest.raises(ValueError, match="names do not fit"):
        Program(input_shape=(2,), layers=(ONE,), meaning=VALUES, features=("a",))
    with pytest.raises(ValueError, match="at least one layer"):
        Program(input_shape=(2,), layers=(), meaning=VALUES)


def test_decisions() -> None:
    logits = Meaning(gives="logits", classes=("a", "b", "c"), link="softmax")
    outputs = np.array([[0.0, 2.0, 1.0], [1000.0, 0.0, -1000.0]])
    np.testing.assert_array_equal(logits.decide(outputs), [1, 0])
    np.testing.assert_allclose(logits.probabilities(outputs).sum(axis=1), 1.0)
    decision = Meaning(gives="decision", classes=("good", "bad"), threshold=0.5, link="sigmoid")
    np.testing.assert_array_equal(decision.decide(np.array([[0.5], [0.6], [-1000.0]])), [0, 1, 0])
    np.testing.assert_allclose(decision.probabilities(np.array([[0.0], [-1000.0]])), [[0.5, 0.5], [1.0, 0.0]])
    with pytest.raises(ValueError, match="no classes"):
        VALUES.decide(outputs)
    with pytest.raises(ValueError, match="no logarithms"):
        VALUES.probabilities(outputs)


@pytest.mark.parametrize(
    "bad",
    [
        {"gives": "labels"},
        {"gives": "logits", "classes": ("a",)},
        {"gives": "decision", "classes": ("a", "b", "c")},
        {"gives": "values", "classes": ("a", "b")},
        {"gives": "values", "link": "softmax"},
        {"gives": "decision", "classes": ("a", "b"), "threshold": np.nan},
    ],
    ids=str,
)
def test_meanings_that_do_not_fit(bad: dict) -> None:
    with pytest.raises(ValueError, match=r"fit|finite"):
        Meaning(**bad)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Affine(weights=np.ones((2, 3)), offset=np.ones(3)), "needs weights"),
        (lambda: Affine(weights=np.full((1, 1), np.nan), offset=np.ones(1)), "finite"),
        (lambda: Diagonal(factors=np.ones(2), offset=np.ones(3)), "factor"),
        (lambda: Polynomial(coefficients=(1.0,), units=1), "degree"),
        (lambda: Polynomial(coefficients=(1.0, 0.0), units=1), "last term"),
        (lambda: Polynomial(coefficients=(0.0,) * 5 + (1.0,), units=1), "degree"),
        (lambda: Polynomial(coefficients=(1.0, 1.0), units=1, interval=(1.0, 1.0)), "interval"),
        (lambda: Activation(kind="relu6", units=1), "one of"),
        (lambda: convolve(np.ones((1, 1, 3, 3)), None, input_shape=(1, 2, 2)), "larger"),
        (lambda: convolve(np.ones((2, 1, 1, 1)), None, input_shape=(3, 2, 2), groups=2), "groups"),
        (
            lambda: Convolution(kernel=np.ones((1, 1, 1, 1)), offset=np.zeros(3), input_shape=(1, 2, 2)),
            "offset for each",
        ),
    ],
    ids=["affine", "nan", "diagonal", "constant", "zero", "fifth", "interval", "kind", "small", "groups", "offset"],
)
def test_layers_that_are_none(make, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_layers_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ONE.weights[0, 0] = 5.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        ONE.name = "two"
