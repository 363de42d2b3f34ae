"""Small random programs, and clients for their plans."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program


def random_program(
    seed: int,
    *,
    inputs: int = 3,
    hidden: int = 4,
    outputs: int = 2,
    squares: int = 1,
    degrees: tuple[int, ...] | None = None,
) -> Program:
    """Dense layers with a polynomial between each two, of degree 2 if nothing else is said."""
    generator = np.random.default_rng(seed)
    layers: list[Affine | Polynomial] = []
    width = inputs
    for degree in (2,) * squares if degrees is None else degrees:
        layers.append(
            Affine(weights=generator.normal(size=(hidden, width)) / width, offset=generator.normal(size=hidden))
        )
        lower = tuple(generator.normal() for _ in range(degree))
        powers = (*lower, generator.choice([-1, 1]) * generator.uniform(0.3, 1.0))
        layers.append(Polynomial(coefficients=powers, units=hidden, interval=(-4.0, 4.0)))
        width = hidden
    layers.append(Affine(weights=generator.normal(size=(outputs, width)), offset=generator.normal(size=outputs)))
    return Program(input_shape=(inputs,), layers=tuple(layers), meaning=Meaning(gives="values"))


def random_rows(seed: int, inputs: int, count: int = 300) -> np.ndarray:
    return np.random.default_rng([seed, 7]).normal(size=(count, inputs))


@pytest.fixture(scope="session")
def program():
    return random_program


@pytest.fixture(scope="session")
def rows():
    return random_rows


@pytest.fixture(scope="session")
def client():
    """Makes (lattice, evaluation keys) of parameters, once for each."""
    pytest.importorskip("tenseal")
    from wardline.he.frames.evaluation_keys import expand_keys
    from wardline.he.seal.bridge import SealLattice

    made: dict[str, tuple] = {}

    def make(parameters):
        if parameters.digest not in made:
            lattice = SealLattice.generate(parameters)
            keys = lattice.evaluation_keys(relinearisation=parameters.special is not None)
            made[parameters.digest] = lattice, expand_keys(keys)
        return made[parameters.digest]

    return make
