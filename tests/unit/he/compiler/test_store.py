"""Saved programs come back as they were; anything else gives a clean error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import DataError, IntegrityError, canonical_json
from wardline.he.compiler.convolution import convolve
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.compiler.store import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    load_program,
    program_digest,
    program_files,
    program_from_files,
    save_program,
)


def everything(seed: int = 0) -> Program:
    """One layer of every kind."""
    rng = np.random.default_rng(seed)
    first = convolve(rng.normal(size=(2, 1, 2, 3)), rng.normal(size=2), input_shape=(1, 4, 5), padding=(1, 0, 0, 2))
    units = first.outputs
    return Program(
        input_shape=(1, 4, 5),
        layers=(
            first,
            Activation(kind="gelu", units=units, name="bend"),
            Diagonal(factors=rng.normal(size=units), offset=rng.normal(size=units)),
            Polynomial(coefficients=(0.1, 2.0, 1 / 3), units=units, basis="chebyshev", interval=(-0.5, 3.0)),
            Affine(weights=rng.normal(size=(2, units)), offset=rng.normal(size=2), name="last"),
        ),
        meaning=Meaning(gives="logits", classes=("good", "bad"), link="softmax"),
        features=tuple(f"pixel {index}" for index in range(20)),
    )


def test_a_program_comes_back_bit_by_bit(tmp_path: Path) -> None:
    program = everything()
    assert [path.name for path in save_program(program, tmp_path / "new")] == [WEIGHTS_FILE, DESCRIPTION_FILE]
    found = load_program(tmp_path / "new")
    x = np.random.default_rng(1).normal(size=(5, 20))
    np.testing.assert_array_equal(found.evaluate(x), program.evaluate(x))
    assert program_files(found) == program_files(program)
    assert found.meaning == program.meaning
    assert found.features == program.features
    assert program_digest(found) == program_digest(program) != program_digest(everything(1))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"program\.json"):
        load_program(tmp_path)


def changed(**values) -> dict[str, bytes]:
    files = program_files(everything())
    described = json.loads(files[DESCRIPTION_FILE])
    described.update(values)
    return {**files, DESCRIPTION_FILE: canonical_json(described)}


def layer_changed(index: int, **values) -> dict[str, bytes]:
    layers = json.loads(program_files(everything())[DESCRIPTION_FILE])["layers"]
    layers[index].update(values)
    return changed(layers=layers)


@pytest.mark.parametrize(
    "values",
    [
        {"schema": "wardline.he.program/2"},
        {"weights_sha256": "0" * 64},
        {"input_shape": [1, 4, 6]},
        {"input_shape": [1, 4.5, 5]},
        {"input_shape": []},
        {"features": ["one"]},
        {"features": [1] * 20},
        {"layers": []},
        {"layers": {}},
        {"meaning": {"gives": "logits"}},
        {"more": 1},
    ],
    ids=str,
)
def test_descriptions_that_are_changed(values: dict) -> None:
    with pytest.raises(IntegrityError):
        program_from_files(changed(**values))


@pytest.mark.parametrize(
    ("index", "values"),
    [
        (0, {"stride": [0, 1]}),
        (0, {"stride": [1]}),
        (0, {"padding": [1 << 20] * 4}),
        (0, {"groups": True}),
        (0, {"input_shape": [1, 4, -5]}),
        (0, {"kernel_shape": [1 << 21, 1 << 21, 1, 1]}),
        (0, {"kernel_shape": [2, 1, 3, 2]}),
        (1, {"units": 1.5}),
        (1, {"kind": "step"}),
        (1, {"type": "lambda"}),
        (2, {"name": 3}),
        (3, {"coefficients": [1.0]}),
        (3, {"coefficients": ["1", "2"]}),
        (3, {"coefficients": [1.0, 2.0, 0.0]}),
        (3, {"interval": [1, 0]}),
        (3, {"interval": [0, 1, 2]}),
        (3, {"basis": "sine"}),
        (4, {"secret": 1}),
    ],
    ids=str,
)
def test_layers_that_are_changed(index: int, values: dict) -> None:
    with pytest.raises(IntegrityError):
        program_from_files(layer_changed(index, **values))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_no_damaged_byte_goes_unnoticed(data) -> None:
    """The weights are named by their digest, and the description is read in its canonical form alone."""
    files = program_files(everything())
    name = data.draw(st.sampled_from(sorted(files)))
    damaged = bytearray(files[name])
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        found = program_from_files({**files, name: bytes(damaged)})
    except IntegrityError:
        return
    # A description may say something else that is a program as well: then it is another one, and its digest says so.
    assert name == DESCRIPTION_FILE
    assert program_digest(found) != program_digest(everything())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_bytes_that_are_nothing(description: bytes, weights: bytes) -> None:
    with pytest.raises(IntegrityError):
        program_from_files({DESCRIPTION_FILE: description, WEIGHTS_FILE: weights})
