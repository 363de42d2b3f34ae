"""Audit of one mechanism: run it many times on two neighbouring inputs, and bound epsilon from below."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from wardline.core import Claim, Control, Measurement
from wardline.core.checks import at_least, probability

Outputs = npt.NDArray[Any]
Run = Callable[[int], Outputs]
"""Gives that many independent outputs of a mechanism on a fixed input: one each row."""

Statistic = Callable[[Outputs], npt.NDArray[np.float64]]

_LEAST_TRIALS = 400
_MOST_BINS = 128
_THRESHOLDS = 256
_REFERENCE = (
    "Jagielski, Ullman and Oprea 2020 (auditing by two worlds); Clopper and Pearson 1934; Bichsel, Steffen, "
    "Bogunovic and Vechev 2021 (learnt events)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A set of outputs that is more probable on one input than on the other.

    Attributes:
        statistic: which figure is looked at.
        at_least: whether outputs whose figure is at least `threshold` are in the set, or those at most.
        threshold: the end of the set.
        favours: the input on which it is more probable.
    """

    statistic: str
    at_least: bool
    threshold: float
    favours: str

    def count(self, figures: npt.NDArray[np.float64]) -> int:
        """How many of these figures belong to outputs in the set."""
        return int(np.count_nonzero(figures >= self.threshold if self.at_least else figures <= self.threshold))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    epsilon: float
    details: dict[str, Any]


def audit_mechanism(
    run_with: Run,
    run_without: Run,
    *,
    claim: Claim | tuple[float, float],
    trials: int,
    confidence: float = 0.95,
    statistic: Statistic | None = None,
    broken: tuple[Run, Run] | None = None,
    name: str = "audit.mechanism",
) -> Measurement:
    """Bound a mechanism's epsilon from below by telling its outputs on two neighbouring inputs apart.

    If it is (epsilon, delta)-private, no set of outputs is more than exp(epsilon) times as probable on the one input
    as on the other, plus delta. On the first half of the trials a set is looked for that breaks this as far as
    possible: a range of a statistic, which is either given or learnt (the outputs themselves; the sum over columns
    of the logarithm of how much more often a value was seen with than without; a linear discriminant). On the
    second half its two probabilities are bounded.

    It does not show that epsilon is small: another pair of inputs, or another set, may tell more.

    Args:
        run_with: the mechanism on an input with a privacy unit. Each call gives fresh independent outputs: numbers,
            one row each, with or without columns. What a person would see must be in them; a key that is not
            shown, for example, as a column of its own.
        run_without: the same on the input without that unit.
        claim: at most some ``epsilon``, with ``delta`` among its parameters (0 if not); or the two numbers.
        trials: how often each of the two is run, at least 400. A bound cannot exceed about log(trials / 8).
        confidence: of the bound, in (0, 1).
        statistic: turns outputs into one figure each, higher where the unit is more likely there. What is known
            about the mechanism is better than what can be learnt.
        broken: the positive control, a mechanism that does not keep the claim, on the two inputs. The bound that is
            found for it must exceed the claim.
        name: the measurement's id.

    Returns:
        A lower bound on epsilon at the claim's delta, at `confidence`; at least 0.

    Raises:
        ValueError: if the claim is not about epsilon, a figure is out of range, or the outputs are not as many as
            were asked for or not finite.

    Guarantee:
        If the mechanism is (epsilon, delta)-private and the trials are independent, the bound exceeds epsilon
        with probability at most 1 - `confidence`.

    References:
        Jagielski, Ullman and Oprea 2020; Clopper and Pearson 1934; Bichsel, Steffen, Bogunovic and Vechev 2021.
    """
    epsilon, delta = _promised(claim)
    at_least("trials", trials, _LEAST_TRIALS)
    probability("confidence", confidence)
    began = time.perf_counter()
    found = _bound(run_with, run_without, delta, trials, confidence, statistic)
    control = None
    if broken is not None:
        other = _bound(*broken, delta, trials, confidence, statistic)
        control = Control(
            description="the same audit of a mechanism that does not keep the claim",
            value=other.epsilon,
            threshold=epsilon,
            passed=other.epsilon > epsilon,
        )
    return Measurement(
        id=name,
        quantity="epsilon",
        value=found.epsilon,
        bound="lower",
        trials=2 * trials,
        subject="mechanism",
        bears_on=claim.id if isinstance(claim, Claim) else None,
        control=control,
        method="outputs on two neighbouring inputs",
        reference=_REFERENCE,
        details={**found.details, "delta": delta, "confidence": confidence},
        seconds=time.perf_counter() - began,
    )


