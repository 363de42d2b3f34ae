"""What a release will cost and how noisy it will be: decided from the query alone, without a look at the data.

All measures of a release are composed together, so that nothing of epsilon and delta is wasted:

- each measure gets a share of the budget, the same for all unless `share` says otherwise;
- with delta = 0, noise is discrete Laplace and the epsilons of the measures add up;
- with delta > 0, noise is discrete Laplace or discrete Gaussian, whichever is narrower on (geometric) average over
  the measures, and its scale is the least at which the accountant's composition stays within epsilon and delta;
- half of delta pays for the selection of groups, if groups are found in the data;
- bounds that are found privately get a fifth of a measure's share for each column.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from wardline.core.checks import positive
from wardline.dp.accounting import DpEvent, PureDp, ZeroConcentrated, calibrate
from wardline.dp.mechanisms import costs
from wardline.dp.queries.aggregates import Magnitudes, Mean, Persons, Quantiles, Sum, TopK, Variance
from wardline.dp.queries.frame import Sensitivity
from wardline.dp.queries.query import Bound, Query
from wardline.dp.queries.sensitivity import reach
from wardline.dp.releases.columns import check_columns, labels_of
from wardline.dp.releases.layout import Kind, Layout, layout, lone
from wardline.dp.releases.measures import BinCounts, Measure, RowCount
from wardline.dp.releases.noise import Noise
from wardline.dp.releases.selection import Selection
from wardline.dp.releases.totals import check_totals, totals_tree

_BOUNDS_SHARE = 0.2
_SELECTION_DELTA = 0.5
_MOST_EPSILON = 1000.0
_LEAST_SCALE, _MOST_SCALE = 2.0**-20, 2.0**53  # of noise that the samplers draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one part of a release costs.

    Attributes:
        kind: of its noise.
        amount: epsilon for Laplace, rho for Gaussian noise.
    """

    kind: Kind
    amount: float

    def noise(self, sensitivity: Sensitivity) -> Noise:
        """The noise that this price pays for."""
        if self.kind == "laplace":
            scale = costs.scale_for(epsilon=self.amount, l1=sensitivity.l1)
        else:
            scale = costs.sigma_for(rho=self.amount, l2_squared=sensitivity.l2_squared)
        return Noise(kind=self.kind, scale=scale)

    @property
    def event(self) -> DpEvent:
        """What the ledger is told, whatever the sensitivity is: it is in the scale of the noise."""
        if self.kind == "laplace":
            return PureDp(epsilon=self.amount)
        return ZeroConcentrated(rho=self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePlan:
    """A release that has not happened.

    Attributes:
        query: what is asked; ranges may be missing.
        epsilon, delta: what it may cost.
        kind: the noise of the measures.
        prices: of each measure, by name.
        selection: how groups (for a top-k: groups and candidates) found in the data are selected; None for public ones.
        ranges: for each column without a range, the query that finds one.
        range_prices: what these queries cost, by column.
        totals: whether totals over keys are measured, too.
    """

    query: Query
    epsilon: float
    delta: float
    kind: Kind
    prices: Mapping[str, Price]
    selection: Selection | None = None
    ranges: Mapping[str, Query] = field(default_factory=dict)
    range_prices: Mapping[str, Price] = field(default_factory=dict)
    totals: bool = False

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """All mechanisms, for the ledger."""
        events = [price.event for price in (*self.range_prices.values(), *self.prices.values())]
        return (*events, *(self.selection.events if self.selection is not None else ()))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the figures that the published table will have."""
        return labels_of(self.query)

    @property
    def layout(self) -> Layout:
        """The measures; of stand-in ranges, as long as ranges are missing."""
        return layout(provisional(self.query), self.kind)

    def noise(self, measure: Measure) -> Noise:
        """The noise of a measure.

        Raises:
            ValueError: if its scale would not fit 64 bits.
        """
        return self.prices[measure.name].noise(self.sensitivity(measure))

    def sensitivity(self, measure: Measure) -> Sensitivity:
        """How far one person moves a measure, with its totals if they are wanted."""
        groups = measure.sensitivity(self.query)
        if not self.totals:
            return groups
        # A total's change is the sum of the changes of its groups: all of them may fall into one.
        above = totals_tree(self.query).levels - 1
        return Sensitivity(
            l1=(above + 1) * groups.l1, l2_squared=groups.l2_squared + above * groups.l1**2, linf=groups.l1
        )

    def __str__(self) -> str:
        from wardline.dp.releases.describe import describe_plan

        return describe_plan(self)


def plan_release(
    query: Query, *, epsilon: float, delta: float = 0.0, share: Mapping[str, float] | None = None, totals: bool = False
) -> ReleasePlan:
    """Decide the noise of a release.

    Args:
        query: what is asked.
        epsilon: what all of it together may cost; above 0, at most 1,000.
        delta: the probability mass on which epsilon may not hold; at least 0 and below 1. It should be far below one
            over the number of persons; groups found in the data need one above 0.
        share: by label of an aggregate, its weight in the division of the budget; 1 where none is given. A measure
            that serves several aggregates has the largest of their weights.
        totals: whether totals are released, too: over all groups, and for each value of the first key, of the first
            two, and so on. Each is measured by itself, and all are then made consistent by least squares, which tells
            totals better than adding up noisy groups does. Needs public keys, and counts, sums, means or variances.

    Raises:
        ValueError: for a figure out of its range, a label that the query does not have, or parts that do not
            go together.

    Guarantee: releasing the query with this noise is (epsilon, delta)-differentially private for persons as the query
        names them, if one person is added or removed.
    """
    weights = _weights(query, epsilon=epsilon, delta=delta, share=share or {})
    if totals:
        check_totals(query)
    needs = {column: _range_query(query, column) for column in _without_range(query)}
    kinds: tuple[Kind, ...] = ("laplace",) if delta == 0 else ("laplace", "gaussian")
    plans = [_plan(query, kind, weights, needs, totals=totals, epsilon=epsilon, delta=delta) for kind in kinds]
    best = min(plans, key=_width)
    for measure in _measures(best):
        scale = best.noise(measure).scale
        if not _LEAST_SCALE <= scale <= _MOST_SCALE:
            raise ValueError(
                f"the noise of {measure.name!r} would have a scale of {scale:.3g} steps, beyond what can be drawn "
                "exactly; a larger quantum, or an epsilon nearer to 1, mends it"
            )
    return best


def provisional(query: Query) -> Query:
    """The query with stand-ins for the ranges that it lacks: enough to lay it out, not to run it."""
    return with_ranges(query, dict.fromkeys(_without_range(query), (-1.0, 1.0)))


def with_ranges(query: Query, ranges: Mapping[str, tuple[float, float]]) -> Query:
    """The query with ranges for the aggregates that lack one, by column."""
    aggregates = tuple(
        dataclasses.replace(one, lower=ranges[one.column][0], upper=ranges[one.column][1])
        if isinstance(one, Sum | Mean | Variance | Quantiles) and one.lower is None
        else one
        for one in query.aggregates
    )
    return dataclasses.replace(query, aggregates=aggregates)


def _without_range(query: Query) -> dict[str, list[str]]:
    """The columns that lack a range, with the labels of the aggregates that wait for it."""
    found: dict[str, list[str]] = {}
    for one in query.aggregates:
        if isinstance(one, Sum | Mean | Variance | Quantiles) and one.lower is None:
            found.setdefault(one.column, []).append(one.label)
    return found


def _weights(query: Query, *, epsilon: float, delta: float, share: Mapping[str, float]) -> dict[str, float]:
    check_columns(query)
    positive("epsilon", epsilon)
    if epsilon > _MOST_EPSILON:
        raise ValueError(f"epsilon must be at most {_MOST_EPSILON:g}, not {epsilon}: more protects nobody")
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be at least 0 and below 1, not {delta}")
    if delta == 0 and _selects(query):
        raise ValueError(
            "groups found in the data need a delta above 0, since their presence itself is released; "
            "give delta, or list the groups"
        )
    labels = {one.label for one in query.aggregates}
    for label, weight in share.items():
        if label not in labels:
            raise ValueError(f"share names {label!r}, which is no label of the query")
        positive(f"share of {label!r}", weight)
    return {label: share.get(label, 1.0) for label in sorted(labels)}


def _selects(query: Query) -> bool:
    return query.found or any(isinstance(one, TopK) and one.values is None for one in query.aggregates)


def _range_query(query: Query, column: str) -> Query:
    """The query that finds the range of a column: one row of each person, over the whole table."""
    bound = None if query.unit is None else Bound(rows=1)
    return dataclasses.replace(query, bound=bound, by=(), aggregates=(Magnitudes(column),))


def _plan(
    query: Query,
    kind: Kind,
    weights: Mapping[str, float],
    needs: Mapping[str, Query],
    *,
    totals: bool,
    epsilon: float,
    delta: float,
) -> ReleasePlan:
    arranged = layout(provisional(query), kind)
    parts = {name: max(weights[label] for label in labels) for name, labels in arranged.serves.items()}
    top = lone(query)
    if isinstance(top, TopK) and not (query.unit is None and _selects(query)):
        parts[RowCount().name] = weights[top.label]
    waiting = _without_range(query)
    finders = {column: _BOUNDS_SHARE * max(weights[label] for label in waiting[column]) for column in needs}
    select = _selection_weight(query, weights)

    def make(scale: float) -> ReleasePlan:
        return ReleasePlan(
            query=query,
            epsilon=epsilon,
            delta=delta,
            kind=kind,
            prices={name: _price(kind, weight, scale) for name, weight in parts.items()},
            selection=None if select == 0 else _selection(query, _price(kind, select, scale), delta),
            ranges=needs,
            range_prices={column: _price(kind, weight, scale) for column, weight in finders.items()},
            totals=totals,
        )

    if delta == 0:
        # Epsilons add up; a rounding of the last bit must not carry their sum beyond what was allowed.
        return make((sum(parts.values()) + sum(finders.values())) / epsilon * (1 + 2.0**-48))
    return make(calibrate(lambda scale: make(scale).events, epsilon=epsilon, delta=delta))


def _price(kind: Kind, weight: float, scale: float) -> Price:
    """Noise grows in proportion to `scale`, whichever its kind."""
    return Price(kind=kind, amount=weight / scale if kind == "laplace" else weight / (2.0 * scale * scale))


def _selection_weight(query: Query, weights: Mapping[str, float]) -> float:
    """The weight of the selection: that of the persons or rows whose number it tells; 0 if nothing is selected."""
    if not _selects(query):
        return 0.0
    told = [weights[one.label] for one in query.aggregates if isinstance(one, Persons)]
    return max(told, default=1.0)


def _selection(query: Query, price: Price, delta: float) -> Selection:
    found = reach(query)
    groups = found.rows if isinstance(lone(query), TopK) else found.groups
    assert groups is not None
    delta = _SELECTION_DELTA * delta
    match price.kind:
        case "laplace":
            return Selection(
                kind="geometric", groups=groups, epsilon=price.amount / groups, sigma=0.0, delta=delta / groups
            )
        case "gaussian":
            sigma = costs.sigma_for(rho=price.amount, l2_squared=groups)
            return Selection(kind="gaussian", groups=groups, epsilon=0.0, sigma=sigma, delta=delta)
        case _:
            assert_never(price.kind)


def _width(plan: ReleasePlan) -> float:
    """How wide the noise of a plan is: the mean logarithm over its parts."""
    widths = []
    for measure in _measures(plan):
        std = plan.noise(measure).std
        if isinstance(measure, BinCounts):
            std *= math.sqrt(float(measure.tree.rank_variances(0.5).mean()))
        widths.append(math.log(max(std, 1e-9)))
    if plan.selection is not None:
        widths.append(math.log(plan.selection.threshold + plan.selection.noise.std))
    return sum(widths) / len(widths)


def _measures(plan: ReleasePlan) -> tuple[Measure, ...]:
    """Everything that noise is added to, but for the selection and the search for ranges."""
    found = {**plan.layout.measures, RowCount().name: RowCount()}
    return tuple(found[name] for name in plan.prices)
