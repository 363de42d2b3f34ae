"""Secret random polynomials of an encryption: ternary, centred binomial, and uniform noise that floods.

All are exact, without modulo bias, and come from `SecureRandom` alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
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

ERROR_BOUND = 21
"""Of a centred binomial error: it is a difference of two sums of so many bits, standard deviation sqrt(10.5) = 3.24."""

MOST_FLOODING_BITS = 90

_TRITS = 5  # in a byte below 3^5 = 243; others are drawn anew


def ternary(random: SecureRandom, count: int) -> npt.NDArray[np.int8]:
    """`count` numbers, each -1, 0 or 1 with probability 1/3.

    Raises:
        ValueError: for a negative count.

    Guarantee: exactly uniform and independent, if the bytes of `random` are. How many bytes are drawn depends on
    the bytes alone that are thrown away.
    """
    if count < 0:
        raise ValueError("count must be at least 0")
    out = np.empty(count, dtype=np.int8)
    done = 0
    while done < count:
        missing = (count - done + _TRITS - 1) // _TRITS
        drawn = np.frombuffer(random.bytes(missing * 256 // 243 + 16), dtype=np.uint8)
        done = _trits(drawn, out, done)
    return out


def binomial(random: SecureRandom, count: int) -> npt.NDArray[np.int8]:
    """`count` errors: the sum of 21 random bits less that of 21 others.

    The distribution of SEAL's errors: centred, variance 10.5, never beyond 21.

    Raises:
        ValueError: for a negative count.
    """
    words = random.uint64(count)
    out = np.empty(count, dtype=np.int8)
    _binomial(words, out)
    return out


def uniform(random: SecureRandom, count: int, modulus: int) -> npt.NDArray[np.int64]:
    """`count` numbers from 0 up to, and without, a modulus.

    Raises:
        ValueError: for a modulus that is not from 1 to 2^31, or a negative count.

    Guarantee: exactly uniform and independent, if the bytes of `random` are.
    """
    if not 1 <= modulus <= 1 << 31 or count < 0:
        raise ValueError("uniform numbers are below a modulus from 1 to 2^31, and at least none")
    limit = np.uint64((1 << 64) // modulus * modulus - 1)
    found = np.empty(count, dtype=np.int64)
    done = 0
    while done < count:
        drawn = random.uint64(count - done)
        kept = drawn[drawn <= limit] % np.uint64(modulus)
        found[done : done + len(kept)] = kept
        done += len(kept)
    return found


def flooding(random: SecureRandom, shape: tuple[int, ...], *, bits: int, moduli: tuple[int, ...]) -> Residues:
    """Residues of integers uniform from -2^bits up to, and without, 2^bits.

    Args:
        random: where they come from.
        shape: [..., degree] of the integers.
        bits: from 0 to 90.
        moduli: of the limbs; the integers may be larger than their product.

    Returns:
        [..., limbs, degree].

    Raises:
        ValueError: for bits out of range or a shape without an axis.

    Guarantee: exactly uniform, if the bytes of `random` are. Added to an integer that is at most B in absolute value,
    it hides it up to a statistical distance of B / 2^(bits + 1) for each coefficient, as long as no sum wraps around
    the product of the moduli.
    """
    if not 0 <= bits <= MOST_FLOODING_BITS:
        raise ValueError(f"noise has between 0 and {MOST_FLOODING_BITS} bits")
    if not shape:
        raise ValueError("the shape of the noise needs an axis")
    rows, degree = int(np.prod(shape[:-1], dtype=np.int64)), shape[-1]
    out = np.empty((rows, len(moduli), degree), dtype=np.uint32)
    table = constants(moduli)
    # One bit more than `bits`, since twice 2^bits values are possible: the upper word is needed from 64 bits on.
    low = random.uint64(rows * degree).reshape(rows, degree)
    upper_bits = max(bits + 1 - 64, 0)
    high = random.uint64(rows * degree).reshape(rows, degree) if upper_bits else low[:, :0]
    low_mask = np.uint64((1 << min(bits + 1, 64)) - 1)
    high_mask = np.uint64((1 << upper_bits) - 1)
    middles = np.array([(1 << bits) % prime for prime in moduli], dtype=np.uint64)
    words = np.array([(1 << 64) % prime for prime in moduli], dtype=np.uint64)
    _flood(low, high, (low_mask, high_mask), table, middles, words, out)
    return out.reshape(*shape[:-1], len(moduli), degree)


@njit
def _trits(drawn: Any, out: Any, done: Any) -> Any:
    for i in range(drawn.shape[0]):
        byte = np.int64(drawn[i])
        if byte >= 243:
            continue
        for _ in range(5):
            if done == out.shape[0]:
                return done
            out[done] = np.int8(byte % 3 - 1)
            byte //= 3
            done += 1
    return done


@njit
def _ones(value: Any) -> Any:
    """How many of the lowest 21 bits are set."""
    value = value & np.uint64(0x1FFFFF)
    value = value - ((value >> np.uint64(1)) & np.uint64(0x555555))
    value = (value & np.uint64(0x333333)) + ((value >> np.uint64(2)) & np.uint64(0x333333))
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F)
    return np.int64((value + (value >> np.uint64(8)) + (value >> np.uint64(16))) & np.uint64(0x1F))


@njit
def _binomial(words: Any, out: Any) -> None:
    for i in range(words.shape[0]):
        out[i] = np.int8(_ones(words[i]) - _ones(words[i] >> np.uint64(21)))


@njit
def _flood(low: Any, high: Any, masks: Any, table: Any, middles: Any, words: Any, out: Any) -> None:
    low_mask, high_mask = masks
    for row in range(out.shape[0]):
        for limb in range(out.shape[1]):
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient, middle, over = table[limb, WORD], table[limb, WORD_QUOTIENT], middles[limb], words[limb]
            a, b, c = low[row], high[row], out[row, limb]
            for i in range(c.shape[0]):
                left = reduce_word(a[i] & low_mask, prime, shift, reciprocal, word, quotient) + (prime - middle)
                if b.shape[0]:
                    # Below 2^27 times below 2^31, so that all of it stays far below 2^64.
                    left += (b[i] & high_mask) * over
                c[i] = np.uint32(reduce_word(left, prime, shift, reciprocal, word, quotient))
