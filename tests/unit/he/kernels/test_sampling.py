"""Secret random polynomials: the kernels bit by bit, and what they draw against the exact distributions.

Each statistical test compares counts with their exact expectation by Pearson's statistic, at a false-alarm
probability of 1e-7, and shows beside it that a flaw of a stated size would be found.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from wardline.core import SecureRandom
from wardline.he.kernels import sampling
from wardline.he.kernels.modular import constants
from wardline.he.kernels.radix import centred, integers, to_digits
from wardline.he.parameters import find_primes

FALSE_ALARM = 1e-7
MODULI = find_primes(4096, (31, 31, 31, 25))


def statistic(counts: np.ndarray, probs: np.ndarray) -> float:
    expected = probs * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def limit(cells: int) -> float:
    return float(chi2.isf(FALSE_ALARM, cells - 1))


def binomial_probs(bits: int) -> np.ndarray:
    """Of -14 or less, -13, ..., 14 or more, for a difference of two sums of `bits` bits."""
    exact = {k: math.comb(2 * bits, bits + k) / 4**bits for k in range(-bits, bits + 1)}
    tail = sum(prob for k, prob in exact.items() if k >= 14)
    return np.array([tail, *(exact[k] for k in range(-13, 14)), tail])


def test_ternary_numbers_are_uniform_at_each_place_of_a_byte() -> None:
    """It would find that the 13 bytes beyond 3^5 were kept, which favours one value at the last place by 13 / 256."""
    found = sampling.ternary(SecureRandom(), 500_000)
    third = np.full(3, 1 / 3)
    for place in range(5):
        assert statistic(np.bincount(found[place::5] + 1, minlength=3), third) < limit(3)
    biased = np.bincount((np.arange(256) // 81) % 3, minlength=3) / 256
    assert statistic(biased * 100_000, third) > 10 * limit(3)
    pairs = np.bincount((found[::2] + 1) * 3 + found[1::2] + 1, minlength=9)
    assert statistic(pairs, np.full(9, 1 / 9)) < limit(9)


def test_ternary_skips_bytes_and_stops_at_the_count() -> None:
    out = np.full(7, 9, dtype=np.int8)
    drawn = np.array([255, 243, 242, 0], dtype=np.uint8)
    assert sampling._trits(drawn, out, 0) == 7
    assert out.tolist() == [1, 1, 1, 1, 1, -1, -1]
    out[:] = 9
    assert sampling._trits(drawn[:3], out, 0) == 5, "and says where to go on"
    for count in (0, 1, 4, 5, 6, 4096):
        assert sampling.ternary(SecureRandom(), count).shape == (count,)


def test_errors_are_centred_binomial() -> None:
    """It would find one bit fewer, a variance of 10 in place of 10.5."""
    found = sampling.binomial(SecureRandom(), 400_000)
    assert np.abs(found).max() <= sampling.ERROR_BOUND
    counts = np.bincount(np.clip(found, -14, 14) + 14, minlength=29)
    probs = binomial_probs(21)
    assert statistic(counts, probs) < limit(29)
    assert statistic(binomial_probs(20) * 400_000, probs) > 5 * limit(29)
    assert abs(math.sqrt(10.5) - 3.24) < 0.001


def test_errors_count_bits() -> None:
    words = [0, (1 << 21) - 1, ((1 << 21) - 1) << 21, (1 << 64) - 1, ((1 << 22) - 1) << 42, 0x123456789ABCDEF0]
    words += [1 << bit for bit in range(64)]
    out = np.empty(len(words), dtype=np.int8)
    sampling._binomial(np.array(words, dtype=np.uint64), out)
    low = (1 << 21) - 1
    assert out.tolist() == [(one & low).bit_count() - (one >> 21 & low).bit_count() for one in words]


@pytest.mark.parametrize("bits", [0, 1, 20, 62, 63, 64, 65, 90])
def test_flooding_by_definition(bits: int) -> None:
    """Its kernel, on words at both ends, against Python's integers."""
    generator = np.random.default_rng(bits)
    low, high = (generator.integers(0, 1 << 64, (2, 30), dtype=np.uint64) for _ in range(2))
    low[:, 0], high[:, 0] = 0, 0
    low[:, 1], high[:, 1] = (1 << 64) - 1, (1 << 64) - 1
    upper = max(bits - 63, 0)
    masks = np.uint64((1 << min(bits + 1, 64)) - 1), np.uint64((1 << upper) - 1)
    middles = np.array([(1 << bits) % prime for prime in MODULI], dtype=np.uint64)
    words = np.array([(1 << 64) % prime for prime in MODULI], dtype=np.uint64)
    out = np.empty((2, len(MODULI), 30), dtype=np.uint32)
    sampling._flood(low, high if upper else high[:, :0], masks, constants(MODULI), middles, words, out)
    whole = low.astype(object) + high.astype(object) * (1 << 64)
    wanted = whole % (2 << bits) - (1 << bits)
    assert (out == wanted[:, None] % np.array(MODULI, dtype=object)[:, None]).all()


