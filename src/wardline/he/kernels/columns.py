"""What a network does to encrypted columns, without copies: sums of rows that lie far apart, and products.

Both are exact. A row is one limb of one polynomial, [degree] residues; rows are picked by their places in one large
array, so that nothing is gathered before it is summed, and a sum is added to what lies at its place already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import (
    PRIME,
    RECIPROCAL,
    SHIFT,
    WORD,
    WORD_QUOTIENT,
    constants,
    njit,
    reduce_word,
)
from wardline.he.kernels.sums import ACCUMULATOR_BITS, largest_sum

Places = npt.NDArray[np.int64]

BLOCK = 512
"""Coefficients for which accumulators are kept at once: four rows of them stay in the first cache."""


def add_sums(
    target: Residues,
    source: Residues,
    weights: npt.NDArray[np.int64],
    *,
    places: tuple[Places, Places],
    prime: int,
    fresh: bool,
) -> None:
    """Add weighted sums of rows of `source` to rows of `target`, all of one prime.

    Args:
        target: [rows, degree], written to.
        source: [rows, degree], another array.
        weights: [outputs, terms].
        places: of the outputs in the target, each at most once, and of the terms in the source.
        prime: of all these rows.
        fresh: whether to write the sums over what lies in the target, rather than to add them to it.

    Raises:
        TypeError: for arrays of another type.
        ValueError: for shapes that do not fit, places out of range, arrays not in one piece, or weights so large that
            an accumulator could overflow.

    Guarantee: exact; the absolute values of an output's weights have a sum that is, times the prime, below 2^62.
    """
    check_sums(target, source, weights, places=places, prime=prime)
    # Products of two 32-bit integers take one instruction, of wider ones several.
    narrow = centred(weights, prime).astype(np.int32)
    _add_sums(target, source.view(np.int32), narrow, *places, constants((prime,))[0], fresh)


def centred(weights: npt.NDArray[np.int64], prime: int) -> npt.NDArray[np.int64]:
    """Weights between -prime / 2 and prime / 2 that give the same sums modulo the prime; none becomes larger."""
    if weights.max() <= prime // 2 and weights.min() >= -(prime // 2):
        return weights
    found = weights % prime
    return np.where(found > prime // 2, found - prime, found)


def check_sums(
    target: Residues,
    source: Residues,
    weights: npt.NDArray[np.int64],
    *,
    places: tuple[Places, Places],
    prime: int,
) -> None:
    """Raise what `add_sums` raises for these arguments."""
    into, of = places
    if target.dtype != np.uint32 or source.dtype != np.uint32 or weights.dtype != np.int64:
        raise TypeError("rows must be 32-bit residues and weights 64-bit integers")
    if not (target.ndim == source.ndim == 2 and target.flags.c_contiguous and source.flags.c_contiguous):
        raise ValueError("rows must be [rows, degree], in one piece")
    if weights.shape != (len(into), len(of)) or target.shape[1] != source.shape[1] or not weights.size:
        raise ValueError(f"weights {weights.shape} do not fit {len(of)} terms and {len(into)} outputs")
    for one, rows in ((into, len(target)), (of, len(source))):
        if one.min() < 0 or one.max() >= rows:
            raise ValueError("a place lies out of range")
    if (largest_sum(weights) + 1) * prime > 1 << ACCUMULATOR_BITS:
        raise ValueError("sums overflow the accumulators")


def products(
    left: Residues,
    right: Residues,
    *,
    multiples: Sequence[tuple[Residues, int]] = (),
    moduli: tuple[int, ...],
) -> Residues:
    """The product of two ciphertexts, in three parts, plus integer multiples of others.

    Args:
        left: [2, limbs, degree], in NTT form.
        right: the same.
        multiples: at most two ciphertexts [2, limbs, degree], and by which integer, of any size and sign, each is
            multiplied.
        moduli: of the limbs.

    Returns:
        [3, limbs, degree].

    Raises:
        TypeError: for residues of another type.
        ValueError: for shapes that do not fit, or more multiples.
    """
    check_products(left, right, multiples, moduli)
    given = [*multiples, *[(left, 0)] * (2 - len(multiples))]
    factors = np.array([[factor % prime for prime in moduli] for _, factor in given], dtype=np.uint64)
    out = np.empty((3, *left.shape[1:]), dtype=np.uint32)
    pieces = [np.ascontiguousarray(one) for one in (left, right, given[0][0], given[1][0])]
    _products(*pieces, factors, constants(moduli), out)
    return out


def check_products(
    left: Residues, right: Residues, multiples: Sequence[tuple[Residues, int]], moduli: tuple[int, ...]
) -> None:
    """Raise what `products` raises for these arguments."""
    every = [left, right, *(one for one, _ in multiples)]
    if any(one.dtype != np.uint32 for one in every):
        raise TypeError("residues must be 32-bit unsigned integers")
    if len(multiples) > 2 or any(
        one.ndim != 3 or one.shape[:2] != (2, len(moduli)) or one.shape != left.shape for one in every
    ):
        raise ValueError("ciphertexts are [2, limbs, degree], and at most two multiples are added")


@njit
def _add_sums(target: Any, source: Any, weights: Any, into: Any, of: Any, row: Any, fresh: Any) -> None:
    outputs = weights.shape[0]
    degree = source.shape[1]
    prime, shift, reciprocal, word, quotient = row[PRIME], row[SHIFT], row[RECIPROCAL], row[WORD], row[WORD_QUOTIENT]
    # A multiple of the prime of at least 2^62 makes every sum positive.
    bias = (np.uint64(1 << 62) // prime + np.uint64(1)) * prime
    kept = np.empty(4 * BLOCK, dtype=np.int64)
    for start in range(0, degree, BLOCK):
        size = min(BLOCK, degree - start)
        group = 0
        while group < outputs:
            kept[:] = 0
            if group + 4 <= outputs:
                _four_sums(source, weights, of, start, size, group, kept)
                made = 4
            else:
                _one_sum(source, weights, of, start, size, group, kept)
                made = 1
            for k in range(made):
                c = target[into[group + k], start : start + size]
                held = kept[k * BLOCK : k * BLOCK + size]
                if fresh:
                    c[:] = np.uint32(0)
                for i in range(size):
                    total = np.uint64(held[i] + np.int64(c[i])) + bias
                    c[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))
            group += made


@njit
def _one_sum(source: Any, weights: Any, of: Any, start: Any, size: Any, group: Any, kept: Any) -> None:
    terms = weights.shape[1]
    mine = weights[group]
    whole = terms - terms % 4
    end = start + size
    for t in range(0, whole, 4):
        # Four rows at a time, so that accumulators go through memory a fourth as often.
        a, b = source[of[t], start:end], source[of[t + 1], start:end]
        c, d = source[of[t + 2], start:end], source[of[t + 3], start:end]
        wa, wb, wc, wd = np.int64(mine[t]), np.int64(mine[t + 1]), np.int64(mine[t + 2]), np.int64(mine[t + 3])
        for i in range(size):
            kept[i] += (wa * np.int64(a[i]) + wb * np.int64(b[i])) + (wc * np.int64(c[i]) + wd * np.int64(d[i]))
    for t in range(whole, terms):
        a = source[of[t], start:end]
        wa = np.int64(mine[t])
        for i in range(size):
            kept[i] += wa * np.int64(a[i])


@njit
def _four_sums(source: Any, weights: Any, of: Any, start: Any, size: Any, group: Any, kept: Any) -> None:
    terms = weights.shape[1]
    w = np.zeros((4, 4), dtype=weights.dtype)
    end = start + size
    for t in range(0, terms, 4):
        # Beyond the last row it is taken again, with weights of 0.
        w[:, :] = 0
        given = min(4, terms - t)
        w[:, :given] = weights[group : group + 4, t : t + given]
        a, b = source[of[t], start:end], source[of[min(t + 1, terms - 1)], start:end]
        c, d = source[of[min(t + 2, terms - 1)], start:end], source[of[min(t + 3, terms - 1)], start:end]
        pa, pb, pc, pd = np.int64(w[0, 0]), np.int64(w[0, 1]), np.int64(w[0, 2]), np.int64(w[0, 3])
        qa, qb, qc, qd = np.int64(w[1, 0]), np.int64(w[1, 1]), np.int64(w[1, 2]), np.int64(w[1, 3])
        ra, rb, rc, rd = np.int64(w[2, 0]), np.int64(w[2, 1]), np.int64(w[2, 2]), np.int64(w[2, 3])
        sa, sb, sc, sd = np.int64(w[3, 0]), np.int64(w[3, 1]), np.int64(w[3, 2]), np.int64(w[3, 3])
        for i in range(size):
            x, y, z, u = np.int64(a[i]), np.int64(b[i]), np.int64(c[i]), np.int64(d[i])
            kept[i] += (pa * x + pb * y) + (pc * z + pd * u)
            kept[BLOCK + i] += (qa * x + qb * y) + (qc * z + qd * u)
            kept[2 * BLOCK + i] += (ra * x + rb * y) + (rc * z + rd * u)
            kept[3 * BLOCK + i] += (sa * x + sb * y) + (sc * z + sd * u)


@njit
def _products(left: Any, right: Any, one: Any, other: Any, factors: Any, table: Any, out: Any) -> None:
    for limb in range(left.shape[1]):
        prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
        word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
        f, g = factors[0, limb], factors[1, limb]
        a, b, c, d = left[0, limb], left[1, limb], right[0, limb], right[1, limb]
        s, t, u, v = one[0, limb], one[1, limb], other[0, limb], other[1, limb]
        x, y, z = out[0, limb], out[1, limb], out[2, limb]
        for i in range(a.shape[0]):
            # Four products of numbers below 2^31 stay below 2^64.
            total = np.uint64(a[i]) * np.uint64(c[i]) + f * np.uint64(s[i]) + g * np.uint64(u[i])
            x[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))
            total = np.uint64(a[i]) * np.uint64(d[i]) + np.uint64(b[i]) * np.uint64(c[i])
            total += f * np.uint64(t[i]) + g * np.uint64(v[i])
            y[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))
            total = np.uint64(b[i]) * np.uint64(d[i])
            z[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))
