"""Queries as JSON, for files, ledgers and claims."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core.errors import PolicyError
from wardline.dp.queries.aggregates import (
    Aggregate,
    Count,
    Histogram,
    Magnitudes,
    Mean,
    Persons,
    Quantiles,
    Sum,
    TopK,
    Variance,
)
from wardline.dp.queries.query import Bound, Key, Query, Table
from wardline.dp.queries.values import KeyValue

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = 1
_KINDS: Mapping[str, Callable[..., Aggregate]] = {
    "count": Count,
    "persons": Persons,
    "sum": Sum,
    "mean": Mean,
    "variance": Variance,
    "quantiles": Quantiles,
    "histogram": Histogram,
    "top": TopK,
    "magnitudes": Magnitudes,
}
_NAMES = {make: kind for kind, make in _KINDS.items()}
_USER = re.compile(r"^(postgres(?:ql)?://)([^/@]*)@", re.IGNORECASE)
_PASSWORD = re.compile(r"([?&])(password|sslpassword)=[^&#]*", re.IGNORECASE)


def query_to_json(query: Query) -> dict[str, Any]:
    """A query as plain JSON values; see `Query.to_json`."""
    return {
        "schema": SCHEMA,
        "table": {"source": public_source(query.table), "name": query.table.name},
        "unit": query.unit,
        "bound": None if query.bound is None else {f.name: getattr(query.bound, f.name) for f in fields(Bound)},
        "by": [
            {
                "column": key.column,
                "values": None if key.values is None else [_value_to_json(value) for value in key.values],
                "cell": key.cell,
            }
            for key in query.by
        ],
        "aggregates": [_aggregate_to_json(aggregate) for aggregate in query.aggregates],
        "where": query.where,
    }


def public_source(table: Table) -> str | None:
    """Where a table is, without the password that a URL may hold; None for a table in memory."""
    if not isinstance(table.source, str | Path):
        return None
    source = str(table.source)
    found = _USER.match(source)
    if found is None:
        return source
    user = found.group(2).partition(":")[0]
    return _PASSWORD.sub(r"\1", f"{found.group(1)}{user}@{source[found.end() :]}")


def _value_to_json(value: KeyValue) -> object:
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return {"integer": str(value)}  # JSON's numbers are doubles
    return value


def _aggregate_to_json(aggregate: Aggregate) -> dict[str, Any]:
    found = {
        field.name: getattr(aggregate, field.name) for field in fields(aggregate) if not field.name.startswith("_")
    }
    for name, value in found.items():
        if isinstance(value, tuple):
            found[name] = [_value_to_json(item) for item in value]
    return {"kind": _NAMES[type(aggregate)], **found}


def query_from_json(value: object, *, tables: Mapping[str, pa.Table]) -> Query:
    """The query that `query_to_json` wrote; see `Query.from_json`."""
    known = {"schema", "table", "unit", "bound", "by", "aggregates", "where"}
    whole = _object(value, "query", known, needed={"table", "unit", "aggregates"})
    if whole.get("schema", SCHEMA) != SCHEMA:
        raise PolicyError("unknown version of the query's form", where="query.schema", hint=f"write schema: {SCHEMA}")
    bound = whole.get("bound")
    try:
        return Query(
            table=_table(whole["table"], tables),
            unit=whole["unit"],
            bound=None if bound is None else Bound(**_object(bound, "query.bound", _fields(Bound))),
            by=tuple(_key(item, f"query.by[{i}]") for i, item in enumerate(_list(whole.get("by", []), "query.by"))),
            aggregates=tuple(
                _aggregate(item, f"query.aggregates[{i}]")
                for i, item in enumerate(_list(whole["aggregates"], "query.aggregates"))
            ),
            where=whole.get("where"),
        )
    except (TypeError, ValueError) as error:
        raise _wrong(error, "query") from None


def _table(value: object, tables: Mapping[str, pa.Table]) -> Table:
    found = _object(value, "query.table", {"source", "name"}, needed={"source"})
    source, name = found["source"], found.get("name")
    if source is None:
        if str(name) not in tables:
            raise PolicyError(
                "the query was asked of a table in memory", where="query.table", hint="pass it in `tables` by its name"
            )
        source = tables[str(name)]
    return Table(source, name=name)


def _key(value: object, where: str) -> Key:
    found = dict(_object(value, where, {"column", "values", "cell"}, needed={"column"}))
    if found.get("values") is not None:
        found["values"] = _values(found["values"], f"{where}.values")
    try:
        return Key(**found)
    except (TypeError, ValueError) as error:
        raise _wrong(error, where) from None


def _aggregate(value: object, where: str) -> Aggregate:
    found = dict(_object(value, where, None, needed={"kind"}))
    make = _KINDS.get(str(found.pop("kind")))
    if make is None:
        raise PolicyError("unknown aggregate", where=f"{where}.kind", hint=f"one of {', '.join(_KINDS)}")
    _object(found, where, _fields(make))
    if found.get("values") is not None:
        found["values"] = _values(found["values"], f"{where}.values")
    try:
        return make(**found)
    except (TypeError, ValueError) as error:
        raise _wrong(error, where) from None


def _values(value: object, where: str) -> list[Any]:
    return [_value(item, f"{where}[{i}]") for i, item in enumerate(_list(value, where))]


def _value(value: object, where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    try:
        match dict(value):
            case {"date": str(text), **rest} if not rest:
                return datetime.date.fromisoformat(text)
            case {"integer": str(text), **rest} if not rest:
                return int(text)
    except ValueError as error:
        raise _wrong(error, where) from None
    raise PolicyError("no key value", where=where, hint='a number, text, true, false or {"date": "2020-01-31"}')


def _fields(make: Any) -> set[str]:
    return {field.name for field in fields(make) if not field.name.startswith("_")}


def _object(
    value: object, where: str, known: set[str] | None, *, needed: frozenset[str] | set[str] = frozenset()
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise PolicyError("an object with named parts stands here", where=where, hint="see docs/reference")
    for key in value:
        if known is not None and key not in known:
            raise PolicyError(f"unknown key {key!r}", where=where, hint=f"one of {', '.join(sorted(known))}")
    for key in sorted(needed):
        if key not in value:
            raise PolicyError(f"{key} is missing", where=where, hint=f"add {key}")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise PolicyError("a list stands here", where=where, hint="write [..., ...]")
    return list(value)


def _wrong(error: Exception, where: str) -> PolicyError:
    return PolicyError(str(error), where=where, hint="correct this part of the query")
