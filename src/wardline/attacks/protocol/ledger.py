"""How often a model was asked, and where asking ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class BudgetSpent(Exception):  # noqa: N818 (it ends a search, it is no fault)
    """Asking has ended: a question would exceed what may be asked, or time is up. Nothing was asked.

    Whoever catches it keeps what was found by then; that serves a service that was lost just as well.
    """


class ServiceLost(BudgetSpent):
    """The service behind a target stopped answering. The last question was counted and has no answer."""


class QueryLedger:
    """Counts what a target was asked, and refuses what exceeds its cap.

    A query is one input predicted once, whoever wants it: search, gradient or check.

    Args:
        cap: the most queries, over all attacks on this target; None for no end.

    Attributes:
        queries: inputs predicted.
        gradients: inputs differentiated; each was predicted as well.
        outages: why the service behind the target was given up, each time that it was.
    """

    def __init__(self, *, cap: int | None = None) -> None:
        if cap is not None and cap < 0:
            raise ValueError("a cap is at least 0")
        self.cap = cap
        self.queries = 0
        self.gradients = 0
        self.outages: list[str] = []
        self._limit: int | None = None
        self._deadline: float | None = None

    def left(self) -> int | None:
        """How many more queries there may be now; None for no end."""
        ends = [end for end in (self.cap, self._limit) if end is not None]
        return max(0, min(ends) - self.queries) if ends else None

    def charge(self, rows: int, *, gradients: bool = False) -> None:
        """Count a batch, before it is predicted.

        Raises:
            BudgetSpent: if the batch exceeds what is left, or the time is up; nothing is counted then.
        """
        left = self.left()
        if left is not None and rows > left:
            raise BudgetSpent(f"{rows} more queries exceed the {left} that are left")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise BudgetSpent("the time is up")
        self.queries += rows
        if gradients:
            self.gradients += rows

    @contextmanager
    def within(self, *, queries: int | None = None, seconds: float | None = None) -> Iterator[None]:
        """Allow at most so many more queries and so much more time inside the block; the tighter limits hold.

        Blocks nest: an inner one cannot extend an outer one.
        """
        before = self._limit, self._deadline
        if queries is not None:
            end = self.queries + queries
            self._limit = end if self._limit is None else min(self._limit, end)
        if seconds is not None:
            deadline = time.monotonic() + seconds
            self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        try:
            yield
        finally:
            self._limit, self._deadline = before

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Let the clock stand still inside the block; caps on queries hold on."""
        before, self._deadline = self._deadline, None
        try:
            yield
        finally:
            self._deadline = before
