"""Uniform polynomials from a seed: the half of a fresh ciphertext that need not be sent.

SEAL draws the second polynomial of a symmetric encryption from BLAKE2Xb under a 64-byte seed that it may save in
its place. The generator fills buffers of 4096 bytes; each is a tree of one root and 64 nodes that do not depend on
each other, so eight of them go through one vector register. The seed is public: it says no more than the polynomial.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import SEED_BYTES, Residues
from wardline.he.kernels.modular import (
    ONE,
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
from wardline.he.parameters import Parameters

WORDS = 512
"""64-bit words of a buffer, 4096 bytes."""

_LENGTH = WORDS * 8
_INITIAL = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip
_IV = tuple(np.uint64(one) for one in _INITIAL)
_ZERO = np.uint64(0)
_BLOCK_BYTES, _KEYED_BYTES = np.uint64(128), np.uint64(136)
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
# Parameter blocks, first word: digest length, key length, fanout, depth, length of a leaf (4 bytes).
_ROOT = np.uint64(64 | 64 << 8 | 1 << 16 | 1 << 24)
_NODE = np.uint64(64 | 64 << 32)
_XOF = np.uint64(_LENGTH << 32)  # second word: place of the node, length of the output
_INNER = np.uint64(64 << 8)  # third word: length of the inner digest


def expand(seeds: npt.NDArray[np.uint8], parameters: Parameters, *, threads: int = 1) -> Residues:
    """The polynomials that SEAL draws for these seeds modulo `parameters.moduli`.

    They are in the form that SEAL keeps ciphertexts of the scheme in: coefficients for BFV, evaluations for CKKS.

    Args:
        seeds: [count, 64].
        parameters: of the ciphertexts, freshly encrypted.
        threads: among which the seeds are shared out.

    Returns:
        [count, limbs, degree], below the primes.

    Raises:
        TypeError: for seeds of another type.
        ValueError: for seeds of another length, or no thread.

    Guarantee: equal to SEAL 4's, with its rejections, which have probability about q / 2^64 a word: for a uniform
    seed the result cannot be told from uniform residues by whoever cannot tell BLAKE2Xb from random.

    References: Aumasson, Neves, Wilcox-O'Hearn, Winnerlein 2016 (BLAKE2X); RFC 7693.
    """
    if seeds.dtype != np.uint8:
        raise TypeError("seeds must be bytes")
    if seeds.ndim != 2 or seeds.shape[1] != SEED_BYTES or threads < 1:
        raise ValueError(f"seeds must be [count, {SEED_BYTES}], and threads at least 1")
    words = np.ascontiguousarray(seeds).view(np.uint64)
    table = constants(parameters.moduli)
    limits = np.array(
        [(1 << 64) - 2 - ((1 << 64) - 1) % prime for prime in parameters.moduli], dtype=np.uint64
    )  # words from here on are rejected
    out = np.empty((len(seeds), len(parameters.moduli), parameters.degree), dtype=np.uint32)
    ends = [len(seeds) * i // threads for i in range(threads + 1)]
    if threads == 1:
        _expand(words, table, limits, out)
        return out
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_expand, words[first:last], table, limits, out[first:last]) for first, last in pairwise(ends)
        ]
        for job in jobs:
            job.result()
    return out


def keystream(seed: npt.NDArray[np.uint8], buffers: int, *, first: int = 0) -> npt.NDArray[np.uint8]:
    """The generator's output in buffers of 4096 bytes: BLAKE2Xb of an 8-byte counter under the seed as its key.

    Args:
        seed: [64].
        buffers: how many.
        first: counter of the first one.

    Returns:
        [buffers, 4096].

    Raises:
        ValueError: for a seed of another shape or type, or a negative number.
    """
    if seed.dtype != np.uint8 or seed.shape != (SEED_BYTES,) or buffers < 0 or first < 0:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, and counters are at least 0")
    out = np.empty((buffers, WORDS), dtype=np.uint64)
    key = np.empty(8, dtype=np.uint64)
    roots = np.empty((8, buffers), dtype=np.uint64)
    _absorb_key(np.ascontiguousarray(seed).view(np.uint64), key)
    _roots(key, first, roots)
    for buffer in range(buffers):
        _nodes(roots[:, buffer].copy(), out[buffer])
    return out.view(np.uint8)


@inlined
def _mix(a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> Any:
    a = a + b + x
    d = d ^ a
    d = (d >> np.uint64(32)) | (d << np.uint64(32))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(24)) | (b << np.uint64(40))
    a = a + b + y
    d = d ^ a
    d = (d >> np.uint64(16)) | (d << np.uint64(48))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(63)) | (b << np.uint64(1))
    return a, b, c, d


@inlined
def _round(
    v: Any, m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any, m6: Any, m7: Any,
    m8: Any, m9: Any, m10: Any, m11: Any, m12: Any, m13: Any, m14: Any, m15: Any,
) -> Any:  # fmt: skip
    """One round of BLAKE2b. The words come one by one, in the round's order, so that each stays in a register."""
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15 = v
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m0, m1)
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m2, m3)
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m4, m5)
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m6, m7)
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m8, m9)
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m10, m11)
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m12, m13)
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m14, m15)
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15


