"""A query as sums and products of ciphertexts: what a server computes, and what a reader makes of the totals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from wardline.core.errors import UsageError
from wardline.he.queries.language import Condition, Query, number
from wardline.he.queries.plan import Part, Stored, TablePlan
from wardline.he.queries.schema import CategoryColumn, Column, NumberColumn

Levels: TypeAlias = frozenset[int]
Range: TypeAlias = tuple[int, int]
"""From where, in units, and below where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A sum of stored ciphertexts, each taken or taken away once, and perhaps of 1 for every row.

    Attributes:
        terms: places in `TablePlan.stored`, each with 1 or -1.
        constant: 1 if 1 is added for every row of the table, else 0.
    """

    terms: tuple[tuple[int, int], ...]
    constant: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One ciphertext of an answer: the sum over all rows of the filter's factors and one more.

    Attributes:
        factor: the last factor; None for 1.
        largest: what it is at most for a row, in size.
        signed: whether it can be below 0.
    """

    factor: Factor | None
    largest: int = 1
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """What is computed for a query.

    Attributes:
        query: which one.
        filters: factors whose product is 1 for rows that fulfil the conditions, and 0 for others; none for all rows.
        outputs: the ciphertexts of the answer.
        levels: of a histogram, the names of those that outputs count, in their order.
        rest: of a histogram, the name of the level that is the last output, a count, less all others; None if there is
            none.
        digits: of a sum or mean, how many of the first outputs are digits of it, from the lowest.
        public_count: whether the count of rows that a mean or histogram needs is that of the table, which is public.
    """

    query: Query
    filters: tuple[Factor, ...]
    outputs: tuple[Output, ...]
    levels: tuple[str, ...] = ()
    rest: str | None = None
    digits: int = 0
    public_count: bool = False

    @property
    def depth(self) -> int:
        """How many products follow each other."""
        masks = max(len(self.filters) - 1, 0).bit_length()
        return masks + int(bool(self.filters) and any(one.factor is not None for one in self.outputs))

    @property
    def used(self) -> tuple[int, ...]:
        """Places of the stored ciphertexts that are read."""
        factors = [*self.filters, *(one.factor for one in self.outputs if one.factor is not None)]
        return tuple(sorted({place for factor in factors for place, _ in factor.terms}))


def plan_query(plan: TablePlan, query: Query) -> Circuit:
    """What is to be computed for a query on a table.

    Raises:
        UsageError: if the table has not what is asked for, the filter excludes every row, or it names more columns
            than the table was encrypted for.
    """
    sets = _sets(plan, query.where)
    column = None if query.column is None else _column(plan, query.column)
    if query.kind == "histogram":
        assert column is not None
        circuit = _histogram(plan, query, column, sets)
    else:
        circuit = _numbers(plan, query, column, sets)
    if not circuit.outputs:
        raise UsageError(
            f"the answer is public: the table has {plan.rows} rows", hint="name a column, or filter some rows"
        )
    if circuit.depth > plan.depth:
        raise UsageError(
            f"the filter names {len(circuit.filters)} columns, which takes {circuit.depth} products in a row, and the "
            f"table was encrypted for {plan.depth}",
            hint="filter fewer columns, or encrypt the table anew with more --filters",
        )
    return circuit


