"""Files without a name that live in memory: the only way in and out of SEAL that its Python binding leaves open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self, final

from wardline.core.errors import UsageError

_ZEROS = bytes(1 << 16)


@final
class Scratch:
    """A file in memory, overwritten and gone when its `with` block ends.

    Guarantee: its content is never on a disk (but for swap space, like all memory) and has no name; it is not passed on
    to programs that are started meanwhile. A process of the same user that may trace this one can read it, as it
    can read everything else in it.
    """

    __slots__ = ("_descriptor",)

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise UsageError(
                "encryption needs files in memory, which this system has not", hint="run the client under Linux"
            )
        self._descriptor = os.memfd_create("wardline", os.MFD_CLOEXEC)

    @property
    def path(self) -> str:
        """Where this process, and nobody else, finds it."""
        return f"/proc/self/fd/{self._descriptor}"

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Make `pieces`, one behind the other, the whole content."""
        written = os.pwritev(self._descriptor, pieces, 0)
        if written != sum(memoryview(piece).nbytes for piece in pieces):
            raise OSError("a file in memory took less than it was given")
        os.ftruncate(self._descriptor, written)

    def read(self) -> bytes:
        """The whole content."""
        size = os.fstat(self._descriptor).st_size
        content = os.pread(self._descriptor, size, 0)
        if len(content) != size:
            raise OSError("a file in memory gave less than it holds")
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            size = os.fstat(self._descriptor).st_size
            for start in range(0, size, len(_ZEROS)):
                os.pwrite(self._descriptor, _ZEROS[: size - start], start)
        finally:
            os.close(self._descriptor)
