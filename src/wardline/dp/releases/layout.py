"""Which measures a query needs: each statistic is measured once, however many aggregates are computed from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wardline.dp.queries.aggregates import (
    Aggregate,
    Count,
    Histogram,
    Magnitudes,
    Mean,
    Persons,
    Quantiles,
    Sum,
    TopK,
    Variance,
)
from wardline.dp.queries.query import Query
from wardline.dp.releases.measures import BinCounts, Measure, Moments, PersonCount, RowCount, Total
from wardline.dp.releases.trees import Tree, best_tree

Kind = Literal["laplace", "gaussian"]

MOST_BINS = 16_384
"""The most bins of a quantile; beyond, the noise of a rank hides more than the width of a bin shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The measures of a query, and what is computed from them.

    Attributes:
        measures: by name, in a fixed order.
        serves: for each measure, the labels of the aggregates that are computed from it.
        by_label: for each aggregate with one source, the name of that measure.
        rows_from: the measures that tell the number of rows, if it is asked for.
        persons_from_selection: whether the noisy counts of the selection are the number of persons.
    """

    measures: Mapping[str, Measure]
    serves: Mapping[str, tuple[str, ...]]
    by_label: Mapping[str, str]
    rows_from: tuple[str, ...]
    persons_from_selection: bool


def lone(query: Query) -> Aggregate | None:
    """The aggregate whose result has rows of its own for each group (a histogram, a top-k), if the query asks for one.

    Raises:
        ValueError: if it stands beside others, whose results are one row per group.
    """
    found = [one for one in query.aggregates if isinstance(one, Histogram | TopK | Magnitudes)]
    if not found:
        return None
    if len(query.aggregates) > 1:
        raise ValueError(
            f"{found[0].label!r} gives several rows for each group, the other aggregates one: release it on its own"
        )
    return found[0]


def layout(query: Query, kind: Kind) -> Layout:
    """The measures of a query.

    Args:
        query: its aggregates have ranges.
        kind: the noise, on which the levels of trees depend.

    Raises:
        ValueError: for quantiles with too many bins, or aggregates that do not go together.
    """
    lone(query)
    wants_rows = [one for one in query.aggregates if _counts_rows(one, query)]
    measures: dict[str, Measure] = {}
    serves: dict[str, list[str]] = {}
    by_label: dict[str, str] = {}

    def use(measure: Measure, label: str) -> None:
        known = next((name for name, one in measures.items() if one == measure), measure.name)
        measures[known] = measure
        serves.setdefault(known, []).append(label)
        by_label[label] = known

    moments = _moments(query, with_missing=bool(wants_rows))
    for one in query.aggregates:
        match one:
            case Mean() | Variance():
                use(moments[_range(one)], one.label)
            case Sum() if one.quantum is None and _range(one) in moments:
                use(moments[_range(one)], one.label)
            case Sum():
                use(Total(aggregate=one, with_rows=bool(wants_rows)), one.label)
            case Quantiles():
                use(BinCounts(aggregate=one, tree=_tree(one, kind)), one.label)
            case Histogram() | Magnitudes():
                use(BinCounts(aggregate=one, tree=Tree(bins=one.bins, blocks=(1,))), one.label)
            case Persons() if query.unit is not None and not query.found:
                use(PersonCount(), one.label)
            case _:
                pass
    rows_from = [name for name, one in measures.items() if _carries_rows(one)] if wants_rows else []
    # A person with one row each: the noisy counts that select groups are the numbers of rows, too.
    rows_are_persons = query.unit is None and query.found
    if wants_rows and not rows_from and not rows_are_persons:
        use(RowCount(), wants_rows[0].label)
        rows_from = [by_label[wants_rows[0].label]]
    for name in rows_from:
        serves[name] = list(dict.fromkeys([*serves[name], *(one.label for one in wants_rows)]))
    return Layout(
        measures=measures,
        serves={name: tuple(labels) for name, labels in serves.items()},
        by_label=by_label,
        rows_from=tuple(rows_from),
        persons_from_selection=query.found,
    )


def _counts_rows(one: Aggregate, query: Query) -> bool:
    return isinstance(one, Count) or (isinstance(one, Persons) and query.unit is None)


def _range(one: Sum | Mean | Variance) -> tuple[str, float | None, float | None]:
    return one.column, one.lower, one.upper


def _moments(query: Query, *, with_missing: bool) -> dict[tuple[str, float | None, float | None], Moments]:
    """For each column and range with a mean or variance, the measure that serves all that is asked about it."""
    found: dict[tuple[str, float | None, float | None], Moments] = {}
    for one in query.aggregates:
        if isinstance(one, Mean | Variance):
            squares = isinstance(one, Variance)
            before = found.get(_range(one))
            if before is None:
                found[_range(one)] = Moments(aggregate=one, squares=squares, with_missing=with_missing)
            elif squares and not before.squares:
                found[_range(one)] = dataclasses.replace(before, aggregate=one, squares=True)
    return found


def _tree(one: Quantiles, kind: Kind) -> Tree:
    if one.bins > MOST_BINS:
        raise ValueError(f"{one.label!r}: bins must be at most {MOST_BINS} in a release")
    return best_tree(one.bins, growth=2 if kind == "laplace" else 1)


def _carries_rows(measure: Measure) -> bool:
    match measure:
        case Moments():
            return measure.with_missing
        case Total():
            return measure.carries_rows
        case _:
            return False
