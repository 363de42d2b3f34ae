"""What trusting no one costs: the central model and the local one side by side, on the same question.

In the central model a trusted party holds all answers and adds noise once, to the result. In the local model every
device adds noise to its own answer. Both are held to the same promise here: whichever answer one person gives instead
of hers, every result stays nearly as likely, within e**epsilon. That she takes part is known in both, and so is how
many do.

Errors are worked out from formulas, which needs no data at all, or measured on data. What is measured is a difference
from the truth without any protection: it is for whoever holds the data, and no release.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wardline.core import Interval, NoProgress, Progress, SecureRandom
from wardline.core.checks import at_least
from wardline.dp.local._chance import check_epsilon
from wardline.dp.local._figures import laplace_std, mean_largest, student_ends
from wardline.dp.local.choice import candidates
from wardline.dp.local.frequency import FrequencyMechanism, check_size, checked_values, simulate
from wardline.dp.local.numeric import Method, NumericResponse
from wardline.dp.mechanisms import discrete_laplace

if TYPE_CHECKING:
    import numpy.typing as npt

    Errors = Callable[[], npt.NDArray[np.float64]]

CENTRAL = "discrete Laplace noise"
DRAWS = 20
LEVEL = 0.95

_QUANTUM = 1 << 20  # whole steps from the lower to the upper bound, in the central sum
_METHODS: tuple[tuple[str, Method], ...] = (
    ("two points (Duchi)", "duchi"),
    ("piecewise", "piecewise"),
    ("hybrid", "hybrid"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Errors found on data, over several independent draws of the noise.

    Attributes:
        rmse: root of the mean squared error over values and draws.
        rmse_interval: where the root of the expected squared error lies, on this data.
        largest: the largest error over the values, on average over the draws.
        largest_interval: where its expectation lies.
        draws: how many draws.
    """

    rmse: float
    rmse_interval: Interval
    largest: float
    largest_interval: Interval
    draws: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One mechanism at one epsilon.

    Attributes:
        name: in words.
        model: whether somebody is trusted with all answers.
        epsilon: what is promised to each person.
        rmse: the expected error, in persons for counts and in the unit of the data for a mean. For a mean in the local
            model without data it is that of the worst numbers.
        largest: the expected largest error over all counts; for a mean the expected absolute error.
        people_needed: with how many persons this mechanism would have the relative error that the central model has
            with those who take part.
        report_bytes: what each person sends; 0 in the central model, where the answer itself goes.
        measured: the same on data, if there is any.
    """

    name: str
    model: Literal["central", "local"]
    epsilon: float
    rmse: float
    largest: float
    people_needed: float
    report_bytes: int
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All contenders, and what they were compared on.

    Attributes:
        quantity: counts of several values, or one mean.
        people: how many persons take part.
        size: how many values there are; 1 for a mean.
        lower, upper: the bounds of a mean; 0 and the number of persons for counts.
        contenders: by epsilon in the order given, the central one first, then by expected error.
        measured: whether true errors on data are among the figures.
    """

    quantity: Literal["counts", "mean"]
    people: int
    size: int
    lower: float
    upper: float
    contenders: tuple[Contender, ...]
    measured: bool

    @property
    def epsilons(self) -> tuple[float, ...]:
        """The epsilons that were compared, in the order given."""
        return tuple(dict.fromkeys(one.epsilon for one in self.contenders))

    def best_local(self, epsilon: float) -> Contender:
        """The local mechanism of least expected error at one epsilon."""
        local = [one for one in self.contenders if one.model == "local" and one.epsilon == epsilon]
        return min(local, key=lambda one: one.rmse)

    def central(self, epsilon: float) -> Contender:
        """The central mechanism at one epsilon."""
        return next(one for one in self.contenders if one.model == "central" and one.epsilon == epsilon)

    def __str__(self) -> str:
        found = []
        for epsilon in self.epsilons:
            local = self.best_local(epsilon)
            times = local.rmse / self.central(epsilon).rmse
            found.append(f"epsilon {epsilon:g}: {times:,.0f} times the error ({local.name})")
        return f"{self.quantity} of {self.people:,} persons without trusting anybody: " + "; ".join(found)


