"""What one data set has spent, kept up to date row by row, and whether a further release keeps to a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wardline.core.errors import BudgetError
from wardline.dp.accounting import DpEvent, compose
from wardline.dp.accounting.filters import ROUNDING, Consumed, PrivacyFilter
from wardline.dp.accounting.pld import compose_coarsely
from wardline.dp.accounting.renyi import ORDERS, conversion, failing, pure, renyi
from wardline.dp.ledger.release import Limit, PlannedRelease


class Account:
    """The releases about one data set."""

    def __init__(self) -> None:
        self.unit = ""
        self.limit: Limit | None = None
        self.releases: list[str] = []
        self.events: list[DpEvent] = []
        self._sums = _Sums()
        self._consumed: dict[tuple[float, float], tuple[int, Consumed]] = {}

    def add(self, release_id: str, unit: str, events: Sequence[DpEvent]) -> None:
        """Take note of a charge."""
        self.unit = unit
        self.releases.append(release_id)
        self.events.extend(events)
        self._sums.add(events)

    def copy(self) -> Account:
        """The account as it is now, whatever is added later."""
        other = Account()
        other.unit, other.limit, other.releases = self.unit, self.limit, list(self.releases)
        other.events = list(self.events)
        return other

    def admits(self, release: PlannedRelease, limit: Limit) -> bool | None:
        """Whether a further release keeps to a limit, as far as sums tell; None if it has to be composed.

        A release that is refused stays refused: what is spent never becomes less.
        """
        if limit.adaptive and self.releases:
            filtered = PrivacyFilter(epsilon=limit.epsilon, delta=limit.delta)
            return filtered.admits(self._so_far(filtered) + filtered.consumed(release.events))
        # The first release is fixed before anything is seen, so its exact cost counts even under a filter.
        return True if self._sums.epsilon(release.events, delta=limit.delta) <= _most(limit) else None

    def composes(self, release: PlannedRelease, limit: Limit) -> bool:
        """Whether the exact composition with a further release keeps to a limit.

        Raises:
            ValueError: if the limit's delta is too small to be accounted for.
        """
        together = [*self.events, *release.events]
        return compose_coarsely(together, delta=limit.delta) <= _most(limit) or compose(
            together, delta=limit.delta
        ) <= _most(limit)

    def refusal(self, release: PlannedRelease, limit: Limit) -> BudgetError:
        """The error for a release that a limit does not admit."""
        together = [*self.events, *release.events]
        exact = compose(together, delta=limit.delta)
        earlier = f"with {len(self.releases)} earlier releases, this one"
        of = f"its limit of {limit.epsilon:g}"
        if limit.adaptive and self.releases and exact <= _most(limit):
            filtered = PrivacyFilter(epsilon=limit.epsilon, delta=limit.delta)
            needed = filtered.epsilon_for(self._so_far(filtered) + filtered.consumed(release.events))
            return BudgetError(
                f"{earlier} would take the data set's filter to epsilon {needed:.4g} at delta {limit.delta:g}, "
                f"above {of}; had all parameters been fixed before any result was seen, it would be {exact:.4g}",
                where=release.dataset,
                hint="do not release; or, if nobody chose a parameter after seeing a result, say so: "
                "adaptive=False, on the command line --fixed-plan",
            )
        return BudgetError(
            f"{earlier} would bring the data set to epsilon {exact:.4g} at delta {limit.delta:g}, above {of}",
            where=release.dataset,
            hint="do not release; or decide anew, on record, what the limit is",
        )

    def _so_far(self, filtered: PrivacyFilter) -> Consumed:
        key = (filtered.epsilon, filtered.delta)
        count, consumed = self._consumed.get(key, (0, Consumed()))
        if count < len(self.events):
            consumed += filtered.consumed(self.events[count:])
            if len(self._consumed) > 64:  # whoever states another limit each time shall not fill the memory
                self._consumed.clear()
            self._consumed[key] = (len(self.events), consumed)
        return consumed


def _most(limit: Limit) -> float:
    """The epsilon that a limit allows; see `ROUNDING`."""
    return limit.epsilon * (1 + ROUNDING)


class _Sums:
    """Sums that bound epsilon at once, so that composing is left to releases that come near the limit."""

    def __init__(self) -> None:
        self.failing = self.pure = 0.0
        self.renyi = [0.0] * len(ORDERS)
        self.steps = 0

    def add(self, events: Sequence[DpEvent]) -> None:
        for event in events:
            self.steps += event.steps
            self.failing += failing(event)
            self.pure += pure(event)
            for index, order in enumerate(ORDERS):
                self.renyi[index] += renyi(event, order)

    def epsilon(self, more: Sequence[DpEvent], *, delta: float) -> float:
        """An upper bound on the composition of all events and some more."""
        left = (delta - self.failing - math.fsum(failing(event) for event in more)) * (1 - 1e-9)
        if left <= 0:
            return math.inf
        best = self.pure + math.fsum(pure(event) for event in more)
        for order, so_far in zip(ORDERS, self.renyi, strict=True):
            best = min(best, so_far + math.fsum(renyi(event, order) for event in more) + conversion(order, left))
        return max(0.0, best) * (1 + 1e-9)
