"""Synthetic tables as files: never without the claim, and with a digest that binds the two."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core import Claim, IntegrityError, UsageError, canonical_json, digest_bytes, need, write_atomic
from wardline.data import table_digest
from wardline.dp.synthetic.value import Synthetic

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "wardline.synthetic/1"
_METADATA = b"wardline.synthetic"
_DISTRUST = "do not use this table; get it again from whoever made it"


def claim_path(path: Path) -> Path:
    """Where the claim of a CSV file stands: beside it, ``.csv`` replaced by ``.claim.json``."""
    return path.with_suffix(".claim.json")


def check_ending(path: Path) -> None:
    """Refuse any other file than ``.parquet`` and ``.csv``.

    Raises:
        UsageError: naming the two.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(
            "a synthetic table is a .parquet or a .csv file", where=str(path), hint="choose one of the two endings"
        )


def save(synthetic: Synthetic, path: Path) -> str:
    """See `Synthetic.save`."""
    check_ending(path)
    sink = io.BytesIO()
    if path.suffix == ".parquet":
        statement = _statement(synthetic, digest=table_digest(synthetic.table))
        labelled = synthetic.table.replace_schema_metadata({_METADATA: statement})
        need("pyarrow.parquet", extra="data").write_table(labelled, sink, compression="zstd")
        write_atomic(path, sink.getvalue())
        return digest_bytes(sink.getvalue())
    need("pyarrow.csv", extra="data").write_csv(synthetic.table, sink)
    statement = _statement(synthetic, digest=digest_bytes(sink.getvalue()))
    # The claim last: a table without one is refused when it is read.
    write_atomic(path, sink.getvalue())
    write_atomic(claim_path(path), statement)
    return digest_bytes(statement)


def sealed_digest(path: Path) -> str | None:
    """The digest that a ledger seals for a saved table; None if there is no such file."""
    try:
        return digest_bytes((path if path.suffix == ".parquet" else claim_path(path)).read_bytes())
    except OSError:
        return None


def read_synthetic(path: Path) -> Synthetic:
    """Read a synthetic table and check that table and claim belong together.

    Whoever can write both can change both; only a ledger's seal or a signature tells that.

    Raises:
        IntegrityError: if the table has no claim, or another table's.
        UsageError: if there is no such file, or it is of another kind.
    """
    check_ending(path)
    content = _bytes(path)
    if path.suffix == ".parquet":
        table, statement = _parquet(content, path)
        found = table_digest(table)
    else:
        table, found = None, digest_bytes(content)
        if not claim_path(path).is_file():
            raise IntegrityError("this table has no claim beside it", where=str(claim_path(path)), hint=_DISTRUST)
        statement = claim_path(path).read_bytes()
    try:
        value = json.loads(statement)
        expected, claim, about = str(value["table_sha256"]), Claim.from_json(value["claim"]), dict(value["about"])
        known = value["format"] == FORMAT
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("the claim cannot be read", where=str(path), hint=_DISTRUST) from error
    if not known or expected != found:
        raise IntegrityError("the table is not the one that its claim was made for", where=str(path), hint=_DISTRUST)
    return Synthetic(table=_csv(content, about) if table is None else table, claim=claim, model=None, about=about)


def _statement(synthetic: Synthetic, *, digest: str) -> bytes:
    types = {field.name: str(field.type) for field in synthetic.table.schema}
    return canonical_json(
        {
            "format": FORMAT,
            "table_sha256": digest,
            "claim": synthetic.claim.to_json(),
            "about": {**synthetic.about, "types": types},
        }
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot be read: {reason}", where=str(path), hint="check the path") from error


def _parquet(content: bytes, path: Path) -> tuple[pa.Table, bytes]:
    pa = need("pyarrow", extra="data")
    try:
        table = need("pyarrow.parquet", extra="data").read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError("this is no sound Parquet file", where=str(path), hint=_DISTRUST) from error
    statement = (table.schema.metadata or {}).get(_METADATA)
    if statement is None:
        raise IntegrityError("this table carries no claim", where=str(path), hint=_DISTRUST)
    return table.replace_schema_metadata(None), statement


def _csv(content: bytes, about: dict[str, Any]) -> pa.Table:
    pa, pacsv = need("pyarrow", extra="data"), need("pyarrow.csv", extra="data")
    options = pacsv.ConvertOptions(
        column_types={name: pa.type_for_alias(kind) for name, kind in about["types"].items()},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pacsv.read_csv(io.BytesIO(content), convert_options=options)
