"""Attacks on the local model. Each breaks an unprotected or broken twin in the same test.

Audits have a confidence of 1 - 1e-6, so that a sound mechanism is accused with at most that probability; the broken
twins leak so much more that a miss is rarer than that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from wardline.attacks.auditing.mechanism_audit import audit_mechanism
from wardline.core import SecureRandom
from wardline.dp.local import (
    HadamardResponse,
    MemoisedClient,
    NumericResponse,
    NumericVectorResponse,
    RandomisedResponse,
    Rappor,
    UnaryEncoding,
    _chance,
    decode,
    decode_one,
    encode,
    simulate,
)

ALARM = 1e-6
TRIALS = 40_000


def columns(reports: np.ndarray) -> np.ndarray:
    """Rows of words as one column for each bit; anything else as it is."""
    if reports.dtype != np.uint64:
        return reports.reshape(len(reports), -1)
    bits = (reports[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    return bits.reshape(len(reports), -1)[:, :8]


def sender(mechanism: Any, value: Any) -> Callable[[int], np.ndarray]:
    """Reports of persons who all have this value."""

    def run(trials: int) -> np.ndarray:
        values = np.broadcast_to(np.asarray(value), (trials, *np.shape(value)))
        return columns(mechanism.randomise(values, random=SecureRandom()))

    return run


def weaker(mechanism: Any) -> Any:
    """The broken twin: its probabilities are those of twice the epsilon that it claims."""
    other = dataclasses.replace(mechanism, epsilon=2 * mechanism.epsilon)
    if isinstance(mechanism, Rappor):
        other = dataclasses.replace(mechanism, epsilon=2 * mechanism.epsilon, report_epsilon=1.9 * mechanism.epsilon)
    return other


PAIRS: list[tuple[str, Any, Any, Any]] = [
    ("randomised", RandomisedResponse(size=4, epsilon=1.0), 0, 3),
    ("optimised", UnaryEncoding(size=4, epsilon=1.0), 0, 3),
    ("symmetric", UnaryEncoding(size=8, epsilon=1.0, flips="symmetric"), 1, 2),
    ("hadamard-1-block", HadamardResponse(size=6, epsilon=0.5), 0, 5),
    ("hadamard-blocks", HadamardResponse(size=6, epsilon=1.5), 0, 1),
    ("rappor", Rappor(size=4, epsilon=1.0, report_epsilon=0.9), 0, 3),
    ("duchi", NumericResponse(lower=0.0, upper=1.0, epsilon=1.0, method="duchi"), 0.0, 1.0),
    ("piecewise", NumericResponse(lower=0.0, upper=1.0, epsilon=1.0, method="piecewise"), 0.0, 1.0),
    ("hybrid", NumericResponse(lower=0.0, upper=1.0, epsilon=2.0, method="hybrid"), 0.0, 1.0),
    ("vector", NumericVectorResponse(lower=(0.0,) * 2, upper=(1.0,) * 2, epsilon=5.0), (0.0, 0.0), (1.0, 1.0)),
]


@pytest.mark.parametrize("index", range(len(PAIRS)), ids=[one[0] for one in PAIRS])
def test_no_audit_exceeds_the_claim_and_wrong_probabilities_are_caught(index: int) -> None:
    _, mechanism, one, other = PAIRS[index]
    if index == len(PAIRS) - 1:
        # This one forgot to split epsilon over the two numbers that are reported.
        broken = dataclasses.replace(mechanism)
        object.__setattr__(broken, "single", dataclasses.replace(mechanism.single, epsilon=mechanism.epsilon))
    else:
        broken = weaker(mechanism)
    found = audit_mechanism(
        sender(mechanism, one),
        sender(mechanism, other),
        claim=mechanism.claim(),
        trials=TRIALS,
        confidence=1 - ALARM,
        broken=(sender(broken, one), sender(broken, other)),
    )
    assert found.value is not None
    assert found.value <= mechanism.epsilon
    assert found.control is not None
    assert found.control.passed, found.control
    if index < 2:  # two values and simple reports: the audit finds most of what there is
        assert found.value > 0.6 * mechanism.epsilon


def test_seeded_coins_give_the_value_away(monkeypatch: pytest.MonkeyPatch) -> None:
    mechanism = RandomisedResponse(size=4, epsilon=1.0)

    class Seeded:
        """What must not be: coins that somebody else can draw again."""

        def __init__(self, seed: int) -> None:
            self.generator = np.random.default_rng(seed)

        def uint64(self, count: int) -> np.ndarray:
            return self.generator.integers(0, 2**64, count, dtype=np.uint64)

    with pytest.raises(TypeError, match="SecureRandom"):
        mechanism.randomise([0], random=Seeded(1))  # type: ignore[arg-type]
    monkeypatch.setattr(_chance, "check_random", lambda random: None)

    def seeded(value: int) -> np.ndarray:
        return mechanism.randomise(np.full(1000, value), random=Seeded(9))  # type: ignore[arg-type]

    with_zero, with_three = seeded(0), seeded(3)
    told = np.flatnonzero(with_zero != with_three)
    # Wherever the coin says truth, the attacker who draws it again reads the value off the report with certainty.
    assert len(told) > 200
    assert (with_zero[told] == 0).all()
    assert (with_three[told] == 3).all()
    fresh = mechanism.randomise(np.zeros(1000, dtype=int), random=SecureRandom())
    again = mechanism.randomise(np.zeros(1000, dtype=int), random=SecureRandom())
    assert (fresh != again).any()


PEOPLE, MOMENTS, VALUES = 150, 600, 16


def test_averaging_finds_the_value_without_a_memo_and_only_the_permanent_row_with_one() -> None:
    mechanism = Rappor(size=VALUES, epsilon=1.0, report_epsilon=0.5)
    fresh = UnaryEncoding(size=VALUES, epsilon=0.5, flips="symmetric")
    true = np.random.default_rng(2).integers(0, VALUES, PEOPLE)
    random = SecureRandom()

    def guesses(make: Callable[[], np.ndarray]) -> np.ndarray:
        """For each person the value whose bit was set most often over all moments."""
        total = np.zeros((PEOPLE, VALUES))
        for _ in range(MOMENTS):
            total += (make()[:, :1] >> np.arange(VALUES, dtype=np.uint64)) & np.uint64(1)
        return total.argmax(axis=1)

    unprotected = float(np.mean(guesses(lambda: fresh.randomise(true, random=random)) == true))
    assert unprotected > 0.95, "fresh noise each time averages out"
    kept = mechanism.make_permanent(true, random=random)
    right = int(np.sum(guesses(lambda: mechanism.report(kept, random=random)) == true))
    # No guess from an epsilon-private answer is right more often than this, however many reports there are.
    most = np.exp(mechanism.epsilon) / (np.exp(mechanism.epsilon) + VALUES - 1)
    assert right <= stats.binom.isf(ALARM, PEOPLE, most)
    assert stats.binom.isf(ALARM, PEOPLE, most) < 0.5 * PEOPLE


def test_averaging_over_the_reports_of_a_client_on_disk(tmp_path: Path) -> None:
    mechanism = Rappor(size=VALUES, epsilon=1.0, report_epsilon=0.5)
    random = SecureRandom()
    client = MemoisedClient(mechanism, tmp_path / "memo", random=random)
    store = tmp_path / "memo"

    def shares(report: Callable[[], bytes]) -> np.ndarray:
        """How often each bit is set."""
        total = np.zeros(VALUES)
        for _ in range(400):
            total += (decode_one(mechanism, report())[0, 0] >> np.arange(VALUES, dtype=np.uint64)) & np.uint64(1)
        return total / 400

    def forgetful() -> bytes:
        store.unlink(missing_ok=True)
        return client.report(5)

    # A client that loses its memo each time answers afresh each time: the value's bit stands out.
    lost = shares(forgetful)
    assert lost.argmax() == 5
    # With the memo every bit tells of the permanent row, whichever value it was made from.
    store.unlink()
    kept = shares(lambda: client.report(5))
    bits = (_permanent(store, mechanism)[0, 0] >> np.arange(VALUES, dtype=np.uint64)) & np.uint64(1)
    again = float(mechanism.instant / 2**64)
    std = np.sqrt(again * (1 - again) / 400)
    assert (np.abs(kept - np.where(bits == 1, 1 - again, again)) < stats.norm.isf(ALARM / VALUES / 2) * std).all()


def _permanent(store: Path, mechanism: Rappor) -> np.ndarray:
    import base64
    import json

    payload = np.frombuffer(base64.b64decode(json.loads(store.read_text())["rows"][0][1]), dtype=np.uint8)
    return mechanism.unpack(payload[None, :])[0]


def moments(mechanism: Any, value: int, *, memo: bool) -> Callable[[int], np.ndarray]:
    """How often each bit was set in 30 reports of each person."""

    def run(trials: int) -> np.ndarray:
        random = SecureRandom()
        kept = mechanism.make_permanent(np.full(trials, value), random=random)
        total = np.zeros((trials, mechanism.size))
        for _ in range(30):
            if not memo:
                kept = mechanism.make_permanent(np.full(trials, value), random=random)
            report = mechanism.report(kept, random=random)
            total += (report[:, :1] >> np.arange(mechanism.size, dtype=np.uint64)) & np.uint64(1)
        return total

    return run


def test_thirty_reports_cost_no_more_than_the_permanent_row() -> None:
    mechanism = Rappor(size=3, epsilon=1.0, report_epsilon=0.7)
    found = audit_mechanism(
        moments(mechanism, 0, memo=True),
        moments(mechanism, 2, memo=True),
        claim=mechanism.claim(),
        trials=20_000,
        confidence=1 - ALARM,
        broken=(moments(mechanism, 0, memo=False), moments(mechanism, 2, memo=False)),
    )
    assert found.value is not None
    assert 0.6 < found.value <= 1.0
    assert found.control is not None
    assert found.control.passed


@pytest.mark.parametrize(
    "mechanism",
    [
        RandomisedResponse(size=30, epsilon=1.0),
        UnaryEncoding(size=30, epsilon=1.0),
        HadamardResponse(size=30, epsilon=0.5),
    ],
    ids=["randomised", "optimised", "hadamard"],
)
def test_dishonest_clients_shift_a_count_as_far_as_the_claim_says(mechanism: Any) -> None:
    """Not protected, and said so (Cheu, Smith and Ullman 2021): one liar in twenty makes up a popular value."""
    honest, liars, target = 20_000, 1000, 29
    values = np.random.default_rng(1).integers(0, 29, honest)  # nobody has the target value
    random = SecureRandom()
    before = mechanism.estimate(simulate(mechanism, values, random=random))
    std = float(before.std[target])
    assert abs(before.counts[target]) < stats.norm.isf(ALARM / 2) * std
    # The liar sends what supports the target most: well-formed reports, which no server can tell from honest ones.
    trial = mechanism.randomise(np.full(3000, target), random=random)
    score = [mechanism.estimate(mechanism.tally(trial[one : one + 1])).counts[target] for one in range(200)]
    best = int(np.argmax(score))
    lie = trial[best : best + 1]
    if isinstance(mechanism, UnaryEncoding):
        lie = lie * 0 + np.uint64(1 << target)
    messages = encode(mechanism, mechanism.randomise(values, random=random)) + encode(mechanism, lie) * liars
    received = decode(mechanism, messages)
    assert not received.refused
    after = mechanism.estimate(mechanism.tally(received.reports))
    claim = mechanism.claim()
    worth = claim.parameters["hostile_report_counts_as"]
    assert any("dishonest clients" in said for said in claim.assumptions)
    expected = liars * worth
    assert worth > 1.4, "each lies with the weight of more than one person"
    assert abs(after.counts[target] - expected) < stats.norm.isf(ALARM / 2) * std * 1.1
    assert after.counts[target] > 0.5 * expected


def test_a_dishonest_client_shifts_a_mean_as_far_as_the_claim_says() -> None:
    mechanism = NumericResponse(lower=0.0, upper=10.0, epsilon=1.0)
    worth = mechanism.claim().parameters["hostile_report_shifts_sum_by"]
    most = mechanism.symbols - 1 if mechanism.symbols > 2 else 1
    one = [mechanism.estimate(mechanism.tally(np.array([symbol]))).value for symbol in range(0, mechanism.symbols, 997)]
    one.append(mechanism.estimate(mechanism.tally(np.array([most]))).value)
    reached = max(abs(value - bound) for value in one for bound in (0.0, 10.0))
    assert reached <= worth * (1 + 1e-9)
    assert reached > 0.9 * worth
