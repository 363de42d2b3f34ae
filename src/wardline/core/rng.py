"""Two sources of randomness that do not convert into each other.

`Seeds` is reproducible: named streams, so that adding an experiment does not change another's numbers.
`SecureRandom` is not: a keystream under a key from the operating system. A seeded noise is no noise, so
code that protects privacy takes the second type and nothing else.
"""

from __future__ import annotations

import hashlib
import operator
import os
from typing import Any, NoReturn, final

import numpy as np
import numpy.typing as npt

from wardline.core._normal import Normals


@final
class Seeds:
    """Reproducible streams of randomness, each reached by its name.

    Args:
        root: the seed that all streams derive from, at least 0.
    """

    def __init__(self, root: int) -> None:
        self.root = operator.index(root)
        if self.root < 0:
            raise ValueError("a seed is a whole number of at least 0")

    def _derive(self, name: str) -> int:
        digest = hashlib.sha256(f"wardline-seed/1\0{self.root}\0{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def child(self, name: str) -> Seeds:
        """The seeds of a part: its streams are independent of its parent's."""
        return Seeds(self._derive(f"child\0{name}"))

    def numpy(self, name: str) -> np.random.Generator:
        """A NumPy generator for the stream of this name, from its start."""
        return np.random.default_rng(self._derive(name))

    def integer(self, name: str) -> int:
        """A whole number below 2**63 for the stream of this name: seeds a generator of another library."""
        return self._derive(name)

    def __repr__(self) -> str:
        return f"Seeds({self.root})"


_BYTES_PER_KEY = 1 << 26  # bytes of keystream under one key before a fresh one is drawn

# Counts the forks that led to this process. A process id would not do: it can be given out again, to a grandchild.
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


@final
class SecureRandom:
    """Randomness that nobody can predict or repeat: AES-256-CTR under keys from the operating system.

    It has no seed, cannot be pickled or copied, and draws a new key after a fork and after every 64 MiB,
    so that neither two processes nor two runs ever share a stream and an old state tells little. Each
    thread takes one of its own: two that draw from one at the same moment get a `RuntimeError`.

    Guarantee: output is indistinguishable from uniform bits for anyone who cannot break AES-256 or read
    this process's memory (NIST SP 800-90A rests its CTR_DRBG on the same assumption).
    """

    __slots__ = ("_encryptor", "_forks", "_left", "_normals", "_zeros")

    def __init__(self) -> None:
        self._zeros = b""
        self._forks = -1
        self._rekey()

    def _rekey(self) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        cipher = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(os.urandom(16)))
        self._encryptor = cipher.encryptor()
        self._left = _BYTES_PER_KEY
        if self._forks != _forks:
            self._normals = Normals()  # what the parent had in stock is the parent's
            self._forks = _forks

    def bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        if count < 0:
            raise ValueError("count must be at least 0")
        pieces = []
        while count > 0:
            if self._left <= 0 or self._forks != _forks:
                self._rekey()
            size = min(count, self._left)
            zeros = self._zeros
            if len(zeros) < size:
                self._zeros = zeros = bytes(size)
            pieces.append(self._encryptor.update(memoryview(zeros)[:size]))
            self._left -= size
            count -= size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def fill(self, words: npt.NDArray[np.int64]) -> None:
        """Write random bits over all of `words`, which lies in one piece in memory."""
        view = words.data.cast("B")
        while len(view):
            if self._left <= 0 or self._forks != _forks:
                self._rekey()
            size = min(len(view), self._left)
            zeros = self._zeros
            if len(zeros) < size:
                self._zeros = zeros = bytes(size)
            self._encryptor.update_into(memoryview(zeros)[:size], view[:size])
            self._left -= size
            view = view[size:]

    def uint64(self, count: int) -> npt.NDArray[np.uint64]:
        """`count` uniform 64-bit integers."""
        return np.frombuffer(self.bytes(8 * count), dtype=np.uint64)

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """`count` numbers uniform on the 2**52 midpoints of (0, 1): never 0 and never 1.

        One bit fewer than a double holds, because adding a half needs it: with 53, the highest midpoint rounds to 1.
        """
        return ((self.uint64(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def bernoulli(self, count: int, prob: float) -> npt.NDArray[np.bool_]:
        """`count` coins that each show True with probability `prob`, exact to 2**-64."""
        if not 0 <= prob <= 1:
            raise ValueError("prob must lie between 0 and 1")
        if prob == 1:
            return np.ones(count, dtype=np.bool_)
        return self.uint64(count) < np.uint64(int(prob * 2.0**64))

    def gaussian(self, count: int) -> npt.NDArray[np.float64]:
        """`count` standard normal numbers.

        They are made in blocks and kept in stock until asked for; a fork drops the stock. In any interval as wide as
        2**-21 and nearer than 26 to zero the probability of such a number is that of the normal distribution up to a
        relative error of 2**-27, wherever the interval begins; none is beyond 26.2, where a true one is with
        probability 10**-150.

        Raises:
            ValueError: for a negative count.
            RuntimeError: if another thread draws from this object at the same moment.
        """
        if count < 0:
            raise ValueError("count must be at least 0")
        if self._forks != _forks:
            self._rekey()
        return self._normals.take(count, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("SecureRandom cannot be pickled or copied: a repeated stream protects nothing")

    def __copy__(self) -> NoReturn:
        self.__reduce__()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        self.__reduce__()

    def __repr__(self) -> str:
        return "SecureRandom()"
