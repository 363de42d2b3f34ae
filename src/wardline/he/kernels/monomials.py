"""Polynomials by coefficients whose variable is replaced by a power of it, or that are multiplied by one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import PRIME, constants, njit, rows_of


def apply_element(polynomials: Residues, element: int, *, moduli: tuple[int, ...]) -> Residues:
    """The polynomials p(X^element), by coefficients.

    Args:
        polynomials: [..., limbs, degree].
        element: odd, from 1 up to, and without, twice the degree.
        moduli: of the limbs.

    Raises:
        ValueError: for another element.
    """
    flat = rows_of(polynomials, moduli)
    degree = flat.shape[2]
    if not (0 < element < 2 * degree and element % 2):
        raise ValueError(f"{element} is no odd number between 1 and {2 * degree}")
    out = np.empty_like(flat)
    gather(flat, *sources(element, degree), constants(moduli), out)
    return out.reshape(polynomials.shape)


@lru_cache(maxsize=64)
def sources(element: int, degree: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """From where each coefficient of p(X^element) comes, and all ones where it changes its sign."""
    target = np.arange(degree, dtype=np.int64) * element % (2 * degree)
    sources = np.empty(degree, dtype=np.uint32)
    signs = np.empty(degree, dtype=np.uint32)
    sources[target % degree] = np.arange(degree)
    signs[target % degree] = np.where(target >= degree, np.uint32(0xFFFFFFFF), np.uint32(0))
    sources.flags.writeable = signs.flags.writeable = False
    return sources, signs


def times_monomial(polynomials: Residues, power: int, *, moduli: tuple[int, ...]) -> Residues:
    """The polynomials times X^power, by coefficients: they move, and change their sign where they come round.

    Args:
        polynomials: [..., limbs, degree].
        power: any integer.
        moduli: of the limbs.
    """
    flat = rows_of(polynomials, moduli)
    degree = flat.shape[2]
    places = power % (2 * degree)
    out = np.empty_like(flat)
    _shift(flat, places % degree, places >= degree, constants(moduli), out)
    return out.reshape(polynomials.shape)


@njit
def gather(polynomials: Any, places: Any, signs: Any, table: Any, out: Any) -> None:
    """What `apply_element` does, into an array that is there: [rows, limbs, degree], places and signs of `sources`."""
    for row in range(polynomials.shape[0]):
        for limb in range(polynomials.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, c = polynomials[row, limb], out[row, limb]
            for i in range(c.shape[0]):
                value = a[places[i]]
                # 0 stays 0: q is above every residue, and wraps below none.
                negative = np.uint32(prime - value) if value else np.uint32(0)
                c[i] = np.uint32((value & ~signs[i]) | (negative & signs[i]))


@njit
def _shift(polynomials: Any, places: Any, negated: Any, table: Any, out: Any) -> None:
    degree = polynomials.shape[2]
    for row in range(polynomials.shape[0]):
        for limb in range(polynomials.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, c = polynomials[row, limb], out[row, limb]
            _copy(a[degree - places :], c[:places], prime, not negated)
            _copy(a[: degree - places], c[places:], prime, negated)


@njit
def _copy(source: Any, target: Any, prime: Any, negated: Any) -> None:
    if negated:
        for i in range(target.shape[0]):
            value = np.uint32(prime - source[i])
            target[i] = min(value, np.uint32(value - prime))
    else:
        for i in range(target.shape[0]):  # an assignment of slices takes seconds to compile
            target[i] = source[i]
