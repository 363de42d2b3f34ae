"""Layouts of databases: every index has a place, questions fit, and what does not fit is refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core.errors import IntegrityError, UsageError
from wardline.he.lookup.plan import LookupPlan, plan_lookup
from wardline.he.parameters import Parameters


@settings(deadline=None, max_examples=20)
@given(records=st.integers(1, 3_000_000), record_bytes=st.integers(1, 20_000))
def test_every_record_has_a_place_and_every_question_fits(records: int, record_bytes: int) -> None:
    plan = plan_lookup(records, record_bytes)
    starts = [sum(plan.start(place)) for place in range(plan.places)]
    assert all(other - one >= plan.coefficients for one, other in itertools.pairwise(starts))
    assert starts[-1] + plan.coefficients <= plan.parameters.degree
    assert all(plan.start(place)[0] % plan.unit == 0 for place in range(plan.places))
    assert (plan.groups - 1) >> plan.group_bits == 0 or records < plan.groups
    assert plan.coefficients * plan.plain_bits >= 8 * record_bytes
    assert plan.rows * plan.columns * plan.places >= records
    assert plan.polynomials * plan.places < records + plan.places
    assert plan.rows * plan.columns < plan.polynomials + plan.columns  # less than a row is left over
    assert plan.numbers <= 1 << plan.doublings
    assert (plan.columns - 1) >> plan.column_bits == 0
    assert 1 <= plan.reply_limbs <= plan.flood_limbs <= len(plan.parameters.moduli)
    assert plan.parameters.bits <= 218


def test_sizes_of_the_recipe() -> None:
    plan = plan_lookup(65_536, 256)
    assert 3 <= plan.database_bytes / (65_536 * 256) <= 5.5
    assert plan.switchings < 120
    assert plan.question_bytes < 160_000
    assert plan.reply_bytes < 130_000
    assert "65,536 of 256 bytes, 16.0 MiB" in plan.explain()
    assert plan.memory_bytes(2) > plan.memory_bytes()


def test_more_limbs_store_more_in_a_byte() -> None:
    four, six = (plan_lookup(65_536, 256, limbs=limbs) for limbs in (4, 6))
    assert six.database_bytes < four.database_bytes
    assert six.key_bytes > four.key_bytes
    with pytest.raises(ValueError, match="limbs"):
        plan_lookup(10, 10, limbs=3)


def test_a_plan_comes_back_from_json() -> None:
    plan = plan_lookup(1000, 77)
    assert LookupPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    "change",
    [
        {"records": 0},
        {"records": "5"},
        {"records": True},
        {"record_bytes": 10**6},
        {"rows": 10**6},
        {"doublings": 0},
        {"doublings": 40},
        {"parameters": None},
        {"more": 1},
    ],
)
def test_other_json_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        LookupPlan.from_json({**plan_lookup(1000, 77).to_json(), **change})


def test_what_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(UsageError, match="too large"):
        plan_lookup(10, 60_000)
    with pytest.raises(UsageError, match="no database"):
        plan_lookup(0, 10)
    plan = plan_lookup(1000, 77)
    odd = {**plan.parameters.to_json(), "plain_modulus": 65537, "moduli": plan.parameters.moduli}
    with pytest.raises(ValueError, match="power of two"):
        replace(plan, parameters=Parameters(**odd))
    with pytest.raises(ValueError, match="special"):
        replace(plan, parameters=replace(plan.parameters, special=None))
    with pytest.raises(ValueError, match="noise"):
        replace(plan, parameters=replace(plan.parameters, plain_modulus=1 << 50))
