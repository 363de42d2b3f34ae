"""A digest of a table in memory that does not depend on how Arrow happens to lay it out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from wardline.core import DataError, canonical_json
from wardline.data._extras import module
from wardline.data._text import is_text

if TYPE_CHECKING:
    import pyarrow as pa

_DOMAIN = b"wardline.table/1\n"


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's columns, names, types and values, as 64 hexadecimal digits.

    The digest covers, after the line ``wardline.table/1``: the canonical JSON of ``{"rows": n, "columns":
    [[name, type], ...]}``, then for each column one byte a row (1 where a value is present), then its values,
    absent ones as zeros: numbers little-endian, truth values as one byte, dates and times as the 64-bit numbers
    behind them, text as the 64-bit length of each value followed by all UTF-8 bytes. Chunks, dictionaries, text
    widths and NaN payloads do not matter; the order of rows and columns does.

    Raises:
        DataError: for a column of a type without such a form (lists, structures, decimals).
    """
    columns = [_plain(name, table.column(name)) for name in table.column_names]
    kinds = [[name, kind] for name, (kind, _) in zip(table.column_names, columns, strict=True)]
    digest = hashlib.sha256(_DOMAIN + canonical_json({"rows": table.num_rows, "columns": kinds}))
    for _, column in columns:
        for piece in _pieces(column):
            digest.update(piece)
    return digest.hexdigest()


def _plain(name: str, column: Any) -> tuple[str, Any]:
    pa = module("pyarrow")
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if is_text(kind):
        return "text", column.cast(pa.large_string()).combine_chunks()
    if pa.types.is_boolean(kind):
        return "bool", column.combine_chunks()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return str(kind), column.combine_chunks()
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        narrow = pa.int32() if kind.bit_width == 32 else pa.int64()
        return str(kind), column.cast(narrow).cast(pa.int64()).combine_chunks()
    raise DataError(
        f"column {name!r} is of type {kind}, for which there is no digest",
        hint="keep numbers, text, dates and truth values, or pin the file by its own sha256",
    )


def _pieces(column: Any) -> list[bytes]:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    present = pc.is_valid(column).to_numpy(zero_copy_only=False).astype(np.uint8).tobytes()
    if pa.types.is_large_string(column.type):
        filled = pc.fill_null(column, "")
        lengths = pc.binary_length(filled).to_numpy(zero_copy_only=False).astype("<i8").tobytes()
        return [present, lengths, "".join(filled.to_pylist()).encode()]
    filled = pc.fill_null(column, pa.scalar(0).cast(column.type))
    values = filled.to_numpy(zero_copy_only=False)
    if values.dtype == np.bool_:
        return [present, values.astype(np.uint8).tobytes()]
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values).astype(values.dtype)
    return [present, values.astype(values.dtype.newbyteorder("<")).tobytes()]
