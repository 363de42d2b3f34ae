"""Small random networks, and what is needed to compute them on ciphertexts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program


def random_network(seed: int, *, widths: tuple[int, ...]) -> tuple[Program, np.ndarray]:
    """Dense layers of these widths with a polynomial of degree 2 between each two, and 300 rows."""
    generator = np.random.default_rng(seed)
    layers: list[Affine | Polynomial] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(
            Affine(weights=generator.normal(size=(outputs, inputs)) / inputs, offset=generator.normal(size=outputs))
        )
        if index + 2 < len(widths):
            powers = (generator.normal(), generator.normal(), generator.choice([-1, 1]) * generator.uniform(0.3, 1.0))
            layers.append(Polynomial(coefficients=powers, units=outputs, interval=(-4.0, 4.0)))
    program = Program(input_shape=(widths[0],), layers=tuple(layers), meaning=Meaning(gives="values"))
    return program, generator.normal(size=(300, widths[0]))


@dataclass
class Scene:
    """A plan with a client's keys and some encrypted rows."""

    program: Program
    plan: Any
    secret: Any
    lattice: Any
    keys: Any
    rows: np.ndarray
    columns: list[Any]


@pytest.fixture(scope="session")
def network():
    return random_network


@pytest.fixture(scope="session")
def scene():
    """Makes a `Scene`: a program, a function that plans for it, its sample, and how many rows of that."""
    pytest.importorskip("tenseal")
    from wardline.he.diagonal.keys import gathered
    from wardline.he.diagonal.rows import encrypt_rows
    from wardline.he.seal.bridge import SealLattice

    def make(choose, program, sample, *, rows: int = 2, **options) -> Scene:
        plan, secret = choose(program, sample, **options)
        lattice = SealLattice.generate(plan.parameters)
        keys = lattice.evaluation_keys(relinearisation=plan.relinearises, steps=plan.steps)
        some = sample[:rows]
        columns = list(encrypt_rows(lattice, plan, some))
        return Scene(program, plan, secret, lattice, gathered(plan, keys), some, columns)

    return make
