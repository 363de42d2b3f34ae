"""Checks that a mechanism is what it says: a suite that anybody can run on a mechanism of their own.

    report = conformance(mechanism, pairs=..., trials=200_000)
    report.raise_for_failures()

Each check can be run by itself. All answer with a `CheckResult`: what was found beside what was allowed, and with which
probability a sound mechanism fails it. None proves privacy; each notices a mistake that has been made before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from wardline.attacks.auditing.mechanism_audit import audit_mechanism
from wardline.core.checks import at_least

ALARM = 1e-6
"""The probability with which a sound mechanism fails a check, at most."""

Numbers = npt.NDArray[np.int64]
Draw = Callable[[int], npt.NDArray[Any]]

_LEAST_EXPECTED = 50.0
_BINS = 64
_LEAST_DRAWS = 2_000


class Sensitivity(Protocol):
    """How far one privacy unit moves the exact figures at most."""

    @property
    def l1(self) -> int:
        """The sum of the absolute changes."""

    @property
    def l2_squared(self) -> int:
        """The sum of their squares."""

    @property
    def linf(self) -> int:
        """The largest absolute change."""


class MechanismUnderTest(Protocol):
    """A mechanism that adds whole-number noise to a vector of whole numbers, on two neighbouring inputs."""

    @property
    def epsilon(self) -> float:
        """What it claims."""

    @property
    def delta(self) -> float:
        """What it claims, 0 for pure differential privacy."""

    @property
    def grid(self) -> float:
        """All outputs are multiples of this."""

    @property
    def sensitivity(self) -> Sensitivity:
        """What it claims."""

    def exact(self, table: Any) -> Numbers:
        """The figures of a table before noise. Only a test may see them."""

    def source(self) -> Draw:
        """The noise of a mechanism that was just started: a function that gives that many numbers of it."""

    def cumulative(self, values: Numbers) -> npt.NDArray[np.float64]:
        """The probability with which one number of its noise is at most this value, as it claims."""

    def outputs(self, trials: int, *, with_unit: bool) -> npt.NDArray[Any]:
        """Independent outputs on a fixed table, with one privacy unit or without; one each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: of the check.
        passed: whether the mechanism may go on calling itself what it does.
        found: the figure.
        allowed: the most, or the least, that it may be.
        says: the finding in one sentence.
        alarm: the probability with which a sound mechanism fails this check, at most; 0 where chance has no part.
    """

    name: str
    passed: bool
    found: float
    allowed: float
    says: str
    alarm: float

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'} {self.name}: {self.says}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """All checks of a mechanism."""

    checks: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that it failed."""
        return tuple(check.name for check in self.checks if not check.passed)

    def raise_for_failures(self) -> None:
        """Raise if any check failed.

        Raises:
            AssertionError: telling all findings.
        """
        if self.failed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


def conformance(
    mechanism: MechanismUnderTest, *, pairs: Iterable[tuple[Any, Any]], trials: int = 200_000
) -> Conformance:
    """Run all checks.

    Args:
        mechanism: what is checked.
        pairs: neighbouring tables, each pair differing in one privacy unit. The more varied, the better: units that
            reach all bounds, units alone in their group, empty tables.
        trials: numbers of noise, and outputs on either input, at least 2000. At 200,000, noise that is 10 % too small
            is noticed with a probability that no table of the normal distribution lists.

    Raises:
        ValueError: for too few trials.
    """
    at_least("trials", trials, _LEAST_DRAWS)
    noise = mechanism.source()(trials)
    return Conformance(
        checks=(
            check_sensitivity(mechanism.exact, pairs, mechanism.sensitivity),
            check_fit(noise, mechanism.cumulative),
            check_independence(noise),
            check_fresh(mechanism.source),
            check_grid(mechanism.outputs(trials, with_unit=True), mechanism.grid),
            check_low_bits(mechanism, trials),
            check_epsilon(mechanism, trials),
        )
    )


