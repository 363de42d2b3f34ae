"""Whether rows and an architecture belong together: asked by every training, private or not."""

from __future__ import annotations

from wardline.core import DataError
from wardline.data import Examples
from wardline.dp.training.sampling import UnitRows
from wardline.models import Architecture, columns


def check_fit(architecture: Architecture, examples: Examples) -> None:
    """Refuse rows that this architecture cannot be trained on.

    Raises:
        DataError: if there are no rows.
        ValueError: if columns or classes are not as many as the architecture says.
    """
    if len(examples) == 0:
        raise DataError("there are no rows to train on", hint="check the data source and the held-out share")
    if examples.x.shape[1] != columns(architecture):
        raise ValueError(f"rows have {examples.x.shape[1]} columns, the architecture reads {columns(architecture)}")
    if len(examples.classes) != architecture.classes:
        raise ValueError(f"the data has {len(examples.classes)} classes, the architecture {architecture.classes}")


def units_of(architecture: Architecture, examples: Examples, max_rows_per_unit: int) -> UnitRows:
    """Which rows belong to which unit, if all is as it must be for private training.

    Raises:
        DataError: if there are no rows, or a unit has more rows than it may have.
        ValueError: if columns or classes are not as many as the architecture says.
    """
    check_fit(architecture, examples)
    units = UnitRows(examples.unit)
    if units.most > max_rows_per_unit:
        raise DataError(
            f"a privacy unit has more than {max_rows_per_unit} rows",
            hint="bound every person's contribution first, or raise max_rows",
        )
    return units
