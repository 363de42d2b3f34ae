from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wardline.attacks.membership.candidates import join, offline_references, online_references, pick_candidates
from wardline.attacks.membership.scores import scaled_confidence
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.core import Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig
from wardline.models import Logistic, train_stack

RECIPE = ReferenceRecipe(
    architecture=Logistic(inputs=6, classes=2),
    training=PlainConfig(batch=16, epochs=2, learning_rate=0.05),
    references=4,
)


def _examples(units: int, stream: str, *, rows_each: int = 1) -> Examples:
    generator = Seeds(1).numpy(stream)
    rows = units * rows_each
    return Examples(
        x=generator.normal(size=(rows, 6)).astype(np.float32),
        y=generator.integers(2, size=rows),
        unit=np.arange(rows, dtype=np.int64) // rows_each,
        features=tuple("abcdef"),
        classes=("no", "yes"),
    )


def test_candidates_are_members_then_others_and_companions_are_the_other_members() -> None:
    members, others = _examples(30, "in", rows_each=2), _examples(20, "out", rows_each=2)
    picked = pick_candidates(members, others, most=10, seeds=Seeds(0))
    assert picked.members == 10
    assert picked.examples.n_units == 20
    assert len(picked.examples) == 40
    assert picked.companions.n_units == 20
    rows = {row.tobytes() for row in picked.examples.x[picked.examples.unit < 10]}
    assert rows <= {row.tobytes() for row in members.x}
    assert not rows & {row.tobytes() for row in picked.companions.x}
    more = picked.accompanied(_examples(5, "more"))
    assert more.companions.n_units == 25
    assert more.examples is picked.examples


def test_joined_units_stay_apart() -> None:
    joined = join(_examples(3, "a", rows_each=2), _examples(2, "b"))
    assert joined.unit.tolist() == [0, 0, 1, 1, 2, 2, 3, 4]


def test_online_references_see_half_of_the_candidates() -> None:
    picked = pick_candidates(_examples(40, "in"), _examples(40, "out"), most=20, seeds=Seeds(0))
    answers = online_references(picked, RECIPE, seeds=Seeds(0))
    assert answers.phi.shape == (4, 40)
    assert (answers.inside.sum(axis=0) == 2).all()
    assert answers.rows == 20 + 20


def test_offline_references_see_the_population_alone() -> None:
    """The same candidates get the same answers from models trained on the population's rows by hand."""
    picked = pick_candidates(_examples(40, "in"), _examples(40, "out"), most=20, seeds=Seeds(0))
    population = _examples(50, "population")
    answers = offline_references(picked, population, RECIPE, size=40, seeds=Seeds(3))
    assert not answers.inside.any()
    assert answers.rows == 25
    generator = Seeds(3).numpy("membership.population")
    sets = np.stack([generator.permutation(50)[:25] for _ in range(4)])
    stack = train_stack(
        RECIPE.architecture,
        RECIPE.training,
        x=population.x,
        y=population.y,
        sets=sets,
        seeds=Seeds(3).child("membership.offline"),
    )
    np.testing.assert_array_equal(answers.phi, scaled_confidence(stack.logits(picked.examples.x), picked.examples.y))


def test_a_population_of_other_columns_or_too_few_rows_is_refused() -> None:
    picked = pick_candidates(_examples(10, "in"), _examples(10, "out"), most=20, seeds=Seeds(0))
    other = dataclasses.replace(_examples(10, "p"), features=tuple("uvwxyz"))
    with pytest.raises(ValueError, match="columns and classes"):
        offline_references(picked, other, RECIPE, size=10, seeds=Seeds(0))
    with pytest.raises(ValueError, match="at least 4"):
        offline_references(picked, _examples(3, "p"), RECIPE, size=10, seeds=Seeds(0))
