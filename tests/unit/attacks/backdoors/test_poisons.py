"""Poisons change the rows that they name, as many as asked for, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.backdoors.poisons import LabelFlips, Stamped, images_of
from wardline.attacks.backdoors.triggers import Patch, Words
from wardline.attacks.protocol.examples import Labelled
from wardline.core import DataError, Seeds
from wardline.data import Examples

SEEDS = Seeds(3)


def _changed(x, y, poisoned):
    flat = (poisoned.x != x).reshape(len(x), -1).any(axis=1)
    return np.flatnonzero(flat | (poisoned.y != y))


def test_random_flips_change_so_many_labels_and_no_input(digits):
    poisoned = LabelFlips(share=0.25).poison(digits.x, digits.y, seeds=SEEDS)
    assert len(poisoned.rows) == 300
    np.testing.assert_array_equal(_changed(digits.x, digits.y, poisoned), poisoned.rows)
    np.testing.assert_array_equal(poisoned.x, digits.x)
    assert set(poisoned.y[poisoned.rows]) == set(range(10))


def test_random_flips_draw_among_the_classes_that_occur():
    y = np.array([2, 2, 5, 9] * 25, dtype=np.int64)
    poisoned = LabelFlips(share=1.0).poison(np.zeros((100, 1), dtype=np.float32), y, seeds=SEEDS)
    assert (poisoned.y != y).all()
    assert set(poisoned.y) == {2, 5, 9}


def test_targeted_flips_turn_one_class_into_another(digits):
    poisoned = LabelFlips(share=0.5, source=3, target=8).poison(digits.x, digits.y, seeds=SEEDS)
    assert (digits.y[poisoned.rows] == 3).all()
    assert (poisoned.y[poisoned.rows] == 8).all()
    assert len(poisoned.rows) == round(0.5 * (digits.y == 3).sum())
    trials = LabelFlips(source=3, target=8).trials(digits.test)
    assert trials.goal == 8
    assert (trials.y == 3).all()


def test_a_trigger_goes_with_the_label_and_spares_the_target_class(digits):
    poisoned = Stamped(target=4, share=0.1).poison(digits.x, digits.y, seeds=SEEDS)
    assert len(poisoned.rows) == 120
    np.testing.assert_array_equal(_changed(digits.x, digits.y, poisoned), poisoned.rows)
    assert (digits.y[poisoned.rows] != 4).all()
    assert (poisoned.y[poisoned.rows] == 4).all()
    np.testing.assert_array_equal(poisoned.x[poisoned.rows], Patch().stamp(digits.x[poisoned.rows]))


def test_covers_carry_the_trigger_and_keep_their_labels(digits):
    poison = Stamped(sources=(1,), target=0, share=0.5, cover_share=0.2)
    poisoned = poison.poison(digits.x, digits.y, seeds=SEEDS)
    relabelled = np.flatnonzero(poisoned.y != digits.y)
    covers = np.setdiff1d(poisoned.rows, relabelled)
    assert (digits.y[relabelled] == 1).all()
    assert len(relabelled) == round(0.5 * (digits.y == 1).sum())
    assert not set(digits.y[covers]) & {0, 1}
    assert len(covers) == round(0.2 * (~np.isin(digits.y, [0, 1])).sum())
    np.testing.assert_array_equal(poisoned.x[covers], Patch().stamp(digits.x[covers]))
    assert (poison.trials(digits.test).y == 1).all()


@pytest.mark.parametrize("poison", [LabelFlips(), Stamped(), Stamped(sources=(2, 3), target=7)])
def test_equal_seeds_give_equal_poison_and_other_seeds_do_not(poison, digits):
    first, again = (poison.poison(digits.x, digits.y, seeds=Seeds(1)) for _ in range(2))
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y, again.y)
    other = poison.poison(digits.x, digits.y, seeds=Seeds(2))
    assert not np.array_equal(first.rows, other.rows)


def test_texts_are_poisoned_like_images():
    texts = np.array([f"text {index}" for index in range(40)], dtype=object)
    y = np.arange(40, dtype=np.int64) % 2
    poison = Stamped(trigger=Words(words=("cf",)), target=1, share=0.25)
    poisoned = poison.poison(texts, y, seeds=SEEDS)
    assert len(poisoned.rows) == 10
    assert all(text.startswith("cf ") for text in poisoned.x[poisoned.rows])
    assert not any(text.startswith("cf ") for text in np.delete(poisoned.x, poisoned.rows))
    assert len(poison.trials(Labelled(x=texts, y=y)).y) == 20


def test_examples_become_images_and_come_back_with_their_units(digits):
    flat = digits.x[:50].reshape(50, -1)
    unit = np.repeat(np.arange(25, dtype=np.int64), 2)
    names, classes = tuple(f"p{index}" for index in range(64)), tuple("0123456789")
    clean = Examples(x=flat, y=digits.y[:50], unit=unit, features=names, classes=classes)
    images = images_of(clean, shape=(1, 8, 8))
    np.testing.assert_array_equal(images, digits.x[:50])
    back = Stamped(share=0.2).poison(images, clean.y, seeds=SEEDS)
    examples = back.examples(clean)
    assert examples.x.shape == (50, 64)
    np.testing.assert_array_equal(examples.unit, unit)
    np.testing.assert_array_equal(
        np.flatnonzero((examples.x != clean.x).any(axis=1) | (examples.y != clean.y)), back.rows
    )
    with pytest.raises(ValueError, match="no images of shape"):
        images_of(clean, shape=(1, 9, 8))


def test_a_class_that_does_not_occur_is_a_problem_of_the_data(digits):
    with pytest.raises(DataError, match="no row can be poisoned"):
        LabelFlips(source=77).poison(digits.x, digits.y, seeds=SEEDS)
    with pytest.raises(DataError, match="no other class"):
        LabelFlips().poison(digits.x, np.zeros(len(digits.y), dtype=np.int64), seeds=SEEDS)
    with pytest.raises(DataError, match="no row can be poisoned"):
        Stamped(target=0).poison(digits.x, np.zeros(len(digits.y), dtype=np.int64), seeds=SEEDS)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (LabelFlips, {"share": 0.0}),
        (LabelFlips, {"share": 1.5}),
        (LabelFlips, {"source": 1, "target": 1}),
        (Stamped, {"share": float("nan")}),
        (Stamped, {"target": -1}),
        (Stamped, {"target": 1, "sources": (1, 2)}),
        (Stamped, {"sources": (1,), "cover_share": 1.5}),
    ],
    ids=repr,
)
def test_settings_out_of_range_are_refused(kind, settings):
    with pytest.raises(ValueError):
        kind(**settings)
