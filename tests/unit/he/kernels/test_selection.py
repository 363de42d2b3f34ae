"""Sums over a database: equal to those of integers, and never an overflow."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from wardline.core import Seeds
from wardline.he.ciphertext import Residues
from wardline.he.kernels.selection import BLOCK, blocked, selected_sums
from wardline.he.parameters import find_primes

DEGREE, MODULI = 4096, find_primes(4096, (31, 30))
GENERATOR = Seeds(7).numpy("sums")


def uniform(*leading: int, moduli: tuple[int, ...] = MODULI, degree: int = DEGREE) -> Residues:
    limbs = [GENERATOR.integers(0, prime, (*leading, degree), dtype=np.uint32) for prime in moduli]
    return np.stack(limbs, axis=-2)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (4, 1), (5, 3), (9, 2)])
def test_selected_sums_are_exact(rows: int, columns: int) -> None:
    moduli, degree = find_primes(1024, (31, 31, 20)), 1024
    selectors = uniform(rows, 2, moduli=moduli, degree=degree)
    grid = uniform(columns, rows, moduli=moduli, degree=degree)
    selectors[0, 0] = grid[0, 0] = np.array(moduli, dtype=np.uint32)[:, None] - 1  # the largest residues there are
    selectors[-1] = np.array(moduli, dtype=np.uint32)[:, None] - 1
    grid[:, -1] = np.array(moduli, dtype=np.uint32)[:, None] - 1
    database = np.ascontiguousarray(np.moveaxis(np.stack([blocked(column) for column in grid]), 0, 2))
    assert database.shape == (3, degree // BLOCK, columns, rows, BLOCK)
    found = selected_sums(selectors, database, moduli=moduli)
    wanted = np.einsum("rpld,crld->cpld", selectors.astype(object), grid.astype(object))
    assert np.array_equal(found, wanted % np.array(moduli, dtype=object)[:, None])
    database.flags.writeable = False
    assert np.array_equal(found, selected_sums(selectors, database, moduli=moduli, threads=2))


def test_sums_of_the_largest_residues_do_not_overflow() -> None:
    moduli = find_primes(1024, (31,))
    largest = np.full((37, 2, 1, 1024), moduli[0] - 1, dtype=np.uint32)
    database = np.full((1, 1, 2, 37, BLOCK), moduli[0] - 1, dtype=np.uint32)
    assert (selected_sums(largest, database, moduli=moduli) == 37).all()  # (-1)^2 = 1, as often as there are rows


def test_what_does_not_fit_is_refused() -> None:
    database = np.zeros((2, DEGREE // BLOCK, 1, 3, BLOCK), dtype=np.uint32)
    with pytest.raises(ValueError, match="database"):
        selected_sums(uniform(2, 2), database, moduli=MODULI)
    with pytest.raises(ValueError, match="threads"):
        selected_sums(uniform(3, 2), database, moduli=MODULI, threads=0)
