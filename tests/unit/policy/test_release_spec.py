"""The file of a release: what it may say, and that what it says becomes the query."""

from __future__ import annotations

import datetime

import pytest

from wardline.core import PolicyError
from wardline.dp.queries import Bound, Count, Histogram, Key, Mean, Persons, Quantiles, Sum, TopK, Variance
from wardline.plan.resolve_release import resolve_release
from wardline.policy.release_loader import RELEASE, parse_release
from wardline.policy.release_spec import ReleaseSpec

HEAD = """\
schema: 1
name: a
purpose: Something useful.
table: {source: "file:x.parquet", name: people}
unit: {column: who, groups: 3, rows_per_group: 2}
epsilon: 1
delta: 1e-6
"""


def resolved(text: str) -> object:
    return resolve_release(parse_release((HEAD + text).encode()))


def test_all_that_can_be_asked() -> None:
    loaded = parse_release(
        (
            HEAD
            + """\
where: age >= 18
by:
  - {column: a, values: [x, y]}
  - {column: b, first: 2, last: 4, cell: 0.5}
  - {column: c, values: [true, false]}
  - {column: d, dates: true, values: ["2024-02-29"]}
aggregates:
  - {kind: count, label: rows}
  - {kind: persons}
  - {kind: sum, column: s, lower: -1, upper: 1}
  - {kind: mean, column: m}
  - {kind: variance, column: v, lower: 0, upper: 1}
  - {kind: quantiles, column: q, lower: 0, upper: 1, probs: [0.5], bins: 16}
share: {rows: 2}
limit: {epsilon: 2, delta: 1e-5}
plot: rows
"""
        ).encode()
    )
    found = resolve_release(loaded)
    query = found.plan.query
    assert query.unit == "who"
    assert query.bound == Bound(groups=3, rows_per_group=2)
    assert query.where == "age >= 18"
    assert query.by == (
        Key("a", ["x", "y"]),
        Key("b", [2, 3, 4], cell=0.5),
        Key("c", [True, False]),
        Key("d", [datetime.date(2024, 2, 29)]),
    )
    assert query.aggregates == (
        Count(label="rows"),
        Persons(),
        Sum("s", lower=-1, upper=1),
        Mean("m"),
        Variance("v", lower=0, upper=1),
        Quantiles("q", lower=0, upper=1, probs=(0.5,), bins=16),
    )
    assert (found.plan.epsilon, found.plan.delta, found.plot) == (1, 1e-6, "rows")
    assert found.limit is not None
    assert found.limit.epsilon == 2
    assert str(query.table.source).endswith("/x.parquet")
    assert query.table.name == "people"
    assert loaded.place("aggregates", 2, "lower") == "release.yaml:17"


@pytest.mark.parametrize(
    ("text", "aggregate"),
    [
        ("{kind: histogram, column: h, edges: [0, 1, 2]}", Histogram("h", edges=[0, 1, 2])),
        ("{kind: top, column: t, k: 2, values: [a, b, c]}", TopK("t", k=2, values=["a", "b", "c"])),
    ],
)
def test_aggregates_that_stand_alone(text: str, aggregate: object) -> None:
    assert resolved(f"aggregates: [{text}]\n").plan.query.aggregates == (aggregate,)  # type: ignore[attr-defined]


def test_the_row_as_the_unit_and_data_from_elsewhere() -> None:
    text = HEAD.replace("unit: {column: who, groups: 3, rows_per_group: 2}", "unit: row")
    loaded = parse_release((text + "aggregates: [{kind: count}]\n").encode())
    query = resolve_release(loaded, data="postgresql://me@host/db#public.t").plan.query
    assert query.unit is None
    assert query.bound is None
    assert query.table.source == "postgresql://me@host/db#public.t"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("aggregates: []\n", 8, "is empty"),
        ("aggregates: [{column: x}]\n", 8, "has no kind"),
        ("aggregates: [{kind: median, column: x}]\n", 8, "median"),
        ("aggregates: [{kind: mean, colum: x}]\n", 8, "unknown key"),
        ("aggregates: [{kind: mean, column: x, bins: 3}]\n", 8, "unknown key"),
        ("aggregates: [{kind: quantiles, column: x, probs: [0.5, 0.5]}]\n", 8, "twice"),
        ("aggregates: [{kind: quantiles, column: x, probs: [0.9, 0.5]}]\n", 8, "ascend"),
        ("aggregates: [{kind: histogram, column: x, edges: [2, 1]}]\n", 8, "ascend"),
        ("aggregates: [{kind: count}, {kind: count}]\n", 5, "label"),
        ("aggregates: [{kind: count}]\nby: [{column: a, first: 1}]\n", 9, "without the other"),
        ("aggregates: [{kind: count}]\nby: [{column: a, first: 3, last: 1}]\n", 9, "no groups"),
        ("aggregates: [{kind: count}]\nby: [{column: a, values: [1.5]}]\n", 9, "whole number"),
        ("aggregates: [{kind: count}]\nby: [{column: a, values: ['x'], dates: true}]\n", 9, ""),
        ("aggregates: [{kind: count}]\nby: [{column: who, values: [1]}]\n", 5, "one person"),
        ("aggregates: [{kind: count, label: 'a b'}]\n", 8, "form"),
        ("aggregates: [{kind: count}]\nunit2: row\n", 9, "unknown key"),
    ],
)
def test_what_may_not_stand_there(text: str, place: int, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        resolved(text)
    assert caught.value.where == f"release.yaml:{place}", caught.value
    assert words in str(caught.value)
    assert caught.value.hint


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_release(b"schema: 1\nname: a\nunit: rows\nepsilon: -1\naggregates: [{kind: sum}]\n")
    for words in ("purpose", "table", "epsilon", "aggregates[0].column", "unit"):
        assert words in str(caught.value)


def test_every_field_is_described_with_an_example() -> None:
    for model in RELEASE.places.values():
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.examples, f"{model.__name__}.{name}"
    assert RELEASE.places[()] is ReleaseSpec
