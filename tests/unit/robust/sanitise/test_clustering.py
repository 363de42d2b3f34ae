"""Activation clustering finds two groups where there are two, and is weak evidence of poison."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds, canonical_json
from wardline.robust.sanitise.clustering import activation_clusters


def _splits(case, seed: int = 0):
    return activation_clusters(case.model, case.data.x, case.data.y, seeds=Seeds(seed))


def test_the_smaller_group_of_a_patched_class_is_mostly_poison(patched):
    split = next(one for one in _splits(patched) if one.label == 0)
    assert np.isin(split.smaller_rows, patched.relabelled).mean() > 0.8
    assert 0.2 < split.smaller_share <= 0.5


def test_a_clean_class_of_a_clean_model_splits_as_well_as_a_poisoned_one(clean, patched, veiled):
    """Why there is no threshold: it would alarm on clean models."""
    poisoned = [next(one for one in _splits(case) if one.label == 0).silhouette for case in (patched, veiled)]
    assert _splits(clean)[0].silhouette > min(poisoned)


def test_classes_are_ordered_and_equal_seeds_give_equal_json(patched):
    splits = _splits(patched)
    assert [one.silhouette for one in splits] == sorted((one.silhouette for one in splits), reverse=True)
    first, again = (canonical_json([one.to_json() for one in _splits(patched)]) for _ in range(2))
    assert first == again


def test_small_classes_are_left_out(digits, clean):
    y = digits.y.copy()
    y[:3] = 10
    assert 10 not in {one.label for one in activation_clusters(clean.model, digits.x, y, seeds=Seeds(0))}
    with pytest.raises(ValueError, match="as many labels"):
        activation_clusters(clean.model, digits.x, y[:-1], seeds=Seeds(0))
