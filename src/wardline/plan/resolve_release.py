"""From the file of a release to a query with a price: resolved before any data is touched."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, assert_never

from wardline.core import PolicyError
from wardline.dp.ledger import Limit
from wardline.dp.queries import (
    Aggregate,
    Bound,
    Count,
    Histogram,
    Key,
    Mean,
    Persons,
    Quantiles,
    Query,
    Sum,
    Table,
    TopK,
    Variance,
)
from wardline.dp.releases import ReleasePlan, plan_release
from wardline.policy.release_loader import LoadedRelease
from wardline.policy.release_spec import (
    AggregateSpec,
    CountSpec,
    HistogramSpec,
    KeySpec,
    MeanSpec,
    PersonsSpec,
    QuantilesSpec,
    SumSpec,
    TopSpec,
    VarianceSpec,
)

_HINT = "`wardline release --help` has an example; docs/howto/release-a-table.md says what goes together"

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRelease:
    """A release that can be carried out.

    Attributes:
        name: what its files are called by.
        plan: query and price.
        limit: what all releases from the data set may cost together; None for no limit.
        plot: the figure to draw; None for the first one.
    """

    name: str
    plan: ReleasePlan
    limit: Limit | None
    plot: str | None


def resolve_release(loaded: LoadedRelease, *, data: str | None = None) -> ResolvedRelease:
    """Turn the file of a release into a plan. Touches neither data nor ledger.

    Args:
        loaded: the file.
        data: where the rows are instead: a path (also a glob), or a URL ``postgresql://...#schema.table``.

    Raises:
        PolicyError: for parts that do not go together, with the line.
    """
    spec = loaded.spec
    table = _at(loaded, ("table",), lambda: Table(_source(loaded, data), name=spec.table.name))
    keys = tuple(_at(loaded, ("by", place), partial(_key, one)) for place, one in enumerate(spec.by))
    aggregates = tuple(
        _at(loaded, ("aggregates", place), partial(_aggregate, one)) for place, one in enumerate(spec.aggregates)
    )
    unit, bound = None, None
    if spec.unit != "row":
        unit = spec.unit.column
        bound = Bound(rows=spec.unit.rows, groups=spec.unit.groups, rows_per_group=spec.unit.rows_per_group)
    query = _at(
        loaded,
        ("unit",),
        lambda: Query(table=table, unit=unit, bound=bound, by=keys, aggregates=aggregates),
    )
    if spec.where is not None:
        query = _at(
            loaded,
            ("where",),
            lambda: Query(table=table, unit=unit, bound=bound, by=keys, aggregates=aggregates, where=spec.where),
        )
    plan = _at(
        loaded,
        ("epsilon",),
        lambda: plan_release(query, epsilon=spec.epsilon, delta=spec.delta, share=dict(spec.share), totals=spec.totals),
    )
    limit = None if spec.limit is None else Limit(epsilon=spec.limit.epsilon, delta=spec.limit.delta)
    if spec.plot is not None and spec.plot not in plan.labels:
        raise PolicyError(
            f"plot names {spec.plot!r}, which is no figure of this release",
            where=loaded.place("plot"),
            hint=f"one of: {', '.join(plan.labels)}",
        )
    return ResolvedRelease(name=spec.name, plan=plan, limit=limit, plot=spec.plot)


def _at(loaded: LoadedRelease, path: tuple[str | int, ...], make: Callable[[], Made]) -> Made:
    """Make a value; what is wrong with it becomes an error with a place."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise PolicyError(str(error), where=loaded.place(*path), hint=_HINT) from error


def _source(loaded: LoadedRelease, data: str | None) -> str:
    if data is not None:
        return data
    source = loaded.spec.table.source
    kind, colon, rest = source.partition(":")
    if kind == "file" and colon and rest:
        return str(loaded.path.resolve().parent / rest)
    if kind in ("postgresql", "postgres") and rest.startswith("//"):
        return source
    raise PolicyError(
        "the source is neither file:PATH nor postgresql://...",
        where=loaded.place("table", "source"),
        hint='write "file:people.parquet", relative to this file, or name the data with --data',
    )


def _key(one: KeySpec) -> Key:
    values: tuple[object, ...] | range | None = one.values
    if one.first is not None and one.last is not None:
        values = range(one.first, one.last + 1)
    if one.dates and one.values is not None:
        values = tuple(datetime.date.fromisoformat(str(value)) for value in one.values)
    return Key(one.column, values, cell=one.cell)  # type: ignore[arg-type]  # `Key` checks each value


def _aggregate(one: AggregateSpec) -> Aggregate:
    match one:
        case CountSpec():
            return Count(label=one.label or "count")
        case PersonsSpec():
            return Persons(label=one.label or "persons")
        case SumSpec():
            return Sum(one.column, lower=one.lower, upper=one.upper, label=one.label or "")
        case MeanSpec():
            return Mean(one.column, lower=one.lower, upper=one.upper, label=one.label or "")
        case VarianceSpec():
            return Variance(one.column, lower=one.lower, upper=one.upper, label=one.label or "")
        case QuantilesSpec():
            return Quantiles(
                one.column,
                lower=one.lower,
                upper=one.upper,
                label=one.label or "",
                probs=one.probs,
                bins=one.bins,
            )
        case HistogramSpec():
            return Histogram(one.column, edges=one.edges, label=one.label or "")
        case TopSpec():
            return TopK(one.column, k=one.k, values=one.values, label=one.label or "")
        case _:
            assert_never(one)
