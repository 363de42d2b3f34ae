"""Which rows are trained on, which are kept apart for measuring, and how many rows a person may contribute."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, SecureRandom, Seeds
from wardline.data.examples import Examples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Two parts of a data set that have no privacy unit in common.

    Attributes:
        train, holdout: the parts.
        train_rows, holdout_rows: the rows of the whole that they were taken from, ascending.
    """

    train: Examples
    holdout: Examples
    train_rows: npt.NDArray[np.int64] = field(repr=False)
    holdout_rows: npt.NDArray[np.int64] = field(repr=False)


def split_by_unit(examples: Examples, *, holdout: float, seeds: Seeds) -> Split:
    """Keep a share of the units apart for measuring; all rows of a unit stand on one side.

    Each unit draws a number from the stream ``data.split``, by its index and nothing else, and those with the
    smallest numbers are kept apart. Where each row is its own unit, this is done within each class, so that
    both sides have the same share of it.

    The split is reproducible and no protection. Claims about training speak of the training part as it stands:
    neighbouring data sets are those that differ in one unit of it.

    Args:
        examples: the whole.
        holdout: the share of units to keep apart, in (0, 1).
        seeds: where the stream comes from.

    Raises:
        ValueError: if `holdout` does not lie strictly between 0 and 1.
        DataError: if one side would lack a class or be empty.
    """
    if not 0 < holdout < 1:
        raise ValueError("holdout must lie strictly between 0 and 1")
    units = examples.n_units
    if units < 2:
        raise DataError("the data cannot be split: it has fewer than two privacy units", hint="give more data")
    draws = seeds.numpy("data.split").random(units)
    by_row = units == len(examples)
    if by_row:
        # Rows may stand in any order of units; class_of is indexed by unit.
        class_of = np.empty(units, dtype=np.int64)
        class_of[examples.unit] = examples.y
    else:
        class_of = np.zeros(units, dtype=np.int64)
    apart = np.zeros(units, dtype=np.bool_)
    for group in range(len(examples.classes) if by_row else 1):
        members = np.flatnonzero(class_of == group)
        if len(members) < 2:
            continue  # A class without two rows leaves one side without it, which is refused below.
        count = min(max(round(holdout * len(members)), 1), len(members) - 1)
        apart[members[np.argsort(draws[members], kind="stable")[:count]]] = True
    held = apart[examples.unit]
    train_rows, holdout_rows = np.flatnonzero(~held), np.flatnonzero(held)
    _check_classes(examples, train_rows, "training")
    _check_classes(examples, holdout_rows, "held-out")
    return Split(
        train=examples.take(train_rows),
        holdout=examples.take(holdout_rows),
        train_rows=train_rows,
        holdout_rows=holdout_rows,
    )


def _check_classes(examples: Examples, rows: npt.NDArray[np.int64], side: str) -> None:
    counts = np.bincount(examples.y[rows], minlength=len(examples.classes))
    absent = [examples.classes[index] for index in np.flatnonzero(counts == 0)]
    if absent:
        raise DataError(
            f"the {side} part has no row of class {', '.join(map(repr, absent))}",
            hint="give more data, merge rare classes, or change data.holdout",
        )


def bounded_rows(examples: Examples, max_rows: int, *, random: SecureRandom) -> npt.NDArray[np.int64]:
    """Choose at most `max_rows` rows of each unit at random; their indices, ascending.

    Args:
        examples: rows of units of any size.
        max_rows: the largest number of rows that a unit keeps, at least 1.
        random: decides which; nobody can predict or repeat it.

    Raises:
        ValueError: if `max_rows` is below 1.

    Guarantee: every unit has at most `max_rows` rows among them, and which of its rows stay does not
    depend on any other unit. Adding or removing one unit thus changes at most `max_rows` rows.
    """
    if max_rows < 1:
        raise ValueError("max_rows must be at least 1")
    n = len(examples)
    order = np.lexsort((random.uint64(n), examples.unit))
    grouped = examples.unit[order]
    starts = np.searchsorted(grouped, np.arange(examples.n_units))
    rank = np.arange(n) - starts[grouped]
    kept: npt.NDArray[np.int64] = np.sort(order[rank < max_rows])
    return kept


def bound_contribution(examples: Examples, max_rows: int, *, random: SecureRandom) -> Examples:
    """The rows that `bounded_rows` chooses, in their order; arguments, errors and guarantee are its own."""
    return examples.take(bounded_rows(examples, max_rows, random=random))
