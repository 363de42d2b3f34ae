"""`wardline ledger`: what was released about each data set, and what may be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wardline.cli.options import FORMAT, key_options, open_key

if TYPE_CHECKING:
    from wardline.dp.ledger import Dataset, Ledger, Limit

_DEFAULT = str(Path(".wardline") / "ledger.sqlite")
_DELTA = 1e-6

LEDGER: Callable[[Any], Any] = click.option(
    "--ledger",
    "address",
    default=_DEFAULT,
    show_default=True,
    help="The ledger: a file, or postgresql://USER@HOST/DATABASE (the password from PGPASSWORD or ~/.pgpass).",
)


@click.group("ledger")
def command() -> None:
    """Show what was released about each data set, limit it, and check that nothing was removed.

    Nothing here computes on data, and nothing gives budget back.
    """


@command.command(
    "show", epilog="Example: wardline ledger show 3f2a --delta 1e-6 --plot spent.html (3f2a begins the data set's key)"
)
@click.argument("dataset", required=False)
@LEDGER
@click.option("--delta", type=float, help="At which epsilon is told; by default the limit's delta, else 1e-6.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the loss over time: a file .html or .svg.")
@FORMAT
def show(*, dataset: str | None, address: str, delta: float | None, plot: Path | None, output_format: str) -> None:
    """Show all data sets, or the releases about DATASET.

    DATASET is its key or as much of the key's beginning as tells it from others.
    """
    from wardline.core import UsageError

    ledger = _open(address)
    if delta is not None and not 0 < delta < 1:
        raise UsageError("delta lies strictly between 0 and 1", hint="for example --delta 1e-6")
    if dataset is None and plot is not None:
        raise UsageError("a plot shows one data set", hint="name it: wardline ledger show DATASET --plot FILE")
    try:
        if dataset is None:
            _show_all(ledger, delta, output_format)
        else:
            _show_one(ledger, _find(ledger, dataset), delta, plot, output_format)
    except ValueError as error:  # a delta that is too small for so many steps
        raise UsageError(str(error), hint="try a larger --delta") from error


@command.command(
    "limit", epilog="Example: wardline ledger limit 3f2a --epsilon 3 --delta 1e-6 --reason 'board, 12 May'"
)
@click.argument("dataset")
@LEDGER
@click.option(
    "--epsilon", type=float, required=True, help="What all releases may spend together, those before included."
)
@click.option("--delta", type=float, required=True, help="With which probability that may fail.")
@click.option("--fixed-plan", is_flag=True, help="Nobody chooses a parameter after seeing a result: compose exactly.")
@click.option("--raise", "raised", is_flag=True, help="Put a looser limit in the place of a stricter one.")
@click.option("--reason", default="", help="Why; it stays in the ledger.")
@click.option("--new", is_flag=True, help="The data set was never charged; DATASET is its whole key.")
@FORMAT
def limit(
    *,
    dataset: str,
    address: str,
    epsilon: float,
    delta: float,
    fixed_plan: bool,
    raised: bool,
    reason: str,
    new: bool,
    output_format: str,
) -> None:
    """Store a limit for DATASET, which every later charge obeys whatever its caller says.

    A limit is a row like all others: it cannot be removed, and raising it takes --raise and stays visible.
    """
    from wardline.core import UsageError
    from wardline.dp.ledger import Limit

    try:
        wanted = Limit(epsilon=epsilon, delta=delta, adaptive=not fixed_plan)
    except ValueError as error:
        raise UsageError(str(error), hint="for example --epsilon 3 --delta 1e-6") from error
    ledger = _open(address)
    key = dataset if new else _find(ledger, dataset).key
    try:
        entry = ledger.set_limit(key, wanted, unsafe_raise=raised, reason=reason)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if output_format == "json":
        click.echo(json.dumps({"dataset": key, "seq": entry.seq, "hash": entry.hash, **entry.body}, indent=2))
        return
    spent = ledger.spent(key, delta=delta)
    click.echo(f"limit:  {_limit(wanted)}{' (raised)' if entry.body['raised'] else ''}")
    click.echo(f"spent:  {_epsilon(spent.epsilon)} at delta {delta:g}, {spent.releases} releases")
    if spent.epsilon > epsilon:
        click.echo("note:   it is spent already: nothing more can be released")


@command.command(
    "verify", epilog="Example: wardline ledger verify --head head.json --key signer.pub (head.json is from export)"
)
@LEDGER
@click.option("--head", type=click.Path(path_type=Path), help="A statement from `ledger export`: finds a rollback.")
@click.option("--key", type=click.Path(path_type=Path), help="The public key of whoever signed the statement.")
@FORMAT
def verify(*, address: str, head: Path | None, key: Path | None, output_format: str) -> None:
    """Check every row, the table's rules, and that nothing was cut off since a signed statement.

    Without a statement, rows that were cut off the end cannot be missed.
    """
    from wardline.core import UsageError
    from wardline.dp.ledger import read_statement

    if (head is None) != (key is None):
        raise UsageError("a statement is checked with a key", hint="give both --head and --key, or neither")
    ledger = _open(address)
    known = None
    if head is not None and key is not None:
        from wardline.crypto import read_public_key

        known, _ = read_statement(head, read_public_key(key))
    ledger.verify(known=known)
    now = ledger.head()
    if output_format == "json":
        told = {"ledger": now.ledger, "seq": now.seq, "hash": now.hash, "known": known.seq if known else None}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"sound:  {now.seq} rows, head {now.hash}")
    click.echo(f"known:  row {known.seq} is in its place" if known else "known:  nothing was compared (see --head)")


@command.command("export", epilog="Example: wardline ledger export head.json --key signer.key")
@click.argument("out", type=click.Path(path_type=Path))
@LEDGER
@key_options
@FORMAT
def export(
    *, out: Path, address: str, key: Path | None, key_fd: int | None, passphrase_fd: int | None, output_format: str
) -> None:
    """Write the ledger's head, and what each data set spent, signed, to OUT.

    Give it to somebody who cannot write the ledger: with it they find out if rows were cut off later.
    """
    ledger = _open(address)
    head = ledger.export(out, open_key(key, key_fd=key_fd, passphrase_fd=passphrase_fd))
    if output_format == "json":
        click.echo(json.dumps({"ledger": head.ledger, "seq": head.seq, "hash": head.hash, "out": str(out)}, indent=2))
    else:
        click.echo(f"signed: row {head.seq}, head {head.hash}\nout:    {out}")


def _open(address: str) -> Ledger:
    """The ledger; looking at one never makes one."""
    from wardline.core import UsageError
    from wardline.dp.ledger import Ledger

    if "://" not in address and not Path(address).exists():
        raise UsageError(
            "there is no ledger", where=address, hint="name it with --ledger; `wardline run` and `release` make one"
        )
    return Ledger(address if "://" in address else Path(address))


def _find(ledger: Ledger, beginning: str) -> Dataset:
    from wardline.core import UsageError

    found = [one for one in ledger.datasets() if one.key.startswith(beginning)]
    exact = [one for one in found if one.key == beginning]
    if len(exact or found) != 1:
        raise UsageError(
            f"{len(found)} data sets begin with {beginning!r}" if found else f"no data set begins with {beginning!r}",
            hint="`wardline ledger show` lists them; a limit before the first charge takes --new and the whole key",
        )
    return (exact or found)[0]


def _show_all(ledger: Ledger, delta: float | None, output_format: str) -> None:
    rows = []
    for one in ledger.datasets():
        spent = ledger.spent(one.key, delta=_delta(one, delta))
        rows.append((one, spent))
    if output_format == "json":
        told = [
            {
                "dataset": one.key,
                "unit": one.unit,
                "releases": spent.releases,
                "epsilon": _finite(spent.epsilon),
                "delta": spent.delta,
                "limit": _limit_json(one.limit),
            }
            for one, spent in rows
        ]
        click.echo(json.dumps({"ledger": ledger.place, "datasets": told}, indent=2))
        return
    click.echo(f"{ledger.place}: {len(rows)} data sets")
    for one, spent in rows:
        click.echo(
            f"{one.key[:16]}  {one.unit or '-':12}  {spent.releases:5} releases  "
            f"{_epsilon(spent.epsilon)} at delta {spent.delta:g}  {_limit(one.limit)}"
        )


def _show_one(ledger: Ledger, dataset: Dataset, delta: float | None, plot: Path | None, output_format: str) -> None:
    from wardline.core.files import write_atomic
    from wardline.dp.ledger.history import history, history_page, history_picture

    at = _delta(dataset, delta)
    spent = ledger.spent(dataset.key, delta=at)
    moments = history(ledger, dataset.key, delta=at)
    if plot is not None:
        _check_plot(plot, drawable=any(math.isfinite(one.epsilon) for one in moments))
        draw = history_picture if plot.suffix == ".svg" else history_page
        write_atomic(plot, draw(dataset, moments, delta=at))
    if output_format == "json":
        told = [
            {
                "at": one.at,
                "description": one.description,
                "releases": one.releases,
                "epsilon": _finite(one.epsilon),
                "used": _finite(one.used),
            }
            for one in moments
        ]
        head = {"dataset": dataset.key, "unit": dataset.unit, "releases": spent.releases}
        figures = {"epsilon": _finite(spent.epsilon), "delta": at, "limit": _limit_json(dataset.limit)}
        click.echo(json.dumps({**head, **figures, "history": told}, indent=2))
        return
    click.echo(f"data set:  {dataset.key}\nunit:      {dataset.unit or '-'}")
    click.echo(f"spent:     {_epsilon(spent.epsilon)} at delta {at:g}, {spent.releases} releases")
    click.echo(f"limit:     {_limit(dataset.limit)}")
    for one in moments:
        kept = "" if one.used is None else f"  limit used {one.used:7.1%}"
        click.echo(f"{one.at}  {one.releases:5}  epsilon {one.epsilon:8.4g}{kept}  {one.description}")
    if plot is not None:
        click.echo(f"plot:      {plot}")


def _check_plot(plot: Path, *, drawable: bool) -> None:
    from wardline.core import UsageError

    if plot.suffix not in (".html", ".svg"):
        raise UsageError("a plot is a page or a picture", where=str(plot), hint="end its name in .html or .svg")
    if not drawable:
        raise UsageError("there is no release with a finite loss to draw", hint="try a larger --delta")


def _delta(dataset: Dataset, delta: float | None) -> float:
    return delta if delta is not None else dataset.limit.delta if dataset.limit else _DELTA


def _limit(limit: Limit | None) -> str:
    if limit is None:
        return "no limit stored"
    kept = "kept by a filter" if limit.adaptive else "for parameters fixed beforehand"
    return f"limit {limit.epsilon:g} at delta {limit.delta:g}, {kept}"


def _limit_json(limit: Limit | None) -> dict[str, Any] | None:
    return None if limit is None else {"epsilon": limit.epsilon, "delta": limit.delta, "adaptive": limit.adaptive}


def _epsilon(epsilon: float) -> str:
    return f"epsilon {epsilon:.4g}" if math.isfinite(epsilon) else "epsilon without bound"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
