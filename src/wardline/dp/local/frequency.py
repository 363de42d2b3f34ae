"""What mechanisms for one of several values have in common: tallies of reports, and estimates of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from wardline.core import Claim, SecureRandom
from wardline.core.checks import at_least, probability

if TYPE_CHECKING:
    import numpy.typing as npt
    from jaxtyping import Float64, Int64

    from wardline.dp.accounting import PureDp

MOST_VALUES = 1 << 24
_CELLS = 1 << 23  # words of a piece while many answers are simulated: 64 MiB
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """What a server keeps of reports: whole numbers that add up, so that it need not keep the reports.

    Attributes:
        scheme: which mechanism, with which parameters, the reports were made by.
        reports: how many there were.
        counts: what was counted; its meaning is the mechanism's.
    """

    scheme: str
    reports: int
    counts: Int64[np.ndarray, " cells"] = field(repr=False)

    def __add__(self, other: Tally) -> Tally:
        if self.scheme != other.scheme:
            raise ValueError("tallies of different mechanisms or parameters do not add up")
        return Tally(scheme=self.scheme, reports=self.reports + other.reports, counts=self.counts + other.counts)


@runtime_checkable
class FrequencyMechanism(Protocol):
    """Randomises one of `size` values on the client's side and counts the values on the server's.

    Values are whole numbers from 0 to size - 1.
    """

    @property
    def size(self) -> int:
        """How many values there are."""

    @property
    def epsilon(self) -> float:
        """What one report may tell about the value, at most."""

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON: reports carry its digest."""

    @property
    def report_bytes(self) -> int:
        """The length of one report in its serial form, header included."""

    @property
    def event(self) -> PureDp:
        """What one report costs the person who sends it."""

    def randomise(self, values: npt.ArrayLike, *, random: SecureRandom) -> npt.NDArray[Any]:
        """The client's half, for many persons at once."""

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """The server's first half: count."""

    def estimate(self, tally: Tally) -> FrequencyEstimate:
        """The server's second half: unbiased estimates of how many persons have each value."""

    def variance(self, counts: npt.ArrayLike) -> Float64[np.ndarray, " size"]:
        """The variance of each estimate, if so many persons have each value."""

    def mean_variance(self, people: int) -> float:
        """The variance of an estimate on average over the values, if so many persons take part."""

    def claim(self) -> Claim:
        """What one report guarantees, and against whom."""

    def pack(self, reports: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The payloads of reports; see `wire`."""

    def unpack(self, payloads: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The reports in payloads, and which of them this mechanism could have made; see `wire`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyEstimate:
    """How many persons have each value, as far as randomised reports tell.

    Attributes:
        counts: unbiased estimates; they may be negative, and do not add up to the number of reports exactly.
        std: the standard error of each, from the mechanism's variance at the estimated counts.
        reports: how many persons reported.
        epsilon: what each report may tell about its sender.
        method, reference: how the counts were estimated.
    """

    counts: Float64[np.ndarray, " size"] = field(repr=False)
    std: Float64[np.ndarray, " size"] = field(repr=False)
    reports: int
    epsilon: float
    method: str
    reference: str

    def intervals(self, level: float = 0.95) -> tuple[Float64[np.ndarray, " size"], Float64[np.ndarray, " size"]]:
        """The lower and upper ends of an interval for each count among those who reported.

        Each covers its count with about probability `level`, by the normal approximation: it needs some hundred
        reports, and for a count that hardly any report supports some thousand. All of them together cover less often.
        What a larger population would have said varies more than this.

        Raises:
            ValueError: for a level outside of (0, 1).
        """
        reach = NormalDist().inv_cdf((1 + probability("level", level)) / 2) * self.std
        return self.counts - reach, self.counts + reach

    def consistent(self) -> Float64[np.ndarray, " size"]:
        """Counts of at least 0 that add up to the number of reports: post-processing, closer to the truth, biased.

        See `consistent`.
        """
        return consistent(self.counts, total=self.reports)

    def to_json(self) -> dict[str, Any]:
        """The estimate as plain JSON values."""
        return {
            "counts": self.counts.tolist(),
            "std": self.std.tolist(),
            "reports": self.reports,
            "epsilon": self.epsilon,
            "method": self.method,
            "reference": self.reference,
        }

    def __str__(self) -> str:
        off = math.sqrt(float(np.mean(self.std**2)))
        return (
            f"{len(self.counts)} counts of {self.reports:,} persons by {self.method}, epsilon {self.epsilon:g}, "
            f"standard error {off:,.0f}"
        )

    def _repr_html_(self) -> str:
        low, high = self.intervals()
        order = np.argsort(-self.counts, kind="stable")[:_SHOWN]
        rows = "".join(
            f"<tr><td>{one}</td><td>{self.counts[one]:,.0f}</td><td>{low[one]:,.0f} to {high[one]:,.0f}</td></tr>"
            for one in order
        )
        head = "<tr><th>value</th><th>estimated count</th><th>95 % interval</th></tr>"
        left = len(self.counts) - len(order)
        more = f"<p>and {left:,} smaller ones</p>" if left else ""
        return f"<p>{escape(str(self))}</p><table>{head}{rows}</table>{more}"


def consistent(counts: npt.ArrayLike, *, total: float) -> Float64[np.ndarray, " size"]:
    """The nearest counts that are at least 0 and add up to `total` (norm-sub; projection onto a simplex).

    A constant is subtracted from all counts and what falls below 0 becomes 0. It uses nothing but the estimates, so it
    costs no privacy. Errors shrink most where many values are rare; in return, estimates are no longer unbiased: rare
    values are overestimated and frequent ones underestimated, and intervals do not apply.

    Args:
        counts: the estimates, finite.
        total: what they shall add up to, above 0.

    Raises:
        ValueError: if a count is not finite, or the total is not a finite number above 0.

    References:
        Wang, Lopuhaä-Zwakenberg, Li, Skoric and Li 2020, section 4 (Norm-Sub); Held, Wolfe and Crowder 1974.
    """
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError("counts must be a row of finite numbers")
    if not (math.isfinite(total) and total > 0):
        raise ValueError(f"total must be a finite number above 0, not {total}")
    descending = np.sort(values)[::-1]
    excess = (np.cumsum(descending) - total) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(descending > excess)[-1])
    projected: npt.NDArray[np.float64] = np.maximum(values - excess[last], 0.0)
    return projected


def simulate(mechanism: FrequencyMechanism, values: npt.ArrayLike, *, random: SecureRandom) -> Tally:
    """Let many persons answer, and count their reports; piece by piece, so that memory stays bounded.

    Args:
        mechanism: how they answer.
        values: their true values, which nobody would have in one place if this were real.
        random: where the coins come from.

    Raises:
        TypeError, ValueError: as `mechanism.randomise`.
    """
    array = checked_values(values, mechanism.size)
    piece = max(1, _CELLS // max(1, mechanism.report_bytes // 8))
    tally = mechanism.tally(mechanism.randomise(array[:piece], random=random))
    for start in range(piece, len(array), piece):
        tally += mechanism.tally(mechanism.randomise(array[start : start + piece], random=random))
    return tally


def checked_values(values: npt.ArrayLike, size: int) -> Int64[np.ndarray, " persons"]:
    """Whole numbers from 0 to size - 1, or an error that does not quote them.

    Raises:
        TypeError: for anything but whole numbers.
        ValueError: for a number outside of the domain.
    """
    array = np.atleast_1d(np.asarray(values))
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError("values must be a row of whole numbers")
    if int(array.min()) < 0 or int(array.max()) >= size:
        raise ValueError(f"a value lies outside of the domain, which ends at {size - 1}")
    return array.astype(np.int64, copy=False)


def check_size(size: int) -> None:
    """Refuse a domain that is no choice, or larger than what can be estimated in memory.

    Raises:
        ValueError: below 2 or above 2**24.
    """
    if at_least("size", size, 2) > MOST_VALUES:
        raise ValueError(f"size must be at most {MOST_VALUES}, not {size}")


def check_counts(counts: npt.ArrayLike, size: int) -> Float64[np.ndarray, " size"]:
    """One count of at least 0 for each value.

    Raises:
        ValueError: for another number of counts, a negative or an infinite one.
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.shape != (size,) or not np.isfinite(array).all() or float(array.min()) < 0:
        raise ValueError(f"counts must be {size} finite numbers of at least 0")
    return array


def check_tally(tally: Tally, scheme: str) -> None:
    """Refuse a tally of another mechanism, of other parameters, or of nothing.

    Raises:
        ValueError: for such a tally.
    """
    if tally.scheme != scheme:
        raise ValueError("the tally was made by another mechanism or with other parameters")
    if tally.reports < 1:
        raise ValueError("nothing can be estimated from no report")


@dataclass(frozen=True, slots=True)
class Support:
    """How often a report supports a value: of those who have it, and of those who do not."""

    true: float
    false: float

    @property
    def gap(self) -> float:
        """By how much having the value makes support likelier."""
        return self.true - self.false

    def variance(self, counts: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, " size"]:
        """Of estimates (supports - n false) / gap, each person being an independent coin."""
        have, others = self.true * (1 - self.true), self.false * (1 - self.false)
        found: npt.NDArray[np.float64] = (counts * have + (counts.sum() - counts) * others) / self.gap**2
        return found

    def mean_variance(self, people: int, size: int) -> float:
        """The same on average over the values, whoever has which."""
        have, others = self.true * (1 - self.true), self.false * (1 - self.false)
        return people * (have + (size - 1) * others) / (size * self.gap**2)
