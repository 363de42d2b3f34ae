"""Trees in the clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wardline.he.compiler.program import Meaning
from wardline.he.forest.trees import LEAF, Forest, Tree


def stump(threshold: float = 0.5) -> Tree:
    return Tree(
        feature=np.array([1, LEAF, LEAF]),
        threshold=np.array([threshold, 0.0, 0.0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        value=np.array([[0.0], [3.0], [-1.0]]),
    )


def test_a_row_at_the_threshold_goes_left() -> None:
    forest = Forest(
        trees=(stump(), stump(1.5)),
        features=2,
        offset=np.array([10.0]),
        number="float32",
        meaning=Meaning(gives="values"),
    )
    rows = np.array([[9.0, 0.5], [9.0, 0.75], [-9.0, 2.0]])
    np.testing.assert_array_equal(forest.evaluate(rows), [[16.0], [12.0], [8.0]])
    assert (forest.trees[0].depth, forest.trees[0].leaves) == (1, 2)


def test_rows_are_cast_before_they_are_compared() -> None:
    """0.1 as a 32-bit float is above 0.1."""
    made = [
        Forest(
            trees=(stump(0.1),), features=2, offset=np.zeros(1), number=number, meaning=Meaning(gives="values")
        ).evaluate(np.array([[0.0, 0.1]]))
        for number in ("float32", "float64")
    ]
    assert [float(one[0, 0]) for one in made] == [-1.0, 3.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"left": np.array([2, -1, -1])}, "one parent"),
        ({"left": np.array([0, -1, -1])}, "one parent"),
        ({"threshold": np.array([np.inf, 0.0, 0.0])}, "finite threshold"),
        ({"feature": np.array([-2, LEAF, LEAF])}, "finite threshold"),
        ({"value": np.array([[0.0], [np.nan], [0.0]])}, "leaves must be finite"),
        ({"value": np.zeros((2, 1))}, "arrays of one length"),
    ],
)
def test_what_is_no_tree_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(stump(), **changed)


def test_a_forest_has_parts_that_fit() -> None:
    values = Meaning(gives="values")
    with pytest.raises(ValueError, match="a feature that the rows lack"):
        Forest(trees=(stump(),), features=1, offset=np.zeros(1), number="float32", meaning=values)
    with pytest.raises(ValueError, match="a finite offset"):
        Forest(trees=(stump(),), features=2, offset=np.array([np.inf]), number="float32", meaning=values)
    with pytest.raises(ValueError, match="names do not fit"):
        Forest(trees=(stump(),), features=2, offset=np.zeros(1), number="float32", meaning=values, names=("a",))
    logits = Meaning(gives="logits", classes=("a", "b", "c"))
    with pytest.raises(ValueError, match="one output a class"):
        Forest(trees=(stump(),), features=2, offset=np.zeros(1), number="float32", meaning=logits)
