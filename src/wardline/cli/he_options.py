"""What the commands of `wardline he` share: options for keys, models and mutual TLS, and tables in and out."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wardline.cli.options import PASSPHRASE_FD, ask_passphrase

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from wardline.he.compiled.public_model import PublicModel
    from wardline.he.seal.bridge import SealLattice
    from wardline.serve.scoring.certificates import TlsFiles

Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)

MODEL = click.option("--model", type=_PATH, required=True, help="The public model: public.json, as its owner gave it.")
SECRET_KEY = click.option("--key", type=_PATH, required=True, help="The secret key, which `wardline he keys` wrote.")
OUT = click.option("--out", type=_PATH, required=True, help="The file to write.")


def tls_options(command: Command) -> Command:
    """The three PEM files of mutual TLS."""
    for option in (
        click.option("--tls-key", type=_PATH, required=True, help="Own private key, in PEM, readable for you alone."),
        click.option("--certificate", type=_PATH, required=True, help="Own certificate, in PEM."),
        click.option("--authority", type=_PATH, required=True, help="Certificates of whom to trust, in PEM."),
    ):
        command = option(command)
    return command


def key_options(command: Command) -> Command:
    """The secret key and its passphrase."""
    return SECRET_KEY(PASSPHRASE_FD(command))


@contextlib.contextmanager
def taken_back(secret: Path) -> Iterator[None]:
    """Remove a secret key that was just written if what belongs to it cannot be: its name is free for another try."""
    try:
        yield
    except BaseException:
        secret.unlink(missing_ok=True)
        raise


def tls_files(*, authority: Path, certificate: Path, tls_key: Path) -> TlsFiles:
    """The files that `tls_options` name."""
    from wardline.serve.scoring.certificates import TlsFiles

    return TlsFiles(authority=authority, certificate=certificate, key=tls_key)


def need_encryption() -> None:
    """Say which extra is missing, if one is."""
    from wardline.core import need

    for module in ("numba", "tenseal", "zstandard"):
        need(module, extra="he")


def need_service() -> None:
    """Say which extra is missing, if one is; keep gRPC's own remarks to errors."""
    import os

    from wardline.core import need

    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    need("numba", extra="he")
    need("grpc", extra="serve")


def open_lattice(key: Path, *, public: PublicModel, passphrase_fd: int | None) -> SealLattice:
    """The secret key in a file, if it fits the model."""
    from wardline.core import UsageError
    from wardline.crypto import read_passphrase
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import read_secret_key

    passphrase = read_passphrase(passphrase_fd, prompt=ask_passphrase())
    lattice = SealLattice(read_secret_key(key, passphrase=passphrase))
    if lattice.parameters != public.plan.parameters:
        raise UsageError(
            "the key was made for other parameters than the model's",
            where=str(key),
            hint="make one with `wardline he keys` and this model",
        )
    return lattice


def read_rows(path: Path, features: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """The named columns of a table as numbers [rows, features]; other columns are left where they are."""
    import numpy as np

    from wardline.core import DataError
    from wardline.data.tables import read_table

    table = read_table(path)
    missing = [name for name in features if name not in table.column_names]
    if missing:
        raise DataError(f"the table lacks the column {missing[0]!r}", where=str(path), hint="give all features")
    columns = []
    for name in features:
        column = table[name].combine_chunks()
        if column.null_count:
            raise DataError(f"the column {name!r} has missing values", where=str(path), hint="fill or drop these rows")
        try:
            columns.append(np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64))
        except (ValueError, TypeError):
            raise DataError(
                f"the column {name!r} holds something else than numbers",
                where=str(path),
                hint="encode categories as the model was trained on them",
            ) from None
    return np.stack(columns, axis=1)


def write_scores(scores: npt.NDArray[np.float64], public: PublicModel, *, out: Path | None, as_json: bool) -> None:
    """Rounded scores with decisions and probabilities, as CSV or JSON lines, to a file or the standard output."""
    from wardline.core import write_atomic

    meaning = public.meaning
    names = ["score"] if len(scores[0]) == 1 else [f"score {one}" for one in meaning.classes or range(len(scores[0]))]
    table: dict[str, list[Any]] = {name: scores[:, index].tolist() for index, name in enumerate(names)}
    if meaning.gives != "values":
        table["decision"] = [meaning.classes[index] for index in meaning.decide(scores)]
    if meaning.link != "none":
        likely = meaning.probabilities(scores)
        table |= {f"probability {name}": likely[:, index].tolist() for index, name in enumerate(meaning.classes)}
    lines = io.StringIO()
    rows = zip(*table.values(), strict=True)
    if as_json:
        lines.writelines(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows)
    else:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(rows)
    if out is None:
        sys.stdout.write(lines.getvalue())
    else:
        write_atomic(out, lines.getvalue().encode(), mode=0o600)


def warn_outside(count: int, *, rows: int) -> None:
    """Tell of rows that are clipped."""
    if count:
        click.echo(
            f"note: {count} of {rows} rows have a feature outside of the range that the model was compiled for; "
            "it is set to the range's end",
            err=True,
        )


def warn_charged(count: int, *, rows: int) -> None:
    """Tell of rows that are charged beyond those that are asked for."""
    if count > rows:
        click.echo(
            f"note: {rows} rows are charged as {count}: a network's answer tells of full batches, and of what is left "
            "rounded up to a power of two",
            err=True,
        )
