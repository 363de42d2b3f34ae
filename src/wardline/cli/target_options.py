"""Options that say what is attacked, with which examples, and by whom; shared by `audit` and `attack`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

ACCESS = ("labels", "scores", "white-box")
NORMS = ("linf", "l2", "l1")


def target_options(command: Command) -> Command:
    """The options that name examples and describe the model and its adversary."""
    for option in (
        click.option("--cap", type=click.IntRange(min=1), help="The most predictions that the model may be asked for."),
        click.option("--token-env", help="Environment variable with the bearer token of an endpoint."),
        click.option("--high", type=float, help="The greatest value of inputs; else derived from the examples."),
        click.option("--low", type=float, help="The least value of inputs; else derived from the examples."),
        click.option("--classes", type=click.IntRange(min=2), help="How many classes the model tells apart."),
        click.option("--access", type=click.Choice(ACCESS), help="What the adversary sees; by default all there is."),
        click.option("--policy", type=click.Path(path_type=Path), help="Policy whose table and contract to use."),
        click.option("--text", help="Column of the data that holds texts."),
        click.option("--label", help="Column of the data that holds the classes."),
        click.option("--train", type=click.Path(path_type=Path), help="Rows that the model was trained on, as --data."),
        click.option("--data", type=click.Path(path_type=Path), help="Examples: NPZ with x and y, Parquet or CSV."),
    ):
        command = option(command)
    return command


def limit_options(command: Command) -> Command:
    """The options that say how far inputs may be changed, and the seed."""
    for option in (
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all randomness."),
        click.option("--radius", type=float, help="How large changes may be; by default what is customary."),
        click.option(
            "--norm", type=click.Choice(NORMS), default="linf", show_default=True, help="How they are measured."
        ),
    ):
        command = option(command)
    return command
