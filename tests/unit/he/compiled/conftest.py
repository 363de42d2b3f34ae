"""One small model for all tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.compiled.compiling import Compiled, compile_model
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program


@pytest.fixture(scope="package")
def program() -> Program:
    layer = Affine(weights=np.array([[1.0, -2.0, 0.5], [0.2, 0.1, -1.0]]), offset=np.array([0.3, -0.1]))
    return Program(
        input_shape=(3,),
        layers=(layer,),
        meaning=Meaning(gives="logits", classes=("left", "right"), link="softmax"),
        features=("x", "y", "z"),
    )


@pytest.fixture(scope="package")
def rows() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (500, 3))


@pytest.fixture(scope="package")
def compiled(program: Program, rows: np.ndarray) -> Compiled:
    return compile_model(program, rows)
