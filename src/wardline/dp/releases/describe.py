"""A plan in words and figures: what it costs and how noisy each figure will be. Nothing here looks at data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wardline.dp.queries.aggregates import Count, Histogram, Magnitudes, Mean, Persons, Quantiles, Sum, TopK, Variance
from wardline.dp.releases import answers
from wardline.dp.releases.layout import layout
from wardline.dp.releases.measures import BinCounts, Measure, Moments, RowCount
from wardline.dp.releases.noisy import Noisy
from wardline.dp.releases.plan import provisional
from wardline.dp.releases.statement import protected

if TYPE_CHECKING:
    from wardline.dp.releases.plan import ReleasePlan

EXAMPLE_ROWS = 1000
"""The size of the group for which the noise of means, variances and quantiles is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The noise to expect in one figure.

    Attributes:
        label: the figure.
        std: standard deviation of its noise in its own unit; None if it depends on a range that is not known yet.
        about: what the figure is, and for which group the deviation holds.
    """

    label: str
    std: float | None
    about: str


def expected(plan: ReleasePlan) -> tuple[Expected, ...]:
    """The noise to expect in each figure of a plan."""
    query = provisional(plan.query)
    arranged = layout(query, plan.kind)
    unknown = set(plan.ranges)
    found = []
    for one in query.aggregates:
        name = arranged.by_label.get(one.label)
        noisy = None if name is None else _noisy(plan, arranged.measures[name])
        std: float | None
        match one:
            case Count() | Persons() if not arranged.rows_from or (isinstance(one, Persons) and query.unit is not None):
                if noisy is None:
                    assert plan.selection is not None
                    std, about = plan.selection.noise.std, "a count, from the selection of groups"
                else:
                    std, about = noisy.noise.std, "a count"
            case Count() | Persons():
                terms = [answers.rows_term(_noisy(plan, arranged.measures[name])) for name in arranged.rows_from]
                std, about = 1 / math.sqrt(sum(1 / term.std[0] ** 2 for term in terms)), "a count"
            case Sum():
                assert noisy is not None
                std, about = float(answers.sum_term(noisy).std[0]), "a sum"
            case Mean() | Variance():
                assert noisy is not None
                std, about = _of_mean(noisy), f"for a group of {EXAMPLE_ROWS:,} rows; falls as 1 / rows"
                if isinstance(one, Variance):
                    about = f"at most, {about}"
                    std *= noisy_width(noisy)
            case Quantiles():
                assert noisy is not None
                std, about = _of_rank(noisy), "in rows: by so many ranks a quantile is off"
            case Histogram() | Magnitudes():
                assert noisy is not None
                std, about = noisy.noise.std, "a count"
            case TopK():
                std, about = _of_top(plan), "a count"
        column = getattr(one, "column", None)
        depends = column in unknown and isinstance(one, Sum | Mean | Variance)
        found.append(Expected(label=one.label, std=None if depends else std, about=about))
    return tuple(found)


def describe_plan(plan: ReleasePlan) -> str:
    """The plan for a person."""
    return "\n".join(_lines(plan))


def _lines(plan: ReleasePlan) -> Iterator[str]:
    query = plan.query
    by = f" by {', '.join(key.column for key in query.by)}" if query.by else ""
    yield f"release of {', '.join(one.label for one in query.aggregates)}{by}"
    yield f"  costs     epsilon {plan.epsilon:g}" + (f", delta {plan.delta:g}" if plan.delta else "")
    yield f"  protects  {protected(query)}"
    yield f"  noise     discrete {'Laplace' if plan.kind == 'laplace' else 'Gaussian'}"
    width = max(len(one.label) for one in query.aggregates)
    for one in expected(plan):
        std = "depends on the range" if one.std is None else f"std {one.std:.4g}"
        yield f"    {one.label:<{width}}  {std} ({one.about})"
    for column in plan.ranges:
        yield f"  range     of {column!r}: found privately, to powers of two"
    if plan.totals:
        yield "  totals    measured, too; the figures above are those of groups before they are made consistent"
    if plan.selection is not None:
        yield (
            f"  groups    found in the data: published if persons plus noise exceed {plan.selection.threshold} "
            f"(noise std {plan.selection.noise.std:.3g})"
        )


def _noisy(plan: ReleasePlan, measure: Measure) -> Noisy:
    return Noisy(measure=measure, noise=plan.noise(measure), values=np.zeros((1, measure.numbers)))


def noisy_width(noisy: Noisy) -> float:
    """The width of the range of a mean or variance."""
    assert isinstance(noisy.measure, Moments)
    low, high = noisy.measure.span
    return high - low


def _of_mean(noisy: Noisy) -> float:
    """Standard deviation of a mean in the middle of its range, for the example's rows."""
    moments = noisy.measure
    assert isinstance(moments, Moments)
    shares = np.linspace(0.0, 1.0, moments.parts)
    spread = noisy.noise.std / answers.per_row(moments) * float(np.linalg.norm(shares - 0.5))
    return spread * noisy_width(noisy) / EXAMPLE_ROWS


def _of_rank(noisy: Noisy) -> float:
    assert isinstance(noisy.measure, BinCounts)
    return noisy.noise.std * math.sqrt(float(noisy.measure.tree.rank_variances(0.5).mean()))


def _of_top(plan: ReleasePlan) -> float:
    if RowCount().name in plan.prices:
        return _noisy(plan, RowCount()).noise.std
    assert plan.selection is not None
    return plan.selection.noise.std
