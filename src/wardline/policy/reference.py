"""The reference of the policy file, made from the schema itself: as JSON Schema and as a page."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from wardline.policy.catalogue import PLACES, Location, example_of, key_of, tag_of
from wardline.policy.consistency import CHECKS
from wardline.policy.fields import Part, flow
from wardline.policy.scaffold import RECIPES
from wardline.policy.schema import Policy

SCHEMA_ID = "urn:wardline:policy:1"

_INTRODUCTION = """\
# The policy file

<!-- Generated from the schema by wardline.policy.reference_markdown(). Do not edit: a test compares. -->

One YAML file says what data there is, who must not learn what, what protects it, what is tried against the
result, and when the result is good enough. `wardline policy check FILE` checks it, `wardline policy explain
FILE` says it in plain sentences, `wardline policy schema` prints its JSON Schema, and `wardline init` writes
one to start from.

## How the file is read

- UTF-8 without byte-order mark, at most 1 MiB, no line above 32,768 characters, one document, YAML 1.2:
  `1e-5` is a number, `no` and a date are text.
- Refused, with the line: an unknown key, a key given twice, a key without value, a tag (`!`), a `%` directive,
  a merge key (`<<`), a number that begins with a zero (`010` is 8 to some readers and 10 to others), a whole
  number beyond 2^53, more than 20 levels, or more than 20,000 values once aliases are unfolded.
- Nothing is converted: a number in quotes is text, and text is no number.
- All problems of a file are told at once, each with its line and a remedy.

## An example

The recipe `breast-cancer`, which `wardline init --recipe breast-cancer` writes:

"""


def json_schema() -> dict[str, Any]:
    """The schema as JSON Schema, draft 2020-12, for editors and other tools.

    It says what one part alone must look like; what parts must agree on is checked by `wardline policy check`.

    Returns:
        A fresh dictionary that the caller may change.
    """
    schema = _without_null(Policy.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def _without_null(value: Any) -> Any:
    """Leave out what pydantic adds for optional keys: in the file a key is absent, never null."""
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _without_null(item) for key, item in value.items() if not (key == "default" and item is None)}
    choices = value.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        kept = [choice for choice in choices if choice != {"type": "null"}]
        rest = {key: item for key, item in value.items() if key != "anyOf"}
        return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}
    return value


def reference_markdown() -> str:
    """The reference page `docs/reference/policy.md`."""
    example = RECIPES["breast-cancer"]
    parts = [_INTRODUCTION, f"```yaml\n{example}```\n"]
    headings: set[str] = set()
    for location, model in PLACES.items():
        parts.append("\n" + "\n".join(section(location, model, headings)) + "\n")
    parts.append("\n## What the parts must agree on\n\n")
    for check in CHECKS:
        parts.append(f"- {_first_line(check.__doc__)}\n")
    parts.append(
        "\nTwo things are checked later, when the plan is made and the data is known: that delta is below 1 / number "
        "of\ntraining units, and that no protection breaks what another rests on.\n"
    )
    return "".join(parts)


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").splitlines()[0]


def section(location: Location, model: type[Part], headings: set[str]) -> Iterator[str]:
    """The lines of one model's section: its heading if it is new, its text, its keys."""
    top = location[0] if location else "top level"
    if top not in headings:
        headings.add(top)
        yield f"## {'The top level' if not location else f'`{top}`'}"
        yield ""
    if len(location) > 1 and location[1:] != ("*",):
        yield f"### {_title(location, model)}"
        yield ""
    yield inspect.cleandoc(model.__doc__ or "")
    yield ""
    yield "| key | type | range | default | meaning | example |"
    yield "| --- | --- | --- | --- | --- | --- |"
    properties = _properties(model)
    for name, field in sorted(model.model_fields.items(), key=lambda item: _rank(model, *item)):
        key = key_of(name, field)
        shape = properties[key]
        cells = (
            f"`{key}`",
            _type(shape),
            _range(shape),
            _default(field),
            field.description or "",
            f"`{flow(example_of(field))}`",
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@functools.cache
def _properties(model: type[Part]) -> dict[str, Any]:
    return dict(_without_null(model.model_json_schema(by_alias=True))["properties"])


def _title(location: Location, model: type[Part]) -> str:
    tag = tag_of(model)
    if tag is not None:
        holder = ".".join(part for part in location[:-1] if part != "*")
        return f"`{tag[0]}: {tag[1]}` in `{holder}`"
    return f"`{'.'.join(part for part in location if part not in ('*', 'person'))}`"


def _rank(model: type[Part], name: str, field: FieldInfo) -> tuple[bool, bool]:
    """The key that names the kind first, then what is mandatory, then the rest, each in the schema's order."""
    tag = tag_of(model)
    return (tag is None or name != tag[0], not field.is_required())


def _type(shape: dict[str, Any]) -> str:
    if "const" in shape:
        return f"`{shape['const']}`"
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    if shape.get("format") == "date":
        return "date"
    choices = shape.get("oneOf") or shape.get("anyOf")
    if choices:
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if "prefixItems" in shape:
        return f"list of {len(shape['prefixItems'])}: {_type(shape['prefixItems'][0])}"
    match shape.get("type"):
        case "array":
            return f"list of {_type(shape['items'])}"
        case "number":
            return "number"
        case "integer":
            return "whole number"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case _:
            return "mapping"


def _range(shape: dict[str, Any]) -> str:
    limits = (
        ("exclusiveMinimum", "above"),
        ("minimum", "from"),
        ("exclusiveMaximum", "below"),
        ("maximum", "to"),
    )
    words = [f"{word} {shape[key]:,}" for key, word in limits if key in shape]
    for kind in ("Items", "Properties", "Length"):
        least, most = shape.get(f"min{kind}"), shape.get(f"max{kind}")
        unit = "characters" if kind == "Length" else "entries"
        if most is not None and "prefixItems" not in shape:
            words.append(f"{least or 0:,} to {most:,} {unit}")
    if "items" in shape and isinstance(shape["items"], dict):
        inner = _range(shape["items"])
        if inner:
            words.append(f"each {inner}")
    return ", ".join(words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "mandatory"
    if field.default is None or field.default is PydanticUndefined:
        return "none"
    if isinstance(field.default, Part):
        return "its defaults"
    return f"`{flow(field.default)}`" if field.default != () else "none"
