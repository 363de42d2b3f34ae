"""The data sets that ship inside scikit-learn: for trying things out, without a download."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from wardline.core import DataError
from wardline.data._extras import module

if TYPE_CHECKING:
    import pyarrow as pa


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _frame(loaded: Any, target: str) -> Any:
    pa = module("pyarrow")
    columns: dict[str, Any] = {
        _snake(str(name)): np.ascontiguousarray(loaded.data[:, index])
        for index, name in enumerate(loaded.feature_names)
    }
    names = [str(name) for name in loaded.target_names]
    columns[target] = pa.array([names[index] for index in loaded.target.tolist()], pa.string())
    return pa.table(columns)


def _digits(loaded: Any) -> Any:
    pixels = loaded.data.astype(np.int64)
    columns: dict[str, Any] = {f"pixel_{index}": np.ascontiguousarray(pixels[:, index]) for index in range(64)}
    columns["digit"] = loaded.target.astype(np.int64)
    return module("pyarrow").table(columns)


_SETS: dict[str, Callable[[Any], Any]] = {
    "breast_cancer": lambda datasets: _frame(datasets.load_breast_cancer(), "diagnosis"),
    "digits": lambda datasets: _digits(datasets.load_digits()),
    "iris": lambda datasets: _frame(datasets.load_iris(), "species"),
    "wine": lambda datasets: _frame(datasets.load_wine(), "cultivar"),
}


def builtin_table(name: str) -> pa.Table:
    """The data set of this name, its target a column like the others.

    Raises:
        DataError: if it is not among those that predict a class and need no download.
    """
    if name not in _SETS:
        raise DataError(f"scikit-learn ships no such data set: {name!r}", hint=f"choose one of {', '.join(_SETS)}")
    return _SETS[name](module("sklearn.datasets"))
