"""SEAL's files, version 4.3: those that we write and those that our own SEAL wrote.

Nothing here is for bytes from elsewhere; `wardline.he.frames` is. What SEAL wrote is compared with what it must have
written, byte for byte up to the numbers themselves, so that another version is noticed and not misread.

References: SEAL 4.3, native/src/seal/serialization.h, ciphertext.cpp, plaintext.cpp, kswitchkeys.cpp, dynarray.h.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import need
from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import SEED_BYTES, Residues, SeededKey

_HEADER = struct.Struct("<HBBBBHQ")  # magic, its own size, version, how it is compressed, nothing, bytes in all
_MAGIC = 0xA15E
_VERSION = (4, 3)
_PLAIN, _ZSTANDARD = 0, 2
_CIPHERTEXT = struct.Struct("<?QQQdQ")  # evaluations, parts, degree, limbs, scale, BGV's correction factor
_PLAINTEXT = struct.Struct("<Qd")  # coefficients, scale
_COUNT = struct.Struct("<Q")
_BLAKE2XB = 1
NO_LEVEL = bytes(32)
"""The parms_id of a plaintext that is in no NTT form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """SEAL's name for a number of moduli.

    Attributes:
        name: its parms_id, 32 bytes.
        limbs: how many moduli.
        degree: of the ring.
    """

    name: bytes
    limbs: int
    degree: int


def _header(payload_bytes: int) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, *_VERSION, _PLAIN, 0, _HEADER.size + payload_bytes)


def _array_head(count: int) -> bytes:
    return _header(_COUNT.size + 8 * count) + _COUNT.pack(count)


def plaintext_head(count: int, *, level: bytes = NO_LEVEL, scale: float = 1.0) -> bytes:
    """All of a plaintext's file (a secret key's is the same) that comes before its `count` 64-bit numbers."""
    inner = level + _PLAINTEXT.pack(count, scale) + _array_head(count)
    return _header(len(inner) + 8 * count) + inner


def ciphertext_head(level: Level, *, parts: int, evaluations: bool, scale: float) -> bytes:
    """All of a full ciphertext's file that comes before its numbers [parts, limbs, degree]."""
    count = parts * level.limbs * level.degree
    inner = _ciphertext_members(level, parts, evaluations, scale) + _array_head(count)
    return _header(len(inner) + 8 * count) + inner


