"""Numbers of a stranger's JSON, which are taken in their range or refused with a `ValueError`."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def number(value: object, *, above_zero: bool = False, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number.

    Args:
        value: as the parser gave it; a truth value is none.
        above_zero: whether 0 and what is below are refused.
        least: that it may be.
        most: that it may be in size.
    """
    if type(value) not in (int, float):
        raise ValueError("a number is missing")
    read = float(value)  # type: ignore[arg-type]  # one of the two, as was just seen
    if not math.isfinite(read) or (above_zero and read <= 0) or read < least or abs(read) > most:
        raise ValueError("a number is out of range")
    return read


def whole(value: object, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"a whole number is not from {least} to {most}")
    return value


def numbers(value: object, *, most: int, above_zero: bool = False) -> npt.NDArray[np.float64]:
    """A list of finite numbers, at least one and at most `most` of them."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise ValueError(f"a list of numbers is missing, empty or longer than {most}")
    return np.array([number(one, above_zero=above_zero) for one in value])
