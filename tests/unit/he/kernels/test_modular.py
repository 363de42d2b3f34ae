"""Modular arithmetic against Python's integers, at the ends of all ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.he.kernels import modular
from wardline.he.parameters import find_primes

MODULI = (*find_primes(4096, (31, 25, 17)), (1 << 31) - 1, 8, 9)


def exact(values: np.ndarray) -> np.ndarray:
    return values % np.array(MODULI, dtype=object)[:, None]


@pytest.mark.parametrize("degree", [1, 33, 256])
@pytest.mark.parametrize("together", [True, False])
def test_sums_differences_and_products_are_exact(residues, degree: int, together: bool) -> None:
    left, right = residues(degree, MODULI, 3, 2), residues(degree, MODULI, 3, 2)
    right = right if together else right[0, 1]
    a, b = left.astype(object), right.astype(object)
    assert (modular.add(left, right, moduli=MODULI) == exact(a + b)).all()
    assert (modular.subtract(left, right, moduli=MODULI) == exact(a - b)).all()
    assert (modular.multiply(left, right, moduli=MODULI) == exact(a * b)).all()


def test_scaling_takes_integers_of_any_size_and_sign(residues) -> None:
    found = residues(100, MODULI, 2)
    factors = [-5, 10**40, 1, 0, 7, -(10**20)]
    expected = exact(found.astype(object) * np.array(factors, dtype=object)[:, None])
    assert (modular.scale(found, factors, moduli=MODULI) == expected).all()


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_signed_integers_become_residues(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    found = modular.reduce_signed(array, moduli=MODULI)
    assert (found == exact(array.astype(object)[None])).all()


def test_signed_integers_at_the_ends_of_their_range() -> None:
    ends = [offset + sign for offset in (-(2**63), -(2**32), 0, 2**32, 2**62) for sign in (0, 1, 2)] + [-1, 2**63 - 1]
    found = modular.reduce_signed(np.array([ends] * 3, dtype=np.int64), moduli=MODULI)
    assert found.shape == (3, len(MODULI), len(ends))
    assert (found[2] == exact(np.array([ends], dtype=object))).all()


def test_small_integers_become_residues() -> None:
    values = np.arange(-128, 128, dtype=np.int8).reshape(4, 64)
    moduli = MODULI[:3]
    assert (
        modular.lift_small(values, moduli=moduli) == modular.reduce_signed(values.astype("i8"), moduli=moduli)
    ).all()
    with pytest.raises(ValueError, match="above 128"):
        modular.lift_small(values, moduli=MODULI)


def test_an_empty_batch_stays_empty() -> None:
    none = np.empty((0, len(MODULI), 16), dtype=np.uint32)
    assert modular.add(none, none, moduli=MODULI).shape == none.shape
    assert modular.multiply(none, none, moduli=MODULI).shape == none.shape


def test_what_does_not_fit_is_refused(residues) -> None:
    found = residues(16, MODULI, 2)
    with pytest.raises(ValueError, match="do not fit"):
        modular.add(found, found[..., :8], moduli=MODULI)
    with pytest.raises(ValueError, match="limbs"):
        modular.add(found, found, moduli=MODULI[:2])
    with pytest.raises(TypeError, match="32-bit"):
        modular.add(found.astype(np.uint64), found.astype(np.uint64), moduli=MODULI)
    with pytest.raises(TypeError, match="64-bit"):
        modular.reduce_signed(found[0, 0], moduli=MODULI)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="factors"):
        modular.scale(found, [1], moduli=MODULI)
    for moduli in ((), (7,), (1 << 31,)):
        with pytest.raises(ValueError, match="moduli"):
            modular.constants(moduli)


def test_constants_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        modular.constants(MODULI)[0, 0] = 3
