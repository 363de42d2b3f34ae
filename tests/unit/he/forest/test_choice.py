"""Plans of forests: the smallest ring, and reasons where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from wardline.core import DataError, UsageError
from wardline.he.compiler.program import Meaning
from wardline.he.forest.choice import MOST_THRESHOLDS, compare, plan_forest
from wardline.he.forest.noise import FRESH, TAIL, budget
from wardline.he.forest.trees import LEAF, Forest, Tree
from wardline.he.kernels.slots import has_slots


@pytest.mark.parametrize(
    ("depth", "degree", "products"), [(1, 4096, 0), (2, 8192, 1), (4, 8192, 2), (8, 8192, 3)], ids=str
)
def test_the_smallest_ring_is_taken(random_forest, rows, depth: int, degree: int, products: int) -> None:
    forest, sample = random_forest(1, trees=2, depth=depth, features=12), rows(1, 12)
    plan, secret = plan_forest(forest, sample)
    parameters = plan.parameters
    assert (parameters.degree, plan.depth, plan.rows) == (degree, products, degree)
    assert (parameters.special is not None) == plan.relinearises == (depth > 1)
    assert parameters.plain_modulus is not None
    assert has_slots(parameters.plain_modulus, degree)
    assert plan.left_bits > 0
    assert plan.reply_limbs <= plan.flood_limbs <= len(parameters.moduli)
    off = np.abs(secret.simulate(sample, plan) - forest.evaluate(sample))
    assert off.max() <= plan.worst * (1 + 1e-9)
    assert np.sqrt((off**2).mean()) == pytest.approx(plan.error)
    assert plan.error <= 1e-3 * forest.evaluate(sample).std()


def test_the_plan_explains_itself(random_forest, rows) -> None:
    plan, _ = plan_forest(random_forest(2), rows(2))
    told = plan.explain()
    for found in (f"{plan.trees} trees", "ring 8192", f"{len(plan.thresholds)} thresholds, which they know", "40 bits"):
        assert found in told
    assert plan.charged(17) == 17
    first, *_ = plan.describe_inputs(["a", "b", "c"])
    own = plan.thresholds.threshold[plan.thresholds.feature == 0]
    assert first == f"a: compared with {len(own)} numbers from {own.min():.6g} to {own.max():.6g}"


def test_decisions_are_compared(random_forest, rows) -> None:
    forest, sample = random_forest(3, trees=6), rows(3)
    voting = replace(forest, meaning=Meaning(gives="decision", classes=("no", "yes"), threshold=0.25))
    plan, secret = plan_forest(voting, sample, agreement=1.0)
    found = compare(voting, secret.simulate(sample, plan), sample)
    assert found.decisions == 1.0
    assert "decisions equal on 100.0000%" in str(found)
    assert plan.centre.tolist() == [0.25]
    coarse, _ = plan_forest(voting, sample, agreement=0.9, error=0.2)
    assert coarse.step > plan.step


def test_classes_are_compared_by_the_largest_output(random_forest, rows) -> None:
    forest, sample = random_forest(8, trees=5, outputs=3), rows(8)
    voting = replace(forest, meaning=Meaning(gives="logits", classes=("a", "b", "c")))
    plan, secret = plan_forest(voting, sample)
    assert plan.outputs == 3
    decided = voting.meaning.decide(secret.simulate(sample, plan))
    assert (decided == voting.meaning.decide(voting.evaluate(sample))).mean() >= 0.999
    assert len(set(decided.tolist())) == 3


def test_votes_that_no_step_settles_are_refused(rows) -> None:
    """Half of the rows are decided by 10^-12, beside a tree whose leaves differ by 1."""

    def stump(feature: int, left: float, right: float) -> Tree:
        return Tree(
            feature=np.array([feature, LEAF, LEAF]),
            threshold=np.zeros(3),
            left=np.array([1, -1, -1]),
            right=np.array([2, -1, -1]),
            value=np.array([[0.0], [left], [right]]),
        )

    forest = Forest(
        trees=(stump(0, -1e-12, 1e-12), stump(1, 0.0, 1.0)),
        features=2,
        offset=np.zeros(1),
        number="float32",
        meaning=Meaning(gives="decision", classes=("a", "b")),
    )
    with pytest.raises(UsageError, match="would not decide as the plain one"):
        plan_forest(forest, rows(4, 2), error=0.1)


def test_a_public_plan_does_not_give_the_leaves_of_a_stump(random_forest, rows) -> None:
    """Its noise is that of one bit times the difference of two leaves, so that the exact bits would be that number."""
    for seed in range(5):
        plan, secret = plan_forest(random_forest(seed, trees=1, depth=1, features=1), rows(seed, 1))
        (weight,) = secret.circuit.blocks[-1].linear[0].weights
        exact = math.log2(abs(int(weight)) * TAIL * math.sqrt(FRESH**2 + 1 / 12))
        room = budget(plan.parameters, 2**exact / TAIL)
        assert room is not None
        assert math.log2(room.bound) == pytest.approx(exact)
        assert plan.noise_bits == math.ceil(exact) != exact
        assert 0 <= room.left_bits - plan.left_bits < 0.1
        assert round(10 * plan.left_bits) == pytest.approx(10 * plan.left_bits)


def test_a_forest_that_is_too_deep_names_its_tree(random_forest, rows) -> None:
    generator = np.random.default_rng(9)
    inner = 70

    def chain(length: int) -> Tree:
        """One leaf to the left of each split, features in turn."""
        count = 2 * length + 1
        feature = np.full(count, LEAF)
        feature[: 2 * length : 2] = np.arange(length) % 64
        left, right = np.full(count, -1), np.full(count, -1)
        left[: 2 * length : 2] = np.arange(1, count, 2)
        right[: 2 * length : 2] = np.arange(2, count, 2)
        return Tree(
            feature=feature,
            threshold=np.where(feature == LEAF, 0.0, -2.0),
            left=left,
            right=right,
            value=generator.normal(size=(count, 1)),
        )

    shallow = random_forest(5, features=64, depth=1)
    deep = replace(shallow, trees=(*shallow.trees, chain(inner)))
    with pytest.raises(UsageError, match="tree 3 is 70 splits deep: at most 64 are computed") as refused:
        plan_forest(deep, rows(5, 64))
    assert "max_depth" in refused.value.hint


def test_a_forest_that_is_too_large_is_refused_with_its_cost(random_forest, rows) -> None:
    forest, sample = random_forest(6, trees=20, depth=4, features=6), rows(6, 6)
    plan, _ = plan_forest(forest, sample)
    with pytest.raises(UsageError, match=f"takes {plan.products + plan.last} products of ciphertexts") as refused:
        plan_forest(forest, sample, most_seconds=plan.seconds / 2)
    assert "fewer trees" in refused.value.hint
    with pytest.raises(UsageError, match=f"at most {MOST_THRESHOLDS} are encrypted"):
        plan_forest(forest, np.random.default_rng(0).normal(size=(2000, 6)), decoys=1500)


def test_arguments_and_samples_that_do_not_fit(random_forest, rows) -> None:
    forest, sample = random_forest(7), rows(7)
    for wrong in ({"agreement": 0.0}, {"error": 0.0}, {"error": np.inf}, {"most_seconds": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            plan_forest(forest, sample, **wrong)
    with pytest.raises(UsageError, match="would not decide as the plain one"):
        plan_forest(forest, sample, error=1e-30)  # integers of more than 62 bits
    with pytest.raises(DataError, match="two rows of 3 numbers"):
        plan_forest(forest, sample[:, :2])
    with pytest.raises(DataError, match="not finite"):
        plan_forest(forest, np.where(sample > 3, np.nan, np.full_like(sample, 1e39)))
    leaf = Tree(
        feature=np.array([LEAF]),
        threshold=np.zeros(1),
        left=-np.ones(1, int),
        right=-np.ones(1, int),
        value=np.ones((1, 1)),
    )
    with pytest.raises(UsageError, match="no tree of the forest has a split"):
        plan_forest(replace(forest, trees=(leaf,)), sample)
