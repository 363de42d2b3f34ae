"""From exact statistics to the published table: noise, selection, answers, columns. Exact figures end here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from wardline.core.rng import SecureRandom
from wardline.dp.queries.aggregates import Count, Histogram, Mean, Persons, Quantiles, Sum, TopK, Variance
from wardline.dp.queries.statistics import PERSONS
from wardline.dp.releases import answers
from wardline.dp.releases.answers import Answer
from wardline.dp.releases.columns import SUFFIXES
from wardline.dp.releases.layout import Layout, layout, lone
from wardline.dp.releases.measures import RowCount
from wardline.dp.releases.noise import FloatArray, IntArray
from wardline.dp.releases.noisy import MISS, Noisy
from wardline.dp.releases.totals import keys_with_totals, totals_tree, with_totals

if TYPE_CHECKING:
    from wardline.dp.queries.frame import Collected, Frame
    from wardline.dp.queries.query import Query
    from wardline.dp.releases.measures import Measure
    from wardline.dp.releases.plan import ReleasePlan


def published_table(plan: ReleasePlan, query: Query, collected: Collected, random: SecureRandom) -> pa.Table:
    """Add the noise of a plan to exact statistics and compute what was asked from the noisy ones alone.

    Args:
        plan: prices and selection.
        query: with all ranges.
        collected: its exact statistics.
        random: where the noise comes from.
    """
    top = lone(query)
    if isinstance(top, TopK):
        return _top_table(plan, query, top, collected.candidates[0], random)
    frame = collected.groups
    selected = _select(plan, frame, random)
    arranged = layout(query, plan.kind)
    noisy = {
        name: _noisy(plan, query, measure, frame, selected.places, random)
        for name, measure in arranged.measures.items()
    }
    keys = frame.keys if selected.places is None else frame.keys.take(selected.places)
    if plan.totals:
        keys = keys_with_totals(keys, totals_tree(query))
    if isinstance(top, Histogram):
        return _histogram_table(top, keys, answers.bin_counts(next(iter(noisy.values()))))
    found: list[Answer] = []
    for one in query.aggregates:
        found += _answers(one, plan, query, arranged, noisy, selected)
    return _table(keys, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selected:
    """The groups that are published: their places in the frame and noisy counts; None for all of them."""

    places: IntArray | None
    noisy: IntArray | None


def _select(plan: ReleasePlan, frame: Frame, random: SecureRandom) -> _Selected:
    if plan.selection is None:
        assert not frame.found
        return _Selected(places=None, noisy=None)
    places, noisy = plan.selection.run(frame.statistics[PERSONS.name].values, random)
    return _Selected(places=places, noisy=noisy)


def _noisy(
    plan: ReleasePlan,
    query: Query,
    measure: Measure,
    frame: Frame,
    places: IntArray | None,
    random: SecureRandom,
) -> Noisy:
    exact = measure.exact(frame)
    if places is not None:
        exact = exact[places]
    noise = plan.noise(measure)
    if plan.totals:
        return with_totals(measure, exact, noise, totals_tree(query), random)
    return Noisy(measure=measure, noise=noise, values=noise.added_to(exact, random))


def _answers(
    one: object,
    plan: ReleasePlan,
    query: Query,
    arranged: Layout,
    noisy: dict[str, Noisy],
    selected: _Selected,
) -> Sequence[Answer]:
    match one:
        case Persons() if query.unit is not None and plan.selection is not None:
            assert selected.noisy is not None
            return [plan.selection.answer(one.label, selected.noisy)]
        case Persons() if query.unit is not None:
            source = noisy[arranged.by_label[one.label]]
            return [answers.linear(one.label, [source.term([1.0])], least=0.0, whole=True)]
        case Count() | Persons():
            if not arranged.rows_from:
                assert plan.selection is not None and selected.noisy is not None
                return [plan.selection.answer(one.label, selected.noisy)]
            terms = [answers.rows_term(noisy[name]) for name in arranged.rows_from]
            return [answers.linear(one.label, terms, least=0.0, whole=True)]
        case Sum():
            return [answers.sum_answer(one, noisy[arranged.by_label[one.label]])]
        case Mean():
            return [answers.mean_answer(one, noisy[arranged.by_label[one.label]])]
        case Variance():
            return [answers.variance_answer(one, noisy[arranged.by_label[one.label]])]
        case Quantiles():
            return answers.quantile_answers(one, noisy[arranged.by_label[one.label]])
        case _:
            raise TypeError(f"{type(one).__name__} cannot be released")


def _top_table(plan: ReleasePlan, query: Query, top: TopK, frame: Frame, random: SecureRandom) -> pa.Table:
    """The k candidates with the highest noisy counts in each group.

    Counts with noise, and not a choice one by one (the exponential mechanism, peeling): each of the k choices would
    cost a part of epsilon and tell no count. With a bound of R rows, of which all may have one value, a choice is as
    uncertain as noise of deviation 1.3 k R / epsilon, and all counts together need one of 1.4 R / epsilon. Intervals
    hold for all candidates at once, so that having been chosen for a high count spoils none.
    """
    selected = _select(plan, frame, random)
    keys = frame.keys if selected.places is None else frame.keys.take(selected.places)
    candidates = max(1, keys.num_rows)
    if RowCount().name in plan.prices:
        noisy = _noisy(plan, query, RowCount(), frame, selected.places, random)
        found = answers.linear(top.label, [noisy.term([1.0])], least=0.0, whole=True, miss=MISS / candidates)
    else:
        assert plan.selection is not None and selected.noisy is not None
        found = plan.selection.answer(top.label, selected.noisy, miss=MISS / candidates)
    groups = _group_numbers(keys.select(keys.column_names[:-1]))
    # Falling counts within each group; equal ones in the order of the candidates.
    order = np.lexsort((np.arange(len(groups)), -found.value, groups))
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0]) if len(order) else order
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)])) + 1
    best = rank <= top.k
    order, rank = order[best], rank[best]
    table = keys.take(order)
    table = table.rename_columns([*keys.column_names[:-1], top.column])
    return _table(table.add_column(table.num_columns - 1, "rank", pa.array(rank)), [_taken(found, order)])


def _group_numbers(keys: pa.Table) -> IntArray:
    """For each row a number that rows of the same group share, rising in the order of the rows."""
    if keys.num_columns == 0:
        return np.zeros(keys.num_rows, dtype=np.int64)
    seen: dict[tuple[object, ...], int] = {}
    rows = zip(*(keys.column(place).to_pylist() for place in range(keys.num_columns)), strict=True)
    return np.array([seen.setdefault(row, len(seen)) for row in rows], dtype=np.int64)


def _histogram_table(one: Histogram, keys: pa.Table, found: Answer) -> pa.Table:
    edges = np.asarray(one.edges, dtype=np.float64)
    groups = len(found.value) // one.bins
    repeated = keys.take(np.repeat(np.arange(groups), one.bins)) if keys.num_columns else keys
    columns = {name: repeated.column(name) for name in repeated.column_names}
    columns[f"{one.column}_from"] = pa.array(np.tile(edges[:-1], groups))
    columns[f"{one.column}_to"] = pa.array(np.tile(edges[1:], groups))
    return _table(pa.table(columns), [found])


def _taken(found: Answer, order: IntArray) -> Answer:
    value, noise, low, high = (one[order] for one in (found.value, found.noise, found.low, found.high))
    return Answer(label=found.label, value=value, noise=noise, low=low, high=high, whole=found.whole)


def _table(keys: pa.Table, found: Sequence[Answer]) -> pa.Table:
    columns = {name: keys.column(name) for name in keys.column_names}
    for one in found:
        for suffix, values in zip(SUFFIXES, (one.value, one.noise, one.low, one.high), strict=True):
            columns[one.label + suffix] = _column(values, whole=one.whole and suffix != "_noise")
    return pa.table(columns)


def _column(values: FloatArray, *, whole: bool) -> pa.Array:
    if whole:
        return pa.array(values.astype(np.int64))
    return pa.array(values, mask=np.isnan(values))
