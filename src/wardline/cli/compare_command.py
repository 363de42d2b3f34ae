"""`wardline compare`: the central model against the local one, on the same question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wardline.cli.options import FORMAT
from wardline.cli.progress import choose_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from wardline.core import Progress
    from wardline.dp.local import Comparison

WARNING = (
    "these are true errors, computed from the answers without any protection: they are for whoever holds the data, to "
    "plan with. They are no release; do not publish them."
)
MADE_UP = "measured on made-up persons"
FORMULAS = "from formulas; no answer was looked at"
NOTES = (
    "Central: one trusted party holds all answers and adds noise once. Local: every device adds noise to its own "
    "answer, and the server is trusted with nothing.",
    "Both promise the same: whichever answer one person gives, every result stays as likely within e^epsilon. That a "
    "person takes part, and how many do, is known in both.",
    "Each row counts as one person. Dishonest persons can bias the local model far more than the central one.",
)


@click.command(
    "compare",
    epilog="Example: wardline compare --people 100000 --values 50 --epsilon 0.5 --epsilon 2. "
    "Or: wardline compare people.csv --column ward --measure --plot price.html",
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--column", help="The column of FILE to ask about.")
@click.option("--people", type=int, help="How many persons take part; from FILE if one is given.")
@click.option("--values", "size", type=int, help="How many values there are to choose from; else those found in FILE.")
@click.option("--lower", type=float, help="Lower bound of a number, to compare means instead of counts.")
@click.option("--upper", type=float, help="Upper bound of a number.")
@click.option("--epsilon", "epsilons", type=float, multiple=True, help="What is promised; repeatable. By default 1.")
@click.option("--measure", is_flag=True, help="Also measure true errors on FILE: for its holder, not to be published.")
@click.option("--public", is_flag=True, help="FILE is public data: measured errors may be shown.")
@click.option("--synthetic", is_flag=True, help="Measure on made-up persons; needs no FILE.")
@click.option("--draws", type=int, default=20, show_default=True, help="How often noise is drawn anew to measure.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the errors into an .html or .svg file.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
def command(
    *,
    file: Path | None,
    column: str | None,
    people: int | None,
    size: int | None,
    lower: float | None,
    upper: float | None,
    epsilons: tuple[float, ...],
    measure: bool,
    public: bool,
    synthetic: bool,
    draws: int,
    plot: Path | None,
    quiet: bool,
    output_format: str,
) -> None:
    """Show what trusting no one costs: the central and the local model side by side.

    Without FILE, or without --measure, errors come from formulas: what goes in is the number of persons and of values,
    or the bounds of a number. These two numbers are read from FILE if one is given, and count as known.

    With --measure, noise is drawn on FILE's answers and errors are differences from the truth. They are no release.
    """
    from wardline.core import UsageError

    bounds = _bounds(lower, upper)
    if plot is not None and plot.suffix.lower() not in (".html", ".svg"):
        raise UsageError("a picture is an .html or .svg file", where="--plot", hint="name it so")
    if file is None:
        if measure or public or column is not None:
            raise UsageError("there is no FILE to look at", hint="name a file, or leave out --measure and --column")
        values = _made_up(people, size, bounds) if synthetic else None
    else:
        if synthetic or people is not None:
            raise UsageError("FILE says how many persons there are", hint="leave out --people and --synthetic")
        if column is None:
            raise UsageError("which column is the answer?", where="--column", hint="name a column of FILE")
        values, found = _read(file, column, categories=bounds is None)
        people = len(values)
        size = size if size is not None else found
    if people is None or (bounds is None and size is None):
        raise UsageError(
            "there is nothing to compare on", hint="give a FILE, or --people and --values, or --people and bounds"
        )
    comparison = _compare(
        size=size,
        bounds=bounds,
        people=people,
        epsilons=epsilons or (1.0,),
        values=values if measure or synthetic else None,
        draws=draws,
        progress=choose_progress(quiet=quiet),
    )
    standing = _standing(comparison, public=public, synthetic=synthetic)
    if plot is not None:
        from wardline.cli.compare_picture import page, picture
        from wardline.core import write_atomic

        drawn = (
            picture(comparison) if plot.suffix.lower() == ".svg" else page(comparison, standing=standing, notes=NOTES)
        )
        # True errors on private data are as private as the data.
        write_atomic(plot, drawn, mode=0o600 if standing == WARNING else 0o644)
    if output_format == "json":
        click.echo(json.dumps(_as_json(comparison, standing), indent=2))
    else:
        click.echo(_told(comparison, standing))
        if plot is not None:
            click.echo(f"\npicture: {plot}")
    if standing == WARNING:
        click.echo(f"warning: {WARNING}", err=True)


def _bounds(lower: float | None, upper: float | None) -> tuple[float, float] | None:
    from wardline.core import UsageError

    if lower is None and upper is None:
        return None
    if lower is None or upper is None or not lower < upper:
        raise UsageError(
            "a number has a lower and an upper bound, the lower one first",
            where="--lower, --upper",
            hint="take them from what is known about the question, never from the answers",
        )
    return lower, upper


def _read(file: Path, column: str, *, categories: bool) -> tuple[npt.NDArray[Any], int]:
    """The answers of a column, and how many different ones there are; whole numbers from 0 for categories."""
    import numpy as np

    from wardline.core import DataError
    from wardline.data import read_table

    table = read_table(file)
    if column not in table.column_names:
        raise DataError("there is no such column", where=f"{file}: {column}", hint="choose one of the file's columns")
    answers = table.column(column).combine_chunks()
    if answers.null_count:
        raise DataError(
            "answers are missing",
            where=f"{file}: {column}",
            hint="give them a value of their own, or leave the rows out",
        )
    if categories:
        encoded = answers.dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(encoded.dictionary)
    try:
        numbers = answers.to_numpy(zero_copy_only=False).astype(np.float64)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or not np.isfinite(numbers).all():
        raise DataError(
            "an answer is no finite number", where=f"{file}: {column}", hint="leave out the bounds to count values"
        )
    return numbers, 0


def _made_up(people: int | None, size: int | None, bounds: tuple[float, float] | None) -> npt.NDArray[Any] | None:
    """Persons who do not exist: values by Zipf's law, or numbers towards the lower bound."""
    from wardline.core import Seeds

    if people is None or people < 1:
        return None
    stream = Seeds(0).numpy("compare")
    if bounds is not None:
        return bounds[0] + (bounds[1] - bounds[0]) * stream.beta(2.0, 5.0, people)
    if size is None or size < 2:
        return None
    import numpy as np

    weights = 1.0 / np.arange(1, size + 1)
    return stream.choice(size, size=people, p=weights / weights.sum()).astype(np.int64)


