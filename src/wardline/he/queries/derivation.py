"""A schema taken from the data: categories as they occur, bounds, and edges at quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.errors import DataError
from wardline.he.queries.schema import LARGEST, MISSING, MOST_NAME, CategoryColumn, Column, NumberColumn, Schema

Values = npt.NDArray[Any]

BUCKETS = 8
"""Into so many buckets of about as many rows each a column of numbers is cut, if nobody says otherwise."""

FEW = 12
"""Numbers that take no more values than this get edges around each of them."""

_KINDS = "buifUS"  # of arrays: truth values, numbers and texts; objects are looked at one by one

_DECIMALS = 6
_NESTED = (list, tuple, dict, set, frozenset, np.ndarray)
_NUMBERS = (float, np.floating, Decimal)


def derive_schema(
    columns: Mapping[str, Values], *, buckets: int = BUCKETS, most_categories: int = 64
) -> tuple[Schema, dict[str, str]]:
    """A schema that fits these columns.

    Texts and truth values become categories, in alphabetical order, so that the order tells nothing of how often they
    occur; numbers become numbers, in the coarsest unit of 1, 0.1, ... 0.000001 that keeps all of them.

    Args:
        columns: by name, one-dimensional arrays of the same length. None and NaN stand for a missing value.
        buckets: of a column of numbers, at least 1.
        most_categories: a column with more is left out.

    Returns:
        The schema, and the columns that are left out with the reason.

    Raises:
        DataError: if there are no rows, or no column can be kept.
        ValueError: for columns of different lengths.

    Leakage: see `Schema`.
    """
    if buckets < 1 or len({len(one) for one in columns.values()}) > 1:
        raise ValueError("columns must be of one length, and buckets at least 1")
    if not columns or not len(next(iter(columns.values()))):
        raise DataError("the table has no rows", hint="give a table with at least one row")
    kept: list[Column] = []
    left_out: dict[str, str] = {}
    for name, values in columns.items():
        if not is_flat(values):
            left_out[name] = "it holds neither texts nor numbers"
            continue
        known = values[~is_missing(values)]
        missing = len(known) < len(values)
        if not len(known):
            left_out[name] = "all of its values are missing"
        elif len(name) > MOST_NAME:
            left_out[name] = "its name is too long"
        elif is_numeric(known):
            number = _number(name, known.astype(np.float64), buckets=buckets, missing=missing)
            if number is None:
                left_out[name] = f"its numbers have more than {_DECIMALS} decimals, or are too large"
            else:
                kept.append(number)
        else:
            labels = sorted({label(one) for one in known})
            if len(labels) > most_categories or MISSING in labels or max(map(len, labels)) > MOST_NAME:
                left_out[name] = f"it has {len(labels)} categories, or one that is too long"
            else:
                kept.append(CategoryColumn(name=name, categories=tuple(labels), missing=missing))
    if not kept:
        raise DataError("no column can be kept", hint="declare columns in a schema of your own")
    return Schema(columns=tuple(kept)), left_out


def is_flat(values: Values) -> bool:
    """Whether a column holds texts, numbers or truth values, and no lists or records."""
    if values.dtype.kind == "O":
        return not any(isinstance(one, _NESTED) for one in values.tolist())
    return values.dtype.kind in _KINDS


def is_missing(values: Values) -> npt.NDArray[np.bool_]:
    """Which values are None or NaN."""
    if values.dtype.kind in "bui":
        return np.zeros(len(values), dtype=np.bool_)
    if values.dtype.kind == "f":
        return np.isnan(values)
    # Whatever else is compared with itself here may answer with something else than a truth value.
    return np.array(
        [one is None or (isinstance(one, _NUMBERS) and one != one) for one in values.tolist()], dtype=np.bool_
    )


def is_numeric(known: Values) -> bool:
    """Whether values that are not missing are numbers, and no truth values."""
    if known.dtype.kind in "uif":
        return True
    return known.dtype.kind == "O" and all(
        isinstance(one, (int, float, np.integer, np.floating)) and not isinstance(one, bool) for one in known.tolist()
    )


def label(value: Any) -> str:
    """The name of a category."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def in_units(numbers: npt.NDArray[np.float64], unit: Decimal) -> npt.NDArray[np.int64] | None:
    """Numbers in units, or None if one is no multiple of it, up to the rounding of a double."""
    if not np.isfinite(numbers).all() or float(np.abs(numbers).max(initial=0.0)) / float(unit) > LARGEST:
        return None
    top, bottom = unit.as_integer_ratio()
    whole = np.rint(numbers * bottom / top)
    if (np.abs(whole * top / bottom - numbers) > 1e-15 * np.abs(numbers)).any():
        return None
    return whole.astype(np.int64)


def _number(name: str, known: npt.NDArray[np.float64], *, buckets: int, missing: bool) -> NumberColumn | None:
    for decimals in range(_DECIMALS + 1):
        unit = Decimal(1).scaleb(-decimals)
        whole = in_units(known, unit)
        if whole is not None:
            break
    else:
        return None
    low, high = int(whole.min()), int(whole.max())
    distinct = np.unique(whole)
    if len(distinct) <= FEW:
        ends = {int(one) for one in distinct} | {int(one) + 1 for one in distinct}
    else:
        places = np.arange(1, buckets) / buckets
        ends = {int(one) for one in np.quantile(whole, places, method="higher")}
        if len(ends - {low}) < buckets // 2:  # most values are the least one: cut up the others
            ends |= {low + 1} | {int(one) for one in np.quantile(whole[whole > low], places, method="higher")}
    edges = tuple(sorted(edge for edge in ends if low < edge <= high))
    try:
        return NumberColumn(name=name, unit=unit, low=low, high=high, edges=edges, missing=missing)
    except ValueError:  # numbers too large
        return None