def _promised(claim: Claim | tuple[float, float]) -> tuple[float, float]:
    if isinstance(claim, Claim):
        delta = claim.parameters.get("delta", 0.0)
        if claim.quantity != "epsilon" or claim.direction != "at_most" or not isinstance(delta, int | float):
            raise ValueError("an audit needs a claim of at most some epsilon, and its delta, if any, as a number")
        claim = (claim.value, float(delta))
    epsilon, delta = claim
    if not epsilon >= 0 or not 0 <= delta < 1:
        raise ValueError("epsilon is at least 0 and delta lies in [0, 1)")
    return epsilon, delta


def _bound(
    run_with: Run, run_without: Run, delta: float, trials: int, confidence: float, statistic: Statistic | None
) -> _Finding:
    outputs = [_outputs(run, trials) for run in (run_with, run_without)]
    if outputs[0].shape[1:] != outputs[1].shape[1:]:
        raise ValueError("outputs on the two inputs have different numbers of columns")
    quarter = trials // 4
    learn, choose, test = (
        [one[part] for one in outputs]
        for part in (slice(quarter), slice(quarter, 2 * quarter), slice(2 * quarter, None))
    )
    figures = dict(_statistics(*learn)) if statistic is None else {"given": statistic}
    error = (1.0 - confidence) / 2.0
    events = [
        found
        for name, figure in figures.items()
        for found in _events(name, [figure(one) for one in choose], delta, error)
    ]
    event = max(events, key=lambda found: found[0])[1]
    counts = [event.count(figures[event.statistic](one)) for one in test]
    likely, unlikely = counts if event.favours == "with" else counts[::-1]
    size = len(test[0])
    epsilon = float(_log_ratio(np.array([likely]), np.array([unlikely]), size, size, delta, error)[0])
    details = {
        "event": {
            "statistic": event.statistic,
            "side": "at least" if event.at_least else "at most",
            "threshold": event.threshold,
            "more_probable": event.favours,
        },
        "hits_with": counts[0],
        "hits_without": counts[1],
        "tested_each": size,
    }
    return _Finding(epsilon=max(0.0, epsilon), details=details)


def _outputs(run: Run, trials: int) -> Outputs:
    found = np.asarray(run(trials))
    if found.ndim not in (1, 2) or len(found) != trials:
        raise ValueError("a run gives as many outputs as it was asked for, one each row")
    if not np.isfinite(found).all():
        raise ValueError("outputs are finite numbers")
    return found


def _log_ratio(
    likely: npt.NDArray[np.int64],
    unlikely: npt.NDArray[np.int64],
    n_likely: int,
    n_unlikely: int,
    delta: float,
    error: float,
) -> npt.NDArray[np.float64]:
    """The least log((p - delta) / q) that these counts leave possible, each of p and q being wrong with `error`."""
    low = np.where(likely == 0, 0.0, beta.ppf(error, np.maximum(likely, 1), n_likely - likely + 1))
    high = np.where(unlikely == n_unlikely, 1.0, beta.isf(error, unlikely + 1, np.maximum(n_unlikely - unlikely, 1)))
    with np.errstate(divide="ignore"):
        ratio: npt.NDArray[np.float64] = np.log(np.maximum(low - delta, 0.0)) - np.log(high)
    return ratio


