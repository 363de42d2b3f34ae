"""How far one person reaches, and with it, how far one person can change each statistic.

**Theorem.** Let each person keep at most T rows in all, at most L groups with any row and at most M rows in each group,
and let the rows that a person keeps depend on nothing but that person's own rows (`wardline.dp.queries.bounding`). Let
a statistic be, per cell (a group, or a group and a bin), the sum of whole numbers of size at most C over the kept rows,
each row falling into one cell that depends on that row alone. Then adding or removing one person changes the vector of
all cells by v with

- ``max |v| <= C M``: the person's rows in one cell are at most M;
- ``sum |v| <= C T``: all of the person's rows are at most T;
- ``sum v**2 <= C**2 (q M**2 + r**2)`` with ``q = T // M``, ``r = T % M``: v / C is dominated by a vector with entries
  in [0, M] that add up to at most T, and a convex function is largest at an extreme point of that set, which has q
  entries M and one r.

*Proof of the premise.* The rows of everybody else are kept or dropped as before, so each cell changes by exactly the
sum over the rows that this person keeps; they fall into cells as the bound says. For distinct persons per group, a
person adds 1 in each of at most L groups: ``max <= 1``, ``sum <= L``, ``sum of squares <= L``. ∎

With Bound(rows=R): T = L = M = R. With Bound(groups=k, rows_per_group=m): T = k m, L = k, M = m, so that l1 = C k m,
l2 = C m sqrt(k), linf = C m. Without keys there is one group: L = 1 and T = M.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardline.dp.queries.aggregates import Persons
from wardline.dp.queries.frame import Sensitivity

if TYPE_CHECKING:
    from wardline.dp.queries.query import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far one person reaches after bounding; None where nothing bounds it.

    Attributes:
        rows: T, at most so many rows in all.
        groups: L, at most so many groups.
        rows_per_group: M, at most so many rows in a group.
    """

    rows: int | None
    groups: int | None
    rows_per_group: int | None


def reach(query: Query) -> Reach:
    """How far one person reaches in a query; see the module's theorem."""
    if query.bound is None:
        return Reach(rows=1, groups=1, rows_per_group=1)
    rows, groups, per_group = query.bound.rows, query.bound.groups, query.bound.rows_per_group
    if not query.by:
        groups = 1
    product = None if groups is None or per_group is None else groups * per_group
    total = _least(rows, product)
    return Reach(rows=total, groups=_least(groups, total), rows_per_group=_least(per_group, total))


def check_bounded(query: Query) -> None:
    """Refuse a query in which one person could count without limit.

    Raises:
        ValueError: naming what to bound.
    """
    found = reach(query)
    if found.groups is None and query.by:
        raise ValueError("the bound leaves open how many groups a person may reach; give rows, or groups")
    if found.rows is None and not all(isinstance(aggregate, Persons) for aggregate in query.aggregates):
        raise ValueError("the bound leaves open how many rows a person may have; give rows, or rows_per_group")


def of_rows(query: Query, most: int) -> Sensitivity:
    """The sensitivity of a statistic that adds, for each kept row, a whole number of size at most `most` to one cell.

    Raises:
        ValueError: if the query's bound leaves rows open.
    """
    found = reach(query)
    if found.rows is None or found.rows_per_group is None:
        raise ValueError("the bound leaves open how many rows a person may have; give rows, or rows_per_group")
    full, rest = divmod(found.rows, found.rows_per_group)
    return Sensitivity(
        l1=most * found.rows,
        l2_squared=most**2 * (full * found.rows_per_group**2 + rest**2),
        linf=most * found.rows_per_group,
    )


def of_persons(query: Query, *, candidates: bool = False) -> Sensitivity:
    """The sensitivity of the number of different persons per group, or per group and candidate of a top-k.

    Raises:
        ValueError: if the query's bound leaves open how many there may be.
    """
    most = reach(query).rows if candidates else reach(query).groups
    if most is None:
        raise ValueError("the bound leaves open how many groups a person may reach; give rows, or groups")
    return Sensitivity(l1=most, l2_squared=most, linf=1)


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)
