"""Clean-label poison keeps labels true, stays within its ball, and makes rows harder."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.backdoors.clean_label import CleanLabel
from wardline.attacks.backdoors.triggers import Patch
from wardline.core import DataError, Seeds
from wardline.robust.ball import Ball
from wardline.robust.sanitise.representation import represent


@pytest.mark.parametrize(
    "ball", [Ball(norm="linf", radius=0.2), Ball(norm="l2", radius=1.0), Ball(norm="l1", radius=4.0)]
)
def test_rows_of_the_target_class_alone_are_moved_within_the_ball(digits, ball):
    poison = CleanLabel(target=6, share=0.5, ball=ball, steps=10, surrogate=digits.twin.network())
    poisoned = poison.poison(digits.x, digits.y, seeds=Seeds(0))
    np.testing.assert_array_equal(poisoned.y, digits.y)
    assert (digits.y[poisoned.rows] == 6).all()
    assert len(poisoned.rows) == round(0.5 * (digits.y == 6).sum())
    changed = np.flatnonzero((poisoned.x != digits.x).reshape(len(digits.y), -1).any(axis=1))
    np.testing.assert_array_equal(changed, poisoned.rows)
    outside = np.ones((8, 8), dtype=bool)
    outside[-2:, -2:] = False  # under the patch anything goes
    moved = (poisoned.x[poisoned.rows] - digits.x[poisoned.rows])[:, 0, outside]
    size = {"linf": np.abs(moved).max(1), "l2": np.linalg.norm(moved, axis=1), "l1": np.abs(moved).sum(1)}[ball.norm]
    assert size.max() <= ball.radius * 1.0001
    assert poisoned.x.min() >= 0
    assert poisoned.x.max() <= 1


def test_the_surrogate_finds_the_rows_harder_than_the_patch_alone_makes_them(digits):
    poison = CleanLabel(target=6, share=1.0, surrogate=digits.twin.network())
    poisoned = poison.poison(digits.x, digits.y, seeds=Seeds(0))
    rows, labels = poisoned.rows, digits.y[poisoned.rows]
    harder = represent(digits.twin, poisoned.x[rows]).losses(labels).mean()
    stamped = represent(digits.twin, Patch().stamp(digits.x[rows])).losses(labels).mean()
    assert harder > 5 * stamped + 1


def test_equal_seeds_give_equal_poison(digits):
    poison = CleanLabel(steps=3, surrogate=digits.twin.network())
    first, again = (poison.poison(digits.x, digits.y, seeds=Seeds(1)) for _ in range(2))
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, poison.poison(digits.x, digits.y, seeds=Seeds(2)).x)


def test_a_surrogate_and_rows_of_the_class_are_needed(digits):
    with pytest.raises(ValueError, match="needs a surrogate"):
        CleanLabel().poison(digits.x, digits.y, seeds=Seeds(0))
    with pytest.raises(DataError):
        CleanLabel(target=50, surrogate=digits.twin.network()).poison(digits.x, digits.y, seeds=Seeds(0))


@pytest.mark.parametrize(
    "wrong",
    [{"share": 0.0}, {"steps": 0}, {"ball": Ball(norm="l2", radius=0.0)}, {"low": 1.0}, {"target": -1}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        CleanLabel(**wrong)
