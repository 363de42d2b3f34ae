"""A linear model as a JSON file of coefficients, for those who train elsewhere: no pickle is ever opened.

{"schema": "wardline linear model/1", "features": [...], "weights": [[...], ...], "bias": [...],
 "gives": "decision", "classes": ["good", "bad"], "threshold": 0.0, "link": "sigmoid"}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from wardline.core import UsageError, canonical_json, write_atomic
from wardline.core.errors import DataError, IntegrityError
from wardline.he.compiler.layers import Affine, Diagonal
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Meaning, Program

SCHEMA = "wardline linear model/1"
MOST_BYTES = 64 * 1024 * 1024

_KEYS = frozenset({"schema", "features", "weights", "bias", "gives", "classes", "threshold", "link"})


def write_coefficients(path: Path, program: Program) -> None:
    """Write a linear program's coefficients; its scalers are folded in.

    Args:
        path: the file. It is the model itself: keep it.
        program: linear after merging.

    Raises:
        UsageError: if it is not linear.
        WorkspaceError: if it cannot be written.
    """
    program = simplify(program)
    layer = program.layers[0]
    if len(program.layers) > 1 or not isinstance(layer, (Affine, Diagonal)):
        raise UsageError("the model is not linear", hint="export it to ONNX, and compile that")
    meaning = program.meaning
    content = {
        "schema": SCHEMA,
        "features": list(program.features or (f"feature {index}" for index in range(program.inputs))),
        "weights": layer.matrix().tolist(),
        "bias": layer.offset.tolist(),
        "gives": meaning.gives,
        "classes": list(meaning.classes),
        "threshold": meaning.threshold,
        "link": meaning.link,
    }
    write_atomic(path, canonical_json(content), mode=0o600)


def read_coefficients(path: Path) -> Program:
    """Read a file of coefficients, whoever wrote it.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is no such file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DataError(f"cannot read the model: {reason}", where=str(path)) from error
    try:
        value = json.loads(data.decode("utf-8")) if len(data) <= MOST_BYTES else None
        if not isinstance(value, dict) or set(value) != _KEYS or value["schema"] != SCHEMA:
            raise ValueError(f"its keys are not {', '.join(sorted(_KEYS))}, or its schema is not {SCHEMA}")
        return Program(
            input_shape=(len(value["features"]),),
            layers=(Affine(weights=_numbers(value["weights"]), offset=_numbers(value["bias"]), name="linear"),),
            meaning=Meaning(
                gives=value["gives"],
                classes=_names(value["classes"]),
                threshold=float(value["threshold"]),
                link=value["link"],
            ),
            features=_names(value["features"]),
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise IntegrityError(
            f"this is no file of coefficients: {error}",
            where=str(path),
            hint="write it with wardline.he.compiled.coefficients.write_coefficients",
        ) from error


def _numbers(value: Any) -> Any:
    return np.array(value, dtype=np.float64)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("names must be a list of texts")
    return tuple(value)
