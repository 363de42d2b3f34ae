"""Sums of many ciphertexts with small integer weights: a linear layer on encrypted columns.

The products are collected in 64-bit integers, or in the 53 bits of a double by a matrix product of the BLAS, and
reduced once at the end. Both are exact, so they agree bit for bit, whatever the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal, TypeAlias

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
    inlined,
    njit,
    reduce_word,
)

Method: TypeAlias = Literal["integers", "doubles"]

ACCUMULATOR_BITS = 62
DOUBLE_BITS = 53
BLOCK = 512
"""Coefficients for which accumulators are kept at once: four rows of them stay in the first cache."""

MOST_DOUBLES = 1 << 17
"""Doubles that the BLAS works on at once, 1 MiB; more only where 64 columns of them are more."""

# Here the two were equally fast (benchmarks/he_kernels.py); with 784 terms the BLAS was faster by a tenth.
_FEWEST_OUTPUTS, _FEWEST_TERMS = 128, 256


def weighted_sums(
    columns: Residues,
    weights: npt.NDArray[np.int64],
    *,
    moduli: tuple[int, ...],
    method: Method | None = None,
    threads: int = 1,
) -> Residues:
    """The sums of all columns, weighted by each row of the weights.

    Beside the result it takes at most 16 KiB of accumulators a thread, or with doubles 1 MiB (512 bytes for each
    term and output if that is more) and the weights once more.

    Args:
        columns: [terms, parts, limbs, degree], in any form.
        weights: [outputs, terms].
        moduli: of the limbs.
        method: how to add up; None takes the faster one that is exact.
        threads: among which the integer kernel shares out blocks of coefficients. The BLAS has threads of its own.

    Returns:
        [outputs, parts, limbs, degree].

    Raises:
        TypeError: for arrays of another type.
        ValueError: for shapes that do not fit, no term, no thread, or weights so large that an accumulator could
            overflow.

    Guarantee: exact. An output's weights have absolute values whose sum, times the largest residue, is at most 2^62
    for integers and 2^53 for doubles; more is refused before anything is computed.
    """
    if columns.dtype != np.uint32 or weights.dtype != np.int64:
        raise TypeError("columns must be 32-bit residues and weights 64-bit integers")
    if columns.ndim != 4 or columns.shape[2] != len(moduli) or weights.ndim != 2 or threads < 1:
        raise ValueError("columns must be [terms, parts, limbs, degree], weights [outputs, terms], threads at least 1")
    if weights.shape[1] != columns.shape[0] or not columns.shape[0]:
        raise ValueError(f"weights for {weights.shape[1]} terms do not fit {columns.shape[0]} columns")
    table = constants(moduli)
    bound = largest_sum(weights) * (max(moduli) - 1)
    fitting = choose_method(*weights.shape, bound=bound) if method is None else method
    if bound > 1 << (DOUBLE_BITS if fitting == "doubles" else ACCUMULATOR_BITS):
        raise ValueError(f"sums of up to {bound.bit_length()} bits overflow the accumulators of {fitting}")
    terms, parts, limbs, degree = columns.shape
    flat = np.ascontiguousarray(columns).reshape(terms, parts * limbs, degree)
    out = np.empty((weights.shape[0], parts * limbs, degree), dtype=np.uint32)
    if fitting == "doubles":
        _by_doubles(flat, weights, table, out)
    else:
        _by_integers(flat, weights, table, out, threads)
    return out.reshape(-1, parts, limbs, degree) if out.size else np.empty((0, parts, limbs, degree), dtype=np.uint32)


def largest_sum(weights: npt.NDArray[np.int64]) -> int:
    """The largest sum of absolute values in a row of weights, exact for any weights."""
    if not weights.size:
        return 0
    absolute = np.abs(weights).view(np.uint64)  # |-2^63| is 2^63 only without a sign
    low = (absolute & np.uint64(0xFFFFFFFF)).sum(axis=1, dtype=np.uint64)
    high = (absolute >> np.uint64(32)).sum(axis=1, dtype=np.uint64)
    return max((int(one) << 32) + int(other) for one, other in zip(high, low, strict=True))


def choose_method(outputs: int, terms: int, *, bound: int) -> Method:
    """The faster of the exact methods, or integers where neither is (which `weighted_sums` then refuses).

    Args:
        outputs: how many sums share the columns.
        terms: how many columns there are.
        bound: the largest absolute value that a sum can have before its reduction.
    """
    many = outputs >= _FEWEST_OUTPUTS and terms >= _FEWEST_TERMS
    return "doubles" if many and bound <= 1 << DOUBLE_BITS else "integers"


def _by_integers(
    flat: Residues, weights: npt.NDArray[np.int64], table: npt.NDArray[np.uint64], out: Residues, threads: int
) -> None:
    # Products of two 32-bit integers take one instruction, of wider ones several.
    narrow = weights.astype(np.int32) if np.abs(weights).max(initial=0) < 1 << 31 else weights
    if weights.size and weights.min() < -(1 << 62):
        narrow = weights  # |-2^63| overflows above
    signed = flat.view(np.int32)
    units = flat.shape[1] * -(-flat.shape[2] // BLOCK)
    ends = [units * i // threads for i in range(threads + 1)]
    if threads == 1:
        _sum_blocks(signed, narrow, table, 0, ends[-1], out)
        return
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(_sum_blocks, signed, narrow, table, first, last, out) for first, last in pairwise(ends)]
        for job in jobs:
            job.result()


def _by_doubles(flat: Residues, weights: npt.NDArray[np.int64], table: npt.NDArray[np.uint64], out: Residues) -> None:
    factors = weights.astype(np.float64)
    terms, rows, degree = flat.shape
    size = min(degree, max(MOST_DOUBLES // (terms + len(weights)) // 64 * 64, 64))
    pieces, sums = np.empty((terms, size)), np.empty((len(weights), size))
    for row in range(rows):
        for start in range(0, degree, size):
            piece = flat[:, row, start : start + size]
            width = piece.shape[1]
            if width < size:
                pieces, sums = np.empty((terms, width)), np.empty((len(weights), width))
            np.copyto(pieces, piece)
            np.matmul(factors, pieces, out=sums)
            _reduce_doubles(sums, table[row % table.shape[0]], out[:, row, start : start + size])
            if width < size:
                pieces, sums = np.empty((terms, size)), np.empty((len(weights), size))


@inlined
def _late(value: Any, prime: Any, shift: Any, reciprocal: Any, word: Any, quotient: Any, bias: Any) -> Any:
    # A multiple of the prime of at least 2^62 makes the sum positive.
    return np.uint32(reduce_word(np.uint64(value) + bias, prime, shift, reciprocal, word, quotient))


@njit
def _reduce_doubles(sums: Any, row: Any, out: Any) -> None:
    prime, shift, reciprocal, word, quotient = row[PRIME], row[SHIFT], row[RECIPROCAL], row[WORD], row[WORD_QUOTIENT]
    bias = (np.uint64(1 << 62) // prime + np.uint64(1)) * prime
    for k in range(sums.shape[0]):
        a, c = sums[k], out[k]
        for i in range(a.shape[0]):
            c[i] = _late(np.int64(a[i]), prime, shift, reciprocal, word, quotient, bias)


@njit
def _sum_blocks(columns: Any, weights: Any, table: Any, first: Any, last: Any, out: Any) -> None:
    """Blocks `first` up to, and without, `last`, counted through all rows."""
    outputs = weights.shape[0]
    degree = columns.shape[2]
    blocks = (degree + BLOCK - 1) // BLOCK
    kept = np.empty(4 * BLOCK, dtype=np.int64)
    for unit in range(first, last):
        row, start = unit // blocks, unit % blocks * BLOCK
        size = min(BLOCK, degree - start)
        group = 0
        while group < outputs:
            kept[:] = 0
            if group + 4 <= outputs:
                _four_sums(columns, weights, row, start, size, group, kept)
                made = 4
            else:
                _one_sum(columns, weights, row, start, size, group, kept)
                made = 1
            for k in range(made):
                _finish(kept, k * BLOCK, table[row % table.shape[0]], out[group + k, row, start : start + size])
            group += made


@njit
def _finish(kept: Any, offset: Any, row: Any, out: Any) -> None:
    prime, shift, reciprocal, word, quotient = row[PRIME], row[SHIFT], row[RECIPROCAL], row[WORD], row[WORD_QUOTIENT]
    bias = (np.uint64(1 << 62) // prime + np.uint64(1)) * prime
    for i in range(out.shape[0]):
        out[i] = _late(kept[offset + i], prime, shift, reciprocal, word, quotient, bias)


@njit
def _one_sum(columns: Any, weights: Any, row: Any, start: Any, size: Any, group: Any, kept: Any) -> None:
    terms = weights.shape[1]
    mine = weights[group]
    whole = terms - terms % 4
    for t in range(0, whole, 4):
        # Four columns at a time, so that accumulators go through memory a fourth as often.
        a = columns[t, row, start : start + size]
        b = columns[t + 1, row, start : start + size]
        c = columns[t + 2, row, start : start + size]
        d = columns[t + 3, row, start : start + size]
        wa, wb, wc, wd = np.int64(mine[t]), np.int64(mine[t + 1]), np.int64(mine[t + 2]), np.int64(mine[t + 3])
        for i in range(size):
            kept[i] += (wa * np.int64(a[i]) + wb * np.int64(b[i])) + (wc * np.int64(c[i]) + wd * np.int64(d[i]))
    for t in range(whole, terms):
        a = columns[t, row, start : start + size]
        wa = np.int64(mine[t])
        for i in range(size):
            kept[i] += wa * np.int64(a[i])


@njit
def _four_sums(columns: Any, weights: Any, row: Any, start: Any, size: Any, group: Any, kept: Any) -> None:
    terms = weights.shape[1]
    w = np.zeros((4, 4), dtype=weights.dtype)
    for t in range(0, terms, 4):
        # Beyond the last column it is taken again, with weights of 0.
        w[:, :] = 0
        given = min(4, terms - t)
        w[:, :given] = weights[group : group + 4, t : t + given]
        a = columns[t, row, start : start + size]
        b = columns[min(t + 1, terms - 1), row, start : start + size]
        c = columns[min(t + 2, terms - 1), row, start : start + size]
        d = columns[min(t + 3, terms - 1), row, start : start + size]
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
