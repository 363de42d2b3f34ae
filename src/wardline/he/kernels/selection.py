"""Sums over a database of polynomials, each times an encrypted number: what selects a row of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
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

BLOCK = 1024
"""Coefficients of a polynomial that lie together in a database: 4 KiB of one limb, a page of memory."""

_B1, _B2, _B3, _B4, _B5, _B6, _B7 = (np.uint64(k * BLOCK) for k in range(1, 8))


def blocked(polynomials: Residues) -> Residues:
    """Selectors or columns as the sums over a database read them: [count, ..., limbs, degree] with blocks outside.

    Returns:
        [limbs, degree / BLOCK, count, ..., BLOCK].
    """
    *leading, limbs, degree = polynomials.shape
    apart = polynomials.reshape(*leading, limbs, degree // BLOCK, BLOCK)
    axes = len(leading)
    return np.ascontiguousarray(np.transpose(apart, (axes, axes + 1, *range(axes), axes + 2)))


def selected_sums(
    selectors: Residues, database: npt.NDArray[np.uint32], *, moduli: tuple[int, ...], threads: int = 1
) -> Residues:
    """For each column of a grid of polynomials the sum of its rows times their selectors; everything in NTT form.

    The database is read once, from its beginning to its end.

    Args:
        selectors: [rows, 2, limbs, degree].
        database: [limbs, degree / BLOCK, columns, rows, BLOCK], below the primes.
        moduli: of the limbs.
        threads: among which limbs and blocks are shared out.

    Returns:
        [columns, 2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit, or no thread.

    Guarantee: exact. Which numbers are read, and in which order, depends on the shapes alone.
    """
    rows, parts, limbs, degree = selectors.shape
    blocks = degree // BLOCK
    if database.ndim != 5 or parts != 2 or limbs != len(moduli) or threads < 1:
        raise ValueError("selectors are [rows, 2, limbs, degree], and threads at least 1")
    if database.shape[:2] != (limbs, blocks) or database.shape[3:] != (rows, BLOCK) or database.dtype != np.uint32:
        raise ValueError(f"a database for {rows} selectors is [{limbs}, {blocks}, columns, {rows}, {BLOCK}]")
    out = np.empty((database.shape[2], 2, limbs, degree), dtype=np.uint32)
    work = partial(_sum_selected, blocked(selectors), database, constants(moduli))
    ends = [limbs * blocks * i // threads for i in range(threads + 1)]
    if threads == 1:
        work(0, ends[-1], out)
        return out
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(work, first, last, out) for first, last in pairwise(ends)]:
            job.result()
    return out


@njit
def _sum_selected(selectors: Any, database: Any, table: Any, first: Any, last: Any, out: Any) -> None:
    """Limbs and blocks `first` up to, and without, `last`."""
    blocks, columns, rows = database.shape[1], database.shape[2], database.shape[3]
    kept = np.empty(2 * BLOCK, dtype=np.uint64)
    whole = rows - rows % 4
    for unit in range(first, last):
        limb, block = unit // blocks, unit % blocks
        prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
        word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
        much = (np.uint64(1 << 63) // prime) * prime
        start = block * BLOCK
        selecting = selectors[limb, block].reshape(rows * 2 * BLOCK)
        for column in range(columns):
            kept[:] = 0
            stored = database[limb, block, column].reshape(rows * BLOCK)
            for row in range(0, whole, 4):
                _add_four(stored[row * BLOCK : (row + 4) * BLOCK], selecting[2 * row * BLOCK :], much, kept)
            for row in range(whole, rows):
                _add_one(stored[row * BLOCK : (row + 1) * BLOCK], selecting[2 * row * BLOCK :], much, kept)
            for part in range(2):
                c = out[column, part, limb, start : start + BLOCK]
                sums = kept[part * BLOCK : (part + 1) * BLOCK]
                for i in range(BLOCK):
                    c[i] = np.uint32(reduce_word(sums[i], prime, shift, reciprocal, word, quotient))


@njit
def _add_four(stored: Any, selecting: Any, much: Any, kept: Any) -> None:
    """Four rows of a block, times their selectors for both parts.

    All of a kind is read from one array at fixed distances: of eight arrays the compiler could not tell that they do
    not overlap, and would make no vectors. Sums are kept below 2^63 and a little: two products of 62 bits fit on top.
    """
    for place in range(BLOCK):
        i = np.uint64(place)
        d, e = np.uint64(stored[i]), np.uint64(stored[i + _B1])
        f, g = np.uint64(stored[i + _B2]), np.uint64(stored[i + _B3])
        left, right = kept[i], kept[i + _B1]
        left, right = min(left, left - much), min(right, right - much)
        left += d * np.uint64(selecting[i]) + e * np.uint64(selecting[i + _B2])
        right += d * np.uint64(selecting[i + _B1]) + e * np.uint64(selecting[i + _B3])
        left, right = min(left, left - much), min(right, right - much)
        left += f * np.uint64(selecting[i + _B4]) + g * np.uint64(selecting[i + _B6])
        right += f * np.uint64(selecting[i + _B5]) + g * np.uint64(selecting[i + _B7])
        kept[i], kept[i + _B1] = left, right


@njit
def _add_one(stored: Any, selecting: Any, much: Any, kept: Any) -> None:
    for place in range(BLOCK):
        i = np.uint64(place)
        d, left, right = np.uint64(stored[i]), kept[i], kept[i + _B1]
        kept[i] = min(left, left - much) + d * np.uint64(selecting[i])
        kept[i + _B1] = min(right, right - much) + d * np.uint64(selecting[i + _B1])
