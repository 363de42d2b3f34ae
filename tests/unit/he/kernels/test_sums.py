"""Weighted sums of columns: exact by both methods, with any number of threads, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.kernels.sums import DOUBLE_BITS, choose_method, largest_sum, weighted_sums
from wardline.he.parameters import find_primes

MODULI = find_primes(4096, (31, 25, 20))
GENERATOR = np.random.default_rng(2)


def exact(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    sums = np.tensordot(weights.astype(object), columns.astype(object), axes=1)
    return sums % np.array(MODULI, dtype=object)[:, None]


@pytest.mark.parametrize(
    ("terms", "outputs", "degree"), [(1, 1, 1), (4, 4, 512), (7, 3, 700), (20, 9, 130), (3, 21, 64)]
)
def test_both_methods_are_exact(residues, terms: int, outputs: int, degree: int) -> None:
    columns = residues(degree, MODULI, terms, 2)
    weights = GENERATOR.integers(-(2**16), 2**16, (outputs, terms))
    expected = exact(columns, weights)
    for method in ("integers", "doubles", None):
        for threads in (1, 3):
            found = weighted_sums(columns, weights, moduli=MODULI, method=method, threads=threads)
            assert found.dtype == np.uint32
            assert (found == expected).all()


@pytest.mark.parametrize(("terms", "outputs"), [(2, 1), (5, 4)])
def test_weights_beyond_32_bits_and_accumulators_at_their_limit(residues, terms: int, outputs: int) -> None:
    columns = residues(40, MODULI, terms, 1)
    most = (1 << 62) // (max(MODULI) - 1)
    for sign in (-1, 1):
        weights = np.full((outputs, terms), sign * (most // terms), dtype=np.int64)
        weights[0, 0] += sign * (most % terms)
        assert largest_sum(weights) == most
        assert (weighted_sums(columns, weights, moduli=MODULI) == exact(columns, weights)).all()
        weights[0, 0] += sign
        with pytest.raises(ValueError, match="overflow"):
            weighted_sums(columns, weights, moduli=MODULI)
    small = tuple(sorted(MODULI)[:1])
    wide = np.full((1, 1), -(1 << 40), dtype=np.int64)
    found = weighted_sums(columns[:1, :, 2:], wide, moduli=small)
    assert (found == (columns[:1, :, 2:].astype(object) * -(1 << 40)) % small[0]).all()


def test_doubles_at_their_limit(residues) -> None:
    columns = residues(40, MODULI, 2, 1)
    most = (1 << DOUBLE_BITS) // (max(MODULI) - 1)
    weights = np.array([[most - 1, 1], [-most, 0]], dtype=np.int64)
    assert (weighted_sums(columns, weights, moduli=MODULI, method="doubles") == exact(columns, weights)).all()
    weights[1, 1] = 1
    with pytest.raises(ValueError, match="overflow"):
        weighted_sums(columns, weights, moduli=MODULI, method="doubles")
    # What doubles would have got wrong shows why: one more bit, and neighbours are the same double.
    assert float(2**53) + 1.0 == float(2**53)


def test_the_bound_is_exact_for_any_weights() -> None:
    low = -(2**63)
    assert largest_sum(np.array([[low, low], [1, 2]], dtype=np.int64)) == 2**64
    assert largest_sum(np.empty((0, 3), dtype=np.int64)) == 0
    with pytest.raises(ValueError, match="overflow"):
        weighted_sums(np.ones((1, 1, 3, 4), dtype=np.uint32), np.array([[low]]), moduli=MODULI)


def test_the_choice_of_a_method() -> None:
    assert choose_method(1, 1, bound=1) == "integers"
    assert choose_method(128, 256, bound=1 << 53) == "doubles"
    assert choose_method(128, 256, bound=(1 << 53) + 1) == "integers"
    assert choose_method(128, 20, bound=1) == "integers"


def test_many_outputs_and_terms_take_doubles(residues) -> None:
    columns = residues(8, MODULI, 256, 1)
    weights = GENERATOR.integers(-(2**10), 2**10, (128, 256))
    expected = weighted_sums(columns, weights, moduli=MODULI, method="integers", threads=2)
    assert (weighted_sums(columns, weights, moduli=MODULI) == expected).all()


def test_what_does_not_fit_is_refused(residues) -> None:
    columns = residues(8, MODULI, 3, 2)
    weights = np.ones((2, 3), dtype=np.int64)
    assert weighted_sums(columns, weights[:0], moduli=MODULI).shape == (0, 2, 3, 8)
    for wrong in (weights[:, :2], weights[0]):
        with pytest.raises(ValueError, match=r"weights"):
            weighted_sums(columns, wrong, moduli=MODULI)
    with pytest.raises(ValueError, match="columns"):
        weighted_sums(columns, weights, moduli=MODULI[:2])
    with pytest.raises(ValueError, match="threads"):
        weighted_sums(columns, weights, moduli=MODULI, threads=0)
    with pytest.raises(ValueError, match="0 columns"):
        weighted_sums(columns[:0], weights[:, :0], moduli=MODULI)
    with pytest.raises(TypeError, match="64-bit"):
        weighted_sums(columns, weights.astype(np.int32), moduli=MODULI)  # type: ignore[arg-type]
