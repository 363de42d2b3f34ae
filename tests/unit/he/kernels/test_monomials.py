"""Powers of the variable, by coefficients: equal to what evaluations and integers say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from wardline.core import Seeds
from wardline.he.ciphertext import Residues
from wardline.he.kernels.monomials import apply_element, times_monomial
from wardline.he.kernels.transform import apply_galois, to_evaluations
from wardline.he.parameters import find_primes

DEGREE, MODULI = 4096, find_primes(4096, (31, 30))
GENERATOR = Seeds(6).numpy("monomials")


def uniform(*leading: int, moduli: tuple[int, ...] = MODULI, degree: int = DEGREE) -> Residues:
    limbs = [GENERATOR.integers(0, prime, (*leading, degree), dtype=np.uint32) for prime in moduli]
    return np.stack(limbs, axis=-2)


@pytest.mark.parametrize("element", [1, 3, DEGREE + 1, DEGREE // 4 + 1, 2 * DEGREE - 1])
def test_elements_act_as_on_evaluations(element: int) -> None:
    polynomials = uniform(2)
    found = to_evaluations(apply_element(polynomials, element, moduli=MODULI), moduli=MODULI)
    assert np.array_equal(found, apply_galois(to_evaluations(polynomials, moduli=MODULI), element))
    zeros = np.zeros_like(polynomials)
    assert not apply_element(zeros, element, moduli=MODULI).any()


def test_other_elements_are_refused() -> None:
    for element in (0, 2, 2 * DEGREE, -1):
        with pytest.raises(ValueError, match="odd"):
            apply_element(uniform(), element, moduli=MODULI)


@pytest.mark.parametrize("power", [0, 1, -1, 7, DEGREE - 1, DEGREE, -DEGREE, 2 * DEGREE + 3, -5 * DEGREE - 2])
def test_monomials_are_products(power: int) -> None:
    polynomials = uniform(2)
    found = times_monomial(polynomials, power, moduli=MODULI)
    sign, place = (1, power % DEGREE) if power % (2 * DEGREE) < DEGREE else (-1, power % DEGREE)
    primes = np.array(MODULI, dtype=np.int64)[:, None]
    moved = np.roll(polynomials.astype(np.int64), place, axis=-1)
    moved[..., :place] *= -1
    assert np.array_equal(found, (sign * moved) % primes)
    assert not times_monomial(np.zeros_like(polynomials), power, moduli=MODULI).any()
