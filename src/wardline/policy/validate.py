"""From plain values to a policy, or to every problem that they have, worded for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from wardline.policy.catalogue import POLICY, Catalogue, Spot, alternatives, example_of, key_of, resolve, tag_of
from wardline.policy.consistency import CONTRADICTION, Parts, contradictions
from wardline.policy.dataset import Budget, Column, TaggedColumn, Unit
from wardline.policy.fields import REFUSED, flow, show, words
from wardline.policy.problems import KeyPath, Problem, nearest
from wardline.policy.rules import Gate, TaggedGate, Waiver
from wardline.policy.schema import Policy
from wardline.policy.sections import Attack, DpSgd, Protection, TaggedAttack, TaggedProtection

_COLUMN: TypeAdapter[Column] = TypeAdapter(TaggedColumn)
_UNIT: TypeAdapter[Any] = TypeAdapter(Unit)
_BUDGET: TypeAdapter[Budget] = TypeAdapter(Budget)
_PROTECTION: TypeAdapter[Protection] = TypeAdapter(TaggedProtection)
_ATTACK: TypeAdapter[Attack] = TypeAdapter(TaggedAttack)
_GATE: TypeAdapter[Gate] = TypeAdapter(TaggedGate)
_WAIVER: TypeAdapter[Waiver] = TypeAdapter(Waiver)

_MAX_WORDED = 1000

_LIMITS = {"greater_than": ("gt", "above"), "greater_than_equal": ("ge", "at least")} | {
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}

_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def validate(value: Mapping[str, Any]) -> Policy | list[Problem]:
    """The policy that these values describe, or everything that is wrong with them."""
    version = value.get("schema")
    if isinstance(version, int) and not isinstance(version, bool) and version != 1:
        # Whatever else looks wrong may be right in that version.
        return [
            Problem(
                path=("schema",),
                message=f"is version {show(version)}; this wardline reads version 1",
                hint="write 1, or install a wardline that reads that version",
            )
        ]
    try:
        return Policy.model_validate(value)
    except ValidationError as error:
        return worded(error, POLICY) + list(contradictions(_valid_parts(value)))


def worded(error: ValidationError, catalogue: Catalogue) -> list[Problem]:
    """What pydantic found wrong in a file of one kind, in plain words."""
    details = [one for one in error.errors(include_url=False) if not _redundant(one)]
    # No file with more problems is mended from one list; wording them all would take a hostile one minutes.
    return [_word(one, catalogue) for one in details[:_MAX_WORDED]]


def _redundant(error: ErrorDetails) -> bool:
    if error["type"] == CONTRADICTION:
        return True  # found anew below, each with its place
    # pydantic counts only the valid entries of a list; the invalid ones have been told.
    given = error["input"]
    return error["type"] == "too_short" and isinstance(given, list | tuple) and len(given) >= error["ctx"]["min_length"]


def _valid_parts(value: Mapping[str, Any]) -> Parts:
    raw = value.get("data")
    data: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    columns = data.get("columns")
    target = data.get("target")
    attacks, gates = _entries(value, "attacks", _ATTACK), _entries(value, "gates", _GATE)
    return Parts(
        target=target if isinstance(target, str) else None,
        unit=_try(_UNIT, data.get("unit")),
        budget=_try(_BUDGET, data.get("budget")),
        columns={name: _try(_COLUMN, one) for name, one in columns.items()} if isinstance(columns, Mapping) else None,
        protections=_entries(value, "protections", _PROTECTION),
        attacks=attacks,
        gates=gates,
        waivers=_entries(value, "waivers", _WAIVER),
        complete_attacks=len(attacks) == _length(value.get("attacks")),
        complete_gates=len(gates) == _length(value.get("gates")),
    )


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple) else -1


def _try(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None  # told already, with its place, by the validation of the whole


def _entries(value: Mapping[str, Any], key: str, adapter: TypeAdapter[Any]) -> tuple[tuple[int, Any], ...]:
    entries = value.get(key)
    if not isinstance(entries, list | tuple):
        return ()
    tried = ((index, _try(adapter, entry)) for index, entry in enumerate(entries))
    return tuple((index, entry) for index, entry in tried if entry is not None)


def _word(error: ErrorDetails, catalogue: Catalogue) -> Problem:
    """One error of pydantic in plain words: what is wrong, and what may stand there instead."""
    spot = resolve(error["loc"], catalogue)
    path = spot.path
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    hint = _meaning(spot)
    match kind:
        case _ if kind == REFUSED:
            return Problem(path=path, message=str(context["message"]), hint=str(context["hint"]))
        case "missing":
            return Problem(path=path, message="is missing", hint=_how_to_add(spot))
        case "extra_forbidden":
            return Problem(path=path, message="is an unknown key", hint=_known_keys(spot))
        case "union_tag_not_found":
            key = str(context["discriminator"]).strip("'")
            tags = _tags(path, catalogue)
            if not isinstance(given, Mapping):
                message = f"must be a mapping with a {key}, not {show(given)}"
            else:
                message = f"has no {key}"
            return Problem(path=path, message=message, hint=f"add {key}; one of: {words(tags)}")
        case "union_tag_invalid":
            key, tag = str(context["discriminator"]).strip("'"), str(context["tag"])
            return Problem(
                path=(*path, key),
                message=f"{show(tag)} is not known",
                hint=nearest(tag, _tags(path, catalogue), "known"),
            )
        case "literal_error" if path == ("data", "unit"):
            return Problem(
                path=path,
                message=f"must be row, or a mapping with column and max_rows, not {show(given)}",
                hint='write "unit: row" if each row is another person, else "unit: {column: NAME, max_rows: 8}"',
            )
        case "literal_error":
            allowed = _allowed(spot, str(context.get("expected", "")))
            suggestion = nearest(str(given), allowed, "allowed") if isinstance(given, str) else ""
            return Problem(
                path=path, message=f"{show(given)} is not known", hint=suggestion or f"allowed: {words(allowed)}"
            )
        case "finite_number":
            return Problem(path=path, message=f"must be a finite number, not {show(given)}", hint=hint)
        case _ if kind in _LIMITS:
            key, word = _LIMITS[kind]
            return Problem(path=path, message=f"must be {word} {context[key]:.15g}, not {show(given)}", hint=hint)
        case "too_short" | "too_long":
            return Problem(path=path, message=_wrong_length(context, given), hint=hint)
        case "string_too_short" | "string_too_long":
            limit = context.get("min_length", context.get("max_length"))
            word = "at least" if kind == "string_too_short" else "at most"
            return Problem(path=path, message=f"must have {word} {limit} characters", hint=hint)
        case "string_pattern_mismatch":
            return Problem(path=path, message=f"{show(given)} does not have the right form", hint=hint)
        case _ if kind in _TYPES:
            return Problem(path=path, message=f"must be {_TYPES[kind]}, not {_named(given)}", hint=hint)
        case _:
            message = error["msg"]
            return Problem(path=path, message=message[:1].lower() + message[1:], hint=hint)


def _named(value: Any) -> str:
    match value:
        case bool():
            return f"the flag {show(value)}"
        case str():
            return f"the text {show(value)}"
        case int() | float():
            return f"the number {show(value)}"
        case _:
            return show(value)


def _wrong_length(context: Mapping[str, Any], given: Any) -> str:
    actual = len(given) if isinstance(given, list | tuple | Mapping) else context.get("actual_length")
    if not actual:
        return "is empty"
    if "min_length" in context:
        return f"has {actual} entries; at least {context['min_length']} are needed"
    return f"has {actual} entries; at most {context['max_length']} are allowed"


def _meaning(spot: Spot) -> str:
    if spot.field is None:
        return "`wardline policy schema` says what may stand here"
    return f"{spot.field.description}; for example {flow(example_of(spot.field))}"


def _how_to_add(spot: Spot) -> str:
    example = f"{spot.key}: {flow(example_of(spot.field))}" if spot.field is not None else spot.key
    return f'add "{example}" ({spot.field.description if spot.field is not None else "it has no default"})'


def _known_keys(spot: Spot) -> str:
    if spot.owner is DpSgd and spot.key in {"noise", "noise_multiplier", "sigma"}:
        return "remove it: the noise is calibrated to epsilon and delta, never given"
    return nearest(spot.key, (key_of(name, field) for name, field in spot.owner.model_fields.items()), "known keys")


def _tags(path: KeyPath, catalogue: Catalogue) -> list[str]:
    """The kinds, or rules, that may stand at a path."""
    location = tuple("*" if isinstance(part, int) else part for part in path)
    if path[:2] == ("data", "columns"):
        location = ("data", "columns", "*")
    models = [model for place, model in catalogue.places.items() if place[:-1] == location]
    return [tag[1] for tag in map(tag_of, models) if tag]


def _allowed(spot: Spot, expected: str) -> list[str]:
    """What a choice allows; `expected` is pydantic's own list, for choices inside of lists."""
    literals: Iterable[Any] = alternatives(spot.field.annotation) if spot.field is not None else ()
    values = [str(value) for one in literals if get_origin(one) is Literal for value in get_args(one)]
    return values or [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]
