"""The driver judges: an attack's word counts for nothing until the model has said so, within the threat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from wardline.attacks.protocol import ledger as ledger_module
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.core import Verdict, canonical_json
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor

N = 60
Y = np.arange(N, dtype=np.int64) % 2
# One feature: below 0.5 is class 0. Ten examples of each class lie on the wrong side.
X = np.where(Y == 1, 0.6, 0.4).astype(np.float32)[:, None].repeat(2, axis=1)
X[:20, 0] = 1 - X[:20, 0]
X[:, 1] = np.arange(N) / N
DATA = Labelled(x=X, y=Y)


def model(x: np.ndarray) -> np.ndarray:
    return (x[:, 0] > 0.5).astype(int)


def target(function: Callable[[Any], Any] = model, *, cap: int | None = None) -> Target:
    predictor = CallablePredictor(function, form=AnswerForm(gives="labels", classes=2))
    return Target(predictor, InputSpec(shape=(2,)), ledger=QueryLedger(cap=cap))


@dataclass(frozen=True)
class Scripted:
    """An attack that does what it is told, and may change the first feature by 0.25 at most."""

    what: Callable[[Target, Batch], Any]
    needs: Access = Access.LABELS
    id: str = "evasion.scripted"
    paper: str = "Nobody 2026"

    def threat(self, target: Target) -> Threat:
        return Threat(goal="another class", access=target.access)

    def within(self, changed: np.ndarray, original: np.ndarray) -> np.ndarray:
        return np.abs(changed - original).max(axis=1) <= 0.25

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        return self.what(target, batch) or ()


def run(what: Callable[[Target, Batch], Any], on: Target | None = None, **budget: Any) -> AttackResult:
    return attack_examples(Scripted(what), on or target(), DATA, budget=Budget(**budget), seed=0)


def across(target: Target, batch: Batch) -> None:
    batch.best[:, 0] = np.where(batch.y == 1, 0.45, 0.55)


def checks(result: AttackResult) -> dict[str, Check]:
    return {check.name: check for check in result.checks}


def test_success_is_counted_among_examples_that_the_model_gets_right_unprovoked() -> None:
    result = run(across)
    assert (result.n, result.rate) == (40, 1.0)
    assert result.details["clean_accuracy"]["value"] == pytest.approx(40 / 60)
    assert result.details["robust_accuracy"]["value"] == 0
    assert result.verdict is Verdict.FAIL
    assert result.examples["found"].sum() == 40


def test_an_attack_that_changes_nothing_finds_nothing() -> None:
    result = run(lambda target, batch: None)
    assert (result.n, result.rate, result.verdict) == (40, 0.0, Verdict.PASS)
    assert result.details["robust_accuracy"] == result.details["clean_accuracy"]


@pytest.mark.parametrize(
    ("value", "why"), [(0.0, "beyond the threat"), (-0.05, "outside the bounds"), (np.nan, "no number")]
)
def test_what_leaves_the_threat_or_the_specification_is_no_success_and_is_told(value: float, why: str) -> None:
    def leave(target: Target, batch: Batch) -> None:
        across(target, batch)
        batch.best[batch.y == 1, 0] = value

    result = run(leave)
    assert result.rate == 0.5, why
    assert checks(result)["within-threat"].outcome is Verdict.INCONCLUSIVE
    assert "20 changed examples" in checks(result)["within-threat"].detail
    assert result.examples["found"].sum() == 20


def test_an_answer_that_is_none_is_no_success_and_keeps_the_result_from_passing() -> None:
    silent = target(lambda x: np.where(x[:, 1] > 0.8, -1, model(x)))
    result = run(lambda t, batch: None, silent)
    assert checks(result)["finite-answers"].outcome is Verdict.INCONCLUSIVE
    assert "11 of 60" in checks(result)["finite-answers"].detail
    assert (result.rate, result.verdict) == (0.0, Verdict.INCONCLUSIVE)
    fooled = target(lambda x: np.where((x[:, 0] > 0.44) & (x[:, 0] < 0.56), -1, model(x)))
    assert run(across, fooled).rate == 0.0, "silence is no misreading either"


def test_predictions_that_change_from_one_time_to_the_next_are_told() -> None:
    rng = np.random.default_rng(0)
    result = run(lambda t, batch: None, target(lambda x: x[:, 0] + rng.normal(0, 0.05, len(x)) > 0.5))
    assert checks(result)["deterministic"].outcome is Verdict.INCONCLUSIVE
    assert result.verdict is not Verdict.PASS


@pytest.mark.parametrize("cap", [1, 5, 60, 61, 100, 128, 159, 160, 161, 179])
@pytest.mark.parametrize("mine", [True, False])
def test_a_cap_is_never_exceeded_and_what_it_cut_is_told(cap: int, mine: bool) -> None:
    asked: list[int] = []

    def counted(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return model(x)

    def search(target: Target, batch: Batch) -> None:
        for shift in (0.02, 0.05, 0.15):
            tried = batch.best.copy()
            tried[:, 0] += np.where(batch.y == 1, -shift, shift)
            found = target.labels(tried) != batch.y
            batch.best[found] = tried[found]

    result = run(search, target(counted, cap=None if mine else cap), batch=16, queries=cap if mine else None)
    assert sum(asked) == result.queries <= cap
    assert checks(result)["budget"].outcome is Verdict.INCONCLUSIVE
    assert result.verdict is not Verdict.PASS
    whole = run(search, batch=16)
    assert checks(whole)["budget"].outcome is Verdict.PASS
    assert whole.queries > cap
    assert result.n <= whole.n == 40


def test_what_was_found_before_the_budget_ended_counts() -> None:
    def endless(target: Target, batch: Batch) -> None:
        across(target, batch)
        while True:
            target.labels(batch.best)

    result = run(endless, queries=400)
    assert result.rate == 1.0
    assert result.queries <= 400
    assert result.verdict is Verdict.FAIL


def test_time_that_ran_out_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: now[0])

    def slow(target: Target, batch: Batch) -> None:
        across(target, batch)
        now[0] += 100.0
        target.labels(batch.best)

    result = run(slow, seconds=50.0, batch=30)
    assert (result.n, result.rate) == (10, 1.0)
    assert "30 of 60 examples were never begun and 30 cut short" in checks(result)["budget"].detail


def test_the_worst_of_several_checks_of_one_name_is_kept() -> None:
    outcomes = iter([Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.PASS])

    def tell(target: Target, batch: Batch) -> tuple[Check, ...]:
        return (Check(name="gradients", outcome=next(outcomes), detail="x"),)

    result = run(tell, batch=10)  # the first two batches hold nothing that the model gets right
    assert [check.outcome for check in result.checks if check.name == "gradients"] == [Verdict.INCONCLUSIVE]
    assert result.verdict is Verdict.INCONCLUSIVE


def test_equal_seeds_give_equal_json_and_inputs_stay_as_they_were() -> None:
    def random(target: Target, batch: Batch) -> None:
        drawn = batch.seeds.numpy("noise").uniform(-0.25, 0.25, len(batch.y))
        batch.best[:, 0] += drawn.astype(np.float32)

    before = X.copy()
    one, other = run(random, batch=16), run(random, batch=16)
    assert canonical_json(one.to_json()) == canonical_json(other.to_json())
    assert 0 < one.rate < 1
    assert (before == X).all()


def test_what_cannot_be_attacked_is_refused_before_anything_is_asked() -> None:
    asked = target()
    with pytest.raises(AccessDenied):
        attack_examples(Scripted(across, needs=Access.SCORES), asked, DATA, budget=Budget(), seed=0)
    with pytest.raises(ValueError, match="class 5 occurs, the model tells 2 apart"):
        attack_examples(Scripted(across), asked, Labelled(x=X, y=Y + 4), budget=Budget(), seed=0)
    with pytest.raises(ValueError, match="leave their bounds"):
        attack_examples(Scripted(across), asked, Labelled(x=X * 9, y=Y), budget=Budget(), seed=0)
    assert asked.ledger.queries == 0
    for x, y in ((X, Y[:5]), (X[:0], Y[:0]), (X, Y - 1), (X, Y.astype(np.int32))):
        with pytest.raises(ValueError, match="classes"):
            Labelled(x=x, y=y)
