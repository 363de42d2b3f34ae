"""A ledger never lets more through than its caps say, however they are nested."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.attacks.protocol import ledger as module
from wardline.attacks.protocol.ledger import BudgetSpent, QueryLedger


def test_a_batch_that_exceeds_the_cap_is_refused_whole_and_not_counted() -> None:
    ledger = QueryLedger(cap=10)
    ledger.charge(7, gradients=True)
    with pytest.raises(BudgetSpent, match="4 more queries exceed the 3 that are left"):
        ledger.charge(4)
    assert (ledger.queries, ledger.gradients, ledger.left()) == (7, 7, 3)
    ledger.charge(3)
    assert ledger.left() == 0
    ledger.charge(0)
    with pytest.raises(ValueError, match="at least 0"):
        QueryLedger(cap=-1)


def test_a_ledger_without_a_cap_has_no_end() -> None:
    ledger = QueryLedger()
    ledger.charge(10**9)
    assert ledger.left() is None


def test_blocks_nest_and_end() -> None:
    ledger = QueryLedger(cap=100)
    with ledger.within(queries=10):
        assert ledger.left() == 10
        with ledger.within(queries=50):
            assert ledger.left() == 10, "an inner block cannot extend an outer one"
        with ledger.within(queries=3):
            ledger.charge(3)
            with pytest.raises(BudgetSpent):
                ledger.charge(1)
        assert ledger.left() == 7
    assert ledger.left() == 97


def test_limits_end_with_their_block_even_if_it_fails() -> None:
    ledger = QueryLedger()
    with pytest.raises(RuntimeError), ledger.within(queries=0, seconds=1):
        raise RuntimeError
    ledger.charge(5)


def test_time_ends_asking_except_where_the_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    ledger = QueryLedger(cap=10)
    with ledger.within(seconds=5), ledger.within(seconds=50):
        ledger.charge(1)
        now[0] = 106.0
        with pytest.raises(BudgetSpent, match="time is up"):
            ledger.charge(1)
        with ledger.untimed():
            ledger.charge(2)
            with pytest.raises(BudgetSpent, match="exceed"):
                ledger.charge(8)
        with pytest.raises(BudgetSpent, match="time is up"):
            ledger.charge(1)
    ledger.charge(1)
    assert ledger.queries == 4


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), max_size=12))
def test_no_sequence_of_blocks_and_batches_exceeds_the_cap(cap: int, steps: list[tuple[int, int]]) -> None:
    ledger, asked = QueryLedger(cap=cap), 0
    for limit, rows in steps:
        before = ledger.queries
        with ledger.within(queries=limit):
            try:
                ledger.charge(rows)
                asked += rows
            except BudgetSpent:
                assert rows > min(limit, cap - before)
        assert ledger.queries - before <= limit
    assert ledger.queries == asked <= cap
