"""Releases as files: the table never without its claim, and neither without the digest that binds them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from wardline.core.canonical import canonical_json, digest_bytes
from wardline.core.claims import Claim
from wardline.core.errors import IntegrityError, UsageError
from wardline.core.files import write_atomic
from wardline.data.digest import table_digest
from wardline.dp.releases.value import Release

if TYPE_CHECKING:
    from wardline.dp.ledger import Ledger

FORMAT = "wardline.release/1"
_METADATA = b"wardline.release"
_MOST_BYTES = 1 << 24  # of a claim's file; one has about 5,000
_DISTRUST = "do not use this table; get it again from whoever released it"


def claim_path(path: Path) -> Path:
    """Where the claim of a CSV file stands: beside it, ``.csv`` replaced by ``.claim.json``."""
    return path.with_suffix(".claim.json")


def save(release: Release, path: Path) -> str:
    """See `Release.save`."""
    files, digest = rendered(release, path)
    write(files)
    return digest


def rendered(release: Release, path: Path) -> tuple[dict[Path, bytes], str]:
    """What saving will write, in order, and the digest that a ledger seals for it.

    Raises:
        UsageError: for a file of another kind.
    """
    sink = io.BytesIO()
    if path.suffix == ".parquet":
        statement = _statement(release, digest=table_digest(plain(release.table)))
        pq.write_table(release.table.replace_schema_metadata({_METADATA: statement}), sink, compression="zstd")
        return {path: sink.getvalue()}, digest_bytes(sink.getvalue())
    if path.suffix == ".csv":
        pa_csv.write_csv(plain(release.table), sink)
        statement = _statement(release, digest=digest_bytes(sink.getvalue()))
        # The claim last: a table without one is not a release, and `read_release` refuses it.
        return {path: sink.getvalue(), claim_path(path): statement}, digest_bytes(statement)
    raise UsageError("a release is a .parquet or a .csv file", where=str(path), hint="choose one of the two endings")


def write(files: Mapping[Path, bytes]) -> None:
    """Write what `rendered` gave."""
    for path, content in files.items():
        write_atomic(path, content)


def read_release(path: Path, *, ledger: Ledger | None = None) -> Release:
    """Read a release and check that table and claim belong together.

    Args:
        path: the ``.parquet`` or ``.csv`` file.
        ledger: if given, the file must also be the result that was sealed there. Without it, somebody who changes
            table and digest alike is not found out.

    Raises:
        IntegrityError: if the table is not the one that the claim was made for, if it has no claim, or if it is
            not what the ledger sealed.
        UsageError: if there is no such file, or it is of another kind.
    """
    if path.suffix == ".parquet":
        content = _bytes(path)
        table, statement = _parquet(content, path)
        found = table_digest(plain(table))
        sealed = digest_bytes(content)
    elif path.suffix == ".csv":
        content, statement = _bytes(path), _claim_bytes(path)
        found = digest_bytes(content)
        sealed = digest_bytes(statement)
        table = None
    else:
        raise UsageError("a release is a .parquet or a .csv file", where=str(path), hint="name one of the two")
    value = _parsed(statement, path)
    if value["table_sha256"] != found:
        raise IntegrityError("the table is not the one that its claim was made for", where=str(path), hint=_DISTRUST)
    try:
        claim, about = Claim.from_json(value["claim"]), dict(value["about"])
        if table is None:
            table = _csv(content, about["types"])
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise IntegrityError("this is no release that can be read", where=str(path), hint=_DISTRUST) from error
    if ledger is not None and not _sealed(ledger, sealed):
        raise IntegrityError("the ledger did not seal this file", where=str(path), hint=_DISTRUST)
    return Release(table=table, claim=claim, about=about)


def _sealed(ledger: Ledger, digest: str) -> bool:
    return any(entry.kind == "seal" and entry.body["result_sha256"] == digest for entry in ledger.entries())


def sealed_digest(path: Path) -> str:
    """The digest that a ledger seals for a saved release: of the Parquet file, or of the CSV file's claim."""
    return digest_bytes(_bytes(path) if path.suffix == ".parquet" else _claim_bytes(path))


def _statement(release: Release, *, digest: str) -> bytes:
    types = {field.name: str(field.type) for field in release.table.schema}
    return canonical_json(
        {
            "format": FORMAT,
            "table_sha256": digest,
            "claim": release.claim.to_json(),
            "about": {**release.about, "types": types},
        }
    )


def _parsed(statement: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(statement)
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("format") != FORMAT or "table_sha256" not in value:
        raise IntegrityError(f"this is no release of the form {FORMAT}", where=str(path), hint=_DISTRUST)
    return value


def _parquet(content: bytes, path: Path) -> tuple[pa.Table, bytes]:
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError("this is no sound Parquet file", where=str(path), hint=_DISTRUST) from error
    statement = (table.schema.metadata or {}).get(_METADATA)
    if statement is None:
        raise IntegrityError("this table carries no claim", where=str(path), hint=_DISTRUST)
    return table.replace_schema_metadata(None), statement


def _csv(content: bytes, types: dict[str, str]) -> pa.Table:
    options = pa_csv.ConvertOptions(
        column_types={name: pa.type_for_alias(_alias(kind)) for name, kind in types.items()},
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    return pa_csv.read_csv(io.BytesIO(content), convert_options=options)


def _alias(kind: str) -> str:
    return {"date32[day]": "date32", "large_string": "string"}.get(kind, kind)


def plain(table: pa.Table) -> pa.Table:
    """The table with days as text, for which there is a digest."""
    for place, field in enumerate(table.schema):
        if pa.types.is_date(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return table.replace_schema_metadata(None)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot be read: {reason}", where=str(path), hint="check the path") from error


def _claim_bytes(path: Path) -> bytes:
    claim = claim_path(path)
    if not claim.is_file():
        raise IntegrityError("this table has no claim beside it", where=str(claim), hint=_DISTRUST)
    with claim.open("rb") as file:
        return file.read(_MOST_BYTES)
