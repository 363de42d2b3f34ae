"""A query as statements of SQL: one plan for all engines.

Rows are first reduced to what the statistics see (`Rows`): the person, the keys, and one whole number per statistic.
Rows whose key is not among the public ones are left out before bounding, so that they use up nobody's bound. What
comes out of a statement is keys and whole numbers per group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sqlglot import exp

from wardline.core.errors import DataError
from wardline.dp.queries import expressions as sql
from wardline.dp.queries.aggregates import TopK
from wardline.dp.queries.bounding import PERSON, Rows, exceeded, kept
from wardline.dp.queries.query import Key, Query
from wardline.dp.queries.statistics import PERSONS, Derived, Spec, specs
from wardline.dp.queries.values import KeyValue
from wardline.dp.queries.where import columns_of, parse_where, to_sql

if TYPE_CHECKING:
    from wardline.dp.engines.base import Kind, Session


def columns_used(query: Query) -> tuple[str, ...]:
    """The columns of the table that a query looks at."""
    found = [key.column for key in query.by]
    found += [aggregate.column for aggregate in query.aggregates if hasattr(aggregate, "column")]
    if query.unit is not None:
        found.append(query.unit)
    if query.where is not None:
        found += columns_of(parse_where(query.where))
    return tuple(dict.fromkeys(found))


def specs_of(query: Query) -> tuple[Spec, ...]:
    """The statistics of a query's groups, each once, and the number of persons where groups are found."""
    found = {spec.name: spec for aggregate in query.aggregates for spec in specs(aggregate).values()}
    if query.found:
        found.setdefault(PERSONS.name, PERSONS)
    return tuple(found.values())


def candidates_of(query: Query) -> tuple[int, ...]:
    """The places of the query's top-k aggregates."""
    return tuple(place for place, aggregate in enumerate(query.aggregates) if isinstance(aggregate, TopK))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The statements for one query in one session.

    Attributes:
        query: what is asked.
        session: the table it is asked of.
        kinds: what the columns of the table hold.
        nobody_exceeds: whether it is known that bounding would leave out nothing.
    """

    query: Query
    session: Session
    kinds: Mapping[str, Kind]
    nobody_exceeds: bool = False

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names of the key columns in a result."""
        return tuple(f"k{place}" for place in range(len(self.query.by)))

    @cached_property
    def derived(self) -> Mapping[Derived, str]:
        """The name of the column for each derived number."""
        found = dict.fromkeys(spec.derived for spec in specs_of(self.query) if spec.derived is not None)
        return {one: f"d{place}" for place, one in enumerate(found)}

    def guard(self) -> exp.Select:
        """Counts the rows (``n``), those with a person (``p``), and those with each key that is found in the data."""
        counted = ([PERSON] if self.query.unit is not None else []) + [
            column for column, key in zip(self.keys, self.query.by, strict=True) if key.values is None
        ]
        counts = [sql.alias(exp.Count(this=sql.name(column)), column) for column in counted]
        everything = sql.alias(exp.Count(this=exp.Star()), "n")
        return exp.select(everything, *counts).from_(self._considered.subquery("r"), copy=False)

    def exceeded(self) -> exp.Select | None:
        """By how many rows (``m``) the person with most rows exceeds the smallest bound; None if nobody can."""
        return None if self.query.bound is None else exceeded(self._rows, self.query.bound)

    def groups(self, wanted: Sequence[Spec]) -> exp.Select:
        """One row per group with the statistics wanted, none of kind ``bins``, under ``s0``, ``s1`` and so on."""
        columns = dict.fromkeys(self.keys)
        for spec in wanted:
            if spec.derived is not None:
                columns[self.derived[spec.derived]] = None
            if spec.kind == "persons" and self.query.unit is not None:
                columns[PERSON] = None
        figures = [sql.alias(self._figure(spec), f"s{place}") for place, spec in enumerate(wanted)]
        return self._grouped(self.keys, columns, figures)

    def bins(self, spec: Spec) -> exp.Select:
        """One row per group and bin that has any row: the bin as ``bin``, and how many as ``s0``."""
        assert spec.derived is not None
        column = self.derived[spec.derived]
        figures = [sql.alias(sql.name(column), "bin"), sql.alias(exp.Count(this=exp.Star()), "s0")]
        return self._grouped([*self.keys, column], [*self.keys, column], figures, present=column)

    def candidates(self, place: int, *, persons: bool) -> exp.Select:
        """One row per group and candidate (``c``) with any row: rows as ``s0`` and, if wanted, persons as ``s1``."""
        column = f"c{place}"
        figures = [sql.alias(sql.name(column), "c"), sql.alias(exp.Count(this=exp.Star()), "s0")]
        columns = [*self.keys, column]
        if persons:
            figures.append(sql.alias(self._figure(PERSONS), "s1"))
            if self.query.unit is not None:
                columns.append(PERSON)
        return self._grouped([*self.keys, column], columns, figures, present=column)

    def _grouped(
        self,
        by: Sequence[str],
        columns: Sequence[str] | Mapping[str, None],
        figures: Sequence[exp.Expr],
        *,
        present: str | None = None,
    ) -> exp.Select:
        # A select needs some column, even if it only counts rows.
        wanted = list(columns) or ["one"]
        select = kept(self._rows, None if self.nobody_exceeds else self.query.bound, wanted)
        cte = select.args.pop("with_", None)  # at the top, where all engines take it
        found = exp.select(*map(sql.name, self.keys), *figures)
        found = found.from_(select.subquery("kept", copy=False), copy=False)
        if cte is not None:
            found.set("with_", cte)
        if present is not None:
            found = found.where(exp.Not(this=exp.Is(this=sql.name(present), expression=exp.Null())), copy=False)
        return found.group_by(*map(sql.name, by), copy=False) if by else found

    def _figure(self, spec: Spec) -> exp.Expr:
        if spec.kind == "rows" or (spec.kind == "persons" and self.query.unit is None):
            return exp.Count(this=exp.Star())
        if spec.kind == "persons":
            return exp.Count(this=exp.Distinct(expressions=[sql.name(PERSON)]))
        assert spec.derived is not None
        column = sql.name(self.derived[spec.derived])
        if spec.kind == "values":
            return exp.Count(this=column)
        # A sum beyond 64 bits is an error here, never another number; `collect` refuses it before it gets this far.
        return exp.Coalesce(this=sql.cast(exp.Sum(this=column), "bigint"), expressions=[sql.whole(0)])

    @property
    def _considered(self) -> exp.Select:
        """All rows that the condition lets through, as the statistics see them."""
        dialect, query = self.session.dialect, self.query
        found = [sql.alias(sql.whole(1), "one")]
        if query.unit is not None:
            found.append(sql.alias(sql.plain(query.unit, self.kinds[query.unit], dialect), PERSON))
        for column, key in zip(self.keys, query.by, strict=True):
            found.append(sql.alias(self._key(key), column))
        for place in candidates_of(query):
            column = query.aggregates[place].column  # type: ignore[union-attr]
            found.append(sql.alias(sql.plain(column, self.kinds[column], dialect), f"c{place}"))
        found += [sql.alias(sql.derived(one), column) for one, column in self.derived.items()]
        select = exp.select(*found).from_(self.session.source(), copy=False)
        if query.where is not None:
            select = select.where(to_sql(parse_where(query.where), self.kinds, dialect), copy=False)
        return select

    @property
    def _rows(self) -> Rows:
        content = [f"c{place}" for place in candidates_of(self.query)] + list(self.derived.values())
        listed = [
            self._listed(column, encoded(key.values))
            for column, key in zip(self.keys, self.query.by, strict=True)
            if key.values is not None
        ]
        select = self._considered
        if listed:
            select = (
                exp.select(exp.Star()).from_(select.subquery("l", copy=False), copy=False).where(*listed, copy=False)
            )
        return Rows(select=select, keys=self.keys, content=tuple(content), dialect=self.session.dialect)

    def _key(self, key: Key) -> exp.Expr:
        if key.cell is not None:
            return sql.cell(key.column, key.cell)
        return sql.plain(key.column, self.kinds[key.column], self.session.dialect)

    def _listed(self, column: str, values: Sequence[int] | Sequence[str]) -> exp.Expr:
        if isinstance(values[0], int):
            low, high = min(values), max(values)
            if int(high) - int(low) + 1 == len(
                values
            ):  # all different: every number in between, told by two comparisons
                return exp.Between(this=sql.name(column), low=sql.whole(int(low)), high=sql.whole(int(high)))
        return exp.In(this=sql.name(column), query=exp.Subquery(this=self.session.values(values)))


