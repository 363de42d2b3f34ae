"""A monitor that looks for the questions of somebody who copies a model: PRADA, with bounded memory.

Questions that people have are of all kinds, and the distances between them spread like a normal variable. Synthetic
questions keep chosen distances from each other, and their distribution has other shapes. The monitor keeps, for one
client and each predicted class, distances of new questions to earlier ones, and tests them for normality.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import shapiro

from wardline.core.checks import at_least, probability
from wardline.models.predictor import Inputs

_OUTLIERS = 3.0  # standard deviations beyond which a distance is left out of the test (the paper's choice)
_ALIKE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the monitor looks at.

    Attributes:
        threshold: alarm below this value of the Shapiro-Wilk statistic, in (0, 1). It depends on what honest clients
            ask: `calibrate` finds one.
        least: distances before the first test, at least 3.
        window: the newest distances that are tested, at least `least`.
        kept: earlier questions of each class that are remembered, at least 1.
        every: new questions of a client between two tests, at least 1.

    Raises:
        ValueError: for a number out of range.
    """

    threshold: float = 0.95
    least: int = 100
    window: int = 2000
    kept: int = 1000
    every: int = 10

    def __post_init__(self) -> None:
        probability("threshold", self.threshold)
        at_least("least", self.least, 3)
        at_least("window", self.window, self.least)
        at_least("kept", self.kept, 1)
        at_least("every", self.every, 1)


