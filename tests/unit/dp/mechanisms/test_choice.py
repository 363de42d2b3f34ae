"""The exponential mechanism: what it accepts, and that close races are decided exactly."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import SecureRandom, Seeds
from wardline.dp.mechanisms import choice, exponential


def choose(scores: object, **options: object) -> int:
    given = {"epsilon": 1.0, "sensitivity": 1, "random": SecureRandom(), **options}
    return exponential(np.asarray(scores), **given)  # type: ignore[arg-type]


def test_a_far_better_candidate_is_chosen() -> None:
    assert choose([0, 1000, 3]) == 1
    assert choose([5]) == 0
    assert choose([-(2**63), 2**63 - 1]) == 1, "differences beyond 63 bits do not wrap"
    assert choose(np.array([0, 2**64 - 1], dtype=np.uint64)) == 1
    assert choose([0, 1], epsilon=1e300) == 1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        choose([0.5, 1.0])
    for scores in ([], [[1, 2]]):
        with pytest.raises(ValueError, match="candidate"):
            choose(np.array(scores, dtype=np.int64))
    for options in ({"epsilon": 0.0}, {"epsilon": float("nan")}, {"sensitivity": 0}):
        with pytest.raises(ValueError, match=r"epsilon|sensitivity"):
            choose([1, 2], **options)
    with pytest.raises(TypeError):
        choose([1, 2], sensitivity=0.5)
    with pytest.raises(TypeError, match="SecureRandom"):
        choose([1, 2], random=Seeds(0))


def test_a_race_that_floating_point_cannot_decide_is_decided_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two candidates with the same score and the same 63 bits: 64 further bits of each tell who wins."""
    monkeypatch.setattr(SecureRandom, "uint64", lambda self, count: np.full(count, 5 << 59, dtype=np.uint64))
    for further in ([b"\xff", b"\x00"], [b"\x00", b"\xff"]):
        pieces = [one * 8 for one in further]
        monkeypatch.setattr(SecureRandom, "bytes", lambda self, count, pieces=pieces: pieces.pop(0))
        # A larger uniform number is a smaller exponential one, and wins.
        assert choose([3, 3]) == further.index(b"\xff")


def test_bounds_of_keys_enclose_the_exact_keys() -> None:
    random = SecureRandom()
    scores = np.arange(200, dtype=np.uint64)
    words, values = choice.exponentials(200, random)
    low, high = choice._key_bounds(values, scores, 0.01)
    for place in range(200):
        contender = choice._Contender(place, choice.Fraction(0.01) * place, choice.revisit(words[place], random))
        exact = contender.bounds()
        assert low[place] <= float(exact[1]) + 1e-15
        assert high[place] >= float(exact[0]) - 1e-15
        assert high[place] - low[place] < 1e-6 or values[place] > choice.CERTAIN_BELOW
