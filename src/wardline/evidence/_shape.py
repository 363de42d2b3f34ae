"""The shape that evidence must have before anything of it is shown.

A page that silently leaves out what it did not understand would look better than the evidence is, so a
missing or mistyped part is an error, with its place. Parts that are not named here are left alone: later
versions may add to the predicate without breaking the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardline.core.errors import IntegrityError

SCHEMA = "wardline.evidence/1"

OUTCOME = frozenset({"pass", "fail", "inconclusive"})
NUMBER = (int, float)

INTERVAL: dict[str, Any] = {"low": NUMBER, "high": NUMBER, "level": NUMBER, "method": str}
_CONTROL: dict[str, Any] = {
    "description": str,
    "value": NUMBER,
    "interval": (INTERVAL, None),
    "threshold": NUMBER,
    "passed": bool,
}
_CLAIM: dict[str, Any] = {
    "id": str,
    "quantity": str,
    "value": NUMBER,
    "direction": frozenset({"at_most", "at_least"}),
    "statement": str,
    "adversary": str,
    "parameters": dict,
    "assumptions": [str],
    "reference": str,
}
_MEASUREMENT: dict[str, Any] = {
    "id": str,
    "quantity": str,
    "value": (*NUMBER, None),
    "bound": frozenset({"estimate", "lower", "upper"}),
    "interval": (INTERVAL, None),
    "trials": int,
    "subject": str,
    "bears_on": (str, None),
    "control": (_CONTROL, None),
    "refused": str,
    "method": str,
    "reference": str,
    "details": dict,
    "seconds": NUMBER,
}

# A type, a choice of words (frozenset), an object (dict: these keys at least), a list of one shape ([x]),
# or alternatives (tuple).
_SHAPE: dict[str, Any] = {
    "schema": frozenset({SCHEMA}),
    "project": str,
    "purpose": str,
    "created": str,
    "seconds": NUMBER,
    "verdict": {"outcome": OUTCOME, "summary": str},
    "dataset": {
        "source": str,
        "sha256": (str, None),
        "rows": int,
        "units": int,
        "unit": (str, dict),
        "train_rows": int,
        "holdout_rows": int,
        "features": (int, [str]),
        "classes": [str],
    },
    "policy": dict,
    "policy_sha256": str,
    "plan": {"steps": [{"id": str, "title": str, "detail": dict}], "assumptions": [str]},
    "model": {"architecture": dict, "parameters": int},
    "claims": [_CLAIM],
    "measurements": [_MEASUREMENT],
    "rules": [
        {
            "code": str,
            "rule": str,
            "title": str,
            "outcome": OUTCOME,
            "message": str,
            "claim": (str, None),
            "measurement": (str, None),
            "waiver": ({"who": str, "why": str, "until": str}, None),
        }
    ],
    "ledger": {"releases": int, "epsilon": NUMBER, "delta": NUMBER, "limit": (dict, None)},
    "not_assessed": [{"subject": str, "reason": str}],
    "environment": {"python": str, "platform": str, "packages": dict},
    "stages": [{"id": str, "sha256": str, "seconds": NUMBER}],
}


def _fits(value: Any, shape: Any) -> str | None:
    """Where a value first departs from a shape (a JSON pointer, empty at the top), or None if it fits."""
    match shape:
        case None:
            return None if value is None else ""
        case frozenset():
            return None if isinstance(value, str) and value in shape else ""
        case dict():
            if not isinstance(value, Mapping):
                return ""
            for key, part in shape.items():
                rest = _fits(value[key], part) if key in value else ""
                if rest is not None:
                    return f"/{key}{rest}"
            return None
        case list():
            if not isinstance(value, list | tuple):
                return ""
            for index, item in enumerate(value):
                rest = _fits(item, shape[0])
                if rest is not None:
                    return f"/{index}{rest}"
            return None
        case tuple():
            places = [_fits(value, part) for part in shape]
            # The deepest place tells most: an object with one wrong key rather than "neither object nor null".
            return None if None in places else max((place for place in places if place is not None), key=len)
        case _ if shape is dict:
            return None if isinstance(value, Mapping) else ""
        case _:
            # JSON's true is no number, though Python's True is an int.
            return None if isinstance(value, shape) and (shape is bool or not isinstance(value, bool)) else ""


def check_shape(predicate: Mapping[str, Any], shape: Mapping[str, Any] = _SHAPE, *, schema: str = SCHEMA) -> None:
    """Refuse evidence that lacks a part of its shape.

    Args:
        predicate: the evidence.
        shape: what it must have, in the notation above.
        schema: the name of that form, for the refusal.

    Raises:
        IntegrityError: naming the place as a JSON pointer.
    """
    place = _fits(predicate, shape)
    if place is not None:
        raise IntegrityError(
            f"this is no evidence of the form {schema}",
            where=place or "/",
            hint="render the report with the version of wardline that wrote the evidence",
        )
