"""`wardline he query`: counts, sums, means and histograms of a table that the server cannot read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from wardline.cli.he_options import OUT, need_encryption, taken_back
from wardline.cli.options import FORMAT, PASSPHRASE_FD, ask_passphrase

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from wardline.he.queries.language import Query
    from wardline.he.queries.plan import Reader, TablePlan
    from wardline.he.queries.schema import Schema

Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


@click.group("query", epilog="Example: wardline he query encrypt people.parquet --name owner --out table")
def query() -> None:
    """Ask about a table that the server cannot read: plan, encrypt, answer, read.

    The owner encrypts a table once and keeps the key. A server answers counts, sums, means and histograms under a
    filter, exactly, on ciphertexts alone. It learns the schema, the number of rows and the questions.
    """


def table_options(command: Command) -> Command:
    """How a table is to be encrypted."""
    for option in (
        click.option(
            "--reader",
            type=click.Choice(["owner", "others"]),
            default="owner",
            show_default=True,
            help="Who will have the key: the owner, or others, who are to learn totals alone.",
        ),
        click.option(
            "--filters",
            type=click.IntRange(0, 64),
            default=2,
            show_default=True,
            help="The most columns that a filter may name beside a value that is added up or counted by.",
        ),
        click.option("--schema", type=_PATH, help="The schema, as `plan --out` writes it; else from the data."),
    ):
        command = option(command)
    return command


def question_options(command: Command) -> Command:
    """A query, by options or as a file."""
    for option in (
        click.option("--query", "query_file", type=_PATH, help='A JSON file: {"sum": "income", "where": "sex = F"}.'),
        click.option("--where", help='The rows that count, for example "sex = F and age >= 30".'),
        click.option("--histogram", metavar="COLUMN", help="Rows in each category or bucket of a column."),
        click.option("--mean", metavar="COLUMN", help="The mean of a column."),
        click.option("--sum", "total", metavar="COLUMN", help="The sum of a column."),
        click.option("--count", is_flag=True, help="The number of rows."),
    ):
        command = option(command)
    return command


@query.command("plan", epilog="Example: wardline he query plan people.parquet --filters 3 --out schema.json")
@click.argument("table", type=_PATH)
@table_options
@click.option("--out", type=_PATH, help="Write the schema to this file, to be looked through and changed.")
@FORMAT
def plan(
    *, table: Path, schema: Path | None, filters: int, reader: Reader, out: Path | None, output_format: str
) -> None:
    """Say how TABLE, a CSV or Parquet file, would be encrypted: columns, bytes, noise and seconds.

    Categories, bounds and edges are taken from the data unless a schema declares them. They become public.
    """
    from wardline.core import need, write_atomic
    from wardline.he.queries.choice import plan_table

    need("numba", extra="he")
    columns, rows = _columns(table)
    chosen, left_out = _schema(schema, columns)
    found = plan_table(chosen, rows, filters=filters, reader=reader)
    if out is not None:
        write_atomic(out, (json.dumps(chosen.to_json(), indent=2, ensure_ascii=False) + "\n").encode())
    seconds = _seconds(found)
    if output_format == "json":
        told = {
            **found.to_json(),
            "left_out": left_out,
            "table_bytes": found.table_bytes,
            "reply_bytes": found.reply_bytes,
            "noise_bits_left": round(found.noise_bits_left, 2),
            "seconds": seconds,
        }
        click.echo(json.dumps(told, indent=2))
        return
    _tell_left_out(left_out)
    for column in chosen.columns:
        levels = ", ".join(column.levels[:12]) + (f", and {column.size - 12} more" if column.size > 12 else "")
        click.echo(f"{column.name}: {levels}")
    click.echo(found.explain())
    for what, one in seconds.items():
        click.echo(f"about {one:.2g} s for {what}, with one thread of this machine")


@query.command("encrypt", epilog="Example: wardline he query encrypt people.parquet --name owner --out table")
@click.argument("table", type=_PATH)
@click.option("--name", type=_PATH, required=True, help="Of the new key: NAME.secret, and NAME.table.json with it.")
@table_options
@PASSPHRASE_FD
@OUT
def encrypt(
    *,
    table: Path,
    name: Path,
    schema: Path | None,
    filters: int,
    reader: Reader,
    passphrase_fd: int | None,
    out: Path,
) -> None:
    """Encrypt TABLE, a CSV or Parquet file, into the folder --out, which goes to the server.

    A fresh key is made: NAME.secret, encrypted with a passphrase. Keep it, and NAME.table.json, by which answers are
    known to be of this table. Existing files are never overwritten.
    """
    need_encryption()
    from wardline.core import KeyAccessError, UsageError
    from wardline.crypto import read_passphrase
    from wardline.crypto.keyfiles import write_new
    from wardline.he.queries.choice import plan_table
    from wardline.he.queries.folder import TABLE_FILE, write_table
    from wardline.he.queries.rows import encrypt_table
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import write_secret_key

    secret, kept = name.with_name(f"{name.name}.secret"), name.with_name(f"{name.name}.table.json")
    for path in (secret, kept):
        if path.exists():
            raise KeyAccessError("files of this name exist", where=str(path), hint="choose another name")
    if (out / TABLE_FILE).exists():
        raise UsageError("a table stands there already", where=str(out), hint="name another folder")
    columns, rows = _columns(table)
    chosen, left_out = _schema(schema, columns)
    found = plan_table(chosen, rows, filters=filters, reader=reader)
    passphrase = read_passphrase(passphrase_fd, prompt=ask_passphrase(confirm=True))
    lattice = SealLattice.generate(found.parameters)
    ciphertexts = encrypt_table(lattice, found, columns)  # it looks at all columns before anything is written
    write_secret_key(secret, lattice.key, passphrase=passphrase)
    with taken_back(secret):
        keys = lattice.evaluation_keys(relinearisation=found.depth > 0)
        description = write_table(out, found, key=lattice.key.id, keys=keys, columns=ciphertexts)
    write_new(kept, description.to_bytes(), mode=0o644)
    _tell_left_out(left_out)
    click.echo(f"table:  {out} ({rows} rows, {found.table_bytes / rows:.0f} bytes a row; goes to the server)")
    click.echo(f"secret: {secret} (keep it, and the passphrase apart from it)")
    click.echo(f"keep:   {kept} (public; answers are read with it)")
    click.echo(f"digest: {description.digest.hex()}")


@query.command(
    "answer", epilog='Example: wardline he query answer table --mean hours --where "sex = F and age >= 30" --out answer'
)
@click.argument("table", type=_PATH)
@question_options
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads that compute.")
@OUT
@FORMAT
def answer(
    *,
    table: Path,
    count: bool,
    total: str | None,
    mean: str | None,
    histogram: str | None,
    where: str | None,
    query_file: Path | None,
    threads: int,
    out: Path,
    output_format: str,
) -> None:
    """Answer a query on TABLE, an encrypted folder, without any secret; the answer is encrypted, too.

    The number of columns that a filter may name, and the edges of ranges, were fixed when the table was encrypted.
    """
    from wardline.core import need
    from wardline.he.queries.answers import write_answer
    from wardline.he.queries.circuit import plan_query
    from wardline.he.queries.evaluation import replies
    from wardline.he.queries.folder import read_encrypted_table

    need("numba", extra="he")
    asked = _question(count=count, total=total, mean=mean, histogram=histogram, where=where, query_file=query_file)
    opened = read_encrypted_table(table)
    description = opened.description
    circuit = plan_query(description.plan, asked)
    start = time.perf_counter()
    found = replies(opened, opened.keys, plan=description.plan, circuit=circuit, threads=threads)
    seconds = time.perf_counter() - start
    request = write_answer(out, description, asked, found)
    if output_format == "json":
        told = {
            "query": str(asked),
            "request": request.hex(),
            "table": description.digest.hex(),
            "ciphertexts": len(found),
            "bytes": out.stat().st_size,
            "seconds": seconds,
        }
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"{out}: {asked}; {len(found)} ciphertexts, {out.stat().st_size} bytes, {seconds:.2f} s")


@query.command("read", epilog="Example: wardline he query read answer --table owner.table.json --key owner.secret")
@click.argument("answer_file", metavar="ANSWER", type=_PATH)
@click.option("--table", type=_PATH, required=True, help="NAME.table.json, which `encrypt` wrote beside the key.")
@click.option("--key", type=_PATH, required=True, help="The secret key, which `encrypt` wrote.")
@PASSPHRASE_FD
@question_options
@FORMAT
def read(
    *,
    answer_file: Path,
    table: Path,
    key: Path,
    passphrase_fd: int | None,
    count: bool,
    total: str | None,
    mean: str | None,
    histogram: str | None,
    where: str | None,
    query_file: Path | None,
    output_format: str,
) -> None:
    """Decrypt ANSWER, which must be of this very table, and say what it is the answer to.

    With a query among the options an answer to any other one is refused.
    """
    need_encryption()
    from wardline.core import IntegrityError, KeyAccessError
    from wardline.crypto import read_passphrase
    from wardline.he.queries.answers import read_answer
    from wardline.he.queries.folder import read_description
    from wardline.he.queries.rows import decrypt_result
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import read_secret_key

    description = read_description(table)
    found = read_answer(answer_file, description)
    if count or any(one is not None for one in (total, mean, histogram, where, query_file)):
        asked = _question(count=count, total=total, mean=mean, histogram=histogram, where=where, query_file=query_file)
        if asked != found.circuit.query:
            raise IntegrityError(f"the answer is to another query: {found.circuit.query}", where=str(answer_file))
    lattice = SealLattice(read_secret_key(key, passphrase=read_passphrase(passphrase_fd, prompt=ask_passphrase())))
    if lattice.key.id != description.key:
        raise KeyAccessError("this is not the key of the table", where=str(key), hint="take the one made with it")
    result = decrypt_result(lattice, description.plan, found.circuit, found.replies)
    if output_format == "json":
        told = {"query": str(found.circuit.query), "table": description.digest.hex(), "request": found.request.hex()}
        click.echo(json.dumps({**told, **result.to_json()}, indent=2))
        return
    click.echo(str(found.circuit.query))
    for name, value in result.to_json().items():
        if isinstance(value, dict):
            for level, rows in value.items():
                click.echo(f"  {level}: {rows}")
        else:
            click.echo(f"{name}: {'no rows' if value is None else value}")


def _question(
    *,
    count: bool,
    total: str | None,
    mean: str | None,
    histogram: str | None,
    where: str | None,
    query_file: Path | None,
) -> Query:
    from wardline.core import UsageError
    from wardline.he.queries.language import Query, parse_where, query_from_person

    named = {"count": "" if count else None, "sum": total, "mean": mean, "histogram": histogram}
    given = [kind for kind, column in named.items() if column is not None]
    hint = 'for example --sum income --where "sex = F and age >= 30"'
    if query_file is not None:
        if given or where is not None:
            raise UsageError("a query is a file or options, not both", hint=hint)
        try:
            with query_file.open("rb") as file:
                return query_from_person(json.loads(file.read(_MOST_QUERY_BYTES)))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError("the query cannot be read as JSON", where=str(query_file), hint=hint) from error
    if len(given) != 1:
        raise UsageError("a query is one of --count, --sum, --mean, --histogram and --query", hint=hint)
    kind: Literal["count", "sum", "mean", "histogram"] = given[0]  # type: ignore[assignment]  # a key of `named`
    try:
        conditions = () if where is None else parse_where(where)
        return Query(kind=kind, column=None if kind == "count" else named[kind], where=conditions)
    except ValueError as error:
        raise UsageError(f"the query is refused: {error}", hint=hint) from error


_MOST_QUERY_BYTES = 1024 * 1024


def _columns(path: Path) -> tuple[dict[str, npt.NDArray[np.generic]], int]:
    """The columns of a table as arrays, and the number of rows."""
    from wardline.data.tables import read_table

    table = read_table(path)
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        kind = str(column.type)
        if kind.startswith("dictionary"):
            column = column.cast("string")
        elif kind.startswith("decimal"):
            column = column.cast("float64")
        columns[name] = column.to_numpy(zero_copy_only=False)
    return columns, table.num_rows


def _schema(path: Path | None, columns: dict[str, npt.NDArray[np.generic]]) -> tuple[Schema, dict[str, str]]:
    from wardline.core import DataError
    from wardline.he.queries.derivation import derive_schema
    from wardline.he.queries.schema import Schema

    if path is None:
        return derive_schema(columns)
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(16 * 1024 * 1024))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            "the schema cannot be read as JSON", where=str(path), hint="write one with `wardline he query plan --out`"
        ) from error
    return Schema.from_json(value), {}


def _tell_left_out(left_out: dict[str, str]) -> None:
    for name, reason in left_out.items():
        click.echo(f"note: column {name!r} is left out: {reason}", err=True)


def _seconds(found: TablePlan) -> dict[str, float]:
    """Predicted seconds of typical queries on this machine."""
    from wardline.he.queries.circuit import typical_queries
    from wardline.he.queries.pace import Pace

    pace = Pace.measure(found)
    return {what: pace.seconds(found, circuit) for what, circuit in typical_queries(found).items()}
