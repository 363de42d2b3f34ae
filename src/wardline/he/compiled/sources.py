"""Where models to be compiled come from: objects in memory, and files that are read as data. No pickle is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wardline.core import UsageError, need
from wardline.he.compiled.coefficients import read_coefficients
from wardline.he.compiler.preparation import read_model
from wardline.he.compiler.program import Gives, Program
from wardline.he.compiler.store import DESCRIPTION_FILE, load_program

_TRAINED_FILE = "model.json"


def program_of(
    model: Any, input_shape: Sequence[int], *, features: Sequence[str] = (), gives: Gives | None = None
) -> Program:
    """The program of a model in memory, or of a file.

    Args:
        model: a `Program`, a fitted scikit-learn model, a torch Sequential, one of the house's own models, or a path
            (see `program_from_path`).
        input_shape: of one row; for torch and ONNX.
        features: names of the numbers of a row; none are needed where the model knows them.
        gives: what the outputs of a torch or ONNX model are; None takes a decision value for one output and logits for
            several.

    Raises:
        UsageError: naming what cannot be computed on ciphertexts, and what to do.
        DataError, IntegrityError: for files that cannot be read, or are something else.
        ValueError: for features that do not fit.
    """
    if isinstance(model, (str, Path)):
        return program_from_path(Path(model), features=features, gives=gives, input_shape=input_shape)
    if type(model).__module__.partition(".")[0] == "sklearn":
        program: Program = need("wardline.he.compiler.from_sklearn", extra="data").read_sklearn(
            model, features=features
        )
        return program
    return _named(_by_outputs(model, input_shape, gives), features)


def program_from_path(
    path: Path,
    *,
    features: Sequence[str] = (),
    gives: Gives | None = None,
    input_shape: Sequence[int] = (),
) -> Program:
    """The program of a file or folder.

    Args:
        path: a .json file of coefficients, an .onnx file, a folder with a program (`save_program`), or a folder with a
            model that `wardline run` trained.
        features: names of the numbers of a row; needed for ONNX files where columns of a table are to be found by them.
        gives: what the outputs of an ONNX file are; see `program_of`.
        input_shape: of one row of an ONNX model; none takes what the file says.

    Raises:
        UsageError: for other files, or what cannot be computed on ciphertexts.
        DataError, IntegrityError: for files that cannot be read, or are not what they should be.
        ValueError: for features that do not fit.
    """
    if path.is_dir() and (path / DESCRIPTION_FILE).exists():
        return _named(load_program(path), features)
    if path.is_dir() and (path / _TRAINED_FILE).exists():
        trained = need("wardline.models.store", extra="torch").load(path)
        return _named(read_model(trained, ()), features)
    if path.suffix == ".json" and not path.is_dir():
        return _named(read_coefficients(path), features)
    if path.suffix == ".onnx":
        need("onnx", extra="onnx")
        # An input shape that the file does not bear out is refused by the program that is made of it.
        shape = tuple(input_shape) or None
        return _named(_by_outputs(path, shape, gives), features)
    raise UsageError(
        "this is no model that can be compiled",
        where=str(path),
        hint="give a .json file of coefficients, an .onnx file, a folder that save_program wrote, or a model folder of "
        "`wardline run`",
    )


def _by_outputs(model: Any, shape: Sequence[int] | None, gives: Gives | None) -> Program:
    def read(chosen: Gives) -> Program:
        if isinstance(model, Path):
            from wardline.he.compiler.from_onnx import read_onnx

            return read_onnx(model, input_shape=shape, gives=chosen)
        return read_model(model, shape or (), gives=chosen)

    if gives is not None:
        return read(gives)
    try:
        return read("logits")
    except ValueError:  # a single output is no choice between classes
        return read("decision")


def _named(program: Program, features: Sequence[str]) -> Program:
    return replace(program, features=tuple(features)) if features else program
