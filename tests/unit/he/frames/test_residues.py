"""Leaving out low bits moves a coefficient by no more than half of what was left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import Seeds
from wardline.he.frames.residues import digit_bounds, from_digits, to_digits
from wardline.he.parameters import find_primes

MODULI = find_primes(1024, (13 + 1, 25, 25))


def _value(residues: list[int], moduli: tuple[int, ...]) -> int:
    """The number with these residues, by the Chinese remainder theorem."""
    whole = math.prod(moduli)
    parts = (r * (whole // q) * pow(whole // q, -1, q) for r, q in zip(residues, moduli, strict=True))
    return sum(parts) % whole


@given(
    value=st.integers(0, math.prod(MODULI) - 1),
    limbs=st.integers(1, 3),
    dropped=st.integers(0, 7),
    last=st.integers(0, 200),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_coefficient_moves_by_half_of_what_was_left_out(value: int, limbs: int, dropped: int, last: int) -> None:
    moduli = MODULI[:limbs]
    # One anywhere, one whose first residue is among the largest: there the middle would be beyond the prime.
    numbers = [value % math.prod(moduli), moduli[0] - 1 - last]
    residues = np.array([[[one % q for one in numbers] for q in moduli]], dtype=np.uint32)
    digits = to_digits(residues, moduli, dropped_bits=dropped)
    assert (digits[0].max(axis=1) < digit_bounds(moduli, dropped)).all()
    back = from_digits(digits.copy(), moduli, dropped_bits=dropped)
    for place, one in enumerate(numbers):
        found = _value([int(back[0, limb, place]) for limb in range(limbs)], moduli)
        assert abs(found - one) <= (1 << dropped) // 2
    assert (to_digits(back, moduli, dropped_bits=dropped) == digits).all(), "writing it again changes nothing"


@pytest.mark.parametrize("dropped", [0, 8])
def test_bits_of_the_plan_s_upload(dropped: int) -> None:
    moduli = find_primes(4096, (25, 25, 25))
    widths = [(bound - 1).bit_length() for bound in digit_bounds(moduli, dropped)]
    assert widths == [25 - dropped, 25, 25]
    random = Seeds(1).numpy("residues")
    residues = np.stack([random.integers(0, q, (2, 4096), dtype=np.uint32) for q in moduli], axis=1)
    back = from_digits(to_digits(residues, moduli, dropped_bits=dropped), moduli, dropped_bits=dropped)
    assert (back == residues).all() is np.bool_(dropped == 0)
