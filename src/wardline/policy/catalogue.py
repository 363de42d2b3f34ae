"""Which model stands at which place of a policy: for error messages and for the reference."""

from __future__ import annotations

import datetime
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from wardline.policy.fields import Part
from wardline.policy.problems import KeyPath
from wardline.policy.schema import Policy

Location: TypeAlias = tuple[str, ...]
"""Place of a model: keys, ``*`` for a list place or a free name, and the tag (kind or rule) of a choice."""


def key_of(name: str, field: FieldInfo) -> str:
    """A field's key in the file."""
    return field.alias or name


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """What a type may be, `Annotated` and `X | Y` taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(one for part in get_args(annotation) for one in alternatives(part))
    return (annotation,)


def tag_of(model: type[Part]) -> tuple[str, str] | None:
    """The key that names a choice's alternative, and this model's value of it; None if it is no choice."""
    for key in ("kind", "rule"):
        if key in model.model_fields:
            values = get_args(model.model_fields[key].annotation)
            if len(values) == 1:
                return key, str(values[0])
    return None


def _walk(model: type[Part], location: Location) -> Iterator[tuple[Location, type[Part]]]:
    yield location, model
    for name, field in model.model_fields.items():
        yield from _walk_type(field.annotation, (*location, key_of(name, field)))


def _walk_type(annotation: Any, location: Location) -> Iterator[tuple[Location, type[Part]]]:
    choices = alternatives(annotation)
    for choice in choices:
        origin = get_origin(choice)
        if isinstance(choice, type) and issubclass(choice, Part):
            tag = tag_of(choice)
            choice_location = (*location, tag[1]) if tag else location
            if not tag and Literal in {get_origin(one) for one in choices}:
                choice_location = (*location, "person")  # the tag that `Unit` gives to its mapping
            yield from _walk(choice, choice_location)
        elif origin is tuple:
            yield from _walk_type(get_args(choice)[0], (*location, "*"))
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            yield from _walk_type(get_args(choice)[1], (*location, "*"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Which model stands at which place of one kind of file.

    Attributes:
        places: every model of the schema, in the order of the file.
        unit: where the choice between row and person stands.
    """

    places: Mapping[Location, type[Part]]
    unit: Location

    @classmethod
    def of(cls, root: type[Part], *, unit: Location) -> Catalogue:
        """The catalogue of the file whose top is `root`."""
        return cls(places=dict(_walk(root, ())), unit=unit)

    @property
    def choices(self) -> frozenset[Location]:
        """Where a tag decides which model stands."""
        return frozenset(location[:-1] for location, model in self.places.items() if tag_of(model)) | {self.unit}


POLICY = Catalogue.of(Policy, unit=("data", "unit"))
PLACES = POLICY.places
"""Every model of the policy's schema, in the order of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """What stands at a location.

    Attributes:
        path: the key path as a person sees it.
        owner: the innermost model that the path leads into.
        key: the owner's key that the path goes through, whether or not the owner knows it; empty at the top.
    """

    path: KeyPath
    owner: type[Part]
    key: str

    @property
    def field(self) -> FieldInfo | None:
        """The owner's field of that key."""
        fields = self.owner.model_fields.items()
        return next((field for name, field in fields if key_of(name, field) == self.key), None)


def resolve(location: tuple[str | int, ...], catalogue: Catalogue = POLICY) -> Spot:
    """Find what stands at a location that pydantic reports.

    pydantic puts the tag of a choice into its locations, as if it were a key, and ``[key]`` behind a bad
    key of a mapping; a person sees neither.
    """
    path: list[str | int] = []
    place: Location = ()
    places, choices = catalogue.places, catalogue.choices
    owner, key = places[()], ""
    for part in location:
        if place in choices and (*place, str(part)) in places:
            place = (*place, str(part))
        elif (place == catalogue.unit and part == "row") or part == "[key]":
            continue
        else:
            path.append(part)
            if place in places:
                owner, key = places[place], str(part)
                place = (*place, str(part))
            else:
                place = (*place, "*")
    return Spot(path=tuple(path), owner=owner, key=key)


def example_of(field: FieldInfo) -> Any:
    """The first example that a field gives."""
    example = (field.examples or [None])[0]
    return example.isoformat() if isinstance(example, datetime.date) else example
