"""Keeping at most so many rows of each person, in SQL, the same rows on every engine.

**Guarantee.** The rows of a person that are kept are a function of the multiset of that person's own rows as the
statistics see them: person, keys, and the whole numbers derived from values. Hence adding or removing one person leaves
everybody else's kept rows as they were, which `wardline.dp.queries.sensitivity` rests on.

*Method.* A stage keeps L of n things of a person: n groups, n rows of one group, or n rows in all. The things are put
in order and numbered from 0, and number i is kept if ``(i L + o) mod n < L``, where o is the person's offset: a digest
of the person, modulo n. That is systematic sampling (Madow and Madow 1944): exactly L things are kept, evenly spread
over the order, and over the offsets each thing has the same chance, L / n. Where n <= L all are kept.

*Proof.* Rows are ordered by their keys and derived numbers, missing ones first, text by its bytes. Rows that tie are
equal in everything that the statistics see, so it does not matter which of them is kept, and the multiset of kept rows
depends on nothing but the multiset of the person's rows: not on how rows lie on disk, on threads, or on a collation.
Groups are ordered by their keys and do not tie. Each stage works on what the one before has kept. Modulo n, the n
values i L + o meet each multiple of g = gcd(L, n), shifted by o mod g, g times over; L / g of these multiples lie below
L, so exactly L numbers are kept. ∎

The digest only makes the choice even from person to person. It keeps no secret, so MD5, which all engines have, is good
enough.

Ranking is slow, and few people exceed a bound that is set well. So rows are counted per person first, and only the rows
of those are ranked who have more than the smallest of the bounds: nobody else can exceed any of them. Whether anybody
does is asked before anything else (`exceeded`), since a statement without bounding is faster still. This shows in the
time that a query takes, never in its result: who may watch the clock of the engine may learn whether anybody exceeded.
The guarantee, as everywhere in this field, speaks of the result.

Reference: Madow and Madow 1944, On the theory of systematic sampling, Annals of Mathematical Statistics 15(1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from sqlglot import exp

from wardline.dp.engines.base import Dialect
from wardline.dp.queries.expressions import alias, binary, cast, either, name, whole
from wardline.dp.queries.query import Bound

PERSON = "p"
_SALT = "wardline.bound/1"
_STAGES = ("groups", "rows_per_group", "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows as the statistics see them.

    Attributes:
        select: gives the columns below, none of person and keys missing.
        keys: the columns of the keys.
        content: all others, whole numbers or text, missing where a row has none.
        dialect: the engine's SQL.
    """

    select: exp.Select
    keys: tuple[str, ...]
    content: tuple[str, ...]
    dialect: Dialect


def kept(rows: Rows, bound: Bound | None, wanted: Sequence[str]) -> exp.Select:
    """Select the wanted columns of the rows that are kept. The tree of `rows` is taken over, not copied.

    Args:
        rows: the rows; with a bound, they have the column `PERSON`.
        bound: how much of one person is kept; None keeps everything.
        wanted: some of the rows' columns, at least one.
    """
    limits = {} if bound is None else _limits(bound, rows.keys)
    if not limits:
        return exp.select(*map(name, wanted)).from_(_sub(rows.select, "r"), copy=False)
    # Joins, and no EXISTS: DuckDB turns that into one more aggregation over all rows.
    suspects = _per_person(
        rows.select.copy(),
        [
            name(PERSON),
            *(alias(_offset(stage, rows.dialect), f"o_{stage}") for stage in limits),
            alias(exp.Count(this=exp.Star()), "n_person"),
        ],
    ).having(exp.GT(this=exp.Count(this=exp.Star()), expression=whole(min(limits.values()))), copy=False)
    plain = _joined([name(column, table="r") for column in wanted], rows.select.copy(), side="LEFT")
    plain = plain.where(exp.Is(this=name(PERSON, table="s"), expression=exp.Null()), copy=False)
    columns = dict.fromkeys((PERSON, *rows.keys, *rows.content, *wanted))
    about = [name(column, table="s") for column in (*(f"o_{stage}" for stage in limits), "n_person")]
    ranked = _joined([*(name(column, table="r") for column in columns), *about], rows.select, side="INNER")
    chosen = exp.select(*map(name, wanted)).from_(_sub(_chosen(rows, ranked, limits), "b"), copy=False)
    both = exp.Union(this=plain, expression=chosen, distinct=False)
    found = exp.select(exp.Star()).from_(_sub(both, "kept"), copy=False)
    return found.with_("suspects", as_=suspects, copy=False)


def exceeded(rows: Rows, bound: Bound) -> exp.Select | None:
    """Count the rows of the person who has most (``m``), and the fewest rows with which a bound can be exceeded.

    If nobody has that many, everything is kept, and `kept` need not be told of the bound. None if nothing can be
    exceeded. The tree of `rows` is taken over.
    """
    limits = _limits(bound, rows.keys)
    if not limits:
        return None
    count = _per_person(rows.select, [alias(exp.Count(this=exp.Star()), "c")])
    excess = binary(exp.Sub, exp.Max(this=name("c")), whole(min(limits.values())))
    return exp.select(alias(excess, "m")).from_(_sub(count, "q"), copy=False)


