"""What the service does, apart from how its messages travel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from wardline.core.errors import IntegrityError, UsageError
from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.compiled.evaluator import Evaluator
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import keys_digest, read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.layout import Kind
from wardline.he.frames.replies import write_replies
from wardline.he.frames.session import NO_MODEL, Binding, Session, unsafe_session_secret
from wardline.serve.scoring.admission import ServiceLimits
from wardline.serve.scoring.chunks import in_chunks, next_frame
from wardline.serve.scoring.messages import OpenSession, Score, SessionOpened, UploadKeys, keys_taken
from wardline.serve.scoring.meter import RowMeter
from wardline.serve.scoring.metrics import Metrics
from wardline.serve.scoring.refusals import Reason, Refusal
from wardline.serve.scoring.sessions import SessionTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many rows of a model a client may have, ever.

    Attributes:
        rows: of everybody who is not named.
        of_client: of those who are.
    """

    rows: int
    of_client: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min((self.rows, *self.of_client.values())) < 0:
            raise ValueError("an allowance is at least 0 rows")

    def __getitem__(self, client: str) -> int:
        return self.of_client.get(client, self.rows)


class Scoring:
    """A model, its clients' sessions and their accounts.

    Args:
        evaluator: the model.
        meter: the account of rows.
        allowance: how many rows a client may have.
        limits: what is taken.
        metrics: what is counted.

    Raises:
        UsageError: if one request of the model takes more memory than the service has.

    Every method names the client as its certificate does, and raises `Refusal` for what is not answered and
    `IntegrityError` for bytes that are not what they should be; the service goes on after both.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        meter: RowMeter,
        *,
        allowance: Allowance,
        limits: ServiceLimits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.limits = limits or ServiceLimits()
        self.metrics = metrics or Metrics(model=(evaluator.public.kind.name, evaluator.digest.hex()))
        self._evaluator = evaluator
        self._meter = meter
        self._allowance = allowance
        self._sessions = SessionTable(
            self.limits, keys=max(1, self.limits.keys_memory_bytes // evaluator.public.keys_bytes)
        )
        public = evaluator.public
        self._frame_limits = public.limits
        self._plan = public.plan
        self._parameters = public.plan.parameters
        # A large batch is shared by all threads, one after the other; small ones have a thread each.
        self._workers = 1 if evaluator.spreads else self.limits.threads
        self._pool = ThreadPoolExecutor(max_workers=self._workers, thread_name_prefix="evaluation")
        self.places = self._places()

    def close(self) -> None:
        """End all threads; evaluations that wait are dropped."""
        self._pool.shutdown(cancel_futures=True)

    def _places(self) -> int:
        """How many requests may be in work at once within the memory that the service has.

        A request holds a frame and its residues, at most `6 frame_bytes` while it is read, and an answer; evaluations
        take what the plan says.
        """
        limits, threads = self.limits, self.limits.threads if self._workers == 1 else 1
        computing = self._workers * self._plan.memory_bytes(threads)
        each = 6 * self._frame_limits.frame_bytes
        if computing + each > limits.memory_bytes:
            raise UsageError(
                f"a request of this model takes up to {(computing + each) / 2**30:.1f} GiB of memory, and there are "
                f"{limits.memory_bytes / 2**30:.1f}",
                hint="give the service more memory, or compile the model for fewer features",
            )
        return min(limits.requests, (limits.memory_bytes - computing) // each)

    def warm_up(self) -> None:
        """Go all the way once, so that no client waits for kernels to be compiled."""
        small = self._evaluator.narrow()
        columns, keys = small.blank()
        limits, parameters = small.public.limits, self._parameters
        session, binding = Session.generate(), Binding.fresh(model=small.digest)
        frame = write_evaluation_keys(keys, session=session, binding=binding)
        _, keys = read_evaluation_keys(frame, parameters=parameters, session=session, limits=limits)
        dropped_bits = small.public.columns.dropped_bits
        frame = write_columns(columns, session=session, binding=binding, dropped_bits=dropped_bits)
        _, columns = read_columns(frame, parameters=parameters, session=session, limits=limits)
        write_replies(small.evaluate(columns, small.ready(keys), rows=1), session=session, binding=binding)

    def describe(self) -> bytes:
        """The public model."""
        return self._evaluator.public.to_bytes()

    def open_session(self, client: str, message: bytes) -> bytes:
        """A fresh session, whose key is told to this client alone."""
        asked = OpenSession.from_bytes(message)
        self._check_model(asked.model)
        opened = self._sessions.open(client, keys=asked.keys)
        spent = self._meter.spent(client, model=self._evaluator.digest)
        return SessionOpened(
            secret=unsafe_session_secret(opened.session),
            keys_known=self._sessions.knows(client, asked.keys),
            rows_left=max(self._allowance[client] - spent, 0),
            seconds=self.limits.session_seconds,
        ).to_bytes()

    def upload_keys(self, client: str, messages: Iterator[bytes]) -> bytes:
        """Take the keys that a session was opened for, and no others."""
        opened = self._sessions.find(client, UploadKeys.from_bytes(_first(messages)).session)
        frame = self._frame(messages, Kind.EVALUATION_KEYS)
        binding, keys = read_evaluation_keys(
            frame, parameters=self._parameters, session=opened.session, limits=self._frame_limits
        )
        _end(messages)
        if binding.model != NO_MODEL or binding.parts != 1:
            raise IntegrityError("the keys' frame is one of a request's, and keys belong to none")
        self._evaluator.check_keys(keys)
        digest = keys_digest(keys)
        if digest != opened.keys:
            raise IntegrityError("these are other keys than the session was opened for")
        self._sessions.keep(client, digest, self._evaluator.ready(keys))
        return keys_taken(digest)

    def score(self, client: str, messages: Iterator[bytes], *, waited_for: Callable[[], bool]) -> Iterator[bytes]:
        """Charge a request, then answer frame by frame.

        Args:
            client: its name.
            messages: as they come.
            waited_for: whether anybody still waits for the answer.

        Guarantee: nothing is computed before all rows that the answer tells of are charged, and a request that was
        charged is never computed again while its session lives, in this process or a later one with the same account.
        """
        asked = Score.from_bytes(_first(messages))
        opened = self._sessions.find(client, asked.session)
        self._check_model(asked.model)
        keys = self._sessions.keys(opened)
        if asked.rows > self.limits.rows_per_request:
            raise Refusal(Reason.TOO_LARGE, f"a request has at most {self.limits.rows_per_request} rows")
        full = self._plan.rows
        parts = -(-asked.rows // full)
        for part in range(parts):
            binding = Binding(request=asked.request, model=asked.model, part=part, parts=parts)
            frame = self._frame(messages, Kind.COLUMNS)
            _, columns = read_columns(
                frame,
                parameters=self._parameters,
                session=opened.session,
                limits=self._frame_limits,
                binding=binding,
            )
            received = len(frame)
            del frame  # hundreds of megabytes for some models, which an evaluation needs
            self._evaluator.check_columns(columns)
            if part == 0:
                self._charge(client, asked)
            if not waited_for():
                raise Refusal(Reason.LATE, "nobody waits for the answer")
            replies = self._computed(columns, keys, rows=min(full, asked.rows - part * full))
            answer = write_replies(replies, session=opened.session, binding=binding)
            self.metrics.traffic(received=received, sent=len(answer))
            yield from in_chunks(answer)
        _end(messages)

    def _charge(self, client: str, asked: Score) -> None:
        rows = self._evaluator.charged(asked.rows)
        self._meter.charge(
            client,
            model=asked.model,
            request=asked.request,
            rows=rows,
            allowance=self._allowance[client],
        )
        self.metrics.rows(client, rows)

    def _computed(self, columns: SeededColumns, keys: Any, *, rows: int) -> tuple[Ciphertext, ...]:
        def timed() -> tuple[Ciphertext, ...]:
            start = time.perf_counter()
            threads = self.limits.threads if self._workers == 1 else 1
            found = self._evaluator.evaluate(columns, keys, rows=rows, threads=threads)
            self.metrics.evaluation(time.perf_counter() - start)
            return found

        return self._pool.submit(timed).result()

    def _check_model(self, digest: bytes) -> None:
        if digest != self._evaluator.digest:
            raise Refusal(Reason.MODEL, "another model is served here")

    def _frame(self, messages: Iterator[bytes], kind: Kind) -> memoryview:
        frame = next_frame(messages, kind, limits=self._frame_limits)
        if frame is None:
            raise IntegrityError("the stream ends before its frames have come")
        return frame


def _first(messages: Iterator[bytes]) -> bytes:
    first = next(messages, None)
    if first is None:
        raise IntegrityError("the stream is empty")
    return first


def _end(messages: Iterator[bytes]) -> None:
    if next(messages, None) is not None:
        raise IntegrityError("the stream holds more than its rows need")
