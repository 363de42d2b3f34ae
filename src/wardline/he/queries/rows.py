"""The owner's half: a table becomes ciphertexts, and the ciphertexts of an answer become numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.errors import DataError, IntegrityError
from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.kernels import slots
from wardline.he.queries.circuit import Circuit, Factor
from wardline.he.queries.derivation import Values, in_units, is_flat, is_missing, is_numeric, label
from wardline.he.queries.plan import Stored, TablePlan
from wardline.he.queries.schema import CategoryColumn, Column, NumberColumn
from wardline.he.seal.lattice import Lattice

Integers = npt.NDArray[np.int64]

NO_LEVEL = -1
NO_VALUE = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a query.

    Attributes:
        count: how many rows fulfil the conditions (of a mean: and have a value); None for a sum.
        total: the sum; None unless a sum or mean was asked for.
        histogram: rows for each level; None unless it was asked for.
    """

    count: int | None = None
    total: Decimal | None = None
    histogram: dict[str, int] | None = None

    @property
    def mean(self) -> float | None:
        """The mean; None if none was asked for, or it is of no rows."""
        if self.total is None or not self.count:
            return None
        return float(Fraction(self.total) / self.count)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values; the sum as a decimal in text, so that it is not rounded."""
        found: dict[str, Any] = {}
        if self.count is not None:
            found["count"] = self.count
        if self.total is not None:
            found["sum"] = format(self.total, "f")
            if self.count is not None:
                found["mean"] = self.mean
        if self.histogram is not None:
            found["histogram"] = self.histogram
        return found


def encrypt_table(lattice: Lattice, plan: TablePlan, columns: Mapping[str, Values]) -> Iterator[SeededColumns]:
    """Encrypt a table, one stored number after the other, in the order of `TablePlan.stored`.

    Args:
        lattice: the owner's key, of the plan's parameters.
        plan: of the table.
        columns: by name, arrays of `plan.rows` values; None and NaN stand for a missing value. Others are left.

    Returns:
        For each stored number of a row its ciphertexts, one for each block of rows.

    Raises:
        DataError: for a column that is missing or of another length, a value that the schema has not, or a missing
            value where the schema allows none. It names the column and row, and not the value.
        ValueError: for a key of other parameters.

    Guarantee: whoever lacks the secret key learns nothing of the values, under the ring-LWE assumption; the schema and
    the number of rows are public. All columns are looked at before anything is encrypted.
    """
    if lattice.parameters != plan.parameters:
        raise ValueError("the key is of other parameters than the table's plan")
    encoded = {}
    for place, column in enumerate(plan.schema.columns):
        if column.name not in columns:
            raise DataError(f"the table lacks the column {column.name!r}", hint="correct the schema or the table")
        values = columns[column.name]
        if values.ndim != 1 or len(values) != plan.rows:
            raise DataError(f"the column {column.name!r} has not {plan.rows} rows", hint="plan for this table")
        encoded[place] = encode_column(column, values)
    return _encrypted(lattice, plan, encoded)


def _encrypted(lattice: Lattice, plan: TablePlan, encoded: Mapping[int, Integers]) -> Iterator[SeededColumns]:
    plain, degree = plan.parameters.plain_modulus, plan.parameters.degree
    assert plain is not None
    padded = np.zeros(plan.blocks * degree, dtype=np.int64)
    try:
        for stored in plan.stored:
            padded[: plan.rows] = _numbers(plan, stored, encoded[stored.column])
            yield lattice.encrypt_coefficients(
                slots.to_coefficients(padded.reshape(plan.blocks, degree), plain_modulus=plain)
            )
    finally:
        padded.fill(0)


def encode_column(column: Column, values: Values) -> Integers:
    """For each row the level of a category, or the value of a number in units; `NO_VALUE` where it is missing.

    Raises:
        DataError: as `encrypt_table`.
    """
    if not is_flat(values):
        raise DataError(
            "it holds neither texts nor numbers", where=f"column {column.name!r}", hint="make texts of its values"
        )
    missing = is_missing(values)
    where = f"column {column.name!r}"
    if missing.any() and not column.missing:
        raise DataError(
            f"a value is missing in row {int(np.argmax(missing)) + 1}",
            where=where,
            hint="set `missing` of this column in the schema, or drop such rows",
        )
    known = values[~missing]
    if isinstance(column, CategoryColumn):
        found = np.full(len(values), len(column.categories), dtype=np.int64)
        places = {name: place for place, name in enumerate(column.categories)}
        levels = np.array([places.get(label(one), NO_LEVEL) for one in known.tolist()], dtype=np.int64)
        if (levels == NO_LEVEL).any():
            row = _row(levels == NO_LEVEL, missing)
            raise DataError(f"row {row} is in no category of the schema", where=where, hint="declare all categories")
        found[~missing] = levels
        return found
    if not is_numeric(known):
        raise DataError("it holds something else than numbers", where=where, hint="declare it as a category")
    numbers = known.astype(np.float64)
    # Half a unit more, so that what is between two multiples is told as that; what is not finite is out of all bounds.
    low, high = float(column.unit) * (column.low - 0.5), float(column.unit) * (column.high + 0.5)
    _refuse(~((numbers >= low) & (numbers <= high)), column, missing)
    units = in_units(numbers, column.unit)
    if units is None:
        alone = (in_units(numbers[place : place + 1], column.unit) is None for place in range(len(numbers)))
        raise DataError(
            f"row {_row(np.fromiter(alone, dtype=np.bool_), missing)} is no multiple of {column.text(1)}",
            where=where,
            hint="declare a finer unit, or round the values",
        )
    _refuse((units < column.low) | (units > column.high), column, missing)
    found = np.full(len(values), NO_VALUE, dtype=np.int64)
    found[~missing] = units
    return found


def _refuse(outside: npt.NDArray[np.bool_], column: NumberColumn, missing: npt.NDArray[np.bool_]) -> None:
    if outside.any():
        raise DataError(
            f"row {_row(outside, missing)} is out of the bounds {column.text(column.low)} to "
            f"{column.text(column.high)}",
            where=f"column {column.name!r}",
            hint="declare wider bounds, or clip the values",
        )


def _row(wrong: npt.NDArray[np.bool_], missing: npt.NDArray[np.bool_]) -> int:
    """The first wrong one of the values that are there, as a row counted from 1."""
    return int(np.flatnonzero(~missing)[int(np.argmax(wrong))]) + 1


def _numbers(plan: TablePlan, stored: Stored, encoded: Integers) -> Integers:
    """What one stored ciphertext holds of each row."""
    column = plan.schema.columns[stored.column]
    if stored.part == "level":
        return _indicator(encoded == stored.place)
    assert isinstance(column, NumberColumn)
    known = encoded != NO_VALUE
    match stored.part:
        case "known":
            return _indicator(known)
        case "edge":
            return _indicator(known & (encoded >= column.edges[stored.place]))
        case _:
            size = np.abs(np.where(known, encoded, 0))
            digit = (size >> (plan.digit_bits * stored.place)) & ((1 << plan.digit_bits) - 1)
            signed: Integers = np.where(known & (encoded < 0), -digit, digit)
            return signed


def _indicator(rows: npt.NDArray[np.bool_]) -> Integers:
    found: Integers = rows.astype(np.int64)
    return found


def simulate(plan: TablePlan, circuit: Circuit, columns: Mapping[str, Values]) -> Result:
    """What a query gives, computed on the table in the clear by the very sums and products of the circuit.

    Args:
        plan: of the table.
        circuit: of the query.
        columns: as of `encrypt_table`.

    Raises:
        DataError: as `encrypt_table`.
    """
    encoded = {place: encode_column(one, columns[one.name]) for place, one in enumerate(plan.schema.columns)}
    numbers = {place: _numbers(plan, plan.stored[place], encoded[plan.stored[place].column]) for place in circuit.used}

    def value(factor: Factor | None) -> Integers:
        found = np.full(plan.rows, 1 if factor is None else factor.constant, dtype=np.int64)
        for place, sign in () if factor is None else factor.terms:
            found += sign * numbers[place]
        return found

    mask = np.ones(plan.rows, dtype=np.int64)
    for factor in circuit.filters:
        mask *= value(factor)
    return _result(plan, circuit, [int((mask * value(output.factor)).sum()) for output in circuit.outputs])


def decrypt_result(lattice: Lattice, plan: TablePlan, circuit: Circuit, replies: Sequence[Ciphertext]) -> Result:
    """The answer of a query from its ciphertexts.

    Args:
        lattice: the key.
        plan: of the table.
        circuit: of the query.
        replies: one ciphertext for each of its outputs.

    Raises:
        IntegrityError: if they decrypt to nothing that this query can have on this table: they were made with another
            key, or changed.
        ValueError: for another number of ciphertexts, or of other parameters.

    Guarantee: exact, if the server computed what it was asked for. A server that answers something else is not found
    out. Do not tell it whether its answer could be read: from many made-up answers that helps it to the key.
    """
    if len(replies) != len(circuit.outputs):
        raise ValueError(f"the query has {len(circuit.outputs)} outputs, not {len(replies)}")
    plain = plan.parameters.plain_modulus
    assert plain is not None
    found = slots.from_coefficients(lattice.decrypt_coefficients(replies), plain_modulus=plain)
    # Nothing is told before all is looked at.
    wrong = IntegrityError(
        "the answer decrypts to nothing that this table can have",
        hint="it was made with another key, or changed; ask again",
    )
    totals = []
    for output, row in zip(circuit.outputs, found, strict=True):
        summed = plan.blocks if plan.reader == "owner" else plan.rows
        looked = row if plan.reader == "owner" else np.array([_centred(int(row.sum()), plain)])
        if looked.max() > output.largest * summed or looked.min() < (-output.largest * summed if output.signed else 0):
            raise wrong
        totals.append(int(looked.sum()))
    result = _result(plan, circuit, totals)
    counts = [*(result.histogram or {}).values(), 0 if result.count is None else result.count]
    if min(counts) < 0 or max(counts) > plan.rows:
        raise wrong
    return result


def _result(plan: TablePlan, circuit: Circuit, totals: list[int]) -> Result:
    query = circuit.query
    count = plan.rows if circuit.public_count else totals[-1]
    if query.kind == "count":
        return Result(count=count)
    if query.kind == "histogram":
        counts = dict(zip(circuit.levels, totals, strict=False))
        if circuit.rest is not None:
            counts[circuit.rest] = count - sum(counts.values())
        return Result(histogram=counts)
    assert query.column is not None
    place = plan.schema.index(query.column)
    assert place is not None
    column = plan.schema.columns[place]
    assert isinstance(column, NumberColumn)
    digits = totals[: circuit.digits]
    whole = sum(one << (plan.digit_bits * digit) for digit, one in enumerate(digits))
    total = Decimal(column.text(whole))
    return Result(total=total, count=count if query.kind == "mean" else None)


def _centred(value: int, modulus: int) -> int:
    value %= modulus
    return value - modulus if value > modulus // 2 else value
