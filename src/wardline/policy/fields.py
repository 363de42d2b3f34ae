"""What all parts of a policy share: the strict base class, and the types that their fields are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SerializerFunctionWrapHandler
from pydantic_core import PydanticCustomError

REFUSED = "wardline_refused"
"""Type of the validation errors that this room words itself; their context holds message and hint."""

MAX_TEXT = 500
"""The most characters of a free text."""

MAX_NAME = 128
"""The most characters of a column's name or of one of its values."""

# Control characters, line separators and lone surrogates: they can hide or fake text in a report or a
# terminal, and none belongs in a name. So do the characters that reverse the direction of writing.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class Part(BaseModel):
    """A part of a policy: frozen, without unknown keys, without conversions, without infinite numbers."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        validate_default=True,
    )


def refusal(message: str, hint: str) -> PydanticCustomError:
    """The error by which a validator refuses a value, in words of our own; `validate.py` reads both texts."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message, "hint": hint})


def _visible(value: Any) -> Any:
    if isinstance(value, str) and _HIDDEN.search(value):
        raise refusal("holds a control character or an invisible one", "write it in visible characters, on one line")
    return value


def _plain_text(value: Any) -> Any:
    if isinstance(_visible(value), str) and (not value or value != value.strip()):
        raise refusal("is empty or has space at its ends", "write visible text, without space around it")
    return value


def _sequence(value: Any) -> Any:
    # YAML and JSON have lists, frozen values have tuples; nothing else is converted.
    return tuple(value) if isinstance(value, list) else value


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: set[str] = set()
    for item in value:
        # As text: 1 and "1" look alike in a file, so they may not stand side by side.
        if str(item) in seen:
            raise refusal(f"lists {show(item)} twice", "list each value once")
        seen.add(str(item))
    return value


def _member(value: Any) -> Any:
    if isinstance(value, bool):
        raise refusal(
            f"holds {show(value)}, which is a flag and not text",
            'write it in quotes, or give the column "kind: boolean"',
        )
    if not isinstance(value, str | int):
        raise refusal(f"holds {show(value)}; a value is text or a whole number", "write it in quotes")
    if value == "":
        raise refusal("holds an empty text", 'an absent value is declared with "missing: true"')
    return _visible(value)


def _whole(value: Any) -> Any:
    # Literal[1] takes 1.0 and true as well, since they compare equal.
    if isinstance(value, float | bool):
        raise refusal(f"must be a whole number, not {show(value)}", "write it in digits alone")
    return value


def show(value: object) -> str:
    """A value of the policy as it may stand in a message: short, and quoted if it is text."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "nothing"
        case int() | float():
            text = repr(value)
            return text if len(text) <= 40 else f"{text[:40]}..."
        case str():
            visible = _HIDDEN.sub("?", value)
            return f'"{visible}"' if len(visible) <= 40 else f'"{visible[:40]}..."'
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return type(value).__name__


def flow(value: Any) -> str:
    """An example as it may be written in the file, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Mapping():
            return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(flow(item) for item in value) + "]"
        case float():
            return number(value)
        case _:
            return str(value)


def number(value: float) -> str:
    """A number as a person writes it: 3, 0.25, 1e-5."""
    text = f"{value:.6e}" if 0 < abs(value) < 1e-3 else f"{value:g}"
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}" if exponent else mantissa


def words(values: Any) -> str:
    """Several values in one line."""
    return ", ".join(str(value) for value in values)


# Names of columns and values may have space at their ends, since data has it; texts of the author's may not.
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Text: TypeAlias = Annotated[str, BeforeValidator(_plain_text), Field(min_length=1, max_length=MAX_TEXT)]
ColumnName: TypeAlias = Annotated[str, BeforeValidator(_visible), Field(min_length=1, max_length=MAX_NAME)]
Member: TypeAlias = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_NAME)] | int,
    BeforeValidator(_member),
]
Whole = BeforeValidator(_whole)
Sequence = BeforeValidator(_sequence)
Distinct = AfterValidator(_distinct)


def as_dict(value: Any, serialise: SerializerFunctionWrapHandler) -> Any:
    """Serialise a read-only mapping like the dictionary that it shows."""
    return serialise(dict(value))


def size(low: int, high: int) -> Len:
    """How many entries a list may have."""
    return Len(low, high)
