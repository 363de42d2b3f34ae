"""The names of the published table's columns."""

from __future__ import annotations

from wardline.dp.queries.aggregates import Histogram, Quantiles, TopK
from wardline.dp.queries.query import Query
from wardline.dp.releases.layout import lone

SUFFIXES = ("", "_noise", "_low", "_high")
"""What stands behind a label in the names of its four columns."""


def quantile_label(aggregate: Quantiles, prob: float) -> str:
    """The label of one quantile: that of all, and the percentage."""
    return f"{aggregate.label}_{100 * prob:.10g}"


def labels_of(query: Query) -> tuple[str, ...]:
    """The labels of the figures in the published table, in order."""
    found: list[str] = []
    for one in query.aggregates:
        if isinstance(one, Quantiles):
            found += [quantile_label(one, prob) for prob in one.probs]
        else:
            found.append(one.label)
    return tuple(found)


def key_columns(query: Query) -> tuple[str, ...]:
    """The columns of the published table that tell a row's place: keys, and the bin or candidate.

    Raises:
        ValueError: for aggregates that do not go together.
    """
    keys = [key.column for key in query.by]
    match lone(query):
        case Histogram() as one:
            keys += [f"{one.column}_from", f"{one.column}_to"]
        case TopK() as one:
            keys += ["rank", one.column]
        case _:
            pass
    return tuple(keys)


def check_columns(query: Query) -> None:
    """Refuse a query whose published table would have two columns of one name.

    Raises:
        ValueError: naming the column, or for aggregates that do not go together.
    """
    names = [*key_columns(query), *(label + suffix for label in labels_of(query) for suffix in SUFFIXES)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the table would have two columns called {name!r}; give an aggregate another label")
