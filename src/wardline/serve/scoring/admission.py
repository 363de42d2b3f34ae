"""How much is taken at once: calls a second of a client, requests in work, and the threads that compute them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wardline.core.checks import at_least, positive
from wardline.serve.scoring.refusals import Reason, Refusal

_MOST_BUCKETS = 4096
_LONGEST_SESSION = 24 * 3600  # a seventh of the time for which the meter knows a request by its name


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """What a service takes at most.

    Attributes:
        rows_per_request: in one request.
        requests: in work at once, of all clients.
        requests_per_client: in work at once, of one.
        calls_per_second: of one client, in the long run.
        burst: calls that it may have saved up.
        sessions_per_client: open at once; the oldest makes room for a new one.
        sessions: open at once, of all clients.
        session_seconds: after which a session ends.
        keys_per_client: sets of evaluation keys that are kept; the one used longest ago makes room.
        longest_seconds: that a call may ask for. A call without a deadline is refused.
        threads: that compute.
        memory_bytes: of requests in work and evaluations together.
        keys_memory_bytes: of all kept keys together; those used longest ago make room.

    Memory: a request in work holds one frame, its residues and one answer, for which six times the model's largest
    frame is set aside; evaluations take what the plan's `memory_bytes` says, once for a model whose batches are shared
    by all threads and once for each thread otherwise. So many requests are in work at once as `memory_bytes` has room
    for, and no more than `requests`. Kept keys come on top.
    """

    rows_per_request: int = 1 << 20
    requests: int = 16
    requests_per_client: int = 4
    calls_per_second: float = 50.0
    burst: int = 100
    sessions_per_client: int = 4
    sessions: int = 256
    session_seconds: int = 3600
    keys_per_client: int = 4
    longest_seconds: float = 600.0
    threads: int = 1
    memory_bytes: int = 8 << 30
    keys_memory_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if name in ("calls_per_second", "longest_seconds"):
                positive(name, value)
            else:
                at_least(name, value, 1)
        if self.session_seconds > _LONGEST_SESSION:
            raise ValueError(
                f"a session lives for {_LONGEST_SESSION} seconds at most, less than a request is remembered"
            )


class Admission:
    """Who may go on, and who has to come again.

    Args:
        limits: what is taken.
        places: requests in work at once; None takes what the limits say.
        now: a clock that never goes back, in seconds.
    """

    def __init__(
        self, limits: ServiceLimits, *, places: int | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._places = limits.requests if places is None else places
        self._now = now
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # calls left, at what time
        self._working: Counter[str] = Counter()

    def call(self, client: str) -> None:
        """Count a call.

        Raises:
            Refusal: if the client calls too often.
        """
        limits, now = self._limits, self._now()
        with self._lock:
            left, at = self._buckets.pop(client, (float(limits.burst), now))
            left = min(float(limits.burst), left + (now - at) * limits.calls_per_second)
            # A refused call costs nothing, so that a client that waits gets through.
            self._buckets[client] = (left - 1 if left >= 1 else left, now)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(last=False)
        if left < 1:
            raise Refusal(Reason.RATE, f"more than {limits.calls_per_second:g} calls a second")

    @contextlib.contextmanager
    def work(self, client: str) -> Iterator[None]:
        """Keep a place for a request while it is in work.

        Raises:
            Refusal: if there is none.
        """
        with self._lock:
            if self._working.total() >= self._places:
                raise Refusal(Reason.BUSY, f"{self._places} requests are in work")
            if self._working[client] >= self._limits.requests_per_client:
                raise Refusal(Reason.BUSY, f"{self._limits.requests_per_client} requests of this client are in work")
            self._working[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._working[client] -= 1
                if not self._working[client]:
                    del self._working[client]

    @property
    def working(self) -> int:
        """Requests in work."""
        with self._lock:
            return self._working.total()
