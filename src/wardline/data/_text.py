"""Numbers and truth values that a file holds as text: recognised on distinct values, then spread over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.data._extras import module

WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
"""No leading zero and at most 18 digits: 007 is a code, and what is longer may not fit into 64 bits."""

NUMBER = r"^([+-]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?|[+-]?\.[0-9]+([eE][+-]?[0-9]+)?|[+-]?(?i:inf|infinity))$"

MARKERS = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "none")
"""How writers of CSV say "missing" among numbers. In a column of text they are left alone: NA may be a country."""

_TRUTH = {"true": True, "false": False}


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text of any width."""
    types = module("pyarrow.types")
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def matches(distinct: Any, pattern: str) -> npt.NDArray[np.bool_]:
    """Which distinct texts match a pattern, space around them aside; null never does."""
    pc = module("pyarrow.compute")
    found = pc.match_substring_regex(pc.utf8_trim_whitespace(distinct), pattern=pattern)
    result: npt.NDArray[np.bool_] = pc.fill_null(found, fill_value=False).to_numpy(zero_copy_only=False)
    return result


def numbers_of(distinct: Any, kind: Any) -> Any:
    """Distinct texts as numbers of an Arrow type; what does not read as one becomes null."""
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    good = matches(distinct, WHOLE if pa.types.is_integer(kind) else NUMBER)
    plain = pc.utf8_ltrim(pc.utf8_trim_whitespace(distinct), characters="+")
    kept = pc.if_else(pa.array(good), plain, pa.scalar(None, plain.type))
    return pc.cast(kept, kind)


def truths_of(distinct: Any) -> Any:
    """Distinct texts as truth values; what is neither true nor false becomes null."""
    pa = module("pyarrow")
    texts = [None if text is None else text.strip().lower() for text in distinct.to_pylist()]
    return pa.array([None if text is None else _TRUTH.get(text) for text in texts], pa.bool_())


def spread(column: Any, distinct: Any, mapped: Any) -> Any:
    """A column whose distinct values are `distinct`, with each replaced by its partner in `mapped`."""
    pc = module("pyarrow.compute")
    return pc.take(mapped, pc.index_in(column, value_set=distinct))


def infer(column: Any) -> Any:
    """A column of text as whole numbers, numbers or truth values where all of it reads so; else as it is."""
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    distinct = pc.unique(column)
    said = distinct.filter(pc.invert(pc.is_in(distinct, value_set=pa.array([*MARKERS, None], pa.string()))))
    if len(said) == 0:
        return column
    if matches(said, WHOLE).all():
        return spread(column, distinct, numbers_of(distinct, pa.int64()))
    if matches(said, NUMBER).all():
        return spread(column, distinct, numbers_of(distinct, pa.float64()))
    if len(said) <= 6 and truths_of(said).null_count == 0:
        return spread(column, distinct, truths_of(distinct))
    return column
