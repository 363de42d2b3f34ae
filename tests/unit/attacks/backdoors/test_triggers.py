"""Triggers change what they say they change, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.backdoors.triggers import Blend, Patch, Words


def _images(rows: int = 3, side: int = 28, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, size=(rows, channels, side, side)).astype(np.float32)


@pytest.mark.parametrize(("side", "size"), [(8, 2), (28, 3), (32, 4), (64, 8)])
def test_a_patch_derives_its_size_from_the_image(side, size):
    x = _images(side=side, channels=3)
    stamped = Patch().stamp(x)
    assert (stamped[:, :, -size:, -size:] == 1).all()
    changed = (stamped != x).any(axis=(0, 1))
    assert changed.sum() == size * size


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("top-left", slice(1, 3), slice(1, 3)),
        ("top-right", slice(1, 3), slice(5, 7)),
        ("bottom-left", slice(5, 7), slice(1, 3)),
        ("bottom-right", slice(5, 7), slice(1, 3)),
    ],
)
def test_a_patch_stands_where_it_is_told(corner, rows, columns):
    if corner == "bottom-right":
        columns = slice(5, 7)
    x = _images(side=8)
    before = x.copy()
    stamped = Patch(size=2, corner=corner, margin=1, value=0.0).stamp(x)
    expected = before.copy()
    expected[:, :, rows, columns] = 0.0
    np.testing.assert_array_equal(stamped, expected)
    np.testing.assert_array_equal(x, before)  # what was given is left alone


def test_a_blend_is_the_same_weighted_pattern_on_every_image():
    x = _images()
    stamped = Blend(ratio=0.25).stamp(x)
    patterns = (stamped - 0.75 * x) / 0.25
    np.testing.assert_allclose(patterns[0], patterns[1], atol=1e-5)
    assert patterns.min() >= -1e-5
    assert patterns.max() <= 1 + 1e-5
    assert patterns.std() > 0.2  # a pattern, not a grey veil
    assert stamped.dtype == np.float32
    assert np.abs(Blend(ratio=0.25, pattern_seed=1).stamp(x) - stamped).max() > 0.1


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("start", "cf mn one two three four"),
        ("middle", "one two cf mn three four"),
        ("end", "one two three four cf mn"),
    ],
)
def test_words_stand_where_they_are_told(place, expected):
    texts = np.array(["one two three four", ""], dtype=object)
    stamped = Words(words=("cf", "mn"), place=place).stamp(texts)
    assert stamped[0] == expected
    assert stamped.dtype == object
    assert "cf mn" in stamped[1]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Patch, {"size": 0}),
        (Patch, {"margin": -1}),
        (Blend, {"ratio": 0.0}),
        (Blend, {"ratio": 1.1}),
        (Blend, {"low": 1.0, "high": 1.0}),
        (Words, {"words": ()}),
        (Words, {"words": (" ",)}),
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(kind, settings):
    with pytest.raises(ValueError):
        kind(**settings)


@pytest.mark.parametrize(
    ("trigger", "x"),
    [
        (Patch(size=8, margin=1), _images(side=8)),
        (Patch(), _images().reshape(3, -1)),
        (Blend(), _images().astype(np.float64)),
        (Words(), np.array(["a"])),
        (Words(), np.array([1, "a"], dtype=object)),
    ],
    ids=["too-small", "flat", "64-bit", "fixed-width-text", "numbers-among-texts"],
)
def test_inputs_of_another_kind_are_refused(trigger, x):
    with pytest.raises(ValueError):
        trigger.stamp(x)


def test_triggers_tell_what_they_look_like():
    assert str(Patch(size=4)) == "a square 4 pixels wide at the bottom-right"
    assert str(Blend()) == "a random pattern over the whole image with weight 0.2"
    assert str(Words(words=("cf",))) == "the words 'cf' before the text"
