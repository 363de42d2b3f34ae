"""`wardline he lookup build|keys|ask|answer|read`: one record of a database, and nobody sees which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardline.cli.he_options import OUT, key_options, need_encryption, taken_back
from wardline.cli.options import FORMAT, PASSPHRASE_FD, ask_passphrase

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from wardline.he.lookup.database import PublicDatabase
    from wardline.he.seal.bridge import SealLattice

_PATH = click.Path(path_type=Path)
_PUBLIC = click.option(
    "--database",
    type=_PATH,
    required=True,
    help="The public description: public.json, as the database's owner gave it.",
)


@click.group(
    "lookup", epilog="Example: wardline he lookup ask 17 --database public.json --key branch.secret --out question"
)
def lookup() -> None:
    """Look up one record by its index; the server does not learn which, and the client learns no other.

    The owner of the records runs `build` once and `answer` for each question; the client runs `keys` once, then `ask`
    and `read`. Lookups by a name or another key need its index first: publish the sorted list of keys, or number
    records by a hash of the key.
    """


@lookup.command("build", epilog="Example: wardline he lookup build prices.csv --out prices")
@click.argument("source", type=_PATH)
@click.option("--record-bytes", type=click.IntRange(min=1), help="SOURCE holds records of so many bytes, and no table.")
@click.option("--out", type=_PATH, required=True, help="The folder to write.")
@FORMAT
def build(*, source: Path, record_bytes: int | None, out: Path, output_format: str) -> None:
    """Make a database of SOURCE: the rows of a CSV or Parquet table, or with --record-bytes any file.

    The folder gets public.json, to give away, and database.bin, which stays at the server. The number of records, the
    length of the longest and the names of columns become public. Rows are numbered from 0.
    """
    from wardline.core import need

    need("numba", extra="he")
    from wardline.he.lookup.database import DATABASE_FILE, PUBLIC_FILE, build_database

    records, columns = _records(source, record_bytes)
    public = build_database(out, records, columns=columns)
    if output_format == "json":
        click.echo(json.dumps({**_told(public), "public": str(out / PUBLIC_FILE)}, indent=2))
        return
    click.echo(public.plan.explain())
    click.echo(f"public:   {out / PUBLIC_FILE} (give it away)")
    click.echo(f"records:  {out / DATABASE_FILE} (keep it at the server)")
    click.echo(f"digest:   {public.digest.hex()}")


@lookup.command("keys", epilog="Example: wardline he lookup keys branch --database public.json")
@click.argument("name", type=_PATH)
@_PUBLIC
@PASSPHRASE_FD
@FORMAT
def keys(*, name: Path, database: Path, passphrase_fd: int | None, output_format: str) -> None:
    """Make keys for a database: NAME.secret, encrypted with a passphrase, and NAME.evaluation, for the server.

    They serve any number of questions. Existing files are never overwritten.
    """
    need_encryption()
    from wardline.core import KeyAccessError
    from wardline.crypto import read_passphrase
    from wardline.he.lookup.asking import lookup_keys
    from wardline.he.lookup.database import read_public
    from wardline.he.lookup.parcels import write_keys
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import write_secret_key

    public = read_public(database)
    secret, evaluation = name.with_name(f"{name.name}.secret"), name.with_name(f"{name.name}.evaluation")
    if evaluation.exists():
        raise KeyAccessError("keys of this name exist", where=str(evaluation), hint="choose another name")
    passphrase = read_passphrase(passphrase_fd, prompt=ask_passphrase(confirm=True))
    lattice = SealLattice.generate(public.plan.parameters)
    write_secret_key(secret, lattice.key, passphrase=passphrase)
    with taken_back(secret):
        write_keys(evaluation, public, lookup_keys(lattice, public.plan))
    if output_format == "json":
        click.echo(json.dumps({"secret": str(secret), "evaluation": str(evaluation), "id": lattice.key.id}))
        return
    click.echo(f"secret:     {secret} (keep it, and the passphrase apart from it)")
    click.echo(f"evaluation: {evaluation}, {evaluation.stat().st_size:,} bytes (goes to the server, once)")


@lookup.command(
    "ask", epilog="Example: wardline he lookup ask 17 --database public.json --key branch.secret --out question"
)
@click.argument("index", type=click.IntRange(min=0))
@_PUBLIC
@key_options
@OUT
@FORMAT
def ask(*, index: int, database: Path, key: Path, passphrase_fd: int | None, out: Path, output_format: str) -> None:
    """Write a question for the record of INDEX, counted from 0. Keep it until the reply is read."""
    need_encryption()
    from wardline.he.lookup.asking import ask_record
    from wardline.he.lookup.database import read_public
    from wardline.he.lookup.parcels import write_question

    public = read_public(database)
    lattice = _open(key, public, passphrase_fd)
    write_question(out, public, ask_record(lattice, public.plan, index))
    size = out.stat().st_size
    click.echo(
        json.dumps({"question": str(out), "bytes": size}) if output_format == "json" else f"{out}: {size:,} bytes"
    )


@lookup.command(
    "answer",
    epilog="Example: wardline he lookup answer question --database prices --evaluation branch.evaluation --out r",
)
@click.argument("question", type=_PATH)
@click.option("--database", type=_PATH, required=True, help="The folder that `wardline he lookup build` wrote.")
@click.option("--evaluation", type=_PATH, required=True, help="The client's keys for the server.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that compute.")
@OUT
@FORMAT
def answer(*, question: Path, database: Path, evaluation: Path, threads: int, out: Path, output_format: str) -> None:
    """Answer QUESTION from the database. All of it is read, whichever record it is about."""
    from wardline.core import need

    need("numba", extra="he")
    from wardline.he.frames.evaluation_keys import expand_keys
    from wardline.he.lookup.answering import answer_question
    from wardline.he.lookup.database import open_database
    from wardline.he.lookup.parcels import read_keys, read_question, write_reply

    opened = open_database(database)
    asked, columns = read_question(question, opened.public)
    client_keys = expand_keys(read_keys(evaluation, opened.public))
    reply = answer_question(columns, client_keys, database=opened, threads=threads)
    write_reply(out, reply, asked=asked)
    size = out.stat().st_size
    click.echo(json.dumps({"reply": str(out), "bytes": size}) if output_format == "json" else f"{out}: {size:,} bytes")


@lookup.command(
    "read", epilog="Example: wardline he lookup read r --question question --database public.json --key branch.secret"
)
@click.argument("reply", type=_PATH)
@click.option("--question", type=_PATH, required=True, help="The question that it answers.")
@_PUBLIC
@key_options
@click.option("--out", type=_PATH, help="The file to write the record to; the standard output without it.")
@FORMAT
def read(
    *,
    reply: Path,
    question: Path,
    database: Path,
    key: Path,
    passphrase_fd: int | None,
    out: Path | None,
    output_format: str,
) -> None:
    """Read the record in REPLY: a row as JSON, or bytes, which are shown in hexadecimal without --out.

    A server can answer with another record, and this does not notice. Do not let the server see whether you could use
    what it sent: if it tampers with some records, a complaint tells it what you asked for.
    """
    need_encryption()
    from wardline.core import write_atomic
    from wardline.he.lookup.asking import read_record
    from wardline.he.lookup.database import read_public
    from wardline.he.lookup.parcels import read_question, read_reply
    from wardline.he.lookup.records import decode_row

    public = read_public(database)
    asked, _ = read_question(question, public)
    found = read_reply(reply, public, asked=asked)
    record = read_record(_open(key, public, passphrase_fd), public.plan, found)
    if public.content == "rows":
        row = decode_row(record, public.columns)
        lines = [json.dumps(row)] if output_format == "json" else [f"{name}: {value}" for name, value in row.items()]
        content = "".join(f"{line}\n" for line in lines)
    else:
        content = json.dumps({"hexadecimal": record.hex()}) + "\n" if output_format == "json" else record.hex() + "\n"
    if out is None:
        click.echo(content, nl=False)
    else:
        write_atomic(out, content.encode() if public.content == "rows" else record, mode=0o600)


def _records(source: Path, record_bytes: int | None) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    import numpy as np

    from wardline.core import DataError
    from wardline.data.tables import read_table
    from wardline.he.lookup.records import encode_rows

    if record_bytes is None:
        table = read_table(source)
        columns = [column.to_pylist() for column in table.columns]
        return encode_rows(list(zip(*columns, strict=True))), tuple(table.column_names)
    try:
        size = source.stat().st_size
        if not size or size % record_bytes:
            raise DataError(
                f"{size} bytes are not records of {record_bytes}",
                where=str(source),
                hint="fill records up to one length, and give it with --record-bytes",
            )
        return np.memmap(source, dtype=np.uint8, mode="r", shape=(size // record_bytes, record_bytes)), ()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DataError(f"cannot read the records: {reason}", where=str(source)) from error


def _told(public: PublicDatabase) -> dict[str, object]:
    plan = public.plan
    return {
        "records": plan.records,
        "record_bytes": plan.record_bytes,
        "database_bytes": plan.database_bytes,
        "question_bytes": plan.question_bytes,
        "reply_bytes": plan.reply_bytes,
        "key_bytes": plan.key_bytes,
        "digest": public.digest.hex(),
    }


def _open(key: Path, public: PublicDatabase, passphrase_fd: int | None) -> SealLattice:
    from wardline.core import UsageError
    from wardline.crypto import read_passphrase
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import read_secret_key

    passphrase = read_passphrase(passphrase_fd, prompt=ask_passphrase())
    lattice = SealLattice(read_secret_key(key, passphrase=passphrase))
    if lattice.parameters != public.plan.parameters:
        raise UsageError(
            "the key was made for other parameters than the database's",
            where=str(key),
            hint="make one with `wardline he lookup keys` and this database",
        )
    return lattice
