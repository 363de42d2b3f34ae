import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.models import (
    Architecture,
    Cnn,
    Logistic,
    Mlp,
    architecture_from_json,
    architecture_to_json,
    columns,
    parameter_count,
    parameter_shapes,
)

ARCHITECTURES: list[Architecture] = [
    Logistic(inputs=5, classes=3, linear_inputs=2),
    Mlp(inputs=5, hidden=(4, 3), classes=2),
    Cnn(shape=(1, 8, 9), channels=(4, 8), hidden=16, classes=10, linear_inputs=3),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_json_goes_there_and_back(architecture):
    assert architecture_from_json(architecture_to_json(architecture)) == architecture


def test_shapes_of_a_cnn_count_what_pooling_leaves():
    shapes = parameter_shapes(ARCHITECTURES[2])
    assert list(shapes) == [
        "conv0.weight", "conv0.bias", "conv1.weight", "conv1.bias",
        "dense0.weight", "dense0.bias", "head.weight", "head.bias", "wide.weight",
    ]  # fmt: skip
    assert shapes["dense0.weight"] == (16, 8 * 2 * 2)
    assert shapes["wide.weight"] == (10, 3)
    assert columns(ARCHITECTURES[2]) == 72 + 3


def test_parameters_are_counted():
    assert parameter_count(Mlp(inputs=5, hidden=(4, 3), classes=2)) == 5 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "transformer", "inputs": 5},
        {"kind": ["mlp"]},
        {"kind": "logistic", "inputs": 5, "classes": 2},
        {"kind": "logistic", "inputs": 5, "classes": 2, "linear_inputs": 0, "more": 1},
        {"kind": "logistic", "inputs": True, "classes": 2, "linear_inputs": 0},
        {"kind": "logistic", "inputs": 5.0, "classes": 2, "linear_inputs": 0},
        {"kind": "logistic", "inputs": "5", "classes": 2, "linear_inputs": 0},
        {"kind": "logistic", "inputs": 0, "classes": 2, "linear_inputs": 0},
        {"kind": "logistic", "inputs": 5, "classes": 1, "linear_inputs": 0},
        {"kind": "logistic", "inputs": 5, "classes": 2, "linear_inputs": -1},
        {"kind": "logistic", "inputs": 1 << 40, "classes": 2, "linear_inputs": 0},
        {"kind": "logistic", "inputs": 1 << 20, "classes": 1 << 20, "linear_inputs": 0},
        {"kind": "mlp", "inputs": 5, "hidden": [], "classes": 2, "linear_inputs": 0},
        {"kind": "mlp", "inputs": 5, "hidden": 4, "classes": 2, "linear_inputs": 0},
        {"kind": "mlp", "inputs": 5, "hidden": [4, None], "classes": 2, "linear_inputs": 0},
        {"kind": "mlp", "inputs": 5, "hidden": [4] * 1000, "classes": 2, "linear_inputs": 0},
        {"kind": "cnn", "shape": [8, 8], "channels": [4], "hidden": 4, "classes": 2, "linear_inputs": 0},
        {"kind": "cnn", "shape": [1, 8, 2], "channels": [4, 4], "hidden": 4, "classes": 2, "linear_inputs": 0},
        ["mlp"],
        None,
    ],
)
def test_anything_else_is_refused(broken):
    with pytest.raises(ValueError):
        architecture_from_json(broken)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_no_value_of_any_key_gets_past_the_checks(value):
    for key in ("inputs", "hidden", "classes", "linear_inputs"):
        candidate = {**architecture_to_json(ARCHITECTURES[1]), key: value}
        try:
            parsed = architecture_from_json(candidate)
        except ValueError:
            continue
        assert architecture_to_json(parsed) == candidate


def test_an_architecture_needs_no_torch():
    code = (
        "import sys, wardline.models as m; m.Mlp(inputs=1, hidden=(1,), classes=2); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