def _compare(
    *,
    size: int | None,
    bounds: tuple[float, float] | None,
    people: int,
    epsilons: Sequence[float],
    values: npt.NDArray[np.float64] | npt.NDArray[np.int64] | None,
    draws: int,
    progress: Progress,
) -> Comparison:
    from wardline.core import UsageError
    from wardline.dp.local import compare_counts, compare_means

    try:
        if bounds is not None:
            return compare_means(
                lower=bounds[0],
                upper=bounds[1],
                people=people,
                epsilons=epsilons,
                values=values,
                draws=draws,
                progress=progress,
            )
        assert size is not None
        return compare_counts(
            size=size, people=people, epsilons=epsilons, values=values, draws=draws, progress=progress
        )
    except ValueError as error:  # its arguments come from the command line
        raise UsageError(str(error), hint="`wardline compare --help` has an example") from error


def _standing(comparison: Comparison, *, public: bool, synthetic: bool) -> str:
    if not comparison.measured:
        return FORMULAS
    if synthetic:
        return MADE_UP
    return "measured on data that is said to be public" if public else WARNING


def _as_json(comparison: Comparison, standing: str) -> dict[str, Any]:
    from wardline.core import to_json

    return {**to_json(comparison), "standing": standing, "publishable": standing != WARNING, "notes": list(NOTES)}


def _told(comparison: Comparison, standing: str) -> str:
    from wardline.cli.compare_picture import Wording

    wording = Wording(comparison)
    lines = [wording.title, ""]
    for epsilon in comparison.epsilons:
        lines += [f"epsilon {epsilon:g}", *_table(wording.table(epsilon)), "", *wording.conclusion(epsilon), ""]
    return "\n".join([*lines, *NOTES, "", f"standing: {standing}"])


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    lines = []
    for row in cells:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  " + "  ".join([*left, *right]).rstrip())
    return lines