def _events(
    name: str, figures: list[npt.NDArray[np.float64]], delta: float, error: float
) -> Iterator[tuple[float, Event]]:
    """The best range of a statistic on either side for either input, each with what it seems to prove."""
    with_unit, without = figures
    together = np.sort(np.concatenate([with_unit, without]))
    # Evenly in rank, and the two ends finely, where few outputs are much more probable on one input.
    ranks = np.concatenate([np.linspace(0, len(together) - 1, _THRESHOLDS), np.geomspace(1, len(together), 64) - 1])
    ranks = np.unique(np.concatenate([ranks, len(together) - 1 - ranks]).astype(np.int64))
    thresholds = np.unique(together[ranks])
    below = [np.searchsorted(np.sort(one), thresholds, side="left") for one in (with_unit, without)]
    until = [np.searchsorted(np.sort(one), thresholds, side="right") for one in (with_unit, without)]
    above = [len(one) - count for one, count in zip((with_unit, without), below, strict=True)]
    sizes = len(with_unit), len(without)
    for upwards, counts in ((True, above), (False, until)):
        for favours, first in (("with", 0), ("without", 1)):
            second = 1 - first
            found = _log_ratio(counts[first], counts[second], sizes[first], sizes[second], delta, error)
            best = int(np.argmax(found))
            threshold = float(thresholds[best])
            yield float(found[best]), Event(statistic=name, at_least=upwards, threshold=threshold, favours=favours)


def _statistics(with_unit: Outputs, without: Outputs) -> Iterator[tuple[str, Statistic]]:
    """Figures that may tell the two inputs apart."""
    if with_unit.ndim == 1:
        yield "output", _as_floats
    yield "learnt log-ratio", _log_ratio_statistic(_columns(with_unit), _columns(without))
    if with_unit.ndim == 2 and with_unit.shape[1] > 1:
        yield "linear discriminant", _discriminant(_columns(with_unit), _columns(without))


def _as_floats(outputs: Outputs) -> npt.NDArray[np.float64]:
    return outputs.astype(np.float64)


def _columns(outputs: Outputs) -> npt.NDArray[np.float64]:
    return outputs.astype(np.float64).reshape(len(outputs), -1)


def _log_ratio_statistic(with_unit: npt.NDArray[np.float64], without: npt.NDArray[np.float64]) -> Statistic:
    """The sum over columns of how much more often values near this one were seen with the unit, in logarithms."""
    tables = []
    for column in range(with_unit.shape[1]):
        pair = with_unit[:, column], without[:, column]
        together = np.unique(np.concatenate(pair))
        if len(together) > _MOST_BINS:
            together = np.unique(np.quantile(np.concatenate(pair), np.linspace(0, 1, _MOST_BINS + 1)[1:-1]))
        # A bin ends with a value that was seen, and the last has no end.
        edges = together[:-1] if len(together) > 1 else together
        seen = [np.bincount(np.searchsorted(edges, one), minlength=len(edges) + 1) for one in pair]
        tables.append((column, edges, np.log(seen[0] + 0.5) - np.log(seen[1] + 0.5)))

    def figure(outputs: Outputs) -> npt.NDArray[np.float64]:
        columns = _columns(outputs)
        total = np.zeros(len(columns))
        for column, edges, table in tables:
            total += table[np.searchsorted(edges, columns[:, column])]
        return total

    return figure


def _discriminant(with_unit: npt.NDArray[np.float64], without: npt.NDArray[np.float64]) -> Statistic:
    """A weighted sum of the columns, each weighted by its shift in means over its variance."""
    shift = with_unit.mean(axis=0) - without.mean(axis=0)
    variance = with_unit.var(axis=0) + without.var(axis=0)
    tiny = max(float(variance.max()) * 1e-12, 1e-300)
    weights = shift / np.maximum(variance, tiny)

    def figure(outputs: Outputs) -> npt.NDArray[np.float64]:
        return np.asarray(_columns(outputs) @ weights)

    return figure
