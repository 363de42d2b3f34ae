"""`wardline he keys|encrypt|score|decrypt`: the client's side."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wardline.cli.he_options import (
    MODEL,
    OUT,
    key_options,
    need_encryption,
    need_service,
    open_lattice,
    read_rows,
    taken_back,
    tls_files,
    tls_options,
    warn_charged,
    warn_outside,
    write_scores,
)
from wardline.cli.options import FORMAT, PASSPHRASE_FD, ask_passphrase
from wardline.cli.progress import choose_progress

_PATH = click.Path(path_type=Path)


@click.command("keys", epilog="Example: wardline he keys branch --model public.json")
@click.argument("name", type=_PATH)
@MODEL
@PASSPHRASE_FD
def keys(*, name: Path, model: Path, passphrase_fd: int | None) -> None:
    """Make keys for a model: NAME.secret, encrypted with a passphrase, and NAME.evaluation, for the service.

    Who has the secret key and its passphrase reads every row that was encrypted with it. Existing files are never
    overwritten.
    """
    need_encryption()
    from wardline.core import KeyAccessError
    from wardline.crypto import read_passphrase
    from wardline.he.compiled.folder import read_public
    from wardline.he.compiled.parcels import write_keys_parcel
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import write_secret_key

    public = read_public(model)
    secret, evaluation = name.with_name(f"{name.name}.secret"), name.with_name(f"{name.name}.evaluation")
    if evaluation.exists():
        raise KeyAccessError("keys of this name exist", where=str(evaluation), hint="choose another name")
    passphrase = read_passphrase(passphrase_fd, prompt=ask_passphrase(confirm=True))
    lattice = SealLattice.generate(public.plan.parameters)
    write_secret_key(secret, lattice.key, passphrase=passphrase)
    with taken_back(secret):
        write_keys_parcel(evaluation, public, public.kind.make_keys(lattice, public.plan), key=lattice.key.id)
    click.echo(f"secret:     {secret} (keep it, and the passphrase apart from it)")
    click.echo(f"evaluation: {evaluation} (goes to the service)")
    click.echo(f"id:         {lattice.key.id}")


@click.command(
    "encrypt", epilog="Example: wardline he encrypt rows.csv --model public.json --key branch.secret --out r"
)
@click.argument("table", type=_PATH)
@MODEL
@key_options
@OUT
@FORMAT
def encrypt(*, table: Path, model: Path, key: Path, passphrase_fd: int | None, out: Path, output_format: str) -> None:
    """Encrypt the rows of TABLE, a CSV or Parquet file with the model's features as columns.

    The result can be sent from a machine that has no secret key; see `wardline he score`.
    """
    need_encryption()
    from wardline.he.compiled.folder import read_public
    from wardline.he.compiled.parcels import write_rows_parcel

    public = read_public(model)
    rows = read_rows(table, public.features)
    lattice = open_lattice(key, public=public, passphrase_fd=passphrase_fd)
    columns = list(public.kind.client.encrypt_rows(lattice, public.plan, rows, out_of_range=public.out_of_range))
    warn_outside(public.outside(rows), rows=len(rows))
    write_rows_parcel(out, public, columns, rows=len(rows), key=lattice.key.id)
    told = {"rows": len(rows), "charged": public.charged(len(rows)), "bytes": out.stat().st_size}
    if output_format == "json":
        click.echo(json.dumps({"out": str(out), **told}))
        return
    click.echo(f"{out}: {len(rows)} rows, {out.stat().st_size / len(rows):.0f} bytes a row")
    warn_charged(told["charged"], rows=len(rows))


@click.command(
    "score",
    epilog="Example: wardline he score rows.csv --service localhost:7443 --model public.json --key branch.secret "
    "--evaluation branch.evaluation --authority authority.pem --certificate branch.pem --tls-key branch.key",
)
@click.argument("rows", type=_PATH)
@click.option("--service", required=True, metavar="HOST:PORT", help="Where the service listens.")
@MODEL
@click.option("--evaluation", type=_PATH, required=True, help="The keys for the service, from `wardline he keys`.")
@click.option("--key", type=_PATH, help="The secret key: ROWS is a table then, and scores come out in the clear.")
@PASSPHRASE_FD
@tls_options
@click.option("--out", type=_PATH, help="The file to write; scores in the clear go to the standard output without it.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="How long one request may take.")
@FORMAT
def score(
    *,
    rows: Path,
    service: str,
    model: Path,
    evaluation: Path,
    key: Path | None,
    passphrase_fd: int | None,
    authority: Path,
    certificate: Path,
    tls_key: Path,
    out: Path | None,
    seconds: float,
    output_format: str,
) -> None:
    """Have ROWS scored: a table with --key, or without it a file that `wardline he encrypt` wrote.

    Without the secret key the scores stay encrypted; `wardline he decrypt` reads them. The service must serve the very
    model that --model names.
    """
    need_service()
    from wardline.core import UsageError
    from wardline.he.compiled.folder import read_public
    from wardline.he.compiled.parcels import (
        check_parcel_key,
        parcel_key,
        read_keys_parcel,
        read_rows_parcel,
        write_scores_parcel,
    )
    from wardline.serve.scoring.connection import ScoringConnection

    public = read_public(model)
    keys_for_service = read_keys_parcel(evaluation, public)
    tls = tls_files(authority=authority, certificate=certificate, tls_key=tls_key)
    if key is None and out is None:
        raise UsageError("encrypted scores need a file", hint="name it with --out")
    with ScoringConnection(service, tls=tls, model=public.digest.hex(), seconds=seconds) as connection:
        if key is None:
            assert out is not None
            columns, count = read_rows_parcel(rows, public)
            name = parcel_key(rows)
            check_parcel_key(evaluation, name)
            replies = connection.exchange(columns, keys_for_service, rows=count)
            write_scores_parcel(out, public, replies, rows=count, key=name)
            if output_format == "json":
                told = {"rows": count, "charged": public.charged(count), "bytes": out.stat().st_size}
                click.echo(json.dumps({"out": str(out), **told}))
                return
            click.echo(f"{out}: encrypted scores of {count} rows")
            warn_charged(public.charged(count), rows=count)
            return
        need_encryption()
        from wardline.serve.scoring.client import ScoringClient

        values = read_rows(rows, public.features)
        lattice = open_lattice(key, public=public, passphrase_fd=passphrase_fd)
        check_parcel_key(evaluation, lattice.key.id)
        progress = choose_progress(quiet=False)
        client = ScoringClient(connection, lattice, keys=keys_for_service, progress=progress)
        found = client.score(values)
        warn_outside(client.outside(values), rows=len(values))
        warn_charged(public.charged(len(values)), rows=len(values))
        write_scores(found, public, out=out, as_json=output_format == "json")


@click.command("decrypt", epilog="Example: wardline he decrypt scores --model public.json --key branch.secret")
@click.argument("scores", type=_PATH)
@MODEL
@key_options
@click.option("--out", type=_PATH, help="The file to write; the standard output without it.")
@FORMAT
def decrypt(
    *, scores: Path, model: Path, key: Path, passphrase_fd: int | None, out: Path | None, output_format: str
) -> None:
    """Decrypt SCORES that `wardline he score` brought back, and round them.

    Rounded scores may be shown to others; the noise that encryption leaves is rounded away with them.
    """
    need_encryption()
    from wardline.he.compiled.folder import read_public
    from wardline.he.compiled.parcels import check_parcel_key, read_scores_parcel

    public = read_public(model)
    replies, rows = read_scores_parcel(scores, public)
    lattice = open_lattice(key, public=public, passphrase_fd=passphrase_fd)
    check_parcel_key(scores, lattice.key.id)
    found = public.kind.client.decrypt_outputs(lattice, public.plan, replies, rows=rows)
    write_scores(found, public, out=out, as_json=output_format == "json")