def _limits(bound: Bound, keys: Sequence[str]) -> dict[str, int]:
    """The stages of bounding, in order, and what each keeps at most."""
    # Without keys, the bound on groups holds by itself.
    given = zip(_STAGES, (bound.groups if keys else None, bound.rows_per_group, bound.rows), strict=True)
    return {stage: limit for stage, limit in given if limit is not None}


def _per_person(rows: exp.Select, columns: Sequence[exp.Expr]) -> exp.Select:
    return exp.select(*columns).from_(_sub(rows, "r"), copy=False).group_by(name(PERSON), copy=False)


def _sub(select: exp.Query, label: str) -> exp.Subquery:
    return select.subquery(label, copy=False)


def _joined(columns: Sequence[exp.Column], rows: exp.Select, *, side: str) -> exp.Select:
    """Columns of rows joined with the persons who may have too many."""
    suspects = exp.alias_(exp.table_("suspects", quoted=True), "s", table=True)
    same = exp.EQ(this=name(PERSON, table="s"), expression=name(PERSON, table="r"))
    select = exp.select(*(alias(column, column.name) for column in columns))
    return select.from_(_sub(rows, "r"), copy=False).join(suspects, on=same, join_type=side, copy=False)


def _chosen(rows: Rows, select: exp.Select, limits: Mapping[str, int]) -> exp.Select:
    keys, content = [name(key) for key in rows.keys], [name(column) for column in rows.content]
    person, count = name(PERSON), exp.Count(this=exp.Star())
    for stage, limit in limits.items():
        match stage:
            case "groups":
                number = _over(exp.DenseRank(), [person], keys)
                # No engine counts different things within a window; the largest rank is as good.
                total = _over(exp.Max(this=name("i_groups")), [person])
            case "rows_per_group":
                number = _over(exp.RowNumber(), [person, *keys], content or [person])
                total = _over(count.copy(), [person, *keys])
            case _:
                number = _over(exp.RowNumber(), [person], [*keys, *content] or [person])
                # Before any other stage, the number of a person's rows is known already.
                total = name("n_person") if len(limits) == 1 else _over(count.copy(), [person])
        select = _stage(select, stage, number, total, limit=limit)
    return select


def _stage(select: exp.Select, stage: str, number: exp.Expr, total: exp.Expr, *, limit: int) -> exp.Select:
    """Those of a person's things that are kept, by their number from 1 and how many there are."""
    for label, value in ((f"i_{stage}", number), (f"n_{stage}", total)):
        select = exp.select(exp.Star(), alias(value, label)).from_(_sub(select, "b"), copy=False)
    most, count = whole(limit), name(f"n_{stage}")
    step = binary(exp.Mul, binary(exp.Sub, name(f"i_{stage}"), whole(1)), most)
    offset = binary(exp.Mod, name(f"o_{stage}"), count)
    place = binary(exp.Mod, binary(exp.Add, step, offset), count.copy())
    within = either(exp.LTE(this=count.copy(), expression=most.copy()), exp.LT(this=place, expression=most.copy()))
    return exp.select(exp.Star()).from_(_sub(select, "b"), copy=False).where(within, copy=False)


def _over(function: exp.Expr, partition: Sequence[exp.Expr], order: Sequence[exp.Expr] = ()) -> exp.Expr:
    # Engines disagree on where missing values come, unless they are told.
    by = [exp.Ordered(this=one.copy(), desc=False, nulls_first=True) for one in order]
    return exp.Window(
        this=function,
        partition_by=[one.copy() for one in partition],
        order=exp.Order(expressions=by) if by else None,
    )


def _offset(stage: str, dialect: Dialect) -> exp.Expr:
    """A whole number of 60 bits made of the person."""
    text = exp.DPipe(this=exp.Literal.string(f"{_SALT}|{stage}|"), expression=cast(name(PERSON), "text"))
    digits: exp.Expr = exp.Substring(
        this=exp.MD5(this=text), start=exp.Literal.number(1), length=exp.Literal.number(15)
    )
    match dialect:
        case "duckdb":
            digits = exp.DPipe(this=exp.Literal.string("0x"), expression=digits)
        case "postgres":
            bits = exp.DPipe(this=exp.Literal.string("x"), expression=digits)
            digits = exp.Cast(this=bits, to=exp.DataType.build("bit(60)", dialect="postgres"))
        case "spark":
            digits = exp.Anonymous(this="CONV", expressions=[digits, exp.Literal.number(16), exp.Literal.number(10)])
        case _:
            assert_never(dialect)
    return cast(digits, "bigint")