@pytest.mark.parametrize("bits", [20, 63, 70, 90])
def test_flooding_is_uniform(bits: int) -> None:
    """It would find a range that is a sixty-fourth too small, or a fixed lowest bit."""
    found = sampling.flooding(SecureRandom(), (8, 4096), bits=bits, moduli=MODULI)
    assert found.shape == (8, len(MODULI), 4096)
    product = math.prod(MODULI)
    whole = integers(to_digits(found, moduli=MODULI), moduli=MODULI)
    signed = np.where(whole > product // 2, whole - product, whole)
    assert signed.min() >= -(1 << bits)
    assert signed.max() < 1 << bits
    flat = np.full(64, 1 / 64)
    shifted = (signed + (1 << bits)).reshape(-1)
    for cells in (shifted >> (bits - 5), shifted % 64):
        counts = np.bincount(cells.astype(np.int64), minlength=64)
        assert statistic(counts, flat) < limit(64)
    short = np.append(np.full(63, 1 / 63), 0.0)
    assert statistic(short * counts.sum(), flat) > 2 * limit(64)
    assert (centred(found, moduli=MODULI) == signed.astype(np.float64)).mean() > 0.5


def test_bad_arguments_are_refused() -> None:
    random = SecureRandom()
    for bits in (-1, 91):
        with pytest.raises(ValueError, match="bits"):
            sampling.flooding(random, (4,), bits=bits, moduli=MODULI)
    with pytest.raises(ValueError, match="axis"):
        sampling.flooding(random, (), bits=4, moduli=MODULI)
    with pytest.raises(ValueError, match="count"):
        sampling.ternary(random, -1)
    with pytest.raises(ValueError, match="count"):
        sampling.binomial(random, -1)
    assert sampling.flooding(random, (0, 8), bits=4, moduli=MODULI).shape == (0, len(MODULI), 8)


def test_uniform_numbers_reach_all_values_alike() -> None:
    """Of 70,000 numbers below 7 each comes 10,000 times; a modulus that favours a number by an eighth is found."""
    even = np.full(7, 1 / 7)
    found = sampling.uniform(SecureRandom(), 70_000, 7)
    assert statistic(np.bincount(found, minlength=7), even) < limit(7)
    assert statistic(np.bincount(np.arange(70_000) % 8 % 7, minlength=7), even) > limit(7)
    assert sampling.uniform(SecureRandom(), 1000, 1 << 31).max() < 1 << 31
    assert sampling.uniform(SecureRandom(), 0, 5).shape == (0,)
    for count, modulus in ((-1, 7), (3, 0), (3, (1 << 31) + 1)):
        with pytest.raises(ValueError, match="modulus"):
            sampling.uniform(SecureRandom(), count, modulus)


def test_words_that_would_favour_small_numbers_are_drawn_anew() -> None:
    """2^64 - 1 is 1 modulo 7 and beyond the largest multiple of 7: it comes once in 2^63 words, so here it is made."""

    class Rare:
        def __init__(self) -> None:
            self.drawn: list[int] = []

        def uint64(self, count: int) -> np.ndarray:
            self.drawn.append(count)
            first = (1 << 64) - 1 if len(self.drawn) == 1 else 5
            return np.frombuffer(np.array([first] + [4] * (count - 1), dtype=np.uint64).tobytes(), dtype=np.uint64)

    source = Rare()
    assert sorted(sampling.uniform(source, 4, 7).tolist()) == [4, 4, 4, 5]
    assert source.drawn == [4, 1]
