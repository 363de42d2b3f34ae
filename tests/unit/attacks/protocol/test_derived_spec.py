"""Specifications from examples: bounds, groups and steps that are there, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.protocol.derived_spec import spec_from_examples
from wardline.attacks.protocol.spec import InputSpec, TextSpec

RNG = np.random.default_rng(0)


def table(rows: int = 60) -> np.ndarray:
    """age in years, one-hot colour of three, a flag, an amount, a column that never changes, one-hot sex."""
    colour, sex = np.eye(3)[np.arange(rows) % 3], np.eye(2)[np.arange(rows) % 2]
    age, flag = RNG.integers(18, 90, rows), np.arange(rows) % 7 == 0
    return np.column_stack([age, colour, flag, RNG.random(rows) * 50, np.full(rows, 3.0), sex]).astype(np.float32)


@pytest.mark.parametrize(
    ("scale", "shift", "bounds"), [(1, 0, (0, 1)), (2, -1, (-1, 1)), (255, 0, (0, 255)), (0.2, 0.1, (0, 1))]
)
def test_images_get_the_customary_bounds_that_hold_them(scale, shift, bounds) -> None:
    x = (RNG.random((5, 3, 4, 4)) * scale + shift).astype(np.float32)
    spec = spec_from_examples(x)
    assert (float(spec.low.min()), float(spec.high.max())) == bounds
    assert spec.shape == (3, 4, 4)
    assert spec.continuous


def test_images_of_other_bounds_get_their_channels_extremes() -> None:
    x = RNG.normal(0, [[[1]], [[300]]], size=(9, 2, 4, 4)).astype(np.float32)
    spec = spec_from_examples(x)
    assert float(spec.high[0].max()) == x[:, 0].max()
    assert float(spec.low[1].min()) == x[:, 1].min()
    spec.check(x)


def test_a_table_gets_its_columns_extremes_groups_and_whole_numbers() -> None:
    x = table()
    spec = spec_from_examples(x, names=tuple("abcdefghi"))
    assert isinstance(spec, InputSpec)
    assert spec.groups == ((1, 2, 3), (7, 8))
    assert np.flatnonzero(spec.steps).tolist() == [0, 4]
    assert np.flatnonzero(~spec.mutable).tolist() == [6]
    assert (spec.low[0], spec.high[0]) == (x[:, 0].min(), x[:, 0].max())
    spec.check(x)
    changed = x.copy()
    changed[:, 6] = 4
    assert not spec.admissible(changed, x).any()


def test_few_rows_show_no_groups_and_no_steps() -> None:
    spec = spec_from_examples(table(12))
    assert spec.groups == ()
    assert not spec.steps.any()


def test_rows_of_pixels_are_free_where_the_sample_is_dark() -> None:
    x = RNG.random((40, 64)).astype(np.float32)
    x[:, :8] = 0
    spec = spec_from_examples(x)
    assert spec.continuous
    assert (spec.low == 0).all()
    assert (spec.high == 1).all()


def test_texts_may_be_as_long_as_they_are() -> None:
    spec = spec_from_examples(np.array(["a", "b" * 20_000], dtype=object))
    assert isinstance(spec, TextSpec)
    assert spec.max_characters == 20_000


@pytest.mark.parametrize(
    "x",
    [np.zeros((0, 3), np.float32), np.zeros((4, 3)), np.zeros(4, np.float32), np.full((2, 2), np.nan, np.float32)],
)
def test_what_is_no_input_is_refused(x) -> None:
    with pytest.raises(ValueError, match="example"):
        spec_from_examples(x)
