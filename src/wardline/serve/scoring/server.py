"""The service over gRPC with mutual TLS."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

import grpc

from wardline.core.errors import IntegrityError, ServiceError
from wardline.serve.scoring import health
from wardline.serve.scoring.admission import Admission
from wardline.serve.scoring.certificates import TlsFiles
from wardline.serve.scoring.identity import client_name
from wardline.serve.scoring.messages import (
    CHUNK_BYTES,
    DESCRIBE,
    MOST_MESSAGE_BYTES,
    OPEN_SESSION,
    REASON_KEY,
    SCORE,
    SERVICE,
    UPLOAD_KEYS,
)
from wardline.serve.scoring.refusals import Reason, Refusal
from wardline.serve.scoring.service import Scoring

_CODES = {
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NO_DEADLINE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.IDENTITY: grpc.StatusCode.UNAUTHENTICATED,
    Reason.SESSION: grpc.StatusCode.PERMISSION_DENIED,
    Reason.KEYS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MODEL: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REPLAY: grpc.StatusCode.ALREADY_EXISTS,
    Reason.BUDGET: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.RATE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.LATE: grpc.StatusCode.CANCELLED,
}
_QUICK_CALLS = 8
"""Threads for calls that take no place among the requests in work."""


class EventLog:
    """One line of JSON for each call: method, client, outcome. Nothing that a client sent stands in it.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: str | int) -> None:
        """Write one line."""
        with self._lock:
            self._stream.write(json.dumps({"event": event, **fields}) + "\n")
            self._stream.flush()


class ScoringServer:
    """Listens as soon as it is made.

    Args:
        scoring: what it answers with.
        address: host and port; port 0 takes a free one.
        tls: the server's certificate, and the authority of its clients.
        log: of calls; None says nothing.

    Raises:
        ServiceError: if the address cannot be had, or the certificates are none.

    Guarantee: without a certificate of the authority no message is read. What a client sends may cost it rows, and is
    answered by a reason or a score; it neither ends the service nor reaches another client's session, keys or account.
    """

    def __init__(self, scoring: Scoring, address: str, *, tls: TlsFiles, log: EventLog | None = None) -> None:
        self._scoring = scoring
        self._log = log
        self._admission = Admission(scoring.limits, places=scoring.places)
        pair = tls.read()
        workers = scoring.limits.requests + _QUICK_CALLS
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=workers, thread_name_prefix="calls"),
            maximum_concurrent_rpcs=4 * workers,
            options=[
                ("grpc.max_receive_message_length", CHUNK_BYTES + MOST_MESSAGE_BYTES),
                ("grpc.max_metadata_size", 8192),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.Health()
        self._server.add_generic_rpc_handlers((self._methods(), self._health.handler()))
        credentials = grpc.ssl_server_credentials(
            [(pair.key, pair.certificate)], root_certificates=pair.authority, require_client_auth=True
        )
        try:
            self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ServiceError(
                "the service cannot listen there", where=address, hint="choose another address, or check the PEM files"
            ) from error
        self._server.start()
        self._health.serving = True

    def stop(self, *, grace_seconds: float = 5.0) -> None:
        """Take no more calls, let those that run end within the grace, then end."""
        self._health.serving = False
        self._server.stop(grace_seconds).wait()
        self._scoring.close()

    def wait(self) -> None:
        """Until the server is stopped."""
        self._server.wait_for_termination()

    def _methods(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                DESCRIBE: grpc.unary_unary_rpc_method_handler(self._describe),
                OPEN_SESSION: grpc.unary_unary_rpc_method_handler(self._open_session),
                UPLOAD_KEYS: grpc.stream_unary_rpc_method_handler(self._upload_keys),
                SCORE: grpc.stream_stream_rpc_method_handler(self._score),
            },
        )

    def _describe(self, message: bytes, context: Any) -> bytes:
        with self._answering(DESCRIBE, context):
            if message != b"{}":
                raise IntegrityError("the message must be {}")
            return self._scoring.describe()
        raise AssertionError  # unreachable: a refusal has ended the call

    def _open_session(self, message: bytes, context: Any) -> bytes:
        with self._answering(OPEN_SESSION, context) as client:
            return self._scoring.open_session(client, message)
        raise AssertionError

    def _upload_keys(self, messages: Iterator[bytes], context: Any) -> bytes:
        with self._answering(UPLOAD_KEYS, context) as client, self._admission.work(client):
            return self._scoring.upload_keys(client, messages)
        raise AssertionError

    def _score(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        with self._answering(SCORE, context) as client, self._admission.work(client):
            yield from self._scoring.score(client, messages, waited_for=context.is_active)

    @contextlib.contextmanager
    def _answering(self, method: str, context: Any) -> Iterator[str]:
        client = "?"
        try:
            client = client_name(context.auth_context())
            self._admission.call(client)
            self._check_deadline(context)
            yield client
        except Refusal as refusal:
            self._end(method, client, refusal.reason, refusal.message, context)
        except IntegrityError as error:
            self._end(method, client, Reason.MALFORMED, str(error), context)
        except (grpc.RpcError, GeneratorExit):
            self._note(method, client, Reason.LATE.value)
            raise
        except Exception as error:  # noqa: BLE001 (one call's failure is not the service's)
            # The last line of defence: the client learns nothing of it, the log no more than the kind.
            self._note(method, client, f"internal {type(error).__name__}")
            context.abort(grpc.StatusCode.INTERNAL, "the service failed; it goes on")
        else:
            self._note(method, client, "ok")

    def _check_deadline(self, context: Any) -> None:
        # gRPC ends a call at the client's deadline by itself, so it is enough to see that there is a near one.
        left, most = context.time_remaining(), self._scoring.limits.longest_seconds
        if left is None or left > most:
            raise Refusal(Reason.NO_DEADLINE, f"a call needs a deadline within {most:g} seconds")

    def _end(self, method: str, client: str, reason: Reason, message: str, context: Any) -> None:
        self._note(method, client, reason.value)
        context.set_trailing_metadata(((REASON_KEY, reason.value),))
        context.abort(_CODES[reason], message)

    def _note(self, method: str, client: str, outcome: str) -> None:
        self._scoring.metrics.call(method, outcome)
        if self._log is not None:
            self._log("call", method=method, client=client, outcome=outcome)
