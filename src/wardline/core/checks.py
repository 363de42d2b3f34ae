"""Checks of arguments that many functions share. Bad arguments raise `ValueError` or `TypeError`."""

from __future__ import annotations

import math
import operator


def positive(name: str, value: float) -> float:
    """A finite number above zero, or `ValueError`."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, not {value}")
    return value


def probability(name: str, value: float) -> float:
    """A number strictly between 0 and 1, or `ValueError`."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
    return value


def at_least(name: str, value: int, least: int) -> int:
    """A whole number that is not below `least`, or `ValueError`; a fraction or NaN is a `TypeError`."""
    if operator.index(value) < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value
