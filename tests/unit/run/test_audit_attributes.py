"""Attribute inference in an audit: what is hidden, and whether a leak is told from what anybody could guess."""

import dataclasses

import numpy as np
import pytest

from wardline.attacks.catalogue import find_attack
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.reconstruction.attribute import AttributeInference
from wardline.core import Verdict
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.run.audit_attributes import attribute_data, hidden_attribute, name_of
from wardline.run.audit_data import AuditData
from wardline.run.audit_families import data_for

STEPS = np.zeros(8, dtype=np.float32)
STEPS[0] = 1.0
SPEC = InputSpec(shape=(8,), groups=((1, 2, 3),), steps=STEPS)


def rows(n, seed):
    """A flag that is nearly always 0, a category of three, and four numbers that know nothing of it."""
    rng = np.random.default_rng(seed)
    flag = (rng.random(n) < 0.02).astype(np.float32)
    category = np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)]
    x = np.concatenate([flag[:, None], category, rng.random((n, 4)).astype(np.float32)], axis=1)
    return Labelled(x=x, y=rng.integers(0, 2, n))


PEOPLE, OTHERS = rows(400, 0), rows(400, 1)


def outcome(model):
    attribute = hidden_attribute(SPEC, OTHERS.x)
    data = attribute_data(attribute, people=PEOPLE, population=OTHERS, classes=2, most=300)
    return AttributeInference().run(Target(model, SPEC), data, Budget(), 0)


def test_the_attribute_that_is_hardest_to_guess_is_hidden():
    attribute = hidden_attribute(SPEC, OTHERS.x)
    assert attribute.columns == (1, 2, 3)
    assert name_of(attribute.columns, tuple("abcdefgh")) == "b to d"
    flag = hidden_attribute(InputSpec(shape=(8,), steps=STEPS), OTHERS.x)
    assert flag.columns == (0,)
    assert flag.values.tolist() == [[0.0], [1.0]]


def test_rows_without_categories_and_constant_ones_have_none_to_hide():
    assert hidden_attribute(InputSpec(shape=(8,)), OTHERS.x) is None
    constant = OTHERS.x.copy()
    constant[:, 1:4] = (1, 0, 0)
    assert hidden_attribute(InputSpec(shape=(8,), groups=((1, 2, 3),)), constant) is None
    assert hidden_attribute(InputSpec(shape=(1, 2, 4)), OTHERS.x.reshape(-1, 1, 2, 4)) is None


def test_a_model_that_knows_rows_by_heart_fails_and_one_that_does_not_look_passes():
    data = attribute_data(hidden_attribute(SPEC, OTHERS.x), people=PEOPLE, population=OTHERS, classes=2, most=300)
    leaking = outcome(data.twin)
    assert leaking.verdict is Verdict.FAIL
    assert leaking.rate > 0.95
    blind = outcome(
        CallablePredictor(lambda x: np.full((len(x), 2), 0.5), form=AnswerForm(gives="probabilities", classes=2))
    )
    assert blind.n == 300
    assert blind.rate == pytest.approx(1 / 3, abs=0.15)
    assert blind.verdict is not Verdict.FAIL
    assert next(one for one in blind.checks if one.name == "control").outcome is Verdict.PASS


def test_what_the_attack_takes_is_made_of_training_rows_and_others():
    entry = find_attack("reconstruction.attribute")
    target = Target(
        CallablePredictor(lambda x: np.full((len(x), 2), 0.5), form=AnswerForm(gives="probabilities", classes=2)), SPEC
    )
    known = AuditData(held_out=OTHERS, train=PEOPLE, source="made up", sha256="0" * 64)
    assert len(data_for(entry, OTHERS, known, target).people) == len(PEOPLE)
    with pytest.raises(ValueError, match="trained on"):
        data_for(entry, OTHERS, dataclasses.replace(known, train=None), target)
    plain = Target(target.predictor, InputSpec(shape=(8,)))
    with pytest.raises(ValueError, match="no attribute to hide"):
        data_for(entry, OTHERS, known, plain)