def _ciphertext_members(level: Level, parts: int, evaluations: bool, scale: float) -> bytes:
    return level.name + _CIPHERTEXT.pack(evaluations, parts, level.degree, level.limbs, scale, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededFile:
    """How SEAL writes a ciphertext whose second part is a seed: head, numbers of c0, head of the seed, seed."""

    head: bytes
    shape: tuple[int, int]
    seed_head: bytes

    @classmethod
    def of(cls, level: Level, *, evaluations: bool, scale: float) -> SeededFile:
        """The layout of fresh ciphertexts at a level."""
        members = _ciphertext_members(level, 2, evaluations, scale)
        return cls(
            head=members + _array_head(level.limbs * level.degree),
            shape=(level.limbs, level.degree),
            seed_head=_header(1 + SEED_BYTES) + bytes([_BLAKE2XB]),
        )

    @property
    def size(self) -> int:
        """Bytes of the file when it is not compressed, without its own header."""
        return len(self.head) + 8 * self.shape[0] * self.shape[1] + len(self.seed_head) + SEED_BYTES

    def take(self, content: bytes, c0: Residues, seed: npt.NDArray[np.uint8]) -> None:
        """Put the numbers and the seed of a file, decompressed, into `c0` [limbs, degree] and `seed` [64].

        Raises:
            IntegrityError: if it is another file.
        """
        count = self.shape[0] * self.shape[1]
        end = len(self.head) + 8 * count
        seed_start = end + len(self.seed_head)
        if len(content) != self.size or not content.startswith(self.head) or content[end:seed_start] != self.seed_head:
            raise _unknown()
        # Every prime is below 2^31: the upper half of each number is 0.
        words = np.frombuffer(content, dtype="<u4", count=2 * count, offset=len(self.head))
        c0[...] = words[::2].reshape(self.shape)
        seed[...] = np.frombuffer(content, dtype=np.uint8, offset=seed_start)


class Decompressor:
    """Undoes the compression of a file that SEAL wrote, up to a size."""

    __slots__ = ("_own", "_zstandard")

    def __init__(self) -> None:
        self._zstandard: Any = need("zstandard", extra="he")
        self._own = threading.local()  # making a context takes as long as using it, and threads must not share one

    def __call__(self, file: bytes, *, most_bytes: int) -> bytes:
        """What is in the file, without its header.

        Args:
            file: the whole file.
            most_bytes: more is refused before memory is taken.

        Raises:
            IntegrityError: if SEAL wrote it in a way unknown here, or there is more.
        """
        if len(file) < _HEADER.size:
            raise _unknown()
        magic, size, major, minor, mode, nothing, total = _HEADER.unpack_from(file)
        if (magic, size, major, minor, nothing, total) != (_MAGIC, _HEADER.size, *_VERSION, 0, len(file)):
            raise _unknown()
        body = file[_HEADER.size :]
        if mode == _PLAIN and len(body) <= most_bytes:
            return body
        if mode != _ZSTANDARD:
            raise _unknown()
        try:
            if not 0 <= self._zstandard.frame_content_size(body) <= most_bytes:
                raise _unknown()
            content = self._context().decompress(body, max_output_size=most_bytes)
        except self._zstandard.ZstdError as error:
            raise _unknown() from error
        return bytes(content)

    def _context(self) -> Any:
        if not hasattr(self._own, "context"):
            self._own.context = self._zstandard.ZstdDecompressor()
        return self._own.context


class Cursor:
    """Reads a decompressed file from its beginning to its end."""

    __slots__ = ("_at", "_content")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def expect(self, wanted: bytes) -> None:
        """Pass over bytes that are known.

        Raises:
            IntegrityError: if others stand there.
        """
        if self._content[self._at : self._at + len(wanted)] != wanted:
            raise _unknown()
        self._at += len(wanted)

    def count(self) -> int:
        """A 64-bit number."""
        if self._at + _COUNT.size > len(self._content):
            raise _unknown()
        found = int(_COUNT.unpack_from(self._content, self._at)[0])
        self._at += _COUNT.size
        return found

    def residues(self, *shape: int) -> Residues:
        """So many 64-bit numbers, each below 2^32."""
        wide = self.words(int(np.prod(shape)))
        return wide.astype(np.uint32).reshape(shape)

    def take(self, count: int) -> bytes:
        """So many bytes, or as many as are left."""
        found = self._content[self._at : self._at + count]
        self._at += len(found)
        return found

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """So many 64-bit numbers."""
        if self._at + 8 * count > len(self._content):
            raise _unknown()
        found = np.frombuffer(self._content, dtype="<u8", count=count, offset=self._at)
        self._at += 8 * count
        return found

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            IntegrityError: if something is.
        """
        if self._at != len(self._content):
            raise _unknown()


def read_plaintext(content: bytes, *, level: bytes, most: int) -> tuple[npt.NDArray[np.uint64], float]:
    """The numbers and the scale of a plaintext's file, decompressed; at most `most` numbers.

    Raises:
        IntegrityError: if it is another file.
    """
    cursor = Cursor(content)
    cursor.expect(level)
    count = cursor.count()
    if count > most or len(content) < len(level) + _PLAINTEXT.size:
        raise _unknown()
    scale = float(_PLAINTEXT.unpack_from(content, len(level))[1])
    cursor.expect(struct.pack("<d", scale))
    cursor.expect(_array_head(count))
    found = cursor.words(count)
    cursor.end()
    return found, scale


def read_public_key(cursor: Cursor, level: Level) -> Residues:
    """One encryption under the secret key, by evaluations: [2, limbs, degree].

    Raises:
        IntegrityError: if something else stands there.
    """
    cursor.expect(_ciphertext_members(level, 2, True, 1.0))
    cursor.expect(_array_head(2 * level.limbs * level.degree))
    return cursor.residues(2, level.limbs, level.degree)


def read_switching_keys(content: bytes, *, level: Level, digits: int) -> dict[int, SeededKey]:
    """The keys of a file of SEAL's whose second parts are seeds, by their place in it.

    Raises:
        IntegrityError: if it is another file.
    """
    layout = SeededFile.of(level, evaluations=True, scale=1.0)
    cursor = Cursor(content)
    cursor.expect(level.name)
    found: dict[int, SeededKey] = {}
    for place in range(cursor.count()):
        held = cursor.count()
        if held == 0:
            continue
        if held != digits:
            raise _unknown()
        seeds = np.empty((digits, SEED_BYTES), dtype=np.uint8)
        c0 = np.empty((digits, level.limbs, level.degree), dtype=np.uint32)
        for residues, seed in zip(c0, seeds, strict=True):
            cursor.expect(_header(layout.size))
            layout.take(cursor.take(layout.size), residues, seed)
        found[place] = SeededKey(seeds=seeds, c0=c0)
    cursor.end()
    return found


def _unknown() -> IntegrityError:
    return IntegrityError(
        "SEAL wrote a file of another layout than that of its version 4.3", hint="install tenseal 0.3.18"
    )
