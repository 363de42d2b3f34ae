from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.attacks.reconstruction.attribute import AttributeData, AttributeInference, paired_advantage
from wardline.core import Seeds, Verdict, canonical_json
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor

HIDDEN = (0, 1)
VALUES = np.eye(2, dtype=np.float32)
SPEC = InputSpec(shape=(22,), low=-8, high=8, groups=(HIDDEN,))


def _people(rows: int, stream: str, *, told: float = 0.0) -> Examples:
    """A coin in one-hot form, 20 other columns that `told` says how much of it, and a class that is another coin."""
    generator = Seeds(8).numpy(stream)
    coin = generator.integers(2, size=rows)
    rest = generator.normal(size=(rows, 20)) + told * (2 * coin[:, None] - 1)
    return Examples(
        x=np.concatenate([VALUES[coin], rest], axis=1).astype(np.float32),
        y=generator.integers(2, size=rows),
        unit=np.arange(rows, dtype=np.int64),
        features=tuple(f"f{i}" for i in range(22)),
        classes=("no", "yes"),
    )


def _model(examples: Examples) -> TorchPredictor:
    """Learns random classes by heart."""
    config = PlainConfig(batch=32, epochs=60, learning_rate=0.01)
    architecture = Mlp(inputs=22, hidden=(64,), classes=2)
    return TorchPredictor.of(train_plain(architecture, examples, config=config, seeds=Seeds(1)))


def _labelled(examples: Examples) -> Labelled:
    return Labelled(x=examples.x, y=examples.y)


PEOPLE, POPULATION = _people(300, "people"), _people(600, "population")
LEAKY = _model(PEOPLE)


def _data(people: Examples = PEOPLE, population: Examples = POPULATION) -> AttributeData:
    return AttributeData(
        people=_labelled(people), columns=HIDDEN, values=VALUES, population=_labelled(population), twin=LEAKY
    )


def test_a_model_that_knows_people_by_heart_gives_their_attribute_away() -> None:
    result = AttributeInference().run(Target(LEAKY, SPEC), _data(), Budget(), 0)
    assert result.verdict is Verdict.FAIL
    assert result.details["advantage"]["interval"].low > 0
    assert result.rate > result.details["imputation"]["value"] + 0.1
    assert result.queries == 2 * 300
    assert {"paper", "access"} <= set(result.details)


def test_a_model_that_never_saw_them_gives_no_advantage_although_the_attack_works() -> None:
    result = AttributeInference().run(Target(_model(_people(300, "others")), SPEC), _data(), Budget(), 0)
    assert result.details["advantage"]["interval"].low <= 0
    assert result.interval.low <= result.chance
    assert {check.name: check.outcome for check in result.checks}["control"] is Verdict.PASS


def test_what_can_be_imputed_without_the_model_is_no_leak() -> None:
    """The other columns tell the attribute: the attack is nearly always right, and so is who never asks the model."""
    people, population = _people(300, "people", told=0.8), _people(600, "population", told=0.8)
    result = AttributeInference().run(Target(LEAKY, SPEC), _data(people, population), Budget(), 0)
    assert result.rate > 0.9
    assert result.details["imputation"]["value"] > 0.9
    assert result.verdict is not Verdict.FAIL


class _Silent:
    """Gives every class the same probability, whoever is asked about."""

    gives, classes = "logits", 2

    def answer(self, x: np.ndarray) -> np.ndarray:
        return np.zeros((len(x), 2), dtype=np.float32)


def test_a_model_that_says_nothing_leaks_nothing_where_the_class_misleads_the_imputer() -> None:
    """In the population the class tells the attribute, among the people its opposite: imputation is worse there."""
    people, population = _people(300, "people", told=0.3), _people(600, "population", told=0.3)
    coins = people.x[:, 1].astype(np.int64), population.x[:, 1].astype(np.int64)
    people, population = dataclasses.replace(people, y=1 - coins[0]), dataclasses.replace(population, y=coins[1])
    result = AttributeInference().run(Target(_Silent(), SPEC), _data(people, population), Budget(), 0)
    assert result.rate == result.details["prior_alone"]["value"] > 0.8
    assert result.details["imputation"]["value"] < 0.2
    assert result.verdict is not Verdict.FAIL
    assert result.chance == result.details["prior_alone"]["interval"].high
    assert result.details["advantage"]["value"] == 0.0


def test_people_who_were_not_reached_do_not_count() -> None:
    result = AttributeInference().run(Target(LEAKY, SPEC), _data(), Budget(queries=300, batch=64), 0)
    assert result.n == 128
    assert result.queries <= 300
    assert {check.name: check.outcome for check in result.checks}["budget"] is Verdict.INCONCLUSIVE


def test_the_paired_interval_is_that_of_the_disagreements() -> None:
    first, second = np.arange(1000) < 600, np.arange(1000) < 500
    told = paired_advantage(first, second, level=0.95)
    assert told["value"] == pytest.approx(0.1)
    assert 0.07 < told["interval"].low < 0.1 < told["interval"].high < 0.13


def test_labels_alone_do_not_do_and_bad_data_is_refused() -> None:
    with pytest.raises(AccessDenied):
        AttributeInference().run(Target(LEAKY, SPEC, access=Access.LABELS), _data(), Budget(), 0)
    others = np.array([[0.0], [1.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="none of the values"):
        AttributeData(people=_labelled(PEOPLE), columns=(5,), values=others, population=_labelled(POPULATION))
    with pytest.raises(ValueError, match="indices of columns"):
        AttributeData(people=_labelled(PEOPLE), columns=(21, 22), values=VALUES, population=_labelled(POPULATION))


def test_the_same_seed_gives_the_same_json() -> None:
    first, second = (AttributeInference().run(Target(LEAKY, SPEC), _data(), Budget(), 0).to_json() for _ in range(2))
    assert canonical_json(first) == canonical_json(second)
