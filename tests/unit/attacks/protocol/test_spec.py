"""Specifications refuse what the model was not made for, and know which changes an adversary can make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.attacks.protocol.spec import InputSpec, TextSpec


def table() -> InputSpec:
    """A number, a whole number from 0 to 5, a one-hot group of three, and a number that cannot be changed."""
    return InputSpec(
        shape=(6,),
        low=np.array([-1, 0, 0, 0, 0, 0], np.float32),
        high=np.array([1, 5, 1, 1, 1, 9], np.float32),
        steps=np.array([0, 1, 0, 0, 0, 0], np.float32),
        groups=((2, 3, 4),),
        mutable=np.array([1, 1, 1, 1, 1, 0], dtype=bool),
    )


ROW = np.array([[0.5, 3, 0, 1, 0, 7]], np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.float64), "must be float32"),
        (lambda x: x[:, :5], "of shape"),
        (lambda x: x * np.float32(np.nan), "finite"),
        (lambda x: x * 20, "1 of 1 inputs leave their bounds .* bounds or preprocessing"),
        (lambda x: x * np.array([1, 1, 1, 0, 1, 1], np.float32), "columns 2, 3, 4 are said to be one-hot"),
        (lambda x: x + np.array([0, 0, 0.5, -0.5, 0, 0], np.float32), "one-hot"),
    ],
    ids=["type", "shape", "nan", "bounds", "no category", "two categories"],
)
def test_inputs_that_the_model_was_not_made_for_are_refused(change, message: str) -> None:
    table().check(ROW)
    with pytest.raises(ValueError, match=message):
        table().check(change(ROW))


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        (0, -1.0, True),
        (0, -1.000001, True),
        (0, -1.01, False),
        (1, 4.0, True),
        (1, 3.5, False),
        (1, 6.0, False),
        (2, 1.0, False),
        (5, 7.0, True),
        (5, 7.1, False),
        (0, np.nan, False),
    ],
)
def test_a_change_is_admissible_if_such_a_row_could_exist(column: int, value: float, allowed: bool) -> None:
    changed = ROW.copy()
    changed[0, column] = value
    assert table().admissible(changed, ROW).tolist() == [allowed]


def test_a_category_may_be_exchanged_for_another() -> None:
    changed = ROW.copy()
    changed[0, 2:5] = [0, 0, 1]
    assert table().admissible(changed, ROW).all()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6))
def test_what_is_repaired_is_admissible_and_repairing_again_changes_nothing(values: list[float]) -> None:
    wild = np.array([values], np.float32)
    repaired = table().repair(wild, ROW)
    assert repaired.dtype == np.float32
    assert table().admissible(repaired, ROW).all()
    assert (table().repair(repaired, ROW) == repaired).all()


def test_an_admissible_change_is_repaired_to_itself() -> None:
    changed = np.array([[-0.25, 5, 1, 0, 0, 7]], np.float32)
    assert (table().repair(changed, ROW) == changed).all()


def test_steps_are_counted_from_the_low_end() -> None:
    pixels = InputSpec(shape=(2,), low=0, high=1, steps=1 / 255)
    x = np.array([[3 / 255, 0.5]], np.float32)
    repaired = pixels.repair(np.array([[3.4 / 255, 0.7001]], np.float32), x)
    np.testing.assert_allclose(repaired * 255, [[3, 179]], atol=1e-4)
    assert pixels.admissible(repaired, x).all()
    assert not pixels.admissible(np.array([[3.4 / 255, 0.5]], np.float32), x).any()
    assert pixels.admissible(x, x).all(), "what was there before may stay, on the grid or off it"


def test_only_a_spec_without_ties_is_continuous() -> None:
    assert InputSpec(shape=(1, 4, 4)).continuous
    assert not table().continuous
    assert not InputSpec(shape=(2,), steps=0.5).continuous
    assert InputSpec(shape=(3, 2)).features == 6


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": ()},
        {"shape": (0,)},
        {"shape": (2,), "low": 1.0, "high": 1.0},
        {"shape": (2,), "low": np.zeros(3, np.float32)},
        {"shape": (2,), "high": float("inf")},
        {"shape": (2,), "steps": -1.0},
        {"shape": (2,), "mutable": np.ones(3, dtype=bool)},
        {"shape": (2,), "mutable": np.ones(2)},
        {"shape": (3,), "groups": ((0, 1), (1, 2))},
        {"shape": (3,), "groups": ((0, 3),)},
        {"shape": (3,), "groups": ((0,),)},
        {"shape": (3,), "groups": ((0, 1),), "mutable": np.array([True, False, True])},
        {"shape": (3,), "names": ("a",)},
    ],
    ids=str,
)
def test_specifications_that_contradict_themselves_are_refused(fields) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        InputSpec(**fields)


def test_texts_are_texts_of_bounded_length() -> None:
    spec = TextSpec(max_characters=5)
    texts = np.array(["short", ""], dtype=object)
    spec.check(texts)
    assert spec.admissible(np.array(["longer", "ok"], dtype=object), texts).tolist() == [False, True]
    for wrong, message in (
        (np.array(["a"]), "dtype object"),
        (np.array([b"a"], dtype=object), "dtype object"),
        (np.array(["toolong"], dtype=object), "more than 5"),
    ):
        with pytest.raises(ValueError, match=message):
            spec.check(wrong)