def check_sensitivity(
    exact: Callable[[Any], Numbers], pairs: Iterable[tuple[Any, Any]], claimed: Sensitivity
) -> CheckResult:
    """Whether any pair of neighbouring tables moves the exact figures by more than is claimed.

    Noise is chosen by this claim, so that a claim which forgets a group, or a bound that lets one row too many
    through, takes protection away without a trace in the noise.

    Args:
        exact: the figures before noise.
        pairs: neighbouring tables, at least one pair.
        claimed: how far one unit moves the figures at most.

    Returns:
        The largest change over what is claimed, of all pairs and norms.

    Raises:
        ValueError: for no pairs, or figures of different shape on two neighbours.
    """
    worst, tried, says = 0.0, 0, ""
    for one, other in pairs:
        tried += 1
        first, second = exact(one), exact(other)
        if first.shape != second.shape:
            raise ValueError("the figures of two neighbouring tables have different shapes")
        # As Python's whole numbers, whose squares cannot overflow.
        change = [abs(int(a) - int(b)) for a, b in zip(first.ravel(), second.ravel(), strict=True)]
        norms = {
            "l1": (sum(change), claimed.l1),
            "l2_squared": (sum(step * step for step in change), claimed.l2_squared),
            "linf": (max(change, default=0), claimed.linf),
        }
        for norm, (found, allowed) in norms.items():
            ratio = found / allowed
            if ratio > worst or not says:
                worst, says = ratio, f"a unit moves {norm} by {found}, the claim is {allowed}"
    if tried == 0:
        raise ValueError("no pairs of neighbouring tables were given")
    return CheckResult(
        name="sensitivity",
        passed=worst <= 1.0,
        found=worst,
        allowed=1.0,
        says=f"{says} ({tried} pairs)",
        alarm=0.0,
    )


def check_fit(noise: Numbers, cumulative: Callable[[Numbers], npt.NDArray[np.float64]]) -> CheckResult:
    """Whether noise has the distribution that is claimed: chi-square over bins of about equal probability.

    Args:
        noise: independent whole numbers, at least 2000.
        cumulative: the claimed probability that one of them is at most this value.

    Returns:
        The probability of a fit at least this bad, or this suspiciously good, of noise as claimed.

    Raises:
        ValueError: for too few numbers.
    """
    count = at_least("the size of noise", len(noise), _LEAST_DRAWS)
    edges, expected = _bins(cumulative, count)
    seen = np.bincount(np.searchsorted(edges, noise, side="left"), minlength=len(expected))
    if len(expected) < 2:
        raise ValueError("the noise that is claimed is almost always the same number")
    statistic = float(np.sum((seen - expected) ** 2 / expected))
    freedom = len(expected) - 1
    found = 2.0 * min(stats.chi2.sf(statistic, freedom), stats.chi2.cdf(statistic, freedom))
    return CheckResult(
        name="fit",
        passed=found > ALARM,
        found=float(found),
        allowed=ALARM,
        says=f"noise as claimed fits as badly with probability {found:.2g} ({count} numbers, {freedom + 1} bins)",
        alarm=ALARM,
    )


def _bins(
    cumulative: Callable[[Numbers], npt.NDArray[np.float64]], count: int
) -> tuple[Numbers, npt.NDArray[np.float64]]:
    """Last values of bins, and how many numbers each should hold; the last bin has no end."""
    most = 1
    while most < 1 << 61 and cumulative(np.array([most]))[0] < 1.0 - 1e-9:
        most *= 2
    probs = np.linspace(0.0, 1.0, min(_BINS, int(count / _LEAST_EXPECTED)) + 1)[1:-1]
    low, high = np.full(len(probs), -most), np.full(len(probs), most)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        over = cumulative(middle) >= probs
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    edges = np.unique(high)
    expected = count * np.diff(np.concatenate([[0.0], cumulative(edges), [1.0]]))
    # A last bin that is almost empty joins its neighbour.
    while len(edges) and expected[-1] < _LEAST_EXPECTED:
        edges, expected = edges[:-1], np.append(expected[:-2], expected[-2] + expected[-1])
    return edges, expected