@inlined
def _compress(h: Any, m: Any, count: Any, last: Any) -> Any:
    """BLAKE2b's compression of eight chain values and sixteen message words, after `count` bytes in all."""
    v = (
        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
        _IV[0], _IV[1], _IV[2], _IV[3], _IV[4] ^ count, _IV[5], _IV[6] ^ last, _IV[7],
    )  # fmt: skip
    v = _round(v, m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11], m[12], m[13], m[14], m[15])
    v = _round(v, m[14], m[10], m[4], m[8], m[9], m[15], m[13], m[6], m[1], m[12], m[0], m[2], m[11], m[7], m[5], m[3])
    v = _round(v, m[11], m[8], m[12], m[0], m[5], m[2], m[15], m[13], m[10], m[14], m[3], m[6], m[7], m[1], m[9], m[4])
    v = _round(v, m[7], m[9], m[3], m[1], m[13], m[12], m[11], m[14], m[2], m[6], m[5], m[10], m[4], m[0], m[15], m[8])
    v = _round(v, m[9], m[0], m[5], m[7], m[2], m[4], m[10], m[15], m[14], m[1], m[11], m[12], m[6], m[8], m[3], m[13])
    v = _round(v, m[2], m[12], m[6], m[10], m[0], m[11], m[8], m[3], m[4], m[13], m[7], m[5], m[15], m[14], m[1], m[9])
    v = _round(v, m[12], m[5], m[1], m[15], m[14], m[13], m[4], m[10], m[0], m[7], m[6], m[3], m[9], m[2], m[8], m[11])
    v = _round(v, m[13], m[11], m[7], m[14], m[12], m[1], m[3], m[9], m[5], m[0], m[15], m[4], m[8], m[6], m[2], m[10])
    v = _round(v, m[6], m[15], m[14], m[9], m[11], m[3], m[0], m[8], m[12], m[2], m[13], m[7], m[1], m[4], m[10], m[5])
    v = _round(v, m[10], m[2], m[8], m[4], m[7], m[6], m[1], m[5], m[15], m[11], m[9], m[14], m[3], m[12], m[13], m[0])
    v = _round(v, m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11], m[12], m[13], m[14], m[15])
    v = _round(v, m[14], m[10], m[4], m[8], m[9], m[15], m[13], m[6], m[1], m[12], m[0], m[2], m[11], m[7], m[5], m[3])
    return (
        h[0] ^ v[0] ^ v[8], h[1] ^ v[1] ^ v[9], h[2] ^ v[2] ^ v[10], h[3] ^ v[3] ^ v[11],
        h[4] ^ v[4] ^ v[12], h[5] ^ v[5] ^ v[13], h[6] ^ v[6] ^ v[14], h[7] ^ v[7] ^ v[15],
    )  # fmt: skip


@njit
def _absorb_key(seed: Any, key: Any) -> None:
    """The root's state after the key, the same for every buffer."""
    h = (_IV[0] ^ _ROOT, _IV[1] ^ _XOF, _IV[2], _IV[3], _IV[4], _IV[5], _IV[6], _IV[7])
    z = _ZERO
    m = (seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7], z, z, z, z, z, z, z, z)
    found = _compress(h, m, _BLOCK_BYTES, z)
    for k in range(8):
        key[k] = found[k]


@njit
def _roots(key: Any, first: Any, roots: Any) -> None:
    """Root digests [8, buffers] for counters from `first`."""
    h = (key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7])
    z = _ZERO
    for i in range(roots.shape[1]):
        m = (np.uint64(first + i), z, z, z, z, z, z, z, z, z, z, z, z, z, z, z)
        found = _compress(h, m, _KEYED_BYTES, _LAST)
        roots[0, i], roots[1, i], roots[2, i], roots[3, i] = found[0], found[1], found[2], found[3]
        roots[4, i], roots[5, i], roots[6, i], roots[7, i] = found[4], found[5], found[6], found[7]


