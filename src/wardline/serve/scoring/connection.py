"""A client's connection: it carries encrypted columns to the service and answers back, and holds no secret key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

import grpc

from wardline.core.errors import BudgetError, IntegrityError, ServiceError
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKeys
from wardline.he.compiled.public_model import MOST_PUBLIC_BYTES, PublicModel
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import keys_digest, write_evaluation_keys
from wardline.he.frames.layout import Kind
from wardline.he.frames.replies import read_replies
from wardline.he.frames.session import Binding, Session
from wardline.serve.scoring.certificates import TlsFiles
from wardline.serve.scoring.chunks import in_chunks, next_frame
from wardline.serve.scoring.messages import (
    DESCRIBE,
    OPEN_SESSION,
    REASON_KEY,
    SCORE,
    SERVICE,
    UPLOAD_KEYS,
    OpenSession,
    Score,
    SessionOpened,
    UploadKeys,
    read_keys_taken,
)
from wardline.serve.scoring.refusals import Reason

_Answer = TypeVar("_Answer")

_LONGEST_PAUSE = 5.0  # seconds

_HINTS = {
    Reason.NO_DEADLINE.value: "ask for fewer seconds",
    Reason.IDENTITY.value: "use a client certificate of the service's authority",
    Reason.MODEL.value: "fetch the public model again, and ask its owner whether the change was meant",
    Reason.REPLAY.value: "the answer was lost after its rows were charged; encrypt them anew for a new request",
    Reason.TOO_LARGE.value: "send fewer rows at a time",
    Reason.RATE.value: "wait, and send more rows in one call",
    Reason.BUSY.value: "wait, and try again",
}


class ScoringConnection:
    """Speaks with a service under mutual TLS.

    Args:
        address: host and port; the host must stand in the server's certificate.
        tls: the client's certificate and key, and the authority of the server.
        model: digest of the public model that is expected, 64 hexadecimal digits; None takes what the service says.
        seconds: that a call may take.
        retries: how often a call is tried again when the service is away or busy.
        pause: waits for so many seconds between tries.

    A retry has the name of the request that it repeats. The service charges a name once, so that a retry never costs
    rows twice; if it was the answer that was lost, the rows are lost with it, and a `ServiceError` says so.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: TlsFiles,
        model: str | None = None,
        seconds: float = 60.0,
        retries: int = 2,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        pair = tls.read()
        self._channel = grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(pair.authority, pair.key, pair.certificate),
            options=[("grpc.max_receive_message_length", MOST_PUBLIC_BYTES + 4096)],
        )
        self._address = address
        self._expected = model
        self._seconds = seconds
        self._retries = retries
        self._pause = pause
        self._public: PublicModel | None = None
        self._sessions: dict[bytes, Session] = {}  # by digest of keys
        self._sent = self._received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    @property
    def public(self) -> PublicModel:
        """The model that is served, asked for once.

        Raises:
            ServiceError: if the service does not answer.
            IntegrityError: if it serves another model than was expected, or what it says is no model.
        """
        if self._public is None:
            call = self._channel.unary_unary(f"/{SERVICE}/{DESCRIBE}")
            found = PublicModel.from_bytes(
                self._patiently(lambda: call(b"{}", timeout=self._seconds)), where=self._address
            )
            if self._expected is not None and found.digest.hex() != self._expected:
                raise IntegrityError(
                    f"the service has the model {found.digest.hex()[:16]}..., which is not the one that is expected",
                    where=self._address,
                    hint="ask the model's owner for the digest of the current one",
                )
            self._public = found
        return self._public

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """Bytes of encrypted rows that were sent and of answers that came, up to now, tries that failed included."""
        return self._sent, self._received

    def rows_left(self, keys: SeededKeys) -> int:
        """How many rows of the model this client may still have; opens a session.

        Raises:
            ServiceError: if the service does not answer or refuses.
        """
        return self._open(keys).rows_left

    def exchange(self, columns: Sequence[SeededColumns], keys: SeededKeys, *, rows: int) -> list[list[Ciphertext]]:
        """Have encrypted rows scored, as one request.

        Args:
            columns: batches of rows; all but the last one full.
            keys: the client's evaluation keys, uploaded if the service has not got them.
            rows: in all batches; what is charged for them says `PublicModel.charged`.

        Returns:
            For each batch the ciphertexts of its outputs.

        Raises:
            ServiceError: if the service does not answer or refuses.
            BudgetError: if it has too few rows left for this client.
            IntegrityError: if the answer is not one to this request.
            ValueError: if the batches do not fit the rows.
        """
        public = self.public
        if rows < 1 or len(columns) != public.batches(rows):
            raise ValueError(f"{rows} rows need {public.batches(rows)} batches")
        asked = Binding.fresh(model=public.digest, parts=len(columns))

        def once() -> list[list[Ciphertext]]:
            session = self._session(keys)
            bindings = [
                Binding(request=asked.request, model=asked.model, part=part, parts=asked.parts)
                for part in range(asked.parts)
            ]
            header = Score(session=session.id, model=asked.model, request=asked.request, rows=rows).to_bytes()

            def messages() -> Iterator[bytes]:
                yield header
                for one, binding in zip(columns, bindings, strict=True):
                    frame = write_columns(
                        one, session=session, binding=binding, dropped_bits=public.columns.dropped_bits
                    )
                    self._sent += len(frame)
                    yield from in_chunks(frame)

            call = self._channel.stream_stream(f"/{SERVICE}/{SCORE}")
            answers = call(messages(), timeout=self._seconds)
            found = [self._reply(answers, session, binding) for binding in bindings]
            if next(answers, None) is not None:
                raise IntegrityError("the service answers more than it was asked", where=self._address)
            return found

        return self._patiently(once)

    def _reply(self, answers: Iterator[bytes], session: Session, binding: Binding) -> list[Ciphertext]:
        public = self.public
        frame = next_frame(answers, Kind.REPLIES, limits=public.limits)
        if frame is None:
            raise IntegrityError("the answer ends too early", where=self._address)
        self._received += len(frame)
        _, found = read_replies(
            frame, parameters=public.plan.parameters, session=session, limits=public.limits, binding=binding
        )
        public.check_replies(found, where=self._address)
        return found

    def _session(self, keys: SeededKeys) -> Session:
        digest = keys_digest(keys)
        if digest not in self._sessions:
            opened = self._open(keys)
            session = Session(opened.secret)
            if not opened.keys_known:
                self._upload(keys, digest, session)
            self._sessions[digest] = session
        return self._sessions[digest]

    def _open(self, keys: SeededKeys) -> SessionOpened:
        message = OpenSession(model=self.public.digest, keys=keys_digest(keys)).to_bytes()
        call = self._channel.unary_unary(f"/{SERVICE}/{OPEN_SESSION}")
        return SessionOpened.from_bytes(self._patiently(lambda: call(message, timeout=self._seconds)))

    def _upload(self, keys: SeededKeys, digest: bytes, session: Session) -> None:
        frame = write_evaluation_keys(keys, session=session, binding=Binding.fresh())

        def messages() -> Iterator[bytes]:
            yield UploadKeys(session=session.id).to_bytes()
            yield from in_chunks(frame)

        call = self._channel.stream_unary(f"/{SERVICE}/{UPLOAD_KEYS}")
        if read_keys_taken(self._patiently(lambda: call(messages(), timeout=self._seconds))) != digest:
            raise IntegrityError("the service took other keys than were sent", where=self._address)

    def _patiently(self, attempt: Callable[[], _Answer]) -> _Answer:
        """Try again where that is safe: everything but a request is free of effects, and a request keeps its name.

        A busy service is waited for as long as a call may take, everything else a few times.
        """
        tried, waited = 0, 0.0
        while True:
            try:
                return attempt()
            except grpc.RpcError as error:
                reason = _reason(error)
                if reason in (Reason.SESSION.value, Reason.KEYS.value):
                    self._sessions.clear()  # the service was restarted, or the session is over
                elif reason not in (Reason.RATE.value, Reason.BUSY.value) and not _away(error):
                    raise self._explained(error, reason) from None
                patient = reason == Reason.BUSY.value and waited < self._seconds
                if tried >= self._retries and not patient:
                    raise self._explained(error, reason) from None
            pause = min(0.2 * 4 ** min(tried, 8), _LONGEST_PAUSE)  # a float holds no 4^512
            self._pause(pause)
            waited += pause
            tried += 1

    def _explained(self, error: Any, reason: str) -> Exception:
        said = (error.details() or "").splitlines()[0][:300] if error.details() else error.code().name.lower()
        if reason == Reason.BUDGET.value:
            return BudgetError(
                f"the service has no more rows for this client: {said}",
                where=self._address,
                hint="ask the model's owner for more",
            )
        hint = _HINTS.get(reason, "check the address, the certificates, and whether the service runs")
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            hint = "allow a call more seconds: a full batch of a network takes its time"
        return ServiceError(f"the scoring service refuses: {said}" if reason else said, where=self._address, hint=hint)


def _reason(error: Any) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == REASON_KEY:
            return str(value)
    return ""


def _away(error: Any) -> bool:
    return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
