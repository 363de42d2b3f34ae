"""Plans as JSON and secret parts as bytes: what was written, or a refusal."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import canonical_json
from wardline.core.errors import IntegrityError
from wardline.he.forest.choice import plan_forest
from wardline.he.forest.storage import pack_forest, packed_bytes, plan_from_json, plan_to_json, unpack_forest


@pytest.fixture(scope="module")
def planned(random_forest, rows):
    return plan_forest(random_forest(1, trees=3, depth=3, outputs=2), rows(1))


def test_a_plan_comes_back_as_it_was(planned) -> None:
    plan, _ = planned
    written = plan_to_json(plan)
    read = plan_from_json(json.loads(canonical_json(written)))
    assert canonical_json(plan_to_json(read)) == canonical_json(written)
    exact = replace(plan, **{name: written[name] for name in ("seconds", "error", "worst")})
    assert read.explain() == exact.explain()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", [0]),
        ("features", []),
        ("inputs", 1),
        ("number", "float16"),
        ("centre", []),
        ("centre", ["a"]),
        ("step", 0.0),
        ("step", True),
        ("flood_limbs", 99),
        ("flood_bits", 91),
        ("reply_limbs", 0),
        ("depth", 0),
        ("nodes", -1),
        ("seconds", -1.0),
        ("parameters", {}),
    ],
)
def test_what_would_not_be_written_is_refused(planned, name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError, IntegrityError)):
        plan_from_json({**plan_to_json(planned[0]), name: value})


def test_thresholds_of_another_type_or_order_are_refused(planned) -> None:
    written = plan_to_json(planned[0])
    for changed in ([*written["thresholds"][:-1], 0.1], written["thresholds"][::-1]):
        with pytest.raises(ValueError, match="threshold"):
            plan_from_json({**written, "thresholds": changed})
    with pytest.raises(IntegrityError):
        plan_from_json({**written, "more": 1})
    parameters = {**written["parameters"], "plain_modulus": 65536}
    with pytest.raises(ValueError, match="bfv in slots"):
        plan_from_json({**written, "parameters": parameters})


def test_a_secret_part_comes_back_as_it_was(planned, rows) -> None:
    plan, secret = planned
    content = pack_forest(secret)
    assert len(content) == packed_bytes(plan)
    read = unpack_forest(content, plan)
    assert pack_forest(read) == content
    np.testing.assert_array_equal(read.simulate(rows(1), plan), secret.simulate(rows(1), plan))


def test_what_does_not_fit_the_plan_is_refused(planned) -> None:
    plan, secret = planned
    content = pack_forest(secret)
    with pytest.raises(ValueError, match="more or fewer nodes"):
        unpack_forest(content[:-1], plan)
    large = replace(secret, base=np.array([0, 1 << 40]))
    with pytest.raises(ValueError, match="wrap around"):
        unpack_forest(pack_forest(large), plan)
    tree = secret.trees[0]
    for changed, message in (
        (replace(tree, bit=np.where(tree.bit >= 0, len(plan.thresholds), -1)), "threshold that the plan lacks"),
        (replace(tree, left=tree.right, right=tree.right), "one parent"),
        (replace(tree, bit=np.where(tree.bit >= 0, 0, -1)), "other products|holds other"),
    ):
        with pytest.raises(ValueError, match=message):
            unpack_forest(pack_forest(replace(secret, trees=(changed, *secret.trees[1:]))), plan)
    with pytest.raises(ValueError, match=r"nodes|trees"):
        unpack_forest(content, replace(plan, trees=plan.trees + 3, nodes=plan.nodes))


def test_a_plan_whose_noise_would_not_hide_the_forest_is_refused(planned) -> None:
    plan, secret = planned
    content = pack_forest(secret)
    limbs = len(plan.parameters.moduli)
    assert plan.flood_limbs < limbs
    # Fewer bits, or as many where more moduli, and with them more of the forest's own noise, are left.
    for changed in (replace(plan, flood_bits=plan.flood_bits - 1), replace(plan, flood_limbs=limbs)):
        with pytest.raises(ValueError, match="would not hide"):
            unpack_forest(content, changed)


def test_trees_too_deep_for_any_plan_are_refused(planned) -> None:
    plan, secret = planned
    inner = np.arange(0, 6000, 2)
    bit, left, right = (np.full(6001, -1) for _ in range(3))
    bit[inner], left[inner], right[inner] = 0, inner + 1, inner + 2
    chain = replace(secret.trees[0], bit=bit, left=left, right=right, value=np.zeros((6001, 2), dtype=np.int64))
    deep = replace(secret, trees=(chain,))
    with pytest.raises(ValueError, match="more than 64 splits"):
        unpack_forest(pack_forest(deep), replace(plan, trees=1, nodes=6001))


@settings(max_examples=200)
@given(place=st.integers(0, 1 << 30), value=st.integers(0, 255))
def test_changed_bytes_are_refused_or_another_forest(planned, place: int, value: int) -> None:
    plan, secret = planned
    content = bytearray(pack_forest(secret))
    content[place % len(content)] = value
    try:
        read = unpack_forest(bytes(content), plan)
    except ValueError:
        return
    assert pack_forest(read) == bytes(content)