def encoded(values: Sequence[KeyValue]) -> list[int] | list[str]:
    """Public keys, all of one type, as the engines see them: days for dates, 0 or 1 for truth values."""
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        return texts
    return [int(value) if isinstance(value, int) else sql.days(value) for value in values if not isinstance(value, str)]


_KEYS = ("integer", "text", "date", "truth")
_VALUES: Mapping[type, str] = {bool: "truth", int: "integer", str: "text"}


def check_kinds(query: Query, columns: Mapping[str, Kind]) -> None:
    """Refuse a query whose columns the table lacks, or holds in a kind that does not fit.

    Raises:
        DataError: naming the column and what to do.
    """
    for column in columns_used(query):
        if column not in columns:
            role = "unit column" if column == query.unit else "column"
            raise DataError(
                f"the table has no such {role}", where=column, hint="names are matched exactly; check the spelling"
            )
    if query.unit is not None and columns[query.unit] not in ("integer", "text", "date"):
        _misfit(query.unit, columns[query.unit], "a person", "whole numbers or text")
    for key in query.by:
        kind = columns[key.column]
        if key.cell is not None:
            if kind not in ("integer", "number"):
                _misfit(key.column, kind, "a cell", "numbers")
            continue
        _check_key(key.column, kind, key.values)
    for aggregate in query.aggregates:
        if isinstance(aggregate, TopK):
            _check_key(aggregate.column, columns[aggregate.column], aggregate.values)
        elif hasattr(aggregate, "column") and columns[aggregate.column] not in ("integer", "number"):
            _misfit(aggregate.column, columns[aggregate.column], "a number", "numbers")


def _check_key(column: str, kind: Kind, values: Sequence[KeyValue] | None) -> None:
    if kind not in _KEYS:
        _misfit(column, kind, "a key", "whole numbers, text, dates or truth values; for other numbers, give a cell")
    if values is not None and _VALUES.get(type(values[0]), "date") != kind:
        raise DataError(
            f"the column holds values of kind {kind}, and the query lists values of another",
            where=column,
            hint="list values of the column's kind",
        )


def _misfit(column: str, kind: Kind, what: str, wanted: str) -> None:
    raise DataError(f"a column of kind {kind} cannot name {what}", where=column, hint=f"use a column of {wanted}")
