"""Keeping at most so many rows of each person, in SQL, the same rows on every engine.

**Guarantee.** The rows of a person that are kept are a function of the multiset of that person's own rows as
the statistics see them: person, keys, and the whole numbers derived from values. Hence adding or removing one
person leaves everybody else's kept rows as they were, which `wardline.dp.queries.sensitivity` rests on.

*Proof.* Each row gets j, its number among the person's rows that are equal to it, and a digest of (person, keys,
derived numbers, j). Equal rows are interchangeable: whichever of them gets which j, the set of tuples (row, j) is the
same. Ranks are taken within the person's rows, or the person's rows of one group, in the order of the digest, then of
the tuple itself: a total order of distinct tuples that depends on nothing else, not on how rows lie on disk, on
threads, or on a collation. Groups are ranked likewise, by a digest of (person, keys), then the keys. Keeping the first so many of each
rank is then a function of the set of tuples. ∎ (Were two digests equal by chance or by design, the tuple decides.)

The digest only makes the choice even: it differs from person to person, so that no group is favoured. It keeps no
secret, so MD5, which all engines have, is good enough.

Ranking is slow, and few people exceed a bound that is set well. So rows are counted per person first, and only the rows
of those are ranked who have more than the smallest of the bounds: nobody else can exceed any of them. Whether that
happens shows in the time a query takes, never in its result: who may watch the clock of the engine may learn whether
anybody exceeded. The guarantee, as everywhere in this field, speaks of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from wardline.dp.engines.base import Dialect
from wardline.dp.queries.expressions import alias, name, whole
from wardline.dp.queries.query import Bound

PERSON = "p"
_SALT = "wardline.bound/1"


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
    if bound is None:
        return exp.select(*map(name, wanted)).from_(_sub(rows.select, "r"), copy=False)
    # Without keys, the bound on groups holds by itself.
    groups = bound.groups if rows.keys else None
    limits = [limit for limit in (bound.rows, groups, bound.rows_per_group) if limit is not None]
    if not limits:
        return exp.select(*map(name, wanted)).from_(_sub(rows.select, "r"), copy=False)
    # Joins, and no EXISTS: DuckDB turns that into one more aggregation over all rows.
    suspects = (
        exp.select(name(PERSON))
        .from_(_sub(rows.select.copy(), "r"), copy=False)
        .group_by(name(PERSON), copy=False)
        .having(exp.Count(this=exp.Star()) > whole(min(limits)), copy=False)
    )
    columns = [alias(name(column, table="r"), column) for column in wanted]
    others = _joined(exp.select(*columns), rows.select.copy(), side="LEFT")
    others = others.where(exp.Is(this=name(PERSON, table="s"), expression=exp.Null()), copy=False)
    columns = [name(column, table="r") for column in (PERSON, *rows.keys, *rows.content)]
    ranked = _joined(exp.select(*columns), rows.select, side="INNER")
    chosen = exp.select(*map(name, wanted)).from_(_sub(_chosen(rows, ranked, bound, groups), "b"), copy=False)
    both = exp.Union(this=others, expression=chosen, distinct=False)
    found = exp.select(exp.Star()).from_(_sub(both, "kept"), copy=False)
    return found.with_("suspects", as_=suspects, copy=False)


def _sub(select: exp.Query, label: str) -> exp.Subquery:
    return select.subquery(label, copy=False)


def _joined(select: exp.Select, rows: exp.Select, *, side: str) -> exp.Select:
    """Rows joined with the persons who may have too many."""
    suspects = exp.alias_(exp.table_("suspects", quoted=True), "s", table=True)
    same = exp.EQ(this=name(PERSON, table="s"), expression=name(PERSON, table="r"))
    return select.from_(_sub(rows, "r"), copy=False).join(suspects, on=same, join_type=side, copy=False)


def _chosen(rows: Rows, select: exp.Select, bound: Bound, groups: int | None) -> exp.Select:
    keys, content = [name(key) for key in rows.keys], [name(column) for column in rows.content]
    person, number = name(PERSON), name("j")
    # Spark wants an order even where none matters: rows of one partition are equal in every column.
    numbered = _over(exp.RowNumber(), [person, *keys, *content], [person])
    select = exp.select(exp.Star(), alias(numbered, "j")).from_(_sub(select, "b0"), copy=False)
    digests = [alias(_digest(rows, [PERSON, *rows.keys, *rows.content, "j"]), "h")]
    if groups is not None:
        digests.append(alias(_digest(rows, [PERSON, *rows.keys]), "g"))
    select = exp.select(exp.Star(), *digests).from_(_sub(select, "b1"), copy=False)
    ranks = []
    if groups is not None:
        ranks.append((_over(exp.DenseRank(), [person], [name("g"), *keys]), groups))
    if bound.rows_per_group is not None:
        order = [name("h"), *content, number]
        ranks.append((_over(exp.RowNumber(), [person, *keys], order), bound.rows_per_group))
    if ranks:
        select = _first(select, ranks, "b2")
    if bound.rows is not None:
        order = [name("h"), *keys, *content, number]
        select = _first(select, [(_over(exp.RowNumber(), [person], order), bound.rows)], "b3")
    return select


def _first(select: exp.Select, ranks: Sequence[tuple[exp.Expression, int]], label: str) -> exp.Select:
    """The rows whose ranks do not exceed their limits."""
    named = [alias(rank, f"{label}_{place}") for place, (rank, _) in enumerate(ranks)]
    within = [name(f"{label}_{place}") <= whole(limit) for place, (_, limit) in enumerate(ranks)]
    inner = exp.select(exp.Star(), *named).from_(_sub(select, label), copy=False)
    return exp.select(exp.Star()).from_(_sub(inner, f"{label}_ranked"), copy=False).where(*within, copy=False)


def _over(
    function: exp.Expression, partition: Sequence[exp.Expression], order: Sequence[exp.Expression]
) -> exp.Expression:
    # Engines disagree on where missing values come, unless they are told.
    by = [exp.Ordered(this=one.copy(), desc=False, nulls_first=True) for one in order]
    return exp.Window(this=function, partition_by=[one.copy() for one in partition], order=exp.Order(expressions=by))


def _digest(rows: Rows, columns: Sequence[str]) -> exp.Expression:
    text: exp.Expression = exp.Literal.string(_SALT)
    for column in columns:
        value = exp.Coalesce(this=exp.cast(name(column), "text"), expressions=[exp.Literal.string("")])
        text = exp.DPipe(this=exp.DPipe(this=text, expression=exp.Literal.string("|")), expression=value)
    digest = exp.MD5(this=text)
    if rows.dialect == "postgres":
        return exp.Collate(this=digest, expression=exp.to_identifier("C", quoted=True))
    return digest
