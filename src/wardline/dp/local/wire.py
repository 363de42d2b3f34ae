"""The serial form of reports, and how a server reads what strangers send.

A report is one version byte (1), the first 4 bytes of SHA-256 of the mechanism's scheme, and a payload of fixed length.
The digest keeps reports of another mechanism, domain or epsilon apart: counted together they would bias an estimate and
nobody would notice. It is no authentication: whoever knows the scheme can send any report, or many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from wardline.core import DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    from jaxtyping import Bool, Int64, UInt8

VERSION = 1
HEADER_BYTES = 5


@runtime_checkable
class Wire(Protocol):
    """What the serial form needs to know of a mechanism."""

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""

    @property
    def report_bytes(self) -> int:
        """The length of one report, header included."""

    def pack(self, reports: npt.NDArray[Any]) -> UInt8[np.ndarray, "reports width"]:
        """The payloads of reports."""

    def unpack(
        self, payloads: UInt8[np.ndarray, "reports width"]
    ) -> tuple[npt.NDArray[Any], Bool[np.ndarray, " reports"]]:
        """The reports in payloads of the right length, and which of them this mechanism could have made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Received:
    """What was read of the messages that came in.

    Attributes:
        reports: those that the mechanism could have made, in the order of the messages; for its `tally`.
        refused: why each of the others was left out, by its position among the messages.
    """

    reports: npt.NDArray[Any] = field(repr=False)
    refused: Mapping[int, str]

    def __str__(self) -> str:
        return f"{len(self.reports):,} reports, {len(self.refused):,} refused"


def encode(mechanism: Wire, reports: npt.NDArray[Any]) -> list[bytes]:
    """The serial form of each report.

    Raises:
        TypeError, ValueError: for a report that this mechanism does not make.
    """
    head = _header(mechanism)
    return [head + payload.tobytes() for payload in mechanism.pack(reports)]


def decode(mechanism: Wire, messages: Iterable[object]) -> Received:
    """Read what clients sent. A message that no honest client sends is left out and counted, and harms no other.

    A report that is well-formed but false cannot be told from an honest one (Cheu, Smith and Ullman 2021): with m
    dishonest clients, a count can be off by m times `hostile_report_counts_as` of the mechanism's claim.
    """
    size, head = mechanism.report_bytes, _header(mechanism)
    refused: dict[int, str] = {}
    places: list[int] = []
    kept: list[bytes] = []
    for place, message in enumerate(messages):
        if not isinstance(message, bytes):
            refused[place] = "this is not a sequence of bytes"
        elif reason := _misfit(message, size, head):
            refused[place] = reason
        else:
            places.append(place)
            kept.append(message)
    payloads = np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(len(kept), size)[:, HEADER_BYTES:]
    reports, possible = mechanism.unpack(payloads)
    for index in np.flatnonzero(~possible):
        refused[places[int(index)]] = "the payload is none that this mechanism makes"
    return Received(reports=reports[possible], refused=dict(sorted(refused.items())))


def decode_one(mechanism: Wire, message: bytes) -> npt.NDArray[Any]:
    """Read one report, or say why not.

    Raises:
        DataError: for a message that no honest client sends; the message is not quoted.
    """
    received = decode(mechanism, [message])
    for reason in received.refused.values():
        raise DataError(reason, where="report", hint="the client must use this mechanism with the same parameters")
    return received.reports


def bytes_for(bound: int) -> int:
    """How many bytes hold every whole number from 0 to bound - 1."""
    return max(1, ((bound - 1).bit_length() + 7) // 8)


def pack_integers(numbers: Int64[np.ndarray, " numbers"], bound: int) -> UInt8[np.ndarray, "numbers width"]:
    """Whole numbers from 0 to bound - 1, the lowest byte first."""
    wide = np.ascontiguousarray(numbers, dtype="<i8").view(np.uint8).reshape(-1, 8)
    return wide[:, : bytes_for(bound)]


def unpack_integers(payloads: UInt8[np.ndarray, "numbers width"]) -> Int64[np.ndarray, " numbers"]:
    """The whole numbers that `pack_integers` wrote, which take at most 7 bytes."""
    wide = np.zeros((len(payloads), 8), dtype=np.uint8)
    wide[:, : payloads.shape[1]] = payloads
    return wide.view("<i8").ravel().astype(np.int64)


def _header(mechanism: Wire) -> bytes:
    return bytes([VERSION]) + hashlib.sha256(mechanism.scheme.encode()).digest()[: HEADER_BYTES - 1]


def _misfit(message: bytes, size: int, head: bytes) -> str:
    if message[:1] != head[:1]:
        return "the version is unknown"
    if message[:HEADER_BYTES] != head:
        return "the report was made by another mechanism or with other parameters"
    if len(message) != size:
        return f"the report has {len(message):,} bytes where {size:,} belong"
    return ""
