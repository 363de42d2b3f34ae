"""Plans: the smallest ring that bears the queries, refused where none does, and files that say something else."""

from __future__ import annotations

import copy
import math
from decimal import Decimal

import pytest

from wardline.core.errors import DataError, IntegrityError
from wardline.he.parameters import MOST_BITS
from wardline.he.queries.choice import plan_table
from wardline.he.queries.noise import FLOOD_BITS, depth_of
from wardline.he.queries.plan import TablePlan, digit_bits_for
from wardline.he.queries.schema import CategoryColumn, NumberColumn, Schema

SCHEMA = Schema(
    columns=(
        CategoryColumn(name="state", categories=tuple("abcdefgh"), missing=True),
        NumberColumn(name="debt", unit=Decimal("0.01"), low=-500_000, high=2_000_000, edges=(0, 100_000), missing=True),
    )
)


def test_depth_is_that_of_a_tree_with_the_value_on_top() -> None:
    assert [depth_of(filters) for filters in range(6)] == [0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("reader", ["owner", "others"])
def test_deeper_queries_need_larger_rings(reader) -> None:
    degrees = []
    for filters in (0, 1, 2, 4, 16):
        plan = plan_table(SCHEMA, 20_000, filters=filters, reader=reader)
        parameters = plan.parameters
        degrees.append(parameters.degree)
        assert parameters.bits <= MOST_BITS[parameters.degree]
        assert plan.noise_bits_left >= 1
        assert (parameters.special is None) is (filters == 0)
        assert TablePlan.from_json(plan.to_json()).to_json() == plan.to_json()
        if reader == "others":
            assert plan.flood_limbs is not None
            kept = math.log2(math.prod(parameters.moduli[: plan.flood_limbs]))
            lost = math.log2(math.prod(parameters.moduli)) - kept
            assert plan.flood_bits >= FLOOD_BITS + plan.noise_bits - lost
            assert plan.flood_bits + 1 < kept - math.log2(2 * parameters.plain_modulus)
        else:
            assert plan.flood_bits is None
        text = plan.explain()
        assert str(plan.table_bytes) in text
        assert f"{plan.noise_bits_left:.1f} bits left" in text
    assert degrees == sorted(degrees)
    assert degrees[0] < degrees[-1]


def test_no_sum_of_digits_can_wrap() -> None:
    for rows, reader in ((3, "owner"), (100_000, "owner"), (100_000, "others")):
        plan = plan_table(SCHEMA, rows, reader=reader)
        summed = plan.blocks if reader == "owner" else rows
        assert 4 * (2**plan.digit_bits - 1) * summed <= plan.parameters.plain_modulus
        debt = SCHEMA.columns[1]
        assert isinstance(debt, NumberColumn)
        assert 2 ** (plan.digits(debt) * plan.digit_bits) > 2_000_000
    assert digit_bits_for(40961, 10_240) == 1
    assert digit_bits_for(40961, 10_241) == 0


def test_stored_numbers() -> None:
    plan = plan_table(SCHEMA, 100)
    parts = [(one.column, one.part) for one in plan.stored]
    assert parts.count((0, "level")) == 8, "the last of nine levels is what is in no other"
    assert parts.count((1, "edge")) == 2
    assert parts.count((1, "known")) == 1
    assert parts.count((1, "digit")) == plan.digits(SCHEMA.columns[1])


def test_what_cannot_be_borne_is_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        plan_table(SCHEMA, 0)
    for rows, filters in ((1 << 28, 2), (10, 65), (10, -1)):
        with pytest.raises(ValueError, match="table has"):
            plan_table(SCHEMA, rows, filters=filters)
    with pytest.raises(ValueError, match="rows"):
        plan_table(SCHEMA, 10, reader="everybody")


def test_a_plan_that_was_changed_is_refused() -> None:
    good = plan_table(SCHEMA, 20_000).to_json()
    for path, value in {
        ("rows",): 0,
        ("filters",): 8,
        ("digit_bits",): good["digit_bits"] + 1,
        ("reader",): "all",
        ("rows", ""): 1,
        ("parameters", "plain_modulus"): 40960,
        ("parameters", "special"): None,
        ("parameters", "scheme"): "ckks",
        ("schema", "columns"): [],
        ("schema",): None,
    }.items():
        changed = copy.deepcopy(good)
        place = changed
        for name in path[:-1]:
            if isinstance(place[name], dict):
                place = place[name]
        place[path[-1]] = value
        with pytest.raises(IntegrityError):
            TablePlan.from_json(changed)
    changed = copy.deepcopy(good)
    changed["schema"]["columns"][1]["low"] = "-5000"
    with pytest.raises(IntegrityError, match="another spelling"):
        TablePlan.from_json(changed)
