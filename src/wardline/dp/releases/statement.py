"""What a release claims, and what it does not."""

from __future__ import annotations

from wardline._version import __version__
from wardline.core.claims import Claim
from wardline.dp.queries.query import Query
from wardline.dp.releases.plan import ReleasePlan

REFERENCE = (
    "Dwork, McSherry, Nissim and Smith 2006, definition 1; noise: Ghosh, Roughgarden and Sundararajan 2012, "
    "Canonne, Kamath and Steinke 2020"
)


def unit_of(query: Query) -> str:
    """Who is protected, as the ledger names it."""
    return "row" if query.unit is None else query.unit


def protected(query: Query) -> str:
    """Who is protected, in words."""
    if query.unit is None:
        return "one row"
    return f"one {query.unit!r}, with all rows that it has in the table"


def claim_of(plan: ReleasePlan, *, charged: bool) -> Claim:
    """The claim of a release.

    Args:
        plan: what was released.
        charged: whether a ledger knows of it.
    """
    query = plan.query
    delta = f", but for a probability of {plan.delta:g}" if plan.delta else ""
    statement = (
        f"Whoever sees this table learns almost the same with or without {protected(query)}: no outcome is more than "
        f"e**{plan.epsilon:g} times as likely with it as without it{delta}."
    )
    return Claim(
        id="dp.release",
        quantity="epsilon",
        value=plan.epsilon,
        direction="at_most",
        statement=statement,
        adversary="anyone who sees the table, knows the query and all rows of everybody else, and has any computer",
        parameters={
            "delta": plan.delta,
            "unit": unit_of(query),
            "neighbouring": "one unit, with all of its rows, added or removed",
            "bound": _bound(query),
            "noise": plan.kind,
            "query_sha256": query.digest,
            "ledger": "charged" if charged else "none",
            "version": __version__,
        },
        assumptions=_assumptions(plan, charged=charged),
        reference=REFERENCE,
    )


def limits_of(plan: ReleasePlan) -> tuple[str, ...]:
    """What the intervals and figures do not tell, one sentence each, for whoever reads the table."""
    query = plan.query
    told = ["Each interval covers, with 95 %, the figure of the rows that were used."]
    told.append("Values beyond lower and upper were clipped to them; what that changed is in no interval.")
    if query.bound is not None:
        told.append(
            "Rows beyond the bound of a person were left out; how many is not published, and no interval contains it."
        )
    if plan.selection is not None:
        told.append(
            f"Groups with about {plan.selection.threshold} persons or fewer are mostly missing: their absence says "
            "nothing about whether they exist."
        )
    return tuple(told)


def _bound(query: Query) -> str:
    if query.bound is None:
        return "each row is one unit"
    parts = {
        "rows": query.bound.rows,
        "groups": query.bound.groups,
        "rows per group": query.bound.rows_per_group,
    }
    return ", ".join(f"at most {value} {name}" for name, value in parts.items() if value is not None)


def _assumptions(plan: ReleasePlan, *, charged: bool) -> tuple[str, ...]:
    query = plan.query
    found = []
    if query.unit is None:
        found.append("No two rows are about the same person; a person with several is protected less.")
    else:
        found.append(
            f"All rows of a person carry the same value in {query.unit!r}; what rows of other people tell about a "
            "person is not protected."
        )
    found.append(
        "The query, its keys, ranges and condition, epsilon and delta were chosen without looking at these rows."
    )
    found.append("The random numbers of the operating system and AES-256 are sound.")
    if charged:
        found.append("All other releases about the same people are charged to the same ledger.")
    else:
        found.append("No ledger was charged: further releases about the same people add to epsilon unseen.")
    found.append(
        "That the table was used at all, which columns it has, and how long the release took are not protected."
    )
    return tuple(found)
