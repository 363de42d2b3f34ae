"""From noisy numbers to what was asked: value, noise, and 95 % interval of each aggregate in each group.

Everything here is post-processing: it sees published figures and the query, never the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wardline.dp.queries.aggregates import Mean, Quantiles, Sum, Variance
from wardline.dp.releases.columns import quantile_label
from wardline.dp.releases.intervals import Ratio, ratio_interval, variance_interval
from wardline.dp.releases.measures import BinCounts, Moments, Total
from wardline.dp.releases.noise import FloatArray, IntArray
from wardline.dp.releases.noisy import MISS, Noisy, Term, mixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One figure per group.

    Attributes:
        label: the name of its column.
        value: the figure; NaN where the noise leaves none.
        noise: standard deviation of the noise in it; for ratios and quantiles, about their value.
        low, high: the ends of its 95 % interval.
        whole: whether it is a whole number by nature.
    """

    label: str
    value: FloatArray = field(repr=False)
    noise: FloatArray = field(repr=False)
    low: FloatArray = field(repr=False)
    high: FloatArray = field(repr=False)
    whole: bool = False


def linear(
    label: str, terms: Sequence[Term], *, least: float | None = None, whole: bool = False, miss: float = MISS
) -> Answer:
    """A figure that is a weighted sum of noisy numbers.

    Args:
        label: its name.
        terms: independent estimates of it.
        least: what it cannot be below, if anything.
        whole: whether it is a whole number; value and interval are then rounded, the interval inwards.
        miss: the probability with which the interval may miss.
    """
    value, std, half = mixed(terms, miss=miss)
    low, high = value - half, value + half
    # Figures that were made consistent add up; rounding or clipping each of them would undo that.
    if any(term.noisy.shrink is not None for term in terms):
        least, whole = None, False
    if whole:
        value = np.rint(value)
        # Ends move inwards to whole numbers, which loses none; 1e-9 absorbs what floating point added.
        low, high = np.ceil(low - 1e-9), np.floor(high + 1e-9)
        low, high = np.minimum(low, value), np.maximum(high, value)
    if least is not None:
        value, low, high = (np.maximum(one, least) for one in (value, low, high))
    return Answer(label=label, value=value, noise=std, low=low, high=high, whole=whole)


def rows_term(noisy: Noisy) -> Term:
    """The number of rows, from a measure that carries it."""
    match noisy.measure:
        case Moments() as moments:
            weights = [1.0 / per_row(moments)] * moments.parts
            return noisy.term([*weights, 1.0 / moments.per_row] if moments.with_missing else weights)
        case Total() as total:
            return noisy.term([1.0 / total.quantised.most] * 2)
        case _:
            return noisy.term([1.0])


def sum_term(noisy: Noisy) -> Term:
    """The sum of the clipped values, in the column's unit."""
    match noisy.measure:
        case Moments() as moments:
            low, high = moments.span
            shares = [(1 - u) * low + u * high for u in np.linspace(0.0, 1.0, moments.parts)]
            weights = [share / per_row(moments) for share in shares]
            return noisy.term([*weights, 0.0] if moments.with_missing else weights)
        case Total() as total:
            step = total.quantised.quantum
            return noisy.term([0.0, step * total.sign] if total.carries_rows else [step])
        case _:
            raise TypeError(f"no sum comes from {noisy.measure.name}")


def sum_answer(aggregate: Sum, noisy: Noisy) -> Answer:
    """A sum of the rounded values; rounding to the quantum is far finer than the noise."""
    return linear(aggregate.label, [sum_term(noisy)])


