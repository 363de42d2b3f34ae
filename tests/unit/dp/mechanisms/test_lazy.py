"""The samplers are exact: floating point never decides what it cannot settle, and further bits decide what is close."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import SecureRandom
from wardline.dp.mechanisms import _lazy, discrete_gaussian, discrete_laplace, laplace
from wardline.dp.mechanisms._lazy import CERTAIN_BELOW, ERROR, LazyExponential, exponentials, revisit

PRECISE = Context(prec=300)


def minus_log(numerator: int, bits: int) -> Fraction:
    return -Fraction(PRECISE.ln(PRECISE.divide(Decimal(numerator), Decimal(1 << bits))))


def boundary(exponent: Fraction, bits: int) -> int:
    """The number below which exp(-exponent) lies, as a prefix of that many bits."""
    value = PRECISE.exp(PRECISE.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator)))
    return int(PRECISE.multiply(value, Decimal(1 << bits)))


class Scripted:
    """Stands in for the bits of a `SecureRandom`, which nobody can choose: first these words, then all bits alike."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, words: list[int], *, then: int) -> None:
        self.words = words
        self.then = then
        self.further = 0
        monkeypatch.setattr(SecureRandom, "uint64", lambda _, count: self._words(count))
        monkeypatch.setattr(SecureRandom, "bytes", lambda _, count: self._bytes(count))

    def _words(self, count: int) -> np.ndarray:
        taken, self.words = self.words[:count], self.words[count:]
        return np.array(taken, dtype=np.uint64)

    def _bytes(self, count: int) -> bytes:
        self.further += 1
        return bytes([self.then]) * count


@given(bits=st.integers(1, 200), data=st.data())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_bounds_enclose_all_that_the_prefix_leaves_open(bits: int, data: st.DataObject) -> None:
    prefix = data.draw(st.integers(1, (1 << bits) - 1))
    low, high = LazyExponential(prefix, bits, SecureRandom()).bounds()
    least, most = minus_log(prefix + 1, bits), minus_log(prefix, bits)
    assert low <= least < most <= high
    assert float((high - low) / (most - least)) < 1 + 1e-6


def test_a_prefix_of_zeros_is_refined_until_it_says_something() -> None:
    low, high = LazyExponential(0, 63, SecureRandom()).bounds()
    assert float(low) > 63 * np.log(2) - 1e-9
    assert high > low


def test_approximate_numbers_are_within_their_bound() -> None:
    words, values = exponentials(3000, SecureRandom())
    for word, value in zip(words, values, strict=True):
        if value < CERTAIN_BELOW:
            low, high = revisit(word, SecureRandom()).bounds()
            assert abs(Fraction(float(value)) - low) < ERROR
            assert abs(Fraction(float(value)) - high) < ERROR


