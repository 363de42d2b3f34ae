"""Attacks that look for the nearest input of another class: how they run, and what becomes of the distances."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from wardline.attacks.evasion.in_ball import InBall
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.models.predictor import Inputs

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

Sizes = npt.NDArray[np.float64]


class Search(Protocol):
    """The nearest finds in one batch so far."""

    def sizes(self) -> Sizes:
        """How far each row's nearest find is: [rows], infinite where there is none."""

    def confirm(self) -> None:
        """Drop the finds that the model as it is deployed does not misread."""


S = TypeVar("S", bound=Search)


class SeeksNearest(InBall, ABC, Generic[S]):
    """An attack that makes distances small; within its ball a find counts as a success."""

    __slots__ = ()

    @abstractmethod
    def begin(self, target: Target, batch: Batch) -> S:
        """An empty search, which writes finds within the ball into `batch.best` at once."""

    @abstractmethod
    def search(self, found: S) -> tuple[Check, ...]:
        """Fill the search; what speaks for or against its having worked."""

    @abstractmethod
    def told(self, searches: Sequence[S], distance: Sizes, result: AttackResult) -> dict[str, object]:
        """What `details` gains, of all batches together; `distance` is that of every example that was attacked."""

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search, and leave what lies within the ball in `batch.best`."""
        return self.search(self.begin(target, batch))

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack these examples and add the distances to what the driver tells.

        `examples` gains ``distance``: [rows], NaN for what was not attacked, infinite where nothing was found. Every
        distance is that of an input that the model as deployed was asked about and misread; where the budget ended
        first, it is that of the search alone, and the result's checks say so. `details` gains what `told` says.
        """
        recorder = _Recorder(attack=self)
        result = attack_examples(recorder, target, data, budget=budget, seed=seed)
        distance = np.concatenate([np.empty(0), *(one.sizes() for one in recorder.searches)])
        every = np.full(len(data), np.nan)
        every[np.flatnonzero(result.examples["right"])[: len(distance)]] = distance
        return dataclasses.replace(
            result,
            details={**result.details, **self.told(recorder.searches, distance, result)},
            examples={**result.examples, "distance": every},
        )


def quantile(values: Sizes, q: float) -> float:
    """One of the values; not interpolated, because between a number and infinity there is nothing."""
    return float(np.quantile(values, q, method="lower"))


def quantiles(values: Sizes) -> dict[str, float | None]:
    """Some of them for tables, None where they are infinite."""
    return {f"{q:g}": if_finite(quantile(values, q)) for q in _QUANTILES}


def if_finite(value: float) -> float | None:
    """None for an infinite one, which JSON has no number for."""
    return value if np.isfinite(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder(Generic[S]):
    """Passes everything on to the attack and keeps its searches, also one that the budget ended."""

    attack: SeeksNearest[S]
    searches: list[S] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.attack.id

    @property
    def needs(self) -> Access:
        return self.attack.needs

    @property
    def paper(self) -> str:
        return self.attack.paper

    def threat(self, target: Target) -> Threat:
        return self.attack.threat(target)

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        return self.attack.within(changed, original)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        found = self.attack.begin(target, batch)
        self.searches.append(found)
        checks = self.attack.search(found)
        found.confirm()
        return checks
