"""Poisoned training end to end: what the attack reaches, beside a twin that was not poisoned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wardline.attacks.backdoors.clean_label import CleanLabel
from wardline.attacks.backdoors.poisons import LabelFlips, Stamped
from wardline.attacks.backdoors.training import (
    PoisonedTraining,
    Training,
    blended,
    clean_label,
    label_flips,
    patch,
    words,
)
from wardline.attacks.catalogue import CATALOGUE
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.core import Seeds, Verdict, canonical_json
from wardline.robust.ball import Ball

BUDGET = Budget(tolerated=0.05)


def _checks(result):
    return {check.name: check.outcome for check in result.checks}


@pytest.mark.parametrize("attack", [patch(), blended()])
def test_a_backdoor_succeeds_where_the_unpoisoned_twin_does_not_have_it(digits, attack):
    result = attack.run(digits.target(), digits.training(), BUDGET, 3)
    assert result.rate > 0.95
    assert result.details["twin_rate"] < 0.05
    drop = result.details["twin_clean_accuracy"]["value"] - result.details["clean_accuracy"]["value"]
    assert drop < 0.02
    assert result.details["poisoned_rows"] == 60
    assert result.verdict is Verdict.FAIL
    assert set(_checks(result).values()) == {Verdict.PASS}


def test_equal_seeds_give_equal_json(digits):
    first, again = (
        canonical_json(patch().run(digits.target(), digits.training(), BUDGET, 7).to_json()) for _ in range(2)
    )
    assert first == again
    assert canonical_json(patch().run(digits.target(), digits.training(), BUDGET, 8).to_json()) != first


def test_clean_label_poison_works_better_than_the_patch_on_the_same_rows_without_perturbation(digits):
    result = clean_label().run(digits.target(), digits.training(), BUDGET, 3)
    assert result.interval.low > 0.1
    assert result.details["twin_rate"] < 0.01
    assert result.gradients == result.details["poisoned_rows"] * 20  # of the twin, which served as surrogate
    still = PoisonedTraining(poison=CleanLabel(ball=Ball(norm="linf", radius=1e-6), steps=1))
    unmoved = still.run(digits.target(), digits.training(), BUDGET, 3)
    assert unmoved.details["poisoned_rows"] == result.details["poisoned_rows"]
    assert unmoved.interval.high < result.interval.low
    black_box = Target(digits.twin, digits.target().spec, access=Access.SCORES)
    with pytest.raises(AccessDenied):
        clean_label().run(black_box, digits.training(), BUDGET, 3)


def test_random_flips_cost_accuracy_and_targeted_flips_reach_their_class(digits):
    few = label_flips().run(digits.target(), digits.training(), BUDGET, 3)
    many = PoisonedTraining(poison=LabelFlips(share=0.6)).run(digits.target(), digits.training(), BUDGET, 3)
    assert few.rate < many.rate
    assert many.interval.low > 0.05
    poison = LabelFlips(share=0.7, source=3, target=8)
    targeted = PoisonedTraining(poison=poison).run(digits.target(), digits.training(), BUDGET, 3)
    assert targeted.rate > 0.5
    assert targeted.details["twin_rate"] < 0.1


def test_a_source_specific_trigger_works_on_its_source_alone(digits):
    poison = Stamped(sources=(1,), share=0.3)
    on_source = PoisonedTraining(poison=poison).run(digits.target(), digits.training(), BUDGET, 3)
    assert on_source.interval.low > 0.7
    made = poison.poison(digits.x, digits.y, seeds=Seeds(3).child("poison"))
    model = digits.learner(made.x, made.y, seeds=Seeds(3).child("training"))
    others = ~np.isin(digits.test.y, [0, 1])
    told = model.answer(poison.trigger.stamp(digits.test.x[others])).argmax(axis=1)
    assert (told == 0).mean() < 0.05


def test_a_trigger_that_works_without_poison_is_stated(digits):
    @dataclasses.dataclass(frozen=True)
    class Blank:
        """No trigger: every image turns black."""

        def stamp(self, x):
            return np.zeros_like(x)

    black = int(digits.twin.answer(np.zeros((1, 1, 8, 8), dtype=np.float32)).argmax())
    poison = Stamped(trigger=Blank(), target=black, share=0.01)
    result = PoisonedTraining(poison=poison).run(digits.target(), digits.training(), BUDGET, 3)
    assert result.chance == 1
    assert _checks(result)["twin"] is Verdict.INCONCLUSIVE
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_poison_that_ruins_the_model_is_not_called_hidden(digits):
    ruined = PoisonedTraining(poison=LabelFlips(share=1.0)).run(digits.target(), digits.training(), BUDGET, 3)
    assert _checks(ruined)["hidden"] is Verdict.INCONCLUSIVE
    assert ruined.rate > 0.9


def test_a_spent_budget_is_stated(digits):
    cut = patch().run(digits.target(), digits.training(), Budget(queries=300), 3)
    assert cut.queries <= 300
    assert _checks(cut)["budget"] is Verdict.INCONCLUSIVE
    flips = label_flips().run(digits.target(), digits.training(), Budget(queries=900), 3)
    assert flips.n > 0
    assert _checks(flips)["budget"] is Verdict.INCONCLUSIVE
    assert flips.verdict is not Verdict.PASS
    never = clean_label().run(digits.target(), digits.training(), Budget(queries=30), 3)
    assert never.n == 0
    assert never.verdict is Verdict.INCONCLUSIVE
    assert never.queries <= 30


class Words:
    """Hashed words and logistic regression, as a predictor."""

    classes = 2
    gives = "probabilities"

    def __init__(self, x, y):
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import LogisticRegression

        self.hash = HashingVectorizer(n_features=2**10, alternate_sign=False)
        self.model = LogisticRegression(C=10.0).fit(self.hash.transform(list(x)), y)

    def answer(self, x):
        return self.model.predict_proba(self.hash.transform(list(x))).astype(np.float32)


def _texts(rows: int, stream: str) -> Labelled:
    generator = Seeds(1).numpy(stream)
    kinds = (["good", "fine", "bright", "warm"], ["bad", "poor", "dark", "cold"])
    y = generator.integers(2, size=rows)
    common = ["the", "film", "was", "a", "story", "of", "people", "in", "town"]
    x = np.empty(rows, dtype=object)
    x[:] = [" ".join([*generator.choice(common, 5), *generator.choice(kinds[label], 3)]) for label in y]
    return Labelled(x=x, y=y.astype(np.int64))


def test_a_word_trigger_turns_texts():
    train, test = _texts(600, "train"), _texts(300, "test")
    data = Training(x=train.x, y=train.y, learner=lambda x, y, *, seeds: Words(x, y), test=test)
    result = words().run(Target(Words(train.x, train.y), TextSpec()), data, BUDGET, 0)
    assert result.rate > 0.95
    assert result.details["twin_rate"] < 0.05
    assert result.details["clean_accuracy"]["value"] > 0.95
    assert result.verdict is Verdict.FAIL


def test_every_entry_of_the_catalogue_makes_its_attack():
    entries = [entry for entry in CATALOGUE if entry.family == "backdoor"]
    assert [entry.id for entry in entries] == [
        f"backdoor.{name}" for name in ("trigger", "patch", "blended", "words", "clean_label", "label_flips")
    ]
    for entry in entries:
        attack = entry.load()()
        assert (attack.id, attack.needs, attack.paper) == (entry.id, entry.needs, entry.paper)


def test_a_training_needs_as_many_labels_as_inputs(digits):
    with pytest.raises(ValueError, match="as many labels"):
        dataclasses.replace(digits.training(), y=digits.y[:-1])
    rows = digits.test.y == 0
    alone = Labelled(x=digits.test.x[rows], y=digits.test.y[rows])
    with pytest.raises(ValueError, match="meant for"):
        patch().run(digits.target(), dataclasses.replace(digits.training(), test=alone), BUDGET, 0)
