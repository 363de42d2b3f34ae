"""Files of coefficients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wardline.core import DataError, IntegrityError, UsageError
from wardline.he.compiled.coefficients import read_coefficients, write_coefficients
from wardline.he.compiler.layers import Activation, Diagonal
from wardline.he.compiler.program import Program


def test_they_are_read_as_they_were_written(tmp_path: Path, program: Program, rows: np.ndarray) -> None:
    layers = (Diagonal(factors=np.array([2.0, 3.0, 4.0]), offset=np.zeros(3)), *program.layers)
    scaled = Program(input_shape=(3,), layers=layers, meaning=program.meaning, features=program.features)
    write_coefficients(tmp_path / "model.json", scaled)
    found = read_coefficients(tmp_path / "model.json")
    assert (found.features, found.meaning) == (program.features, program.meaning)
    assert np.allclose(found.evaluate(rows), scaled.evaluate(rows))


def test_a_network_has_none(tmp_path: Path, program: Program) -> None:
    layers = (*program.layers, Activation(kind="relu", units=2))
    with pytest.raises(UsageError, match="not linear"):
        write_coefficients(tmp_path / "x", Program(input_shape=(3,), layers=layers, meaning=program.meaning))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [[1.0, "a", 2.0]]},
        {"weights": [[10**400, 1.0, 2.0], [0.0, 1.0, 2.0]]},
        {"bias": [float("nan")] * 2},
        {"threshold": 10**400},
        {"schema": "x"},
        {"features": "abc"},
        {"more": 1},
    ],
)
def test_anything_else_is_refused(tmp_path: Path, program: Program, change: dict[str, object]) -> None:
    path = tmp_path / "model.json"
    write_coefficients(path, program)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(IntegrityError):
        read_coefficients(path)
    with pytest.raises(DataError):
        read_coefficients(tmp_path / "nothing")
