"""Reading Parquet and CSV: a whole table, or one clear error that names the place and quotes no data."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wardline.core import DataError
from wardline.data._extras import module
from wardline.data._text import NUMBER, infer, matches

if TYPE_CHECKING:
    import pyarrow as pa

_FORMATS: dict[str, Literal["parquet", "csv"]] = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
_MAGIC = b"PAR1"
_BROKEN_ROWS_NAMED = 5


def read_bytes(path: Path) -> bytes:
    """All of a file, read once: what is hashed and what is parsed are then the same bytes.

    Raises:
        DataError: if there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            "there is no such file", where=str(path), hint="check its name, and data.source where a policy names it"
        ) from None
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise DataError(
            f"the file cannot be read: {reason}", where=str(path), hint="name a file that you may read"
        ) from None


def read_table(path: Path) -> pa.Table:
    """Read a Parquet or CSV file.

    Raises:
        DataError: if it is missing, of another format, damaged, empty, ragged, not UTF-8, or has column names
            that are doubled or absent.
    """
    return parse_table(read_bytes(path), name=path.name, where=str(path))


def parse_table(data: bytes, *, name: str, where: str = "", header: Sequence[str] | None = None) -> pa.Table:
    """Parse the bytes of a Parquet or CSV file.

    In CSV an empty field is a missing value; a column is read as whole numbers, numbers or truth values if all
    of it reads so, and as text otherwise (codes with leading zeros stay text).

    Args:
        data: the bytes.
        name: the file's name; its ending tells the format, unless the bytes do.
        where: the place for error messages, `name` if empty.
        header: names of the columns of a CSV file that does not begin with a line of them. Space around its
            fields is then dropped.

    Raises:
        DataError: as `read_table`.
    """
    where = where or name
    if not data:
        raise DataError("the file is empty", where=where, hint="get it again from where it came")
    kind = _FORMATS.get(Path(name).suffix.lower(), "parquet" if data.startswith(_MAGIC) else None)
    if kind is None and header is not None:
        kind = "csv"  # only a CSV file lacks names
    match kind:
        case "parquet":
            table = _parse_parquet(data, where)
        case "csv":
            table = _parse_csv(data, where, header)
        case _:
            raise DataError(
                "the format of this file is not known",
                where=where,
                hint="give a Parquet file (.parquet) or a CSV file with a header line (.csv)",
            )
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError("the table is empty", where=where, hint="give a table with at least one row and one column")
    return table


def _check_names(names: list[str], where: str) -> None:
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise DataError(
            f"the column {doubled[0]!r} occurs twice", where=where, hint="give each column a name of its own"
        )
    if "" in names:
        raise DataError(
            f"column {names.index('') + 1} has no name",
            where=where,
            hint="name it; if it is a row number that was saved along, save without it",
        )


def _parse_parquet(data: bytes, where: str) -> Any:
    pa, pq = module("pyarrow"), module("pyarrow.parquet")
    if not data.startswith(_MAGIC):
        raise DataError("this is not a Parquet file", where=where, hint="check the file; CSV files end in .csv")
    damaged = DataError("the Parquet file is truncated or damaged", where=where, hint="get it again from where it came")
    if not data.endswith(_MAGIC):
        raise damaged
    # What Arrow says may quote the bytes that it stumbled over, so it is left out of the error.
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        names = list(file.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError, EOFError):
        raise damaged from None
    _check_names(names, where)
    try:
        table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, EOFError):
        raise damaged from None
    return table


def _check_utf8(data: bytes, where: str) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"the file is not UTF-8: byte {error.start:,} (line {line:,}) cannot be read",
            where=f"{where}:{line}",
            hint="save it as UTF-8; `iconv -f WINDOWS-1252 -t UTF-8` converts a common older encoding",
        ) from None


def _header(data: bytes, where: str) -> list[str]:
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    try:
        names = next(csv.reader(text), [])
    except csv.Error:
        raise DataError(
            "the header line cannot be read", where=f"{where}:1", hint="begin with one line of names"
        ) from None
    if not names:
        raise DataError("the first line is empty", where=f"{where}:1", hint="begin with one line of names")
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(
            "the columns are not separated by commas",
            where=f"{where}:1",
            hint="save the file with commas, or as Parquet",
        )
    # A file without a header would have its first row taken for names, and names may be printed.
    numeric = matches(module("pyarrow").array(names, module("pyarrow").string()), NUMBER)
    if numeric.any():
        raise DataError(
            f"the first line is not a header: entry {int(numeric.argmax()) + 1} is a number",
            where=f"{where}:1",
            hint="put a line with the names of the columns first; a name is not a number",
        )
    _check_names(names, where)
    return names


def _parse_csv(data: bytes, where: str, header: Sequence[str] | None) -> Any:
    pa, pacsv = module("pyarrow"), module("pyarrow.csv")
    _check_utf8(data, where)
    names = _header(data, where) if header is None else list(header)
    if header is not None:
        _check_names(names, where)
    if data.count(b'"') % 2:
        # An open quotation mark would make the rest of the file one value, and rows would vanish unseen.
        raise DataError(
            "a quotation mark is not closed", where=where, hint='close it; inside a value write it twice: ""'
        )
    broken: list[int] = []

    def note(row: Any) -> str:
        broken.append(row.number)
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            # One thread: only then does Arrow tell the number of a broken row.
            read_options=pacsv.ReadOptions(use_threads=False, column_names=header),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            # Text first, types afterwards: Arrow's own guess would turn the code 007 into the number 7.
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except (pa.ArrowException, OSError, ValueError):
        raise DataError(
            "the CSV file cannot be parsed", where=where, hint="check its quotation marks, or save it as Parquet"
        ) from None
    if table.column_names != names:
        raise DataError("the header line cannot be read", where=f"{where}:1", hint="begin with one line of names")
    if broken:
        some = ", ".join(str(number) for number in broken[:_BROKEN_ROWS_NAMED])
        more = " and others" if len(broken) > _BROKEN_ROWS_NAMED else ""
        raise DataError(
            f"{len(broken):,} rows do not have {len(names)} fields as the header has: rows {some}{more}",
            where=where,
            hint="correct these rows; a value that contains a comma stands in quotation marks",
        )
    columns = table.columns
    if header is not None:
        # Files of that age are written with ", " between fields; the space belongs to no value.
        columns = [module("pyarrow.compute").utf8_trim_whitespace(column) for column in columns]
    return pa.table([infer(column) for column in columns], names=table.column_names)
