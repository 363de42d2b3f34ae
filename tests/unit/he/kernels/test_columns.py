"""Sums of picked rows and products of ciphertexts, beside integers of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.he.kernels.columns import add_sums, products
from wardline.he.parameters import find_primes

PRIME = find_primes(1024, (31,))[0]


@given(
    seed=st.integers(0, 10_000),
    outputs=st.integers(1, 9),
    terms=st.integers(1, 9),
    bits=st.integers(1, 27),
    fresh=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_integers(seed: int, outputs: int, terms: int, bits: int, fresh: bool) -> None:
    generator = np.random.default_rng(seed)
    degree = int(generator.integers(1, 1300))
    source = generator.integers(0, PRIME, (3 * terms, degree), dtype=np.uint32)
    source[:, :1] = PRIME - 1
    target = generator.integers(0, PRIME, (2 * outputs, degree), dtype=np.uint32)
    weights = generator.integers(-(1 << bits), (1 << bits) + 1, (outputs, terms))
    into = generator.permutation(2 * outputs)[:outputs]
    of = generator.integers(0, len(source), terms)
    before = target.copy()
    add_sums(target, source, weights, places=(into, of), prime=PRIME, fresh=fresh)
    expected = before.astype(object)
    sums = weights.astype(object) @ source[of].astype(object)
    expected[into] = (sums if fresh else expected[into] + sums) % PRIME
    np.testing.assert_array_equal(target, expected.astype(np.uint32))


def test_wide_weights_are_summed_too() -> None:
    source = np.full((1, 8), 2000, dtype=np.uint32)
    target = np.zeros((1, 8), dtype=np.uint32)
    weight = (1 << 40) + 7
    add_sums(target, source, np.array([[weight]]), places=(np.array([0]), np.array([0])), prime=12289, fresh=True)
    np.testing.assert_array_equal(target, weight * 2000 % 12289)


@given(seed=st.integers(0, 10_000), multiples=st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_products_are_those_of_integers(seed: int, multiples: int) -> None:
    generator = np.random.default_rng(seed)
    moduli = find_primes(1024, (31, 31, 20))

    def ciphertext() -> np.ndarray:
        found = np.stack([generator.integers(0, one, (2, 33), dtype=np.uint32) for one in moduli], axis=1)
        found[:, :, :2] = np.array(moduli, dtype=np.uint32)[:, None] - 1
        return found

    left, right = ciphertext(), ciphertext()
    more = [(ciphertext(), int(generator.integers(-(1 << 62), 1 << 62)) << 40) for _ in range(multiples)]
    found = products(left, right, multiples=more, moduli=moduli)
    (a, b), (c, d) = left.astype(object), right.astype(object)
    expected = np.stack([a * c, a * d + b * c, b * d])
    for one, factor in more:
        expected[:2] = expected[:2] + factor * one.astype(object)
    np.testing.assert_array_equal(found, (expected % np.array(moduli, dtype=object)[:, None]).astype(np.uint32))


def test_what_does_not_fit_is_refused() -> None:
    rows, one = np.zeros((2, 8), dtype=np.uint32), np.ones((1, 1), dtype=np.int64)
    place = np.array([0])
    with pytest.raises(ValueError, match="out of range"):
        add_sums(rows, rows.copy(), one, places=(place, np.array([2])), prime=PRIME, fresh=True)
    with pytest.raises(ValueError, match="out of range"):
        add_sums(rows, rows.copy(), one, places=(np.array([-1]), place), prime=PRIME, fresh=True)
    with pytest.raises(ValueError, match="overflow"):
        add_sums(rows, rows.copy(), one << 40, places=(place, place), prime=PRIME, fresh=True)
    with pytest.raises(ValueError, match="do not fit"):
        add_sums(rows, rows.copy(), one, places=(place, np.array([0, 1])), prime=PRIME, fresh=True)
    with pytest.raises(ValueError, match="in one piece"):
        add_sums(rows, np.zeros((8, 2), dtype=np.uint32).T, one, places=(place, place), prime=PRIME, fresh=True)
    with pytest.raises(TypeError, match="64-bit"):
        add_sums(rows, rows.copy(), one.astype(np.int32), places=(place, place), prime=PRIME, fresh=True)
    pair = np.zeros((2, 1, 8), dtype=np.uint32)
    with pytest.raises(ValueError, match="at most two"):
        products(pair, pair, multiples=[(pair, 1)] * 3, moduli=(PRIME,))
    with pytest.raises(ValueError, match="limbs, degree"):
        products(pair, pair[:1], moduli=(PRIME,))
    with pytest.raises(TypeError, match="32-bit"):
        products(pair, pair.astype(np.uint64), moduli=(PRIME,))
