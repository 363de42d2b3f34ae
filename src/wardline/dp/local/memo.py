"""A client that remembers its permanent responses, on disk, through restarts and crashes."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wardline.core import IntegrityError, KeyAccessError, SecureRandom, canonical_json, make_folder, write_atomic
from wardline.core.files import workspace_error
from wardline.dp.local import _chance
from wardline.dp.local.frequency import checked_values
from wardline.dp.local.unary import pack_bits, unpack_bits
from wardline.dp.local.wire import encode

if TYPE_CHECKING:
    from jaxtyping import UInt64

    from wardline.dp.local.rappor import Rappor

_FORMAT = "wardline local memo/1"
_MOST_BYTES = 1 << 26


class MemoisedClient:
    """Answers for one person with `Rappor`, and keeps the permanent rows in a file that only its owner can read.

    A row is on disk, synced, before the first report that is made from it leaves: a device that dies in between never
    answers from two rows. A file that is damaged, or readable for others, stops the client: drawing afresh would be an
    independent answer, and averaging over many of those gives the value away.

    Args:
        mechanism: how to answer; the store belongs to it and is refused by another one.
        store: the file; made with the first report. It holds the person's values and is to be kept like them. A file
            ``.lock`` beside it keeps two processes apart.
        random: where the coins come from.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.

    Guarantee:
        That of `Rappor`, for all reports made with one store. Deleting the store, or putting back an older copy, makes
        a new row; the reports made from both rows together have twice epsilon.

    References:
        Erlingsson, Pihur and Korolova 2014, section 3 (memoisation).
    """

    def __init__(self, mechanism: Rappor, store: Path, *, random: SecureRandom) -> None:
        _chance.check_random(random)
        self.mechanism = mechanism
        self.store = store
        self._random = random

    def report(self, value: int) -> bytes:
        """One report in its serial form.

        Args:
            value: the person's value now, from 0 to size - 1. After `most_values` different ones, further ones are
                answered with the row that was used last.

        Raises:
            TypeError, ValueError: for a value outside of the domain; it is not quoted.
            IntegrityError: if the store is damaged, or belongs to a mechanism with other parameters.
            KeyAccessError: if others may read the store.
            WorkspaceError: if it cannot be written.
        """
        wanted = int(checked_values(np.asarray([value]), self.mechanism.size)[0])
        with self._alone():
            kept = self._read()
            before = list(kept)
            if wanted not in kept and len(kept) < self.mechanism.most_values:
                kept[wanted] = self.mechanism.make_permanent([wanted], random=self._random)
            # The row used last stands last, so that a restart does not forget which one it was.
            used = wanted if wanted in kept else next(reversed(kept))
            kept[used] = kept.pop(used)
            if list(kept) != before:
                self._write(kept)
        return encode(self.mechanism, self.mechanism.report(kept[used], random=self._random))[0]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock beside the store: two processes must not each draw a row for one value."""
        make_folder(self.store.parent)
        path = self.store.with_name(f"{self.store.name}.lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise workspace_error(error, path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[int, UInt64[np.ndarray, "one words"]]:
        """The permanent rows by value, the one used last standing last."""
        try:
            # Without following a link: somebody else's file must not decide what this device answers.
            descriptor = os.open(self.store, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._damaged((error.strerror or "it cannot be read").lower()) from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise self._damaged("it is no file")
        with os.fdopen(descriptor, "rb") as file:
            if status.st_mode & 0o077 or status.st_uid != os.geteuid():
                raise KeyAccessError(
                    "others may read or change the memo of permanent responses",
                    where=str(self.store),
                    hint="it tells the person's answers; make it private with chmod 600",
                )
            data = file.read(_MOST_BYTES + 1)
        return self._parse(data)

    def _parse(self, data: bytes) -> dict[int, UInt64[np.ndarray, "one words"]]:
        try:
            read = json.loads(data)
            whole = isinstance(read, dict) and canonical_json(read) == data
        except (ValueError, RecursionError):
            raise self._damaged("it is no memo of permanent responses") from None
        if not whole or set(read) != {"format", "scheme", "rows"} or read["format"] != _FORMAT:
            raise self._damaged("it is no memo of permanent responses")
        if read["scheme"] != self.mechanism.scheme:
            raise IntegrityError(
                "the memo of permanent responses belongs to other parameters",
                where=str(self.store),
                hint="a new epsilon or domain is a new collection: give it a store of its own, and count both costs",
            )
        kept: dict[int, UInt64[np.ndarray, "one words"]] = {}
        for entry in read["rows"] if isinstance(read["rows"], list) else [None]:
            value, row = self._entry(entry)
            if value in kept:
                raise self._damaged("it has two rows for one value")
            kept[value] = row
        if not 1 <= len(kept) <= self.mechanism.most_values:
            raise self._damaged("it has more rows, or fewer, than were ever written")
        return kept

    def _entry(self, entry: object) -> tuple[int, UInt64[np.ndarray, "one words"]]:
        match entry:
            case [int(value), str(text)] if not isinstance(value, bool) and 0 <= value < self.mechanism.size:
                with contextlib.suppress(binascii.Error, ValueError):
                    payload = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
                    if len(payload) == (self.mechanism.size + 7) // 8:
                        row, possible = unpack_bits(payload[None, :], self.mechanism.size)
                        if possible.all():
                            return value, row
        raise self._damaged("one of its rows cannot be")

    def _write(self, kept: dict[int, UInt64[np.ndarray, "one words"]]) -> None:
        size = self.mechanism.size
        rows = [[value, base64.b64encode(pack_bits(row, size).tobytes()).decode()] for value, row in kept.items()]
        text = canonical_json({"format": _FORMAT, "scheme": self.mechanism.scheme, "rows": rows})
        write_atomic(self.store, text, mode=0o600)

    def _damaged(self, reason: str) -> IntegrityError:
        return IntegrityError(
            f"the memo of permanent responses cannot be used: {reason}",
            where=str(self.store),
            hint="get it back from a backup of this device; without it, further reports cost epsilon again",
        )
