"""Running a query, up to and not including noise.

    collected = collect(query)                      # or collect(query, engine)
    collected.groups.keys                           # pa.Table, one row per group
    names = collected.names(query.aggregates[0])    # Mean -> {"count": ..., "sum": ...}
    sums = collected.groups.statistics[names["sum"]]
    sums.values, sums.per_unit.l1, sums.quantum, sums.centre

Roles (`Collected.names`), each the name of a statistic in `groups.statistics`; aggregates that need the same
statistic share it, so that it is paid for once:

    Count                     count    rows of the group
    Persons                   persons  different persons of the group
    Sum                       sum      of clipped values: quantum * values in the column's unit (centre is 0)
    Mean                      count    values that are neither missing nor NaN
                              sum      centred sum: the true one is quantum * values + centre * count
    Variance                  count, sum, and
                              squares  of (value - sum's centre)**2: quantum * values + centre * count
    Quantiles, Histogram,
    Magnitudes                bins     rows by group and bin, shape (groups, bins)
    TopK                      (none: see `Collected.candidates`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wardline.core.errors import DataError
from wardline.dp.queries import sensitivity
from wardline.dp.queries.aggregates import TopK
from wardline.dp.queries.bounding import PERSON
from wardline.dp.queries.frame import Collected, Frame, Sensitivity, Statistic
from wardline.dp.queries.groups import Column, Groups
from wardline.dp.queries.plan import Plan, candidates_of, check_kinds, columns_used, specs_of
from wardline.dp.queries.statistics import PERSONS, Binned, Quantised, Spec

if TYPE_CHECKING:
    import pyarrow as pa

    from wardline.dp.engines.base import Engine
    from wardline.dp.queries.query import Query


def collect(query: Query, engine: Engine | None = None) -> Collected:
    """The exact statistics of a query. They are private: show them to nobody, write them nowhere.

    Args:
        query: what is asked. Aggregates with a range must have one: find it first, with `Magnitudes`.
        engine: where to run it; None takes the one that fits `query.table.source`.

    Raises:
        ValueError: if an aggregate lacks its range.
        DataError: if the table or a column is missing or of a kind that does not fit, if a person or a found key is
            missing in some row, if sums could overflow, or if the table changed while it was read.
    """
    wanted = specs_of(query)
    if engine is None:
        from wardline.dp.engines import default_engine

        engine = default_engine(query.table)
    with engine.open(query.table, columns=columns_used(query)) as session:
        kinds = session.columns()
        check_kinds(query, kinds)
        plan = Plan(query=query, session=session, kinds=kinds)
        check_rows(plan, wanted)
        plan = replace(plan, nobody_exceeds=_nobody_exceeds(plan))
        plain = [spec for spec in wanted if spec.kind != "bins"]
        result = session.fetch(plan.groups(plain)) if plain else None
        binned = [(spec, session.fetch(plan.bins(spec))) for spec in wanted if spec.kind == "bins"]
        top = [
            (place, session.fetch(plan.candidates(place, persons=_found(query, place))))
            for place in candidates_of(query)
        ]
    groups = _groups(plan, result)
    statistics = {}
    if result is not None:
        places = groups.places(result)
        for number, spec in enumerate(plain):
            statistics[spec.name] = _statistic(query, spec, groups.spread(places, result[f"s{number}"]))
    for spec, counts in binned:
        assert isinstance(spec.derived, Binned)
        bins = spec.derived.bins
        inside = groups.places(counts) * bins + counts["bin"].to_numpy().astype(np.int64)
        statistics[spec.name] = _statistic(query, spec, groups.spread(inside, counts["s0"], bins=bins))
    frame = Frame(keys=groups.shown(), size=groups.size, found=query.found, statistics=statistics)
    return Collected(
        query=query, groups=frame, candidates={place: _candidates(plan, place, counts) for place, counts in top}
    )


def _nobody_exceeds(plan: Plan) -> bool:
    statement = plan.exceeded()
    if statement is None:
        return True
    excess = plan.session.fetch(statement).to_pylist()[0]["m"]
    return excess is None or excess <= 0  # nobody there at all, or nobody with more


def _groups(plan: Plan, result: pa.Table | None, *, place: int | None = None) -> Groups:
    """The groups of a statement; with `place`, each with the candidates of that top-k."""
    columns = [
        Column(code=code, name=key.column, kind="integer" if key.cell else plan.kinds[key.column], values=key.values)
        for code, key in zip(plan.keys, plan.query.by, strict=True)
    ]
    found = plan.query.found
    if place is not None:
        top = plan.query.aggregates[place]
        assert isinstance(top, TopK)
        columns.append(Column(code="c", name="candidate", kind=plan.kinds[top.column], values=top.values))
        found = found or top.values is None
    if not found:
        return Groups.public(columns)
    assert result is not None
    return Groups.found(columns, result)


def _found(query: Query, place: int) -> bool:
    aggregate = query.aggregates[place]
    assert isinstance(aggregate, TopK)
    return query.found or aggregate.values is None


def check_rows(plan: Plan, wanted: Sequence[Spec]) -> None:
    """Refuse missing persons, missing keys and sums that could exceed 64 bits.

    Raises:
        DataError: naming the column.
    """
    guard = plan.session.fetch(plan.guard()).to_pylist()[0]
    rows = guard["n"]
    if plan.query.unit is not None and guard[PERSON] != rows:
        raise DataError(
            "the unit column lacks a value in some row",
            where=plan.query.unit,
            hint="fill it, or leave such rows out with where: ... IS NOT NULL",
        )
    for column, key in zip(plan.keys, plan.query.by, strict=True):
        if guard.get(column, rows) != rows:
            raise DataError(
                "a key lacks a value (or, for a cell, a finite one) in some row",
                where=key.column,
                hint="list the groups, fill the column, or leave such rows out with where: ... IS NOT NULL",
            )
    for spec in wanted:
        if spec.kind == "sum" and isinstance(spec.derived, Quantised) and rows * spec.derived.most >= 2**63:
            raise DataError(
                f"a sum over {spec.derived.most:,} steps a row could exceed 64 bits",
                where=spec.derived.column,
                hint="use a larger quantum",
            )


def _statistic(query: Query, spec: Spec, values: npt.NDArray[np.int64]) -> Statistic:
    per_unit = _per_unit(query, spec)
    if spec.kind != "sum":
        return Statistic(values=values, per_unit=per_unit)
    derived = spec.derived
    assert isinstance(derived, Quantised)
    centre = derived.quantum * derived.offset if derived.squared else derived.centre
    counts = f"values of {derived.column!r}" if centre else ""
    return Statistic(values=values, per_unit=per_unit, quantum=derived.quantum, centre=centre, counts=counts)


def _per_unit(query: Query, spec: Spec) -> Sensitivity:
    if spec.kind == "persons":
        return sensitivity.of_persons(query)
    most = spec.derived.most if spec.kind == "sum" and isinstance(spec.derived, Quantised) else 1
    return sensitivity.of_rows(query, most)


def _candidates(plan: Plan, place: int, result: pa.Table) -> Frame:
    query, found = plan.query, _found(plan.query, place)
    groups = _groups(plan, result, place=place)
    places = groups.places(result)
    counts = {"rows": Statistic(values=groups.spread(places, result["s0"]), per_unit=sensitivity.of_rows(query, 1))}
    if found:
        per_unit = sensitivity.of_persons(query, candidates=True)
        counts[PERSONS.name] = Statistic(values=groups.spread(places, result["s1"]), per_unit=per_unit)
    return Frame(keys=groups.shown(), size=groups.size, found=found, statistics=counts)