def test_the_bound_is_kept_where_it_is_tightest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that nobody meets by chance: near 0, where a prefix says least, and near 1, where conversion rounds."""
    edges = [(1 << 42) + 2 * k for k in range(50)] + [(1 << 64) - 2 * k for k in range(1, 50)]
    Scripted(monkeypatch, edges.copy(), then=0)
    words, values = exponentials(len(edges), SecureRandom())
    certain = values < CERTAIN_BELOW
    assert certain[50:].all()
    for word, value in zip(words[certain], values[certain], strict=True):
        for end in revisit(word, SecureRandom()).bounds():
            assert abs(Fraction(float(value)) - end) < ERROR
    # Below 2**41 the bound does not hold, and such numbers do not count as certain.
    Scripted(monkeypatch, [(1 << 41), (1 << 30), 2, 0], then=255)
    assert (exponentials(4, SecureRandom())[1] >= CERTAIN_BELOW).all()


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.7, 1000.0, 2.0**24])
def test_floating_point_and_exact_arithmetic_agree_where_the_former_is_certain(scale: float) -> None:
    words, values = exponentials(2000, SecureRandom())
    scaled = values * scale
    margin = scale * (ERROR + 2.0**-48)
    certain = (values < CERTAIN_BELOW) & (np.abs(scaled - np.floor(scaled) - 0.5) < 0.5 - margin)
    assert certain.mean() > 0.99
    for word, value in zip(words[certain], np.floor(scaled[certain]), strict=True):
        assert revisit(word, SecureRandom()).floor_scaled(Fraction(scale)) == value


@pytest.mark.parametrize("scale", [0.7, 1.0, 40.0, 123456.789])
@pytest.mark.parametrize("k", [1, 2, 7])
def test_bits_beyond_the_first_64_decide_a_close_case(monkeypatch: pytest.MonkeyPatch, scale: float, k: int) -> None:
    """A uniform number whose first 63 bits are those of exp(-k / scale): the bits after them tell k from k - 1."""
    prefix = boundary(k / Fraction(scale), 63)
    results = {}
    for then in (0, 255):
        script = Scripted(monkeypatch, [prefix << 1], then=then)
        results[then] = int(discrete_laplace(1, scale=scale, random=SecureRandom())[0])
        assert script.further >= 1, "further bits were asked for"
    # A smaller uniform number is a larger exponential one.
    assert results == {0: k, 255: k - 1}
    # The control: floating point alone gives one answer to both, and so a probability that is off by 2**-63.
    assert float(np.floor(-np.log((prefix | 1) * 2.0**-63) * scale)) in (k, k - 1)


def test_a_gaussian_proposal_is_kept_or_not_by_bits_beyond_the_first_64(monkeypatch: pytest.MonkeyPatch) -> None:
    sigma = 3.0
    # The proposals: one of magnitude 5 (scale 4), then as many more as are asked for, all 0.
    proposal = boundary(Fraction(5, 4) + Fraction(1, 8), 63) << 1
    exact = Fraction(sigma) ** 2
    gamma = (5 - exact / 4) ** 2 / (2 * exact)
    coin = boundary(gamma, 63) << 1
    zero, never = boundary(Fraction(1, 8), 63) << 1, boundary(Fraction(1, 100), 63) << 1
    proposals = int(1 / 0.7) + 8
    for then, kept in ((0, True), (255, False)):
        words = [proposal] + [zero] * (proposals - 1) + [coin] + [never] * (proposals - 1)
        more = [zero] * proposals + [boundary(Fraction(3), 63) << 1] * proposals
        script = Scripted(monkeypatch, words + more, then=then)
        drawn = discrete_gaussian(1, sigma=sigma, random=SecureRandom())
        assert script.further >= 1
        assert (drawn[0] == 5) == kept


def test_low_digits_of_a_large_scale_are_not_quite_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = 2.0**40
    shift = 17
    # Digits 2**17 - 1 are turned down with probability 2**-23: just below and just above that.
    digits = (1 << shift) - 1
    turned_down = 1 - PRECISE.exp(PRECISE.divide(Decimal(-digits), Decimal(1 << 40)))
    edge = int(turned_down * (1 << (64 - shift)))
    for above, kept in ((2, True), (-2, False)):
        Scripted(monkeypatch, [(edge + above) << shift | digits, 7 << 50 | 5], then=0)
        found = laplace._low_digits(1, shift, scale, SecureRandom())
        assert found.tolist() == [digits if kept else 5]


def test_numbers_beyond_64_bits_stop_at_the_end_of_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def __init__(self, *_: object) -> None:
            pass

        def floor_scaled(self, scale: Fraction) -> int:
            return 1 << 70

    monkeypatch.setattr(laplace, "revisit", Endless)
    Scripted(monkeypatch, [1, 1 << 50], then=255)
    drawn = discrete_laplace(1, scale=2.0**54, random=SecureRandom())
    assert -(2**63) < drawn[0] < -(2**62)


def test_only_a_secure_source_is_one() -> None:
    for source in (np.random.default_rng(0), 0, None):
        with pytest.raises(TypeError, match="SecureRandom"):
            _lazy.check_source(source)