def mean_answer(aggregate: Mean | Variance, noisy: Noisy) -> Answer:
    """A mean: Fieller's interval, clipped to the range that the values were clipped to."""
    moments, parts = _parts(noisy)
    shares = np.linspace(0.0, 1.0, moments.parts)
    under = parts.sum(axis=1)
    over = parts @ shares
    known = under >= 1.0
    share = np.clip(over / np.where(known, under, 1.0), 0.0, 1.0)
    std = _part_std(noisy, moments) * np.sqrt(np.square(shares[None, :] - share[:, None]).sum(axis=1))
    low, high = ratio_interval(_mean_ratio(parts), _spread(noisy, moments, MISS))
    least, most = moments.span
    width = most - least
    # Rounding to steps moved each value, and so the mean, by up to half a step.
    half_step = moments.quantised.quantum / 2
    ends = (moments.quantised.lower, moments.quantised.upper)
    return Answer(
        label=aggregate.label,
        value=np.where(known, np.clip(least + share * width, *ends), np.nan),
        noise=np.where(known, width * std / np.where(known, under, 1.0), np.nan),
        low=np.clip(least + low * width - half_step, *ends),
        high=np.clip(least + high * width + half_step, *ends),
    )


def variance_answer(aggregate: Variance, noisy: Noisy) -> Answer:
    """A variance (divided by the number of values): at least 0, within an interval that holds for every mean."""
    moments, parts = _parts(noisy)
    under = parts.sum(axis=1)
    known = under >= 1.0
    safe = np.where(known, under, 1.0)
    mean = np.clip((parts[:, 1] / 2 + parts[:, 2]) / safe, 0.0, 1.0)
    value = np.clip(parts[:, 2] / safe - mean**2, 0.0, 0.25)
    gradient = np.stack([mean**2, mean**2 - mean, (1 - mean) ** 2], axis=1) - value[:, None]
    std = _part_std(noisy, moments) * np.linalg.norm(gradient, axis=1)
    spread = _spread(noisy, moments, MISS / 2)
    low, high = variance_interval(parts, spread=spread, means=ratio_interval(_mean_ratio(parts), spread))
    width = moments.span[1] - moments.span[0]
    # Rounding moves a value by half a step, so the deviation by at most that much (Minkowski's inequality).
    half_step = moments.quantised.quantum / 2
    least = np.square(np.maximum(np.sqrt(low) * width - half_step, 0.0))
    most = np.square(np.sqrt(high) * width + half_step)
    limit = ((moments.quantised.upper - moments.quantised.lower) / 2) ** 2
    return Answer(
        label=aggregate.label,
        value=np.where(known, np.minimum(value * width**2, limit), np.nan),
        noise=np.where(known, width**2 * std / safe, np.nan),
        low=np.minimum(least, limit),
        high=np.minimum(most, limit),
    )


def quantile_answers(aggregate: Quantiles, noisy: Noisy) -> tuple[Answer, ...]:
    """Quantiles, all of them from the same noisy tree, ascending in each group."""
    measure = noisy.measure
    assert isinstance(measure, BinCounts) and aggregate.lower is not None and aggregate.upper is not None
    tree = measure.tree
    ranks = np.cumsum(tree.fit(noisy.values), axis=1)
    total = ranks[:, -1]
    edges = np.linspace(aggregate.lower, aggregate.upper, tree.bins + 1)
    # A rising curve: ranks that noise bent downwards are levelled between the highest before and the lowest after.
    rising = (np.maximum.accumulate(ranks, axis=1) + np.minimum.accumulate(ranks[:, ::-1], axis=1)[:, ::-1]) / 2
    spread = noisy.spread(1, miss=MISS)  # of many numbers together, rounding to steps adds less than of one
    answers = []
    for prob in aggregate.probs:
        value = _crossing(np.maximum(rising, 0.0), prob * np.maximum(total, 0.0), edges)
        deviation = np.sqrt(tree.rank_variances(prob))
        excess = ranks - prob * total[:, None]
        low, high = _rank_interval(excess, spread[:, None] * deviation[None, :], edges)
        value = np.where(total >= 1.0, value, np.nan)
        # A standard deviation that would make the interval, were the noise Gaussian.
        label = quantile_label(aggregate, prob)
        answers.append(Answer(label=label, value=value, noise=(high - low) / (2 * 1.96), low=low, high=high))
    return tuple(answers)


