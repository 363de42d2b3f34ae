"""Slots and polynomials, as SEAL has them."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.ciphertext import Ciphertext
from wardline.he.diagonal.encoding import polynomials_of, slots_of
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import multiply, reduce_signed
from wardline.he.kernels.transform import galois_element, to_evaluations
from wardline.he.parameters import Parameters, find_primes


def test_encoding_turns_back() -> None:
    slots = np.random.default_rng(1).normal(size=(3, 32))
    found = polynomials_of(slots, scale=2.0**40)
    assert found.shape == (3, 64)
    # Real slots: coefficient k is minus that of degree - k.
    np.testing.assert_array_equal(found[:, 1:], -found[:, :0:-1])
    np.testing.assert_allclose(slots_of(found, scale=2.0**40), slots, atol=1e-10)
    with pytest.raises(OverflowError):
        polynomials_of(np.ones((1, 32)), scale=2.0**53)


def test_rounding_errs_as_said() -> None:
    """Of 8,192 slots: a deviation 8 % off has a probability below 1e-6."""
    slots = np.random.default_rng(2).normal(size=8192)
    off = slots_of(polynomials_of(slots, scale=2.0**20), scale=2.0**20) - slots
    assert 0.92 <= np.std(off) * 2.0**20 / np.sqrt(16384 / 12) <= 1.08


@pytest.mark.crosscheck
def test_products_decrypt_as_products() -> None:
    pytest.importorskip("tenseal")
    from wardline.he.seal.bridge import SealLattice

    primes = find_primes(4096, (30, 30))
    parameters = Parameters(scheme="ckks", degree=4096, moduli=primes)
    lattice = SealLattice.generate(parameters)
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 2048))
    (columns,) = (lattice.encrypt_slots(x[None], scale=2.0**28),)
    parts = np.concatenate([columns.c0, expand(columns.seeds, parameters)])
    factor = to_evaluations(reduce_signed(polynomials_of(y, scale=2.0**20), moduli=primes), moduli=primes)
    found = Ciphertext(
        parameters=parameters, parts=multiply(parts, factor, moduli=primes), form="evaluations", scale=2.0**48
    )
    np.testing.assert_allclose(lattice.decrypt_slots([found])[0], x * y, atol=1e-3)
    assert galois_element(1, 4096) == 3  # slot j belongs to the power 3^j
