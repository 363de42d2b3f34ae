"""Each thing that can be wrong with a model is stated with figures, and keeps a result from passing."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from torch import nn

from wardline.attacks.protocol.examination import preflight, with_checks
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.models.dispatch import predictor_of

RNG = np.random.default_rng(0)
CENTRES = np.array([[0.2, 0.2, 0.8], [0.8, 0.3, 0.2]])
Y = np.arange(300, dtype=np.int64) % 2
X = np.clip(CENTRES[Y] + RNG.normal(0, 0.05, (300, 3)), 0, 1).astype(np.float32)
DATA = Labelled(x=X, y=Y)
GREY = np.clip(0.3 + 0.3 * Y[:, None] + RNG.normal(0, 0.04, (300, 3)), 0, 1).astype(np.float32)  # dark and bright
SPEC = InputSpec(shape=(3,))
LINEAR = LogisticRegression(C=100).fit(X, Y)
WEIGHTS = torch.from_numpy(np.stack([-LINEAR.coef_[0], LINEAR.coef_[0]]).astype(np.float32) / 2)
BIAS = torch.from_numpy(np.array([-LINEAR.intercept_[0], LINEAR.intercept_[0]], dtype=np.float32) / 2)


class Reverse(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


class Linear(nn.Module):
    def __init__(self, *last: nn.Module) -> None:
        super().__init__()
        self.last = nn.Sequential(*last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x @ WEIGHTS.T + BIAS)


@dataclass(frozen=True)
class Nothing:
    """An attack that changes nothing: what a model withstands that only looks robust."""

    id = "test.nothing"
    needs = Access.LABELS
    paper = "none"

    def threat(self, target):
        return Threat(goal="another class", access=target.access)

    def within(self, changed, original):
        return (changed == original).reshape(len(changed), -1).all(axis=1)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        return ()


def found(predictor, *, data: Labelled = DATA, spec: InputSpec = SPEC, access: Access | None = None):
    """The checks, and whether an attack that does nothing would make this model look robust without them."""
    target = Target(predictor, spec, access=access)
    checks = preflight(target, data)
    assert target.ledger.queries <= 200 * 12 + 50
    return {check.name: check for check in checks}, checks, target


def never_passes(checks, target: Target) -> None:
    assert any(check.outcome is not Verdict.PASS for check in checks)
    result = attack_examples(Nothing(), target, DATA, budget=Budget(), seed=0)
    assert with_checks(result, checks).verdict is not Verdict.PASS


def scores(x: np.ndarray) -> np.ndarray:
    return LINEAR.decision_function(x.astype(np.float64))


def two(x: np.ndarray) -> np.ndarray:
    return np.stack([-scores(x), scores(x)], axis=1)


LOGITS = AnswerForm(gives="logits", classes=2)
PROBS = AnswerForm(gives="probabilities", classes=2)


def test_a_sound_model_passes_everything_and_so_may_its_result() -> None:
    for predictor in (predictor_of(Linear(), classes=2), predictor_of(LINEAR), CallablePredictor(two, form=LOGITS)):
        by_name, checks, target = found(predictor)
        assert [check for check in checks if check.outcome is not Verdict.PASS] == []
        assert {"accuracy", "inputs", "finite-answers", "deterministic", "batch-independent"} <= set(by_name)
        result = attack_examples(Nothing(), target, DATA, budget=Budget(), seed=0)
        assert with_checks(result, checks).verdict is Verdict.PASS, "the control: nothing else keeps it from passing"


def test_a_model_in_training_mode_is_told() -> None:
    for part in (nn.Dropout(0.5), nn.BatchNorm1d(2)):
        by_name, checks, target = found(predictor_of(Linear(part).train(), classes=2))
        assert "handed over in training mode" in by_name["evaluation-mode"].detail
        never_passes(checks, target)
        by_name, _, _ = found(predictor_of(Linear(part).eval(), classes=2))
        assert by_name["evaluation-mode"].outcome is Verdict.PASS


def test_a_softmax_head_that_claims_logits_is_told() -> None:
    by_name, checks, target = found(predictor_of(Linear(nn.Softmax(dim=1)), classes=2, gives="logits"))
    assert "200 of 200 rows of what is said to be logits are probabilities" in by_name["kind-of-scores"].detail
    never_passes(checks, target)
    said = preflight(Target(predictor_of(Linear(nn.Softmax(dim=1)), classes=2, gives="probabilities"), SPEC), DATA)
    assert all(check.outcome is Verdict.PASS for check in said), "said as it is, it is no fault"


def test_probabilities_that_are_none_are_told() -> None:
    by_name, checks, target = found(CallablePredictor(two, form=PROBS))
    assert by_name["kind-of-scores"].outcome is Verdict.FAIL
    never_passes(checks, target)


def test_inputs_out_of_bounds_are_told_and_nothing_is_asked() -> None:
    target = Target(predictor_of(LINEAR), SPEC)
    checks = preflight(target, Labelled(x=X * 255, y=Y))
    assert checks[-1].outcome is Verdict.FAIL
    assert "bounds or preprocessing are not the model's" in checks[-1].detail
    assert target.ledger.queries == 0


@pytest.mark.parametrize(
    ("made_for", "named"),
    [
        (lambda x: x * 255, "255 x"),
        (lambda x: 2 * x - 1, r"2 x - 1|standard deviation"),
        (lambda x: (x - GREY.mean(axis=0)) / GREY.std(axis=0), r"standard deviation|2 x - 1"),
        (lambda x: 1 - x, "1 - x"),
    ],
)
def test_wrong_preprocessing_is_named(made_for, named: str) -> None:
    model = LogisticRegression(C=1000, max_iter=5000).fit(made_for(GREY), Y)
    by_name, checks, target = found(predictor_of(model), data=Labelled(x=GREY, y=Y))
    assert by_name["preprocessing"].outcome is Verdict.INCONCLUSIVE, by_name["preprocessing"].detail
    assert re.search(named, by_name["preprocessing"].detail)
    never_passes(checks, target)


def test_a_model_that_knows_nothing_is_told() -> None:
    guess = CallablePredictor(lambda x: np.stack([x[:, 0] * 0, x[:, 0] * 0 + 1], axis=1) - 0.5, form=LOGITS)
    by_name, checks, target = found(guess)
    assert "cannot be told from always naming one class (0.5" in by_name["accuracy"].detail
    never_passes(checks, target)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_number_are_counted(hole: float) -> None:
    def sometimes(x):
        answers = two(x)
        answers[x[:, 1] > 0.3] = hole
        return answers

    by_name, checks, target = found(CallablePredictor(sometimes, form=LOGITS))
    assert f"{int((X[np.linspace(0, 299, 200).astype(int), 1] > 0.3).sum())} of 200" in by_name["finite-answers"].detail
    never_passes(checks, target)
    nothing = CallablePredictor(lambda x: two(x) * hole, form=LOGITS)
    by_name, checks, target = found(nothing)
    assert "200 of 200" in by_name["finite-answers"].detail
    never_passes(checks, target)


def test_predictions_that_change_from_one_time_to_the_next_are_counted() -> None:
    noise = np.random.default_rng(5)
    for width, form in ((3.0, LOGITS), (20.0, LOGITS)):
        moody = CallablePredictor(lambda x, width=width: two(x) + noise.normal(0, width, (len(x), 2)), form=form)
        by_name, checks, target = found(moody)
        assert "200 of 200" in by_name["deterministic"].detail or "199" in by_name["deterministic"].detail
        assert by_name["deterministic"].outcome is Verdict.INCONCLUSIVE
        never_passes(checks, target)


def test_a_decision_that_is_not_the_largest_score_is_counted() -> None:
    close = np.clip(0.5 + (X - 0.5) * 0.3, 0, 1).astype(np.float32)
    moved = FixedThresholdClassifier(LINEAR, threshold=0.95, response_method="predict_proba").fit(X, Y)
    by_name, checks, target = found(predictor_of(moved), data=Labelled(x=close, y=Y))
    other = int(by_name["decides-by-scores"].detail.split()[0])
    assert other > 0
    never_passes(checks, target)


def test_a_network_that_is_not_what_answers_is_told() -> None:
    class Swapped(CallablePredictor):
        def network(self):
            return Linear().eval() if self.same else Linear(Reverse()).eval()

    for same in (True, False):
        Swapped.same = same
        by_name, checks, target = found(Swapped(two, form=LOGITS))
        assert (by_name["network-is-the-model"].outcome is Verdict.PASS) == same
    never_passes(checks, target)


def test_answers_that_depend_on_the_rest_of_the_batch_are_told() -> None:
    def together(x):
        return two(x) - two(x).mean(axis=0)

    by_name, checks, target = found(CallablePredictor(together, form=LOGITS))
    assert "asked alone, 12 of 12 answers are others" in by_name["batch-independent"].detail
    never_passes(checks, target)


def test_scores_are_examined_even_where_the_adversary_sees_labels() -> None:
    by_name, _, target = found(predictor_of(Linear(nn.Softmax(dim=1)), classes=2, gives="logits"), access=Access.LABELS)
    assert by_name["kind-of-scores"].outcome is Verdict.INCONCLUSIVE
    assert target.access is Access.LABELS


def test_a_cap_that_ends_the_examination_is_told_and_kept() -> None:
    target = Target(predictor_of(LINEAR), SPEC, ledger=QueryLedger(cap=450))
    checks = preflight(target, DATA)
    assert target.ledger.queries <= 450
    assert checks[-1].name == "preflight-budget"
    assert checks[-1].outcome is Verdict.INCONCLUSIVE


def test_classes_that_the_model_does_not_know_are_told() -> None:
    checks = preflight(Target(predictor_of(LINEAR), SPEC), Labelled(x=X, y=Y + 1))
    assert checks[-1].detail == "class 2 occurs, the model tells 2 apart"
    assert checks[-1].outcome is Verdict.FAIL