def bin_counts(noisy: Noisy) -> Answer:
    """The count of each bin, all groups and bins in one column."""
    measure = noisy.measure
    assert isinstance(measure, BinCounts)
    fitted = measure.tree.fit(noisy.values)
    if measure.tree.levels == 1:
        return linear(measure.aggregate.label, [_flat(noisy, fitted).term([1.0])], least=0.0, whole=True)
    std = noisy.noise.std * math.sqrt(measure.tree.block_variance())
    half = noisy.spread(1, miss=MISS) * math.sqrt(measure.tree.block_variance())
    value = fitted.ravel()
    half = np.repeat(half, fitted.shape[1])
    return Answer(
        label=measure.aggregate.label,
        value=np.maximum(np.rint(value), 0.0),
        noise=np.full(value.shape, std),
        low=np.maximum(np.floor(value - half), 0.0),
        high=np.maximum(np.ceil(value + half), 0.0),
        whole=True,
    )


def _flat(noisy: Noisy, fitted: FloatArray) -> Noisy:
    return Noisy(measure=noisy.measure, noise=noisy.noise, values=fitted.reshape(-1, 1))


def _crossing(rising: FloatArray, wanted: FloatArray, edges: FloatArray) -> FloatArray:
    """Where rising ranks reach the wanted one, between the edges of the bin in which they do."""
    index = np.minimum((rising < wanted[:, None]).sum(axis=1), rising.shape[1] - 1)
    each = np.arange(len(rising))
    after = rising[each, index]
    before = np.where(index > 0, rising[each, np.maximum(index - 1, 0)], 0.0)
    step = after - before
    share = np.clip((wanted - before) / np.where(step > 0, step, 1.0), 0.0, 1.0)
    share = np.where(step > 0, share, 0.5)
    found: FloatArray = edges[index] + share * (edges[index + 1] - edges[index])
    return found


def _rank_interval(excess: FloatArray, half: FloatArray, edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The bins in which the quantile can lie, given noisy ranks less the wanted one, and how far they may be off.

    The quantile lies in the first bin j at whose upper edge the exact excess is at least 0; at its lower edge it is
    below 0. Each of these two facts is missed by its noisy figure with half of the allowed probability, and each is
    asked of one fixed place, so that trying all places costs nothing.
    """
    bins = excess.shape[1]
    possible = excess + half >= 0
    first: IntArray = np.where(possible.any(axis=1), possible.argmax(axis=1), bins - 1)
    below = np.concatenate([np.ones((len(excess), 1), dtype=bool), (excess - half < 0)[:, :-1]], axis=1)
    last = bins - 1 - below[:, ::-1].argmax(axis=1)
    last = np.maximum(first, last)
    return edges[first], edges[last + 1]


def per_row(moments: Moments) -> float:
    """W, without the rounding of whole numbers."""
    return (2.0 * moments.quantised.most) ** 2 / 2**20 if moments.squares else 2.0 * moments.quantised.most


def _parts(noisy: Noisy) -> tuple[Moments, FloatArray]:
    """The sums of the parts, in rows, without that of missing values."""
    moments = noisy.measure
    assert isinstance(moments, Moments)
    return moments, noisy.values[:, : moments.parts] / per_row(moments)


def _mean_ratio(parts: FloatArray) -> Ratio:
    shares = np.linspace(0.0, 1.0, parts.shape[1])
    return Ratio(
        over=parts @ shares,
        under=parts.sum(axis=1),
        over_square=float(np.square(shares).sum()),
        cross=float(shares.sum()),
        under_square=float(parts.shape[1]),
    )


def _spread(noisy: Noisy, moments: Moments, miss: float) -> FloatArray:
    return noisy.spread(moments.parts, miss=miss) / per_row(moments)


def _part_std(noisy: Noisy, moments: Moments) -> FloatArray:
    return noisy.term([1.0, *([0.0] * (moments.numbers - 1))]).std / per_row(moments)
