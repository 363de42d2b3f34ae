"""One conversation with a service over HTTP: JSON out, JSON in, patience with limits, and a record of what happened."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import io
import ipaddress
import json
import os
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from wardline.core import ServiceError, UsageError
from wardline.core.checks import at_least, positive

_FIRST_WAIT_SECONDS = 0.5  # doubled with each retry
_PIECE_BYTES = 1 << 16
_AGAIN = {408, 500, 502, 504}
_BUSY = {429, 503}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """How much patience there is with a service.

    Attributes:
        timeout_seconds: how long a connection, and then its answer, may take.
        batch: inputs a request, at least 1.
        retries: how often a request is repeated that was refused for load, broke off or timed out.
        longest_wait_seconds: the longest wait before a retry. A service that asks for more is not asked again.
        patience: how many requests in a row may stay unanswered, retries included, before all is given up.
        max_answer_bytes: how large an answer may be.
    """

    timeout_seconds: float = 10.0
    batch: int = 64
    retries: int = 4
    longest_wait_seconds: float = 30.0
    patience: int = 3
    max_answer_bytes: int = 1 << 26

    def __post_init__(self) -> None:
        positive("timeout_seconds", self.timeout_seconds)
        positive("longest_wait_seconds", self.longest_wait_seconds)
        for name, least in (("batch", 1), ("retries", 0), ("patience", 1), ("max_answer_bytes", 1)):
            at_least(name, getattr(self, name), least)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStatistics:
    """What a service did.

    Attributes:
        requests: how many were sent, retries included.
        retries: how many of them repeated another.
        refused: answers of 429 or 503: a rate limit, or too much load.
        timeouts: requests without an answer in time.
        failed: connections that broke, and answers of 408, 500, 502 or 504.
        nonsense: answers that are no JSON, too large, or not of the form that was expected.
        unanswered: inputs that stayed without an answer.
    """

    requests: int = 0
    retries: int = 0
    refused: int = 0
    timeouts: int = 0
    failed: int = 0
    nonsense: int = 0
    unanswered: int = 0

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.retries} of them retries: {self.refused} refused for load, "
            f"{self.timeouts} timed out, {self.failed} failed, {self.nonsense} answered with nonsense; "
            f"{self.unanswered} inputs stayed unanswered"
        )


class Unanswered(Exception):  # noqa: N818 (whoever asked decides whether it is an error)
    """A request stayed without an answer that can be used."""


class TooLarge(Exception):  # noqa: N818
    """The service takes smaller requests only."""


class Exchange:
    """A connection that is kept and used again, to one host.

    Redirects are not followed, certificates are verified, proxies are not used. A token goes into one header, to an
    https address or to this machine alone, and never into a message.

    Args:
        url: of the service; a query is sent along and never shown.
        token_env: the environment variable that holds a bearer token; empty for none.
        settings: how much patience there is.
        sleep: waits for so many seconds.

    Raises:
        UsageError: for an address that cannot be used, or a token that is missing or would be sent in the clear.
    """

    def __init__(
        self,
        url: str,
        *,
        token_env: str = "",
        settings: RemoteSettings,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
            self._host.encode("idna")
        except ValueError:
            raise UsageError("this is no address", hint="it looks like https://host:port/path") from None
        if not (parts.path + parts.query).isascii() or not (parts.path + parts.query).isprintable() or " " in url:
            raise UsageError(
                "the path or query of this address holds a space or a sign beyond ASCII",
                where=self._host,
                hint="write it as percent and two hexadecimal digits",
            )
        if parts.scheme not in ("http", "https") or not self._host:
            raise UsageError("this is no address of a service", hint="it looks like https://host:port/path")
        if "@" in parts.netloc:
            raise UsageError(
                "an address must not hold a name and password", where=self._host, hint="use a token in the environment"
            )
        self.path = parts.path or "/"
        self.place = urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        self._query = f"?{parts.query}" if parts.query else ""
        self._secure = parts.scheme == "https"
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token_env:
            self._headers["Authorization"] = f"Bearer {self._token(token_env)}"
        self._settings = settings
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self.statistics = RemoteStatistics()

    def get(self, path: str) -> Any:
        """The JSON that stands at a path; see `post`."""
        return self._patiently("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """The JSON that answers to a JSON body.

        Raises:
            Unanswered: if no usable answer came after all retries.
            TooLarge: if the service says that the request is too large.
            ServiceError: if it refuses such requests for good.
        """
        return self._patiently("POST", path, json.dumps(body, allow_nan=False).encode())

    def count(self, **more: int) -> None:
        """Add to the statistics."""
        known = self.statistics
        self.statistics = replace(known, **{name: getattr(known, name) + value for name, value in more.items()})

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _patiently(self, method: str, path: str, body: bytes | None) -> Any:
        reason = ""
        for attempt in range(self._settings.retries + 1):
            wait = min(_FIRST_WAIT_SECONDS * 2.0**attempt, self._settings.longest_wait_seconds)
            try:
                status, headers, content = self._once(method, path, body)
            except TimeoutError:
                self.close()
                self.count(timeouts=1)
                reason = "it does not answer in time"
            except ssl.SSLCertVerificationError as error:
                raise ServiceError(
                    f"the service's certificate is not trusted: {error.verify_message.lower()}",
                    where=self.place,
                    hint="check the address; name a private authority by SSL_CERT_FILE",
                ) from None
            except (OSError, http.client.HTTPException) as error:
                self.close()
                self.count(failed=1)
                said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
                reason = f"the connection failed: {said.lower()}"
            else:
                if status == 200:
                    return self._parsed(content)
                self._judge(status)
                reason = f"it answers {status}"
                if status in _BUSY:
                    self.count(refused=1)
                    asked = _retry_after(headers.get("Retry-After"))
                    if asked is not None and asked > self._settings.longest_wait_seconds:
                        raise Unanswered(f"it asks to wait for {asked:.0f} seconds")
                    wait = wait if asked is None else asked
                else:
                    self.count(failed=1)
            if attempt < self._settings.retries:
                self.count(retries=1)
                self._sleep(wait)
        raise Unanswered(reason)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request. A kept connection that the service has closed meanwhile is opened anew without a word."""
        kept = self._connection is not None
        self.count(requests=1)
        try:
            return self._send(method, path, body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            if not kept:
                raise
            self.count(requests=1)
            return self._send(method, path, body)

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            timeout = self._settings.timeout_seconds
            if self._secure:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=timeout, context=ssl.create_default_context()
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
            self._connection.response_class = _InTime
        if self._connection.sock is not None:  # the last answer left it with what time it had to spare
            self._connection.sock.settimeout(self._settings.timeout_seconds)
        self._connection.request(method, path + self._query, body=body, headers=self._headers)
        answer = self._connection.getresponse()
        content = bytearray()
        while piece := answer.read1(_PIECE_BYTES):
            content += piece
            if len(content) > self._settings.max_answer_bytes:
                self.close()  # the rest is not wanted
                return answer.status, answer.headers, bytes(content)
        if answer.length:  # read1 ends where the connection does, and says nothing
            raise http.client.IncompleteRead(b"", answer.length)
        answer.read()  # nothing is left, but only this tells http.client that the connection is free again
        if answer.will_close:
            self.close()
        return answer.status, answer.headers, bytes(content)

    def _judge(self, status: int) -> None:
        """Raise unless asking again may help."""
        if status == 413:
            raise TooLarge
        if status in (401, 403):
            raise ServiceError(
                f"the service answers {status}: it does not let us in",
                where=self.place,
                hint="name the environment variable that holds a valid token",
            )
        if 300 <= status < 400:
            raise ServiceError(
                f"the service answers {status}: it redirects, which is not followed",
                where=self.place,
                hint="give the address that it redirects to",
            )
        if status not in _AGAIN | _BUSY:
            raise ServiceError(
                f"the service answers {status} to such a request",
                where=self.place,
                hint="check the address, and the shape and bounds of the inputs",
            )

    def _parsed(self, content: bytes) -> Any:
        if len(content) > self._settings.max_answer_bytes:
            self.count(nonsense=1)
            raise Unanswered(f"its answer is larger than {self._settings.max_answer_bytes} bytes")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            self.count(nonsense=1)
            raise Unanswered("its answer is no JSON") from None

    def _token(self, variable: str) -> str:
        token = os.environ.get(variable, "")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(
                f"the environment variable {variable} holds no token", where=self.place, hint=f"set {variable}"
            )
        if not self._secure and not _is_this_machine(self._host):
            raise UsageError(
                "a token would be sent in the clear", where=self.place, hint="use https, or leave the token out"
            )
        return token


class _InTime(http.client.HTTPResponse):
    """An answer that must have come whole by the time that a single read may take.

    A socket's timeout is for each read by itself: a service that drips its status line, its headers, its body or what
    comes after would never end.
    """

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        # The library's own file is closed with this one, and keeps the socket open until then.
        self.fp = io.BufferedReader(_Deadline(sock, self.fp))


class _Deadline(io.RawIOBase):
    def __init__(self, sock: socket.socket, file: io.BufferedReader) -> None:
        self._sock, self._file = sock, file
        self._until = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._file.raw.readinto(buffer) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def _is_this_machine(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _retry_after(value: str | None) -> float | None:
    """The seconds that a service asks to wait: a number, or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal() and len(value) < 12:
        return float(value)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        when = email.utils.parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)  # "-0000" says UTC and no more
        return max(0.0, when.timestamp() - time.time())
    return None