@njit
def _nodes(root: Any, out: Any) -> None:
    """The 64 nodes of a buffer, [512] words. The loop is over independent nodes, so that it becomes vectors."""
    z = _ZERO
    m = (root[0], root[1], root[2], root[3], root[4], root[5], root[6], root[7], z, z, z, z, z, z, z, z)
    side = np.empty(WORDS, dtype=np.uint64)
    for i in range(64):
        h = (_IV[0] ^ _NODE, _IV[1] ^ (_XOF | np.uint64(i)), _IV[2] ^ _INNER, _IV[3], _IV[4], _IV[5], _IV[6], _IV[7])
        f = _compress(h, m, np.uint64(64), _LAST)
        side[i], side[64 + i], side[128 + i], side[192 + i] = f[0], f[1], f[2], f[3]
        side[256 + i], side[320 + i], side[384 + i], side[448 + i] = f[4], f[5], f[6], f[7]
    # Word k of node i lies at 64 k + i and belongs at 8 i + k: three riffles do it in vectors.
    _riffle(side, out)
    _riffle(out, side)
    _riffle(side, out)


@njit
def _riffle(source: Any, target: Any) -> None:
    """Interleave the halves of a buffer: places turn by one bit to the left."""
    for i in range(WORDS // 2):
        place = np.uint64(2 * i)  # unsigned, since a possibly negative index would keep the loop from vectors
        target[place], target[place + ONE] = source[i], source[WORDS // 2 + i]


@njit
def _expand(seeds: Any, table: Any, limits: Any, out: Any) -> None:
    limbs, degree = out.shape[1], out.shape[2]
    total = limbs * degree
    buffers = (total + WORDS - 1) // WORDS
    key, root = np.empty(8, dtype=np.uint64), np.empty(8, dtype=np.uint64)
    roots = np.empty((8, buffers), dtype=np.uint64)
    words = np.empty(WORDS, dtype=np.uint64)
    for row in range(seeds.shape[0]):
        _absorb_key(seeds[row], key)
        _roots(key, 0, roots)
        flat = out[row].reshape(total)
        rejected = 0
        for buffer in range(buffers):
            for k in range(8):
                root[k] = roots[k, buffer]
            _nodes(root, words)
            # The degree is a power of two from 1024 on, so that a buffer never holds two limbs.
            limb = buffer * WORDS // degree
            piece = flat[buffer * WORDS : (buffer + 1) * WORDS]
            rejected += int(_reduce(words, table[limb], limits[limb], piece))
        if rejected:
            _replace(key, buffers, table, limits, out[row])


@njit
def _reduce(words: Any, row: Any, limit: Any, out: Any) -> Any:
    prime, shift, reciprocal, word, quotient = row[PRIME], row[SHIFT], row[RECIPROCAL], row[WORD], row[WORD_QUOTIENT]
    rejected = 0
    for i in range(words.shape[0]):
        out[i] = np.uint32(reduce_word(words[i], prime, shift, reciprocal, word, quotient))
        rejected += int(words[i] >= limit)
    return rejected


@njit
def _replace(key: Any, buffers: Any, table: Any, limits: Any, out: Any) -> None:
    """Put words from beyond the polynomial in place of rejected ones, in the order in which SEAL does.

    The words are made again, since nobody kept them: that happens once in some 2^33 of them.
    """
    degree = out.shape[1]
    roots = np.empty((8, 1), dtype=np.uint64)
    words, spare = np.empty(WORDS, dtype=np.uint64), np.empty(WORDS, dtype=np.uint64)
    taken = WORDS
    following = buffers
    for buffer in range(buffers):
        _roots(key, buffer, roots)
        _nodes(roots[:, 0].copy(), words)
        for i in range(WORDS):
            place = buffer * WORDS + i
            limb = place // degree
            value = words[i]
            if value < limits[limb]:
                continue
            while value >= limits[limb]:
                if taken == WORDS:
                    _roots(key, following, roots)
                    _nodes(roots[:, 0].copy(), spare)
                    following += 1
                    taken = 0
                value = spare[taken]
                taken += 1
            row = table[limb]
            left = reduce_word(value, row[PRIME], row[SHIFT], row[RECIPROCAL], row[WORD], row[WORD_QUOTIENT])
            out[limb, place % degree] = np.uint32(left)
