"""Levels of layers, and the layer that breaks a limit."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import UsageError
from wardline.he.compiler.depth import depth_of, layer_levels
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Polynomial
from wardline.he.compiler.program import Meaning, Program


@pytest.mark.parametrize(
    ("powers", "levels"),
    [
        ((0.0, 0.0, 1.0), 1),
        ((2.0, 1.0, -1.0), 1),
        ((0.0, 0.5, 1.0), 2),
        ((0.0, 0.0, 0.5), 2),
        ((0.0, 1.0, 0.0, 0.5), 2),
        ((0.0, 0.3, 0.2, 0.1, 1.0), 2),
        ((0.0, 0.3, 0.2, 0.1, 0.5), 3),
        ((1.0, 2.0), 1),
    ],
)
def test_levels_of_polynomials(powers: tuple[float, ...], levels: int) -> None:
    assert layer_levels(Polynomial(coefficients=powers, units=1)) == levels


def deep() -> Program:
    layers = []
    for index in range(4):
        layers += [
            Affine(weights=np.full((2, 2), 0.3), offset=np.zeros(2), name=f"dense {index}"),
            Polynomial(coefficients=(0.0, 0.0, 1.0), units=2, name=f"square {index}"),
        ]
    return Program(input_shape=(2,), layers=tuple(layers), meaning=Meaning(gives="values"))


def test_levels_add_up() -> None:
    found = depth_of(deep(), limit=8)
    assert [one.total for one in found] == list(range(1, 9))
    assert [one.products for one in found] == [False, True] * 4


@pytest.mark.parametrize(("limit", "breaks"), [(0, "dense 0"), (1, "square 0"), (6, "dense 3"), (7, "square 3")])
def test_the_layer_that_breaks_a_limit_is_named(limit: int, breaks: str) -> None:
    with pytest.raises(UsageError, match="all layers need 8") as refused:
        depth_of(deep(), limit=limit)
    assert refused.value.where == breaks
    assert refused.value.hint


def test_adding_takes_no_level() -> None:
    assert layer_levels(Diagonal(factors=np.array([1.0, -1.0, 0.0]), offset=np.ones(3))) == 0


def test_an_activation_has_to_be_fitted_first() -> None:
    with pytest.raises(UsageError, match="relu is no polynomial"):
        layer_levels(Activation(kind="relu", units=2))
    with pytest.raises(ValueError, match="at least 0"):
        depth_of(deep(), limit=-1)