def check_independence(noise: Numbers) -> CheckResult:
    """Whether neighbouring numbers know of each other: one draw that serves two figures cancels in their difference.

    Args:
        noise: whole numbers in the order in which they were drawn, at least 2000.

    Returns:
        The probability of neighbours at least this dependent, of independent numbers (chi-square of the table of one
        number's rank class against the next one's, for pairs that do not overlap).

    Raises:
        ValueError: for too few numbers.
    """
    at_least("the size of noise", len(noise), _LEAST_DRAWS)
    edges = np.unique(np.quantile(noise, [0.2, 0.4, 0.6, 0.8], method="nearest"))
    classes = np.searchsorted(edges, noise[: len(noise) // 2 * 2], side="left").reshape(-1, 2)
    table = np.zeros((len(edges) + 1, len(edges) + 1))
    np.add.at(table, (classes[:, 0], classes[:, 1]), 1)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    found = float(stats.chi2_contingency(table, correction=False).pvalue) if min(table.shape) > 1 else 0.0
    return CheckResult(
        name="independence",
        passed=found > ALARM,
        found=found,
        allowed=ALARM,
        says=f"independent neighbours look as dependent with probability {found:.2g}",
        alarm=ALARM,
    )


def check_fresh(source: Callable[[], Draw], *, numbers: int = 64) -> CheckResult:
    """Whether noise ever comes twice: from a mechanism started again, after a fork, or in two calls.

    Noise that can be drawn again can be taken off again. Seven times the mechanism draws: twice from one start,
    from two more starts, and from the first start in three forked processes.

    Args:
        source: starts a mechanism and gives its noise.
        numbers: how many to compare. Two independent rows of them must be the same with a probability below 1e-8.

    Returns:
        How many of the rows came before.

    Raises:
        OSError: where processes cannot be forked.
    """
    first = source()
    rows = [
        first(numbers).tobytes(),
        first(numbers).tobytes(),
        source()(numbers).tobytes(),
        source()(numbers).tobytes(),
    ]
    rows += [_in_child(lambda: first(numbers).tobytes()) for _ in range(2)]
    rows.append(_in_child(lambda: _in_child(lambda: first(numbers).tobytes())))
    repeated = len(rows) - len(set(rows))
    return CheckResult(
        name="fresh",
        passed=repeated == 0,
        found=float(repeated),
        allowed=0.0,
        says=f"{repeated} of {len(rows)} rows of noise came before",
        alarm=ALARM,
    )


def _in_child(draw: Callable[[], bytes]) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(draw())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        drawn = pipe.read()
    os.waitpid(child, 0)
    if not drawn:
        raise ValueError("the mechanism failed in a forked process")
    return drawn


def check_grid(outputs: npt.NDArray[Any], grid: float) -> CheckResult:
    """Whether all outputs are multiples of the grid that is claimed.

    Args:
        outputs: of the mechanism.
        grid: above 0; 1 for whole numbers.

    Returns:
        The share of outputs that are not.
    """
    steps = np.asarray(outputs, dtype=np.float64) / grid
    off = float(np.mean(steps != np.rint(steps)))
    return CheckResult(
        name="grid",
        passed=off == 0.0,
        found=off,
        allowed=0.0,
        says=f"{off:.3g} of all outputs lie off the grid of {grid:g}",
        alarm=0.0,
    )


def low_bits(outputs: npt.NDArray[Any]) -> Numbers:
    """What is special about each output as a floating-point number: its exponent, and how many last bits are zero.

    Floating-point noise that is added to a number loses the bits that lie below the last one of the larger of the two.
    So how many bits an output near zero has tells what the noise was added to (Mironov 2012).

    Returns:
        For each output, eight times its binary exponent, plus the number of its last zero bits up to seven.
    """
    mantissa, exponent = np.frexp(np.asarray(outputs, dtype=np.float64))
    digits = np.ldexp(mantissa, 53).astype(np.int64)
    zeros = np.full(digits.shape, 7, dtype=np.int64)
    for count in reversed(range(7)):
        zeros[(digits >> count) & 1 == 1] = count
    return 8 * exponent.astype(np.int64) + zeros


def check_low_bits(mechanism: MechanismUnderTest, trials: int) -> CheckResult:
    """Whether low-order bits of outputs tell a neighbour apart better than epsilon allows.

    Returns:
        A lower bound on epsilon from exponents and last bits alone, at a confidence of 1 - 1e-6.

    References: Mironov 2012, section 3; Haney, Desfontaines, Hartman, Shrestha and Hay 2022.
    """
    return _audit("low bits", mechanism, trials, low_bits)


def check_epsilon(mechanism: MechanismUnderTest, trials: int) -> CheckResult:
    """Whether outputs on two neighbouring inputs tell them apart better than epsilon and delta allow.

    Returns:
        A lower bound on epsilon, at a confidence of 1 - 1e-6.
    """
    return _audit("epsilon", mechanism, trials, np.asarray)


def _audit(
    name: str, mechanism: MechanismUnderTest, trials: int, seen: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> CheckResult:
    found = audit_mechanism(
        lambda count: seen(mechanism.outputs(count, with_unit=True)),
        lambda count: seen(mechanism.outputs(count, with_unit=False)),
        claim=(mechanism.epsilon, mechanism.delta),
        trials=trials,
        confidence=1.0 - ALARM,
    )
    assert found.value is not None
    return CheckResult(
        name=name,
        passed=found.value <= mechanism.epsilon,
        found=found.value,
        allowed=mechanism.epsilon,
        says=f"epsilon is at least {found.value:.4g}, the claim is {mechanism.epsilon:.4g}",
        alarm=ALARM,
    )
