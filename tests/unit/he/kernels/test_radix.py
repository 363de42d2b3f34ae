"""Mixed-radix digits and centred values against Python's integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.he.kernels.modular import reduce_signed
from wardline.he.kernels.radix import centred, from_digits, integers, to_digits
from wardline.he.parameters import find_primes

SETS = [find_primes(4096, bits) for bits in ((25, 25, 25), (31, 17, 31, 20), (20, 31), (27,), (31,) * 7)]


@pytest.mark.parametrize("moduli", SETS, ids=len)
def test_digits_and_residues_name_the_same_integers(residues, moduli: tuple[int, ...]) -> None:
    found = residues(50, moduli, 2, 3)
    digits = to_digits(found, moduli=moduli)
    assert (digits < np.array(moduli)[:, None]).all()
    whole = integers(digits, moduli=moduli)
    assert whole.max() < math.prod(moduli)
    assert (whole[..., None, :] % np.array(moduli, dtype=object)[:, None] == found).all()
    assert (from_digits(digits, moduli=moduli) == found).all()


@pytest.mark.parametrize("moduli", SETS, ids=len)
def test_centred_values(moduli: tuple[int, ...]) -> None:
    product = math.prod(moduli)
    middle = (product - 1) // 2
    wanted = [0, 1, -1, middle, -middle, middle - 1, 1 - middle, middle // 3, -middle // 3]
    found = np.array([[one % prime for one in wanted] for prime in moduli], dtype=np.uint32)
    values = centred(found, moduli=moduli)
    for value, one in zip(values, wanted, strict=True):
        assert abs(int(value) - one) <= abs(one) * (len(moduli) + 1) / 2**53
        assert (value > 0) == (one > 0)
    bound = min(middle, 2**53)
    small = np.random.default_rng(1).integers(-bound, bound + 1, (2, 60))
    assert (centred(reduce_signed(small, moduli=moduli), moduli=moduli) == small).all(), "exact up to 2^53"


def test_what_does_not_fit_is_refused(residues) -> None:
    found = residues(8, SETS[0])
    with pytest.raises(ValueError, match="limbs"):
        to_digits(found, moduli=SETS[0][:2])
    with pytest.raises(ValueError, match="invertible"):
        to_digits(found[:2], moduli=(10, 15))
    with pytest.raises(ValueError, match="more than 32"):
        from_digits(np.zeros((33, 8), dtype=np.uint32), moduli=tuple(range(9, 42)))
