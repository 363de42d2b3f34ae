"""Exact coins: the bit tricks against the plain computation on the very same random words, and the roundings."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import SecureRandom
from wardline.dp.local import _chance

EPSILONS = st.floats(_chance.LEAST_EPSILON, _chance.MOST_EPSILON)


class Recorder:
    """Hands on words of a real `SecureRandom` and remembers them."""

    def __init__(self) -> None:
        self.random = SecureRandom()
        self.words: list[np.ndarray] = []

    def uint64(self, count: int) -> np.ndarray:
        self.words.append(self.random.uint64(count))
        return self.words[-1]


@given(EPSILONS)
def test_the_exponential_is_below_and_close(epsilon: float) -> None:
    found = _chance.exp_below(epsilon)
    wide = Context(prec=120)
    true = Fraction(wide.exp(Decimal(epsilon)))
    assert found < true
    assert (true - found) / true < Fraction(1, 10**57)


@given(EPSILONS)
def test_the_epsilon_of_a_ratio_is_not_below_and_close(epsilon: float) -> None:
    ratio = _chance.exp_below(epsilon)
    found = _chance.epsilon_of(ratio)
    assert epsilon <= found <= epsilon * (1 + 1e-14)
    assert Decimal(found) >= Context(prec=80).ln(
        Context(prec=80).divide(Decimal(ratio.numerator), Decimal(ratio.denominator))
    )


@given(EPSILONS, st.integers(1, 50))
def test_parts_of_epsilon_never_add_up_to_more(epsilon: float, parts: int) -> None:
    part = _chance.part_of(epsilon, parts)
    assert Fraction(part) * parts <= Fraction(epsilon)
    assert part == pytest.approx(epsilon / parts, rel=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.integers(0, _chance.ONE - 1),
        st.sampled_from([0, 1, 2, 1 << 63, (1 << 63) + 1, (1 << 63) - 1, _chance.ONE - 1, 3 << 62, 1 << 40]),
    ),
    st.integers(0, 300),
)
def test_packed_coins_are_comparisons_of_numbers_made_of_the_drawn_bits(threshold: int, words: int) -> None:
    recorder = Recorder()
    shown = _chance.packed_coins(words, threshold, recorder)  # type: ignore[arg-type]
    # The same comparison, a bit at a time, with what was drawn for each word in the order in which it was drawn.
    expected = np.zeros((words, 64), dtype=bool)
    undecided = np.ones((words, 64), dtype=bool)
    looked_at = np.arange(words)
    for position, drawn in zip(range(63, -1, -1), recorder.words, strict=False):
        if len(drawn) < len(looked_at):  # those without an undecided coin were left out
            looked_at = looked_at[undecided[looked_at].any(axis=1)]
        assert len(drawn) == len(looked_at)
        bits = (drawn[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1) == 1
        part = undecided[looked_at]
        if threshold >> position & 1:
            expected[looked_at] |= part & ~bits
            undecided[looked_at] = part & bits
        else:
            undecided[looked_at] = part & ~bits
    # What is undecided when drawing ends agrees with all of the threshold that is left, and is not below it.
    drawn_bits = len(recorder.words)
    assert drawn_bits == 64 or not undecided.any() or threshold & ((1 << (64 - drawn_bits)) - 1) == 0
    found = (shown[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1) == 1
    assert (found == expected).all()


def test_a_fair_coin_takes_one_random_bit_and_certainty_none() -> None:
    recorder = Recorder()
    _chance.packed_coins(10, 1 << 63, recorder)  # type: ignore[arg-type]
    assert [len(words) for words in recorder.words] == [10]
    recorder = Recorder()
    assert not _chance.packed_coins(10, 0, recorder).any()  # type: ignore[arg-type]
    assert recorder.words == []


def test_packed_coins_take_few_random_words() -> None:
    recorder = Recorder()
    _chance.packed_coins(1 << 14, int(0.2689 * 2**64), recorder)  # type: ignore[arg-type]
    assert sum(map(len, recorder.words)) < 11 * (1 << 14)


@given(st.integers(1, 70), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_columns_are_counted(rows: int, width: int, seed: int) -> None:
    words = np.random.default_rng(seed).integers(0, 2**64, (rows, width), dtype=np.uint64)
    words[::3] = np.uint64(2**64 - 1)
    bits = (words[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (_chance.column_sums(words) == bits.sum(axis=0).ravel().astype(np.int64)).all()
    assert (_chance.column_sums(words[:0]) == 0).all()


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 64, 1000, 2**16, 2**63 - 25])
def test_uniform_numbers_stay_below_their_bound(bound: int) -> None:
    found = _chance.below(5000, bound, SecureRandom())
    assert found.min() >= 0
    assert found.max() < bound


def test_words_beyond_the_last_whole_run_are_drawn_again() -> None:
    # Of 2**64 words, 2**64 % bound are beyond: for this bound every second one, nearly.
    bound = 2**63 - 25

    class Beyond:
        def __init__(self) -> None:
            self.calls: list[int] = []

        def uint64(self, count: int) -> np.ndarray:
            self.calls.append(count)
            last = np.uint64(2 * bound - 1)
            return np.full(count, last if len(self.calls) > 1 else last + np.uint64(1), dtype=np.uint64)

    source = Beyond()
    assert (_chance.below(3, bound, source) == bound - 1).all()  # type: ignore[arg-type]
    assert source.calls == [3, 3]


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 2.0**-21, 64.5, float("nan"), float("inf")])
def test_an_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon must lie"):
        _chance.check_epsilon(epsilon)


def test_only_secure_random_is_accepted() -> None:
    with pytest.raises(TypeError, match="SecureRandom"):
        _chance.check_random(np.random.default_rng(0))  # type: ignore[arg-type]