def compare_counts(
    *,
    size: int,
    people: int,
    epsilons: Sequence[float],
    values: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    random: SecureRandom | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Counts of how many persons have each of `size` values: central against local.

    Args:
        size: how many values there are, from 2 to 2**24.
        people: how many persons take part, at least 1.
        epsilons: what is promised to each person.
        values: everybody's value, to measure on; None works from formulas alone.
        draws: how often the noise is drawn anew to measure, at least 2.
        random: where the noise comes from.
        progress: told how many measurements are done.

    Raises:
        TypeError, ValueError: for a figure out of range, or values that do not fit `size` and `people`.
    """
    check_size(size)
    _check(people, epsilons, draws)
    random = random or SecureRandom()
    true = None if values is None else checked_values(values, size)
    if true is not None and len(true) != people:
        raise ValueError(f"there are {len(true)} values of {people} persons")
    entrants = [one for epsilon in epsilons for one in _counting(size, people, epsilon, true=true, random=random)]
    return Comparison(
        quantity="counts",
        people=people,
        size=size,
        lower=0.0,
        upper=float(people),
        contenders=_contend(entrants, people, draws, progress or NoProgress()),
        measured=true is not None,
    )


def compare_means(
    *,
    lower: float,
    upper: float,
    people: int,
    epsilons: Sequence[float],
    values: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    random: SecureRandom | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """The mean of one number of each person: central against local.

    Args:
        lower: the lower bound; numbers beyond a bound count as the bound, in both models and in the truth.
        upper: the upper bound.
        people: how many persons take part, at least 1.
        epsilons: what is promised to each person.
        values: everybody's number, to measure on; None works from formulas alone, with the worst numbers.
        draws: how often the noise is drawn anew to measure, at least 2.
        random: where the noise comes from.
        progress: told how many measurements are done.

    Raises:
        TypeError, ValueError: for a figure out of range, or values that do not fit `people`.
    """
    _check(people, epsilons, draws)
    random = random or SecureRandom()
    numbers = None
    if values is not None:
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.shape != (people,) or not np.isfinite(numbers).all():
            raise ValueError(f"values must be {people} finite numbers")
        numbers = np.clip(numbers, lower, upper)
    entrants = [one for epsilon in epsilons for one in _averaging((lower, upper), people, epsilon, numbers, random)]
    return Comparison(
        quantity="mean",
        people=people,
        size=1,
        lower=lower,
        upper=upper,
        contenders=_contend(entrants, people, draws, progress or NoProgress()),
        measured=numbers is not None,
    )


def measure(errors: Errors, draws: int) -> Measured:
    """The size of errors over independent draws, with intervals by Student's t over the draws.

    Twenty draws of a single mean are few, and squared errors are skewed: such an interval covers somewhat less often
    than it says.
    """
    squares, largest = np.empty(draws), np.empty(draws)
    for index in range(draws):
        found = errors()
        squares[index] = np.mean(found**2)
        largest[index] = np.max(np.abs(found))
    low, high = student_ends(squares, LEVEL)
    return Measured(
        rmse=math.sqrt(float(squares.mean())),
        rmse_interval=_interval(math.sqrt(low), math.sqrt(high)),
        largest=float(largest.mean()),
        largest_interval=_interval(*student_ends(largest, LEVEL)),
        draws=draws,
    )


# --- who takes part -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entrant:
    """A contender before it is measured; `errors` draws its noise anew."""

    name: str
    model: Literal["central", "local"]
    epsilon: float
    rmse: float
    largest: float
    report_bytes: int
    errors: Errors | None


def _counting(
    size: int, people: int, epsilon: float, *, true: npt.NDArray[np.int64] | None, random: SecureRandom
) -> list[_Entrant]:
    counts = None if true is None else np.bincount(true, minlength=size).astype(np.float64)
    scale = 2.0 / epsilon  # one person who answers differently moves two counts by one each

    def noise() -> npt.NDArray[np.float64]:
        return discrete_laplace(size, scale=scale, random=random).astype(np.float64)

    def local_errors(mechanism: FrequencyMechanism) -> Errors | None:
        if true is None or counts is None:
            return None
        return lambda: mechanism.estimate(simulate(mechanism, true, random=random)).counts - counts

    def normal(std: float) -> Callable[[float], float]:
        return lambda reach: math.erf(reach / (std * math.sqrt(2.0)))

    central = _Entrant(
        name=CENTRAL,
        model="central",
        epsilon=epsilon,
        rmse=laplace_std(scale),
        largest=mean_largest(lambda reach: 1.0 - math.exp(-reach / scale), size, scale),
        report_bytes=0,
        errors=None if counts is None else noise,
    )
    return [
        central,
        *(
            _Entrant(
                name=one.name,
                model="local",
                epsilon=epsilon,
                rmse=one.rmse,
                largest=mean_largest(normal(one.rmse), size, one.rmse),
                report_bytes=one.report_bytes,
                errors=local_errors(one.mechanism),
            )
            for one in candidates(size=size, epsilon=epsilon, people=people)
        ),
    ]


def _averaging(
    bounds: tuple[float, float],
    people: int,
    epsilon: float,
    numbers: npt.NDArray[np.float64] | None,
    random: SecureRandom,
) -> list[_Entrant]:
    lower, upper = bounds
    mechanisms = [
        (name, NumericResponse(lower=lower, upper=upper, epsilon=epsilon, method=method)) for name, method in _METHODS
    ]
    step = (upper - lower) / _QUANTUM
    scale = _QUANTUM / epsilon  # one person moves the whole-numbered sum by the whole range at most

    def central_errors() -> npt.NDArray[np.float64]:
        assert numbers is not None
        total = int(np.rint((numbers - lower) / step).astype(np.int64).sum())
        noisy = total + int(discrete_laplace(1, scale=scale, random=random)[0])
        return np.array([lower + step * noisy / people - numbers.mean()])

    def local_errors(mechanism: NumericResponse) -> Errors | None:
        if numbers is None:
            return None
        truth = float(numbers.mean())

        def errors() -> npt.NDArray[np.float64]:
            estimate = mechanism.estimate(mechanism.tally(mechanism.randomise(numbers, random=random)))
            return np.array([estimate.value - truth])

        return errors

    std = step * laplace_std(scale) / people
    found = [
        _Entrant(
            name=CENTRAL,
            model="central",
            epsilon=epsilon,
            rmse=std,
            largest=std / math.sqrt(2.0),
            report_bytes=0,
            errors=None if numbers is None else central_errors,
        )
    ]
    for name, mechanism in mechanisms:
        spread = mechanism.worst_variance if numbers is None else float(mechanism.variance(numbers).mean())
        std = math.sqrt(spread / people)
        found.append(
            _Entrant(
                name=name,
                model="local",
                epsilon=epsilon,
                rmse=std,
                largest=std * math.sqrt(2.0 / math.pi),
                report_bytes=mechanism.report_bytes,
                errors=local_errors(mechanism),
            )
        )
    return [found[0], *sorted(found[1:], key=lambda one: one.rmse)]


def _contend(entrants: Sequence[_Entrant], people: int, draws: int, progress: Progress) -> tuple[Contender, ...]:
    progress.start("compare", len(entrants))
    found = []
    central = entrants[0]
    for index, one in enumerate(entrants):
        central = one if one.model == "central" else central
        found.append(
            Contender(
                name=one.name,
                model=one.model,
                epsilon=one.epsilon,
                rmse=one.rmse,
                largest=one.largest,
                # The local error of a share falls with the root of how many take part: equal when
                # one.rmse / people * sqrt(people / needed) = central.rmse / people.
                people_needed=people * (one.rmse / central.rmse) ** 2,
                report_bytes=one.report_bytes,
                measured=None if one.errors is None else measure(one.errors, draws),
            )
        )
        progress.advance(index + 1, f"{one.name}, epsilon {one.epsilon:g}")
    progress.finish()
    return tuple(found)


def _check(people: int, epsilons: Sequence[float], draws: int) -> None:
    at_least("people", people, 1)
    at_least("draws", draws, 2)
    if not epsilons:
        raise ValueError("there must be at least one epsilon")
    for epsilon in epsilons:
        check_epsilon(epsilon)


def _interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, level=LEVEL, method="Student t over draws")
