"""How many questions each client may ask: the plainest defence against copying, and the one whose effect is certain."""

from __future__ import annotations

import threading

from wardline.core import BudgetError
from wardline.core.checks import at_least


class ClientBudgets:
    """Counts each client's questions and refuses those beyond its budget.

    Guarantee: no client gets more than `queries` answers, also if it asks from several threads at once. A person with
    several accounts is several clients: k accounts get k budgets, so an account must cost something.

    Args:
        queries: for each client, at least 1.

    Raises:
        ValueError: if there is none.
    """

    def __init__(self, *, queries: int) -> None:
        self.queries = at_least("queries", queries, 1)
        self._spent: dict[str, int] = {}
        self._lock = threading.Lock()

    def charge(self, client: str, rows: int) -> None:
        """Count so many questions, all or none of them.

        Raises:
            ValueError: for less than none.
            BudgetError: if the client has fewer left; nothing is counted then.
        """
        at_least("rows", rows, 0)
        with self._lock:
            spent = self._spent.get(client, 0)
            if spent + rows > self.queries:
                raise BudgetError(
                    f"{rows} questions exceed the {self.queries - spent} that this client has left",
                    hint="ask about fewer rows, or have the budget raised by whoever runs the model",
                )
            self._spent[client] = spent + rows

    def left(self, client: str) -> int:
        """How many questions a client has left."""
        with self._lock:
            return self.queries - self._spent.get(client, 0)
