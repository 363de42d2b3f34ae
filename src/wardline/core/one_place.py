"""Secrets that have one place: nothing pickles or copies them by accident."""

from __future__ import annotations

from typing import Any, NoReturn


class OnePlace:
    """Refuses `pickle` and `copy` with a `TypeError`, and with them whatever hands objects to other processes."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: a secret has one place")

    def __getstate__(self) -> NoReturn:
        self.__reduce__()

    def __copy__(self) -> NoReturn:
        self.__reduce__()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        self.__reduce__()
