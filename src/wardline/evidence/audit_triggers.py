"""Whether the search for triggers in the evidence of an audit holds together: who is named is drawn anew."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from wardline.evidence._exact import check_interval
from wardline.evidence._inconsistent import inconsistent
from wardline.evidence._shape import INTERVAL, NUMBER, check_shape

_CONSISTENT = 1.4826  # makes the median absolute deviation of normal numbers their standard deviation
_CLOSE = 1e-6
_INDEX, _SHRINKAGE = 2.0, 0.4  # a class is named above the one and below the other: no choice of whoever audits

_CLASS: dict[str, Any] = {
    "label": int,
    "size": NUMBER,
    "index": NUMBER,
    "ratio": NUMBER,
    "n": int,
    "rate": NUMBER,
    "interval": INTERVAL,
    "named": bool,
}
_SHAPE: dict[str, Any] = {
    "paper": str,
    "steps": int,
    "images": int,
    "seed": int,
    "index": NUMBER,
    "shrinkage": NUMBER,
    "classes": [_CLASS],
    "named": [int],
    "control": {"label": int, "classes": [_CLASS], "passed": bool},
    "seconds": NUMBER,
}


def check_triggers(part: Mapping[str, Any]) -> bool:
    """Draw anew which classes stand out by the sizes of their triggers.

    Args:
        part: the part ``triggers`` of an audit's evidence.

    Returns:
        Whether some class is named.

    Raises:
        IntegrityError: if the part is malformed, or names others than its sizes say.
    """
    check_shape(part, _SHAPE, schema="wardline.audit/1")
    if (part["index"], part["shrinkage"]) != (_INDEX, _SHRINKAGE):
        raise inconsistent("the search for triggers names classes by a rule of its own")
    named = _named(part["classes"])
    if named != part["named"]:
        raise inconsistent("the search for triggers names other classes than its figures")
    control = part["control"]
    if control["passed"] != (control["label"] in _named(control["classes"])):
        raise inconsistent("the control of the search for triggers did not go as is said")
    return bool(named)


def _named(classes: Sequence[Mapping[str, Any]]) -> list[int]:
    if [one["label"] for one in classes] != list(range(len(classes))) or not classes:
        raise inconsistent("the search for triggers lists its classes in no order")
    sizes = [one["size"] for one in classes]
    if not all(0 < size < math.inf for size in sizes):
        raise inconsistent("a trigger has no size")
    logs = [math.log(size) for size in sizes]
    middle = statistics.median(logs)
    spread = max(_CONSISTENT * statistics.median(abs(one - middle) for one in logs), 1e-12)
    for one, log in zip(classes, logs, strict=True):
        index, ratio = (middle - log) / spread, one["size"] / statistics.median(sizes)
        apart = max(abs(index - one["index"]) / max(abs(index), 1.0), abs(ratio - one["ratio"]))
        if not apart <= _CLOSE:
            raise inconsistent("a trigger stands out more, or less, than its size says")
        check_interval(one["rate"], one["n"], one["interval"])
        named = one["index"] > _INDEX and one["ratio"] < _SHRINKAGE and one["interval"]["low"] > 0.5
        if named != one["named"]:
            raise inconsistent("a class is named, or not, against its own figures")
    return [one["label"] for one in classes if one["named"]]