class _OfClass:
    """Earlier questions of one class, and how far each of them was from those before it when it was let in.

    The newest ones are kept; when all places are taken the oldest is written over.
    """

    def __init__(self, first: npt.NDArray[np.float32], *, kept: int) -> None:
        self.count = 1
        self.threshold = 0.0
        self._kept, self._next = kept, 0
        self._rows = first[None].copy()
        self._gaps = np.zeros(1)

    @property
    def rows(self) -> npt.NDArray[np.float32]:
        """The questions, in no particular order."""
        return self._rows[: self.count]

    def add(self, row: npt.NDArray[np.float32], gap: float) -> None:
        """Remember a question; the threshold never falls (the paper's rule)."""
        places = len(self._rows)
        if self.count == places < self._kept:
            more = min(places, self._kept - places)
            self._rows = np.concatenate([self._rows, np.zeros((more, len(row)), dtype=np.float32)])
            self._gaps = np.concatenate([self._gaps, np.zeros(more)])
        at = self.count if self.count < len(self._rows) else self._next
        self._rows[at], self._gaps[at] = row, gap
        self.count = min(self.count + 1, len(self._rows))
        self._next = (at + 1) % self._kept
        gaps = self._gaps[: self.count]
        self.threshold = max(self.threshold, float(gaps.mean() - gaps.std()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """What one observation showed.

    Attributes:
        statistic: the smallest Shapiro-Wilk statistic of the tests that were made; None if there was none.
        alarm: whether it fell below the threshold, now or earlier.
        queries: questions seen so far.
    """

    statistic: float | None
    alarm: bool
    queries: int


@dataclass(slots=True, kw_only=True)
class ExtractionMonitor:
    """Watches one client. Once it has raised the alarm it keeps it up.

    Memory is bounded: at most `kept` questions for each class and `window` distances. The paper's grows with the
    traffic; here the oldest questions and distances are forgotten, which a patient client can make use of.

    It holds against the synthetic questions of augmentation attacks. **It does not hold against an attacker who knows
    it**: one who asks about natural inputs alone (Knockoff) asks what honest clients ask, one who mixes honest
    questions in, or spreads over several clients, brings the distances back to normal. Figures stand in the guide.

    Attributes:
        classes: how many classes the model has, at least 2.
        watch: what is looked at.

    References: Juuti, Szyller, Marchal and Asokan 2019 (PRADA), section 5.
    """

    classes: int
    watch: Watch = field(default_factory=Watch)
    _seen: dict[int, _OfClass] = field(default_factory=dict, init=False, repr=False)
    _distances: deque[float] = field(init=False, repr=False)
    _queries: int = field(default=0, init=False)
    _since: int = field(default=0, init=False)
    _alarm: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        at_least("classes", self.classes, 2)
        self._distances = deque(maxlen=self.watch.window)

    def observe(self, x: Inputs, labels: npt.NDArray[np.int64]) -> Suspicion:
        """Take in questions and the classes that they were answered with.

        Args:
            x: questions, [rows, ...].
            labels: predicted classes, [rows]; rows with one below 0 are left out.

        Raises:
            ValueError: if there are not as many, or a class is out of range.
        """
        if len(x) != len(labels) or (len(labels) and labels.max() >= self.classes):
            raise ValueError("there must be a predicted class in range for each question")
        statistics = []
        for row, label in zip(np.asarray(x, dtype=np.float32).reshape(len(x), -1), labels, strict=True):
            self._queries += 1
            if label >= 0:
                self._take(row, int(label))
                self._since += 1
            if self._since >= self.watch.every and len(self._distances) >= self.watch.least:
                self._since = 0
                statistics.append(_normality(np.array(self._distances)))
        lowest = min(statistics) if statistics else None
        self._alarm |= lowest is not None and lowest < self.watch.threshold
        return Suspicion(statistic=lowest, alarm=self._alarm, queries=self._queries)

    def _take(self, row: npt.NDArray[np.float32], label: int) -> None:
        known = self._seen.get(label)
        if known is None:
            self._seen[label] = _OfClass(row, kept=self.watch.kept)
            return
        apart = known.rows - row
        gap = float(np.sqrt(np.einsum("ij,ij->i", apart, apart).min()))
        self._distances.append(gap)
        # Only questions that are far from all others of the class are remembered, so the set stays small (the paper's
        # growing set): farther than the mean gap of those in it, less a standard deviation.
        if gap > known.threshold:
            known.add(row, gap)


def calibrate(
    streams: Sequence[tuple[Inputs, npt.NDArray[np.int64]]],
    *,
    classes: int,
    false_alarm_rate: float,
    watch: Watch | None = None,
) -> Watch:
    """The threshold below which at most this share of honest clients fall.

    Guarantee: an honest client whose whole traffic is exchangeable with the streams raises a false alarm with
    probability at most `false_alarm_rate`, on average over the streams (Vovk, Gammerman and Shafer 2005). Clients that
    ask more than these did, or otherwise, are not covered.

    Args:
        streams: questions and predicted classes of honest clients, one pair each.
        classes: how many classes the model has.
        false_alarm_rate: in (0, 1); at least 1 / (streams + 1).
        watch: the other settings.

    Raises:
        ValueError: if there are too few streams for this rate, one is too short for a test, or too many of them keep
            equal distances themselves, as a thief's questions do.
    """
    probability("false_alarm_rate", false_alarm_rate)
    watch = Watch() if watch is None else watch
    allowed = int(np.floor(false_alarm_rate * (len(streams) + 1))) - 1
    if allowed < 0:
        raise ValueError(f"{len(streams)} streams cannot show a false alarm rate of {false_alarm_rate:g}")
    lowest = []
    for x, labels in streams:
        found = ExtractionMonitor(classes=classes, watch=watch).observe(x, labels).statistic
        if found is None:
            raise ValueError(f"a stream of {len(labels)} questions is too short for a test")
        lowest.append(found)
    threshold = min(float(np.sort(lowest)[allowed]), 1 - 1e-9)
    if threshold <= 0:
        raise ValueError("these honest clients keep equal distances and cannot be told from a thief by them")
    return Watch(threshold=threshold, least=watch.least, window=watch.window, kept=watch.kept, every=watch.every)


def _normality(distances: npt.NDArray[np.float64]) -> float:
    """The Shapiro-Wilk statistic without outliers; 0 where all distances are equal, which no honest traffic has."""
    kept = distances[np.abs(distances - distances.mean()) <= _OUTLIERS * distances.std()]
    if len(kept) < 3 or np.ptp(kept) <= _ALIKE * max(1.0, float(np.abs(kept).max())):
        return 0.0
    return float(shapiro(kept).statistic)