def typical_queries(plan: TablePlan) -> dict[str, Circuit]:
    """A few queries by name, as deep as the table bears them, for predictions of time: of the widest columns."""
    widest = sorted(range(len(plan.schema.columns)), key=lambda place: -plan.schema.columns[place].size)
    usable = [place for place in widest if plan.schema.columns[place].size > 1]
    filters = tuple(
        one
        for place in usable[: plan.filters]
        if (one := _factor(plan, place, frozenset(range(plan.schema.columns[place].size // 2)))) is not None
    )
    count = Query(kind="count")
    named = f"a filter of {len(filters)} columns"
    found: dict[str, Circuit] = {}
    if filters:
        found[f"a count under {named}"] = Circuit(query=count, filters=filters, outputs=(Output(factor=None),))
    for place, column in enumerate(plan.schema.columns):
        if isinstance(column, NumberColumn) and column.sums:
            digits = tuple(Output(factor=_one(plan, place, "digit", digit)) for digit in range(plan.digits(column)))
            found[f"a sum under {named}"] = Circuit(query=count, filters=filters, outputs=digits)
            break
    if usable:
        size = plan.schema.columns[usable[0]].size
        outputs = tuple(Output(factor=_factor(plan, usable[0], frozenset({level}))) for level in range(size - 1))
        found[f"a histogram of {size} levels under {named}"] = Circuit(query=count, filters=filters, outputs=outputs)
    return found


def _numbers(plan: TablePlan, query: Query, column: int | None, sets: dict[int, Levels]) -> Circuit:
    filters = _factors(plan, sets)
    if column is None:
        counted = (Output(factor=None),) if filters else ()
        return Circuit(query=query, filters=filters, outputs=counted)
    wanted = plan.schema.columns[column]
    if not isinstance(wanted, NumberColumn) or not wanted.sums:
        raise UsageError(
            f"values of column {wanted.name!r} cannot be added up",
            hint="take a column of numbers that was encrypted for sums; `histogram` counts categories",
        )
    digits = plan.digits(wanted)
    base, most = 1 << plan.digit_bits, max(abs(wanted.low), abs(wanted.high))
    outputs = []
    for digit in range(digits):
        largest = min(base - 1, most >> (plan.digit_bits * digit))
        one = _one(plan, column, "digit", digit)
        outputs.append(Output(factor=one, largest=largest, signed=wanted.low < 0))
    if query.kind == "sum":
        return Circuit(query=query, filters=filters, outputs=tuple(outputs), digits=digits)
    if wanted.missing and len(wanted.buckets) in sets.get(column, frozenset()):
        raise UsageError(f"the filter leaves no values of column {wanted.name!r}", hint="correct the filter")
    # A mean is of the rows that have a value; a range of the column sees to it already.
    known = _factor(plan, column, frozenset(range(len(wanted.buckets))))
    if known is not None and column not in sets:
        outputs.append(Output(factor=known))
    elif filters:
        outputs.append(Output(factor=None))
    public = len(outputs) == digits
    return Circuit(query=query, filters=filters, outputs=tuple(outputs), digits=digits, public_count=public)


def _histogram(plan: TablePlan, query: Query, column: int, sets: dict[int, Levels]) -> Circuit:
    wanted = plan.schema.columns[column]
    names = wanted.levels
    if len(names) == 1:
        raise UsageError(f"column {wanted.name!r} has one level alone, so all rows are in it", hint="count rows")
    # Levels that the filter excludes have no rows, and those that it takes are no matter for it.
    kept = sorted(sets.get(column, range(len(names))))
    filters = _factors(plan, {place: levels for place, levels in sets.items() if place != column})
    everything = len(kept) == len(names)
    counted = kept[:-1] if everything else kept
    outputs = [Output(factor=_factor(plan, column, frozenset({level}))) for level in counted]
    if everything and filters:
        outputs.append(Output(factor=None))
    return Circuit(
        query=query,
        filters=filters,
        outputs=tuple(outputs),
        levels=tuple(names[level] for level in counted),
        rest=names[-1] if everything else None,
        public_count=everything and not filters,
    )


def _column(plan: TablePlan, name: str) -> int:
    found = plan.schema.index(name)
    if found is None:
        names = ", ".join(one.name for one in plan.schema.columns)
        raise UsageError(f"the table has no column {name!r}", hint=f"it has {names}")
    return found


def _sets(plan: TablePlan, where: Iterable[Condition]) -> dict[int, Levels]:
    """For each filtered column the levels that fulfil all of its conditions; columns that all do are left out."""
    found: dict[int, Levels] = {}
    bounds: dict[int, Range] = {}
    for condition in where:
        place = _column(plan, condition.column)
        column = plan.schema.columns[place]
        if isinstance(column, CategoryColumn) or condition.comparison.startswith("is"):
            levels = _of_level(column, condition)
            found[place] = found.get(place, levels) & levels
            continue
        low, below = _of_number(column, condition)
        before = bounds.get(place, (column.low, column.high + 1))
        bounds[place] = max(before[0], low), min(before[1], below)
    for place, (low, below) in bounds.items():
        column = plan.schema.columns[place]
        assert isinstance(column, NumberColumn)
        levels = _of_range(column, low, below)
        found[place] = found.get(place, levels) & levels
    for place, levels in found.items():
        if not levels:
            raise UsageError(
                f"the filter on column {plan.schema.columns[place].name!r} excludes every row",
                hint="correct the filter",
            )
    return {place: levels for place, levels in found.items() if len(levels) < plan.schema.columns[place].size}


def _of_level(column: Column, condition: Condition) -> Levels:
    """Levels of a column of categories, or those with or without a value of any."""
    known = frozenset(range(column.size - column.missing))
    comparison = condition.comparison
    if comparison in ("is missing", "is not missing"):
        return known if comparison == "is not missing" else frozenset(range(column.size)) - known
    assert isinstance(column, CategoryColumn)
    if comparison not in ("=", "!=", "in", "not in"):
        raise UsageError(
            f"column {column.name!r} holds categories, which are in no order", hint="compare with =, !=, in or not in"
        )
    for value in condition.values:
        if value not in column.categories:
            raise UsageError(
                f"column {column.name!r} has no category {value!r}", hint=f"it has {', '.join(column.categories)}"
            )
    named = frozenset(column.categories.index(value) for value in condition.values)
    return named if comparison in ("=", "in") else known - named


def _of_number(column: NumberColumn, condition: Condition) -> Range:
    """Where the values that fulfil a condition begin and end, in units."""
    if condition.comparison in ("!=", "in", "not in"):
        raise UsageError(
            f"column {column.name!r} holds numbers, of which a filter names a range",
            hint="compare with <, <=, >, >= or =",
        )
    value = number(condition.values[0])
    if value is None:
        raise UsageError(f"column {column.name!r} is compared with something else than a number", hint="write a number")
    # The least number of units that is no less than the value, and whether it is the value.
    quotient = Fraction(value) / Fraction(column.unit)  # a decimal would be rounded to 28 digits
    whole = math.ceil(quotient)
    exact = whole == quotient
    match condition.comparison:
        case ">=":
            return whole, column.high + 1
        case ">":
            return whole + exact, column.high + 1
        case "<":
            return column.low, whole
        case "<=":
            return column.low, whole + exact
        case _:
            return whole, whole + exact


def _of_range(column: NumberColumn, low: int, below: int) -> Levels:
    """The buckets of a range, whose ends must be edges."""
    low, below = max(low, column.low), min(below, column.high + 1)
    if low >= below:
        return frozenset()
    starts, ends = [one for one, _ in column.buckets], [other for _, other in column.buckets]
    for end, where in ((low, starts), (below, ends)):
        if end not in where:
            edges = ", ".join(column.text(edge) for edge in column.edges) or "none"
            raise UsageError(
                f"column {column.name!r} was encrypted without an edge at {column.text(end)}",
                hint=f"its edges: {edges}",
            )
    return frozenset(range(starts.index(low), ends.index(below) + 1))


def _factors(plan: TablePlan, sets: dict[int, Levels]) -> tuple[Factor, ...]:
    found = (_factor(plan, place, levels) for place, levels in sorted(sets.items()))
    return tuple(one for one in found if one is not None)


def _factor(plan: TablePlan, place: int, levels: Levels) -> Factor | None:
    """What is 1 for rows in these levels of a column and 0 for others; None if that is every row."""
    column = plan.schema.columns[place]
    if len(levels) == column.size:
        return None
    if isinstance(column, CategoryColumn):
        last = column.size - 1  # which is not stored: a row is in it if it is in none of the others
        if last in levels:
            others = sorted(frozenset(range(column.size)) - levels)
            return Factor(terms=tuple((_place(plan, place, "level", one), -1) for one in others), constant=1)
        return Factor(terms=tuple((_place(plan, place, "level", one), 1) for one in sorted(levels)))
    buckets = len(column.buckets)
    known: tuple[tuple[int, int], ...] = ((_place(plan, place, "known", 0), 1),) if column.missing else ()
    terms: list[tuple[int, int]] = []
    constant = 0
    if buckets in levels:  # rows without a value
        constant += 1
        terms += [(one, -sign) for one, sign in known]
    for bucket in sorted(levels - {buckets}):
        # At the bucket's lower end or above, but not at its upper end; what neighbours share falls out below.
        if bucket == 0:
            terms += known
            constant += not known
        else:
            terms.append((_place(plan, place, "edge", bucket - 1), 1))
        if bucket < buckets - 1:
            terms.append((_place(plan, place, "edge", bucket), -1))
    sums: dict[int, int] = {}
    for one, sign in terms:
        sums[one] = sums.get(one, 0) + sign
    return Factor(terms=tuple((one, sign) for one, sign in sorted(sums.items()) if sign), constant=constant)


def _one(plan: TablePlan, place: int, part: Part, which: int) -> Factor:
    return Factor(terms=((_place(plan, place, part, which), 1),))


def _place(plan: TablePlan, column: int, part: Part, which: int) -> int:
    return plan.place[Stored(column=column, part=part, place=which)]
