"""Holding a table to its contract: every breach gathered into one error, without a value of any row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from wardline.core import DataError
from wardline.data._convert import (
    Breach,
    NotConvertibleError,
    canonical,
    canonical_type,
    codes,
    count_infinite,
    is_varied,
)
from wardline.data._extras import module
from wardline.data.contract import Column, Contract

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES_SHOWN = 12


def enforce(
    contract: Contract,
    table: pa.Table,
    *,
    constant_features: Literal["refuse", "keep"] = "refuse",
    to_learn: bool = True,
) -> pa.Table:
    """Hold a table to its contract and bring its columns to one type for each kind.

    Refused are: a column that is missing, doubled or not in the contract; a value that is missing where none
    may be, outside its range, infinite, of the wrong kind or not a listed category; a feature that is constant
    or missing throughout; a class of the target that no row has; a row without a person where a column names
    the person. NaN counts as missing.

    Args:
        contract: what the table may hold.
        table: any table.
        constant_features: what to do about a feature that is the same in all rows. An image keeps them: the
            pixels at its border are part of its shape.
        to_learn: whether a classifier is to be trained. If not, features may be constant or missing throughout and
            classes may be absent: whether they are would be told by a refusal.

    Returns:
        The contract's features and target in its order, and the unit column last: number as float64, integer
        as int64, category as string, boolean as bool. Ignored columns are left out.

    Raises:
        DataError: one for all breaches, with columns, counts and remedies.
    """
    if table.num_rows == 0:
        raise DataError("the table is empty", hint="give a table with at least one row")
    breaches = _check_names(contract, table.column_names)
    doubled = {name for name in table.column_names if table.column_names.count(name) > 1}
    present = [c for c in _used(contract) if c.name in table.column_names and c.name not in doubled]
    converted: dict[str, Any] = {}
    for column in present:
        try:
            converted[column.name] = canonical(table.column(column.name), column)
        except NotConvertibleError as error:
            breaches.append(error.breach)
    breaches += _check_values([column for column in present if column.name in converted], converted)
    for column in present if to_learn else []:
        if column.name in converted:
            breaches += _check_variety(contract, column, converted[column.name], constant_features)
    unit = contract.unit_column
    if unit is not None and unit in table.column_names and unit not in doubled:
        converted[unit] = table.column(unit)
        breaches += _check_unit(unit, converted[unit])
    if breaches:
        raise _as_error(breaches)
    return module("pyarrow").table(converted)


def _used(contract: Contract) -> list[Column]:
    return [column for column in contract.columns if column.kind != "ignore"]


def _check_names(contract: Contract, found: list[str]) -> list[Breach]:
    named = [column.name for column in contract.columns]
    unit = contract.unit_column
    if unit is not None and unit not in named:
        named.append(unit)
    # An ignored column may be absent: nothing would be done with it. The person's column may not.
    needed = {column.name for column in _used(contract)} | ({unit} if unit is not None else set())
    breaches = [
        Breach(column=name, problem="is missing from the data", remedy="correct the data, or the name in the contract")
        for name in named
        if name in needed and name not in found
    ]
    breaches += [
        Breach(column=name, problem="occurs twice in the data", remedy="give each column a name of its own")
        for name in dict.fromkeys(found)
        if found.count(name) > 1
    ]
    extra = [name for name in dict.fromkeys(found) if name not in named]
    breaches += [
        Breach(
            column=name,
            problem="is not in the contract",
            remedy="add it under data.columns, as `kind: ignore` if it is not to be used",
        )
        for name in extra[:_NAMES_SHOWN]
    ]
    if len(extra) > _NAMES_SHOWN:
        hidden = len(extra) - _NAMES_SHOWN
        breaches.append(Breach(column="", problem=f"{hidden:,} more columns are not in the contract", remedy=""))
    return breaches


def _check_values(columns: list[Column], values: Mapping[str, Any]) -> list[Breach]:
    """Types, missing values, ranges and categories, by pandera."""
    if not columns:
        return []
    pa, pandera, config = module("pyarrow"), module("pandera.pyarrow"), module("pandera.config")
    # Neutral names: a column of the data may bear a name that the libraries below use for their own ends.
    by_key = {f"c{index}": column for index, column in enumerate(columns)}
    schema = pandera.DataFrameSchema({key: _rule(column) for key, column in by_key.items()}, strict=True)
    renamed = pa.table({key: values[column.name] for key, column in by_key.items()})
    found: list[Any] = []
    # pandera can be switched off through the environment; a contract that nobody checks would be no contract.
    with config.config_context(validation_enabled=True, validation_depth=config.ValidationDepth.SCHEMA_AND_DATA):
        try:
            schema.validate(renamed, lazy=True)
        except pandera.errors.SchemaErrors as error:
            found = list(error.schema_errors)
    # Outside of the except block: the error made from these must not carry pandera's, which holds rows.
    return [_translate(failure, by_key[failure.schema.name], values, renamed.num_rows) for failure in found]


def _rule(column: Column) -> Any:
    pandera = module("pandera.pyarrow")
    checks: list[Any] = []
    if column.kind == "number":
        checks = [pandera.Check.in_range(float(column.low or 0), float(column.high or 0))]
    elif column.kind == "integer":
        checks = [pandera.Check.in_range(int(column.low or 0), int(column.high or 0))]
    elif column.kind == "category":
        checks = [pandera.Check.isin(list(column.values))]
    return pandera.Column(canonical_type(column), checks, nullable=column.missing)


def _translate(failure: Any, column: Column, values: Mapping[str, Any], rows: int) -> Breach:
    count = getattr(failure.failure_cases, "num_rows", None)
    how_many = f"{count:,} of {rows:,} rows" if count is not None else "rows"
    match failure.reason_code.name:
        case "SERIES_CONTAINS_NULLS":
            return Breach(
                column=column.name,
                problem=f"{how_many} have no value (empty or NaN)",
                remedy="fill or drop these rows, or state `missing: true`",
            )
        case "DATAFRAME_CHECK" if column.kind == "category":
            return Breach(
                column=column.name,
                problem=f"{how_many} hold a category that the contract does not list",
                remedy="correct them, or list the category if it may be known to exist",
            )
        case "DATAFRAME_CHECK":
            infinite = count_infinite(values[column.name])
            aside = f", {infinite:,} of them infinite" if infinite else ""
            shown = column.to_policy()
            return Breach(
                column=column.name,
                problem=f"{how_many} lie outside [{shown['low']}, {shown['high']}]{aside}",
                remedy="correct them, or widen the range after review",
            )
        case reason:
            # Whatever else pandera may report counts against the data: an unknown finding is no pass.
            return Breach(
                column=column.name,
                problem=f"the check did not pass ({reason.lower().replace('_', ' ')})",
                remedy="correct the column, or its entry in the contract",
            )


def _check_variety(
    contract: Contract, column: Column, values: Any, constant_features: Literal["refuse", "keep"]
) -> list[Breach]:
    if column.name == contract.target:
        return _check_classes(contract, column, values)
    if values.null_count == len(values):
        problem = "is missing throughout"
    elif constant_features == "refuse" and not is_varied(values):
        problem = "is constant: every row has the same value"
    else:
        return []
    return [Breach(column=column.name, problem=problem, remedy="nothing can be learnt from it: state `kind: ignore`")]


def _check_classes(contract: Contract, column: Column, values: Any) -> list[Breach]:
    pa = module("pyarrow")
    index = codes(values.cast(pa.string()), contract.classes)
    seen = set(index[index >= 0].tolist())
    absent = [name for position, name in enumerate(contract.classes) if position not in seen]
    if not absent:
        return []
    if len(seen) == 1:
        problem = "all rows are of one class"
    else:
        problem = f"no row is of class {', '.join(map(repr, absent[:_NAMES_SHOWN]))}"
    return [Breach(column=column.name, problem=problem, remedy="give data with every class, or list fewer classes")]


def _check_unit(name: str, values: Any) -> list[Breach]:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    if pa.types.is_nested(values.type):
        return [Breach(column=name, problem="cannot name a person: it holds lists", remedy="name a plain column")]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    nobody = values.null_count
    if pa.types.is_floating(values.type):
        nobody += pc.sum(pc.is_nan(values)).as_py() or 0
    if not nobody:
        return []
    return [
        Breach(
            column=name,
            problem=f"{nobody:,} of {len(values):,} rows name no person",
            remedy="give each row its person: rows without one would escape the guarantee",
        )
    ]


def _as_error(breaches: list[Breach]) -> DataError:
    lines = [f"column {one.column!r}: {one.problem}" if one.column else one.problem for one in breaches]
    remedies = [f"{one.column!r}: {one.remedy}" for one in breaches if one.remedy]
    if len(breaches) == 1:
        return DataError(lines[0], hint=breaches[0].remedy)
    head = f"the data breaks its contract in {len(breaches)} ways:"
    return DataError("\n  ".join([head, *lines]), hint="\n  ".join(["", *remedies]).lstrip("\n "))
