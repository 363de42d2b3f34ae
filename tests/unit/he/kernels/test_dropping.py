"""Moduli dropped at once leave what is left when they are dropped one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.kernels.dropping import drop
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.transform import to_evaluations
from wardline.he.parameters import find_primes


@pytest.mark.parametrize("sizes", [(31, 31, 31, 31, 31), (20, 31, 17, 31, 16, 24), (16, 16, 31, 31)])
def test_results_are_those_of_single_drops(residues, sizes: tuple[int, ...]) -> None:
    moduli = find_primes(1024, sizes)
    random = residues(1024, moduli, 2, 3)
    # Integers at and around what is rounded up or down, in coefficients: k, and k beside half of each prime.
    near = [0, 1, -1, *(sign * (prime // 2 + k) for prime in moduli for sign in (1, -1) for k in (-1, 0, 1, 2))]
    edges = np.zeros((1, 2, len(moduli), 1024), dtype=np.uint32)
    for limb, prime in enumerate(moduli):
        edges[0, 0, limb, : len(near)] = [one % prime for one in near]
        edges[0, 1, limb, : len(near)] = [one * moduli[-1] % prime for one in near]
    edges = to_evaluations(edges, moduli=moduli)
    for polynomials in (random, edges):
        expected = polynomials
        for count in range(len(moduli)):
            np.testing.assert_array_equal(drop(polynomials, moduli=moduli, count=count), expected)
            if count + 1 < len(moduli):
                expected = divide_by_last(expected, moduli=moduli[: len(moduli) - count], form="evaluations")


def test_what_does_not_fit_is_refused(residues) -> None:
    moduli = find_primes(1024, (31, 30))
    polynomials = residues(1024, moduli, 1)
    for count in (2, -1):
        with pytest.raises(ValueError, match="cannot be divided"):
            drop(polynomials, moduli=moduli, count=count)
    with pytest.raises(ValueError, match="residues of shape"):
        drop(polynomials, moduli=moduli[:1], count=0)
    with pytest.raises(TypeError, match="32-bit"):
        drop(polynomials.astype(np.uint64), moduli=moduli, count=1)
