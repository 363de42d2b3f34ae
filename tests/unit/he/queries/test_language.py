"""The language of filters: what is written comes back, and what makes no sense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import canonical_json
from wardline.core.errors import IntegrityError, UsageError
from wardline.he.queries.answers import MOST_HEADER_BYTES
from wardline.he.queries.language import MOST_CHARACTERS, Condition, Query, number, parse_where, query_from_person

texts = st.text(min_size=1, max_size=12)
conditions = st.one_of(
    st.builds(
        Condition,
        column=texts,
        comparison=st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        values=st.tuples(texts),
    ),
    st.builds(
        Condition,
        column=texts,
        comparison=st.sampled_from(["in", "not in"]),
        values=st.lists(texts, min_size=1, max_size=4).map(tuple),
    ),
    st.builds(Condition, column=texts, comparison=st.sampled_from(["is missing", "is not missing"])),
)


@given(st.lists(conditions, min_size=1, max_size=4).map(tuple))
def test_a_filter_comes_back(where: tuple[Condition, ...]) -> None:
    assert parse_where(" AND ".join(map(str, where))) == where
    query = Query(kind="count", where=where)
    assert Query.from_json(query.to_json()) == query
    assert query_from_person({"count": True, "where": query.to_json()["where"]}) == query


def test_filters_read_as_one_expects() -> None:
    found = parse_where(
        """sex=F and age>=30 AND "marital status" != 'it\\'s' and state in (CA,"New York") and x is missing"""
    )
    assert found == (
        Condition(column="sex", comparison="=", values=("F",)),
        Condition(column="age", comparison=">=", values=("30",)),
        Condition(column="marital status", comparison="!=", values=("it's",)),
        Condition(column="state", comparison="in", values=("CA", "New York")),
        Condition(column="x", comparison="is missing"),
    )
    assert parse_where("a-b not in (1.5,-2)")[0].values == ("1.5", "-2")
    assert parse_where('income=">50K"')[0].values == (">50K",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "sex",
        "sex =",
        "sex = F and",
        "sex = F or age = 3",
        "and",
        "sex = F age = 3",
        "sex in",
        "sex in (",
        "sex in ()",
        "sex in (F",
        "sex in (F,)",
        "sex is",
        "sex is F",
        "sex not F",
        "= F",
        "sex = )",
        '"sex',
        "sex == F",
        "a = b and and",
        "a = " + "x" * 300,
    ],
)
def test_filters_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_where(text)
    assert caught.value.hint


@settings(max_examples=300)
@given(st.text(alphabet="ab =<>!(),\"'\\ andinot", max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = parse_where(text)
    except UsageError:
        return
    assert parse_where(" and ".join(map(str, found))) == found


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        5,
        {},
        {"count": False},
        {"count": True, "sum": "a"},
        {"sum": 3},
        {"count": True, "limit": 1},
        {"count": True, "where": ""},
        {"count": True, "where": 5},
        {"count": True, "where": [5]},
        {"count": True, "where": [{"column": "a"}]},
        {"count": True, "where": [{"column": "a", "comparison": "like", "values": ["b"]}]},
        {"count": True, "where": [{"column": "a", "comparison": "=", "values": [1]}]},
        {"count": True, "where": [{"column": "a", "comparison": "=", "values": ["1", "2"]}]},
    ],
)
def test_queries_that_make_no_sense_are_refused(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        query_from_person(value)
    assert caught.value.hint


def test_queries_of_strangers_are_refused_as_such() -> None:
    for value in (
        None,
        [],
        {},
        {"kind": "count", "column": 3, "where": []},
        {"kind": "max", "column": "a", "where": []},
        {"kind": "count", "column": "a", "where": []},
        {"kind": "sum", "column": None, "where": []},
        {"kind": "count", "column": None, "where": 5},
        {"kind": [], "column": None, "where": []},
    ):
        with pytest.raises(IntegrityError):
            Query.from_json(value)


def test_numbers() -> None:
    assert str(number("1.50")) == "1.50"
    assert [number(one) for one in ("x", "", "nan", "inf", "1e400")] == [None] * 5


def test_every_query_fits_the_header_of_its_answer() -> None:
    """Characters that JSON writes with six bytes, as many as there may be; one more is refused."""
    condition = Condition(column="\x01" * 255, comparison="is missing")
    most = (condition,) * 256
    assert MOST_CHARACTERS == 256 * 256
    assert len(canonical_json(Query(kind="count", where=most).to_json())) < MOST_HEADER_BYTES - 512
    longer = Condition(column="\x01" * 256, comparison="is missing")
    with pytest.raises(ValueError, match="more than 65536 characters"):
        Query(kind="count", where=(*most[1:], longer))
    many = Condition(column="x", comparison="in", values=("",) * 256)
    with pytest.raises(ValueError, match="more than 65536 characters"):
        Query(kind="count", where=(many,) * 256)
