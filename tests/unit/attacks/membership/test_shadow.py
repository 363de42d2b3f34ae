from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.membership.shadow import ReferenceRecipe, balanced_design, equal_sets
from wardline.dp import PlainConfig
from wardline.models import Logistic


def _recipe(*, references: int) -> ReferenceRecipe:
    training = PlainConfig(batch=16, epochs=3, learning_rate=0.01)
    architecture = Logistic(inputs=36, classes=3)
    return ReferenceRecipe(architecture=architecture, training=training, references=references)


def test_the_design_is_balanced() -> None:
    inside = balanced_design(101, 8, generator=np.random.default_rng(0))
    assert (inside.sum(axis=0) == 4).all()
    assert set(inside.sum(axis=1)) == {50, 51}
    assert (inside[0] == ~inside[1]).all()
    assert not (inside[0] == inside[2]).all()


def test_sets_are_equal_in_size_and_hold_what_they_should() -> None:
    inside = balanced_design(21, 4, generator=np.random.default_rng(0))
    sets = equal_sets(inside, np.arange(21, 30), max_rows=1000, generator=np.random.default_rng(0))
    assert sets.shape == (4, 19)
    for chosen, flags in zip(sets, inside, strict=True):
        candidates = chosen[chosen < 21]
        assert len(set(chosen.tolist())) == 19
        assert flags[candidates].all()
        assert set(candidates) == set(np.flatnonzero(flags))


def test_sets_keep_to_the_limit_and_prefer_candidates() -> None:
    inside = balanced_design(20, 4, generator=np.random.default_rng(0))
    sets = equal_sets(inside, np.arange(20, 500), max_rows=12, generator=np.random.default_rng(0))
    assert sets.shape == (4, 12)
    assert ((sets < 20).sum(axis=1) == 10).all()


@pytest.mark.parametrize("max_rows", [1000, 5])
def test_no_candidate_is_left_out_of_a_set_that_counts_it_as_inside(max_rows: int) -> None:
    """Persons of one to six rows, no companions: sets differ in rows, and scores believe what the flags say."""
    unit = np.repeat(np.arange(10), np.random.default_rng(2).integers(1, 7, size=10))
    inside = balanced_design(10, 6, generator=np.random.default_rng(0))[:, unit]
    assert len(set(inside.sum(axis=1).tolist())) > 1
    none = np.empty(0, dtype=np.int64)
    sets = equal_sets(inside, none, max_rows=max_rows, generator=np.random.default_rng(0))
    for chosen, flags in zip(sets, inside, strict=True):
        assert set(chosen) == set(np.flatnonzero(flags))


@pytest.mark.parametrize("references", [3, 2, 5, 0])
def test_an_odd_or_tiny_number_of_references_is_refused(references: int) -> None:
    with pytest.raises(ValueError):
        _recipe(references=references)
