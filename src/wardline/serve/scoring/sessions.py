"""Sessions and keys, each of one client, whom nobody else's can be mistaken for."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wardline.he.frames.session import Session
from wardline.serve.scoring.admission import ServiceLimits
from wardline.serve.scoring.refusals import Reason, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session of a client.

    Attributes:
        client: whose it is.
        session: its name and key.
        keys: digest of the evaluation keys that it computes with.
        ends: when, by the clock of the table.
    """

    client: str
    session: Session
    keys: bytes
    ends: float


class SessionTable:
    """Open sessions and kept keys, in memory alone: a restart ends all of them, and clients open new ones.

    Args:
        limits: how many.
        keys: sets of evaluation keys that are kept of all clients; None takes as many as sessions.
        now: a clock that never goes back, in seconds.

    Guarantee: a session is found by the client that opened it and nobody else, whatever name is asked for, and the
    refusal does not tell whether another one has it; keys are kept under their client and their digest, so one client
    never computes with another's.
    """

    def __init__(
        self, limits: ServiceLimits, *, keys: int | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._most_keys = limits.sessions if keys is None else min(keys, limits.sessions)
        self._now = now
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, OpenedSession] = OrderedDict()
        self._keys: OrderedDict[tuple[str, bytes], Any] = OrderedDict()

    def open(self, client: str, *, keys: bytes) -> OpenedSession:
        """A new session; the client's oldest ends if it has too many.

        Raises:
            Refusal: if there are too many of all clients.
        """
        now = self._now()
        opened = OpenedSession(
            client=client, session=Session.generate(), keys=keys, ends=now + self._limits.session_seconds
        )
        with self._lock:
            for name in [name for name, one in self._sessions.items() if one.ends <= now]:
                del self._sessions[name]
            own = [name for name, one in self._sessions.items() if one.client == client]
            for name in own[: max(0, len(own) + 1 - self._limits.sessions_per_client)]:
                del self._sessions[name]
            if len(self._sessions) >= self._limits.sessions:
                raise Refusal(Reason.BUSY, "too many sessions are open")
            self._sessions[opened.session.id] = opened
        return opened

    def find(self, client: str, name: bytes) -> OpenedSession:
        """A client's session by its name.

        Raises:
            Refusal: if the client has none of this name.
        """
        with self._lock:
            found = self._sessions.get(name)
        if found is None or found.client != client or found.ends <= self._now():
            raise Refusal(Reason.SESSION, "there is no such session of this client")
        return found

    def keep(self, client: str, digest: bytes, keys: Any) -> None:
        """Keep keys for this and later sessions of a client."""
        with self._lock:
            self._keys[client, digest] = keys
            self._keys.move_to_end((client, digest))
            own = [name for name in self._keys if name[0] == client]
            for name in own[: max(0, len(own) - self._limits.keys_per_client)]:
                del self._keys[name]
            while len(self._keys) > self._most_keys:
                self._keys.popitem(last=False)

    def knows(self, client: str, digest: bytes) -> bool:
        """Whether a client's keys are kept."""
        with self._lock:
            return (client, digest) in self._keys

    def keys(self, opened: OpenedSession) -> Any:
        """The keys of a session.

        Raises:
            Refusal: if they have to be uploaded.
        """
        with self._lock:
            found = self._keys.get((opened.client, opened.keys))
            if found is None:
                raise Refusal(Reason.KEYS, "the session's keys have to be uploaded first")
            self._keys.move_to_end((opened.client, opened.keys))
        return found
