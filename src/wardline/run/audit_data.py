"""The examples that an audit attacks: read from a file, or from the table of a policy."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import InputSpec
from wardline.core import DataError, Progress, UsageError, digest_file
from wardline.data import Contract, read_table
from wardline.plan import contract_of
from wardline.policy import load_policy
from wardline.run.inputs import load_inputs, select

_X_NAMES = ("x", "images", "inputs", "features")
_Y_NAMES = ("y", "labels", "classes")
_MAX_BYTES = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditData:
    """Examples with all that is known about their form.

    Attributes:
        held_out: examples that the model was not trained on.
        train: examples that it was trained on, if they are known; privacy attacks need them.
        spec: the form of inputs, where a contract states it; else None, and it is derived from the examples.
        recipe: how the model was trained, as an adversary would imitate it; None where nobody knows.
        features: a name for each column of a table; empty for images and texts.
        source: where they come from.
        sha256: digest of the file, or of the table's contents.
        note: what was done to them on the way in, for the report.
    """

    held_out: Labelled = field(repr=False)
    train: Labelled | None = field(default=None, repr=False)
    spec: InputSpec | None = None
    recipe: ReferenceRecipe | None = None
    features: tuple[str, ...] = ()
    source: str
    sha256: str
    note: str = ""


def read_examples(
    path: Path, *, label: str | None = None, text: str | None = None, classes: tuple[str, ...] = ()
) -> AuditData:
    """Read examples from an NPZ file (images or any arrays) or from a table (Parquet or CSV).

    An NPZ file holds the inputs as `x` (or images, inputs, features) and the classes as `y` (or labels, classes).
    Whole-number pixels from 0 to 255 are divided by 255, and colours that come last are moved first: both is said in
    `note`, because a model that wants something else would look robust, or broken, for no reason.

    Args:
        path: the file.
        label: the column of a table that holds the classes, as the model's names for them, as numbers from 0, or as
            other names (then numbered in the order of the alphabet).
        text: the column that holds texts; all other columns are left out then.
        classes: the model's names for its classes, if it has any.

    Raises:
        DataError: if the file cannot be read or does not hold examples.
        UsageError: if a table is given and no label.
    """
    if path.suffix == ".npz":
        x, y, note = _read_arrays(path)
        return AuditData(held_out=Labelled(x=x, y=y), source=path.name, sha256=digest_file(path), note=note)
    if label is None:
        raise UsageError("a table needs the name of the column with the classes", hint="add --label COLUMN")
    table = read_table(path)
    for name in (label, text):
        if name is not None and name not in table.column_names:
            raise DataError(f"there is no column {name!r}", where=str(path), hint="--label and --text name columns")
    y, names = _classes(table.column(label).to_pylist(), classes, str(path))
    note = f"classes numbered: {', '.join(names)}" if names else ""
    if text is not None:
        texts = np.array([str(one) for one in table.column(text).to_pylist()], dtype=object)
        return AuditData(held_out=Labelled(x=texts, y=y), source=path.name, sha256=digest_file(path), note=note)
    features = tuple(name for name in table.column_names if name != label)
    columns = [_numbers(table.column(name), name, str(path)) for name in features]
    return AuditData(
        held_out=Labelled(x=np.stack(columns, axis=1), y=y),
        features=features,
        source=path.name,
        sha256=digest_file(path),
        note=note,
    )


def read_policy_examples(policy: Path, *, local_copy: Path | None, progress: Progress) -> AuditData:
    """The table of a policy, encoded by its contract and split as a run of the policy splits it.

    Raises:
        PolicyError, DataError, IntegrityError: as `wardline run` does for the same policy.
    """
    loaded = load_policy(policy)
    inputs = load_inputs(loaded, local_copy=local_copy, progress=progress)
    selection = select(loaded, inputs)
    train, held_out = (inputs.examples.take(rows) for rows in (selection.train, selection.holdout))
    return AuditData(
        held_out=Labelled(x=held_out.x, y=held_out.y),
        train=Labelled(x=train.x, y=train.y),
        spec=spec_of_contract(contract_of(loaded.policy), inputs.examples.features),
        features=inputs.examples.features,
        source=inputs.source,
        sha256=inputs.sha256,
        note="encoded by the policy's contract; the rows that the policy holds out",
    )


def spec_of_contract(contract: Contract, features: tuple[str, ...]) -> InputSpec:
    """The form of encoded rows: bounds, whole numbers, one-hot groups. Whether a value is missing cannot be changed.

    Args:
        contract: what the rows were encoded by.
        features: the names of the encoded columns, in the encoder's order.
    """
    low, steps = np.zeros(len(features), dtype=np.float32), np.zeros(len(features), dtype=np.float32)
    mutable = np.ones(len(features), dtype=np.bool_)
    groups: list[tuple[int, ...]] = []
    at = 0
    for column in contract.features:
        width = len(column.values) if column.kind == "category" else 1
        match column.kind:
            case "number" | "integer":
                low[at] = -1.0
                if column.kind == "integer" and column.scale == "linear" and not column.missing:
                    steps[at] = 2.0 / (float(column.high or 0.0) - float(column.low or 0.0))
            case "boolean":
                steps[at] = 1.0
            case _:
                # A missing category is one more of its values: its flag is 1 where all the others are 0.
                groups.append(tuple(range(at, at + width + column.missing)))
        if column.missing and column.kind != "category":
            mutable[at + width] = False
        at += width + column.missing
    return InputSpec(
        shape=(len(features),),
        low=low,
        high=np.ones(len(features), dtype=np.float32),
        mutable=None if mutable.all() else mutable,
        groups=tuple(groups),
        steps=steps,
        names=features,
    )


def _read_arrays(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], str]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise DataError(f"the arrays have {size} bytes, more than {_MAX_BYTES}", where=str(path))
        with np.load(path, allow_pickle=False) as arrays:
            x = next((arrays[name] for name in _X_NAMES if name in arrays.files), None)
            y = next((arrays[name] for name in _Y_NAMES if name in arrays.files), None)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot read the examples: {str(error).splitlines()[0].lower()}",
            where=str(path),
            hint="write them with numpy.savez(path, x=inputs, y=classes)",
        ) from error
    if (
        x is None
        or y is None
        or x.dtype.kind not in "fiu"
        or y.dtype.kind not in "iu"
        or len(x) != y.size
        or not len(x)
    ):
        raise DataError(
            "there are no numeric arrays x and y of the same length",
            where=str(path),
            hint="write them with numpy.savez(path, x=inputs, y=classes)",
        )
    notes = []
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / np.float32(255)
        notes.append("pixels divided by 255")
    if x.ndim == 3:
        x = x[:, None]
        notes.append("one channel added")
    elif x.ndim == 4 and x.shape[3] in {1, 3} and x.shape[1] not in {1, 3}:
        x = x.transpose(0, 3, 1, 2)
        notes.append("channels moved first")
    if not np.isfinite(x).all() or y.min() < 0:
        raise DataError("inputs must be finite and classes at least 0", where=str(path))
    return np.ascontiguousarray(x, dtype=np.float32), y.reshape(-1).astype(np.int64), "; ".join(notes)


def _classes(values: list[Any], known: tuple[str, ...], where: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if any(value is None for value in values) or not values:
        raise DataError("some rows have no class, or there are no rows", where=where, hint="leave such rows out")
    if {str(value) for value in values} <= set(known):
        return np.array([known.index(str(value)) for value in values], dtype=np.int64), ()
    if all(isinstance(value, int) and value >= 0 for value in values):
        return np.array(values, dtype=np.int64), ()
    names = tuple(sorted({str(value) for value in values}))
    numbers = {name: index for index, name in enumerate(names)}
    return np.array([numbers[str(value)] for value in values], dtype=np.int64), names


def _numbers(column: Any, name: str, where: str) -> npt.NDArray[np.float32]:
    try:
        values = np.array(column.to_pylist(), dtype=np.float32)
    except (TypeError, ValueError):
        values = np.array([np.nan], dtype=np.float32)
    if not np.isfinite(values).all():
        raise DataError(
            f"column {name!r} holds something that is no finite number",
            where=where,
            hint="give the table as the model reads it (encoded), or --policy with the policy that encodes it",
        )
    return values
