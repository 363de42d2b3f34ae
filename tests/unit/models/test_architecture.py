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
from wardline.models.architecture import ResNet

ARCHITECTURES: list[Architecture] = [
    Logistic(inputs=5, classes=3, linear_inputs=2),
    Mlp(inputs=5, hidden=(4, 3), classes=2),
    Cnn(shape=(1, 8, 9), channels=(4, 8), hidden=16, classes=10, linear_inputs=3),
    ResNet(shape=(3, 9, 8), channels=(8, 16), blocks=(2, 1), classes=10, stride=2, linear_inputs=3),
]


RESNET = {
    "kind": "resnet", "shape": [1, 8, 8], "channels": [8, 16], "blocks": [1, 1], "classes": 2, "stride": 1,
    "linear_inputs": 0,
}  # fmt: skip


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


def test_a_residual_network_has_a_shortcut_only_where_shapes_change():
    shapes = parameter_shapes(ARCHITECTURES[3])
    assert [name for name in shapes if "shortcut" in name] == ["stage1_block0_shortcut.weight"]
    assert shapes["stem.weight"] == (8, 3, 3, 3)
    assert shapes["stage1_block0_conv0.weight"] == (16, 8, 3, 3)
    assert shapes["stage1_block0_norm1.bias"] == (16,)
    assert shapes["head.weight"] == (10, 16)
    assert columns(ARCHITECTURES[3]) == 3 * 9 * 8 + 3


def test_parameters_are_counted():
    assert parameter_count(Mlp(inputs=5, hidden=(4, 3), classes=2)) == 5 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2
    small = ResNet(shape=(1, 8, 8), channels=(8,), blocks=(1,), classes=2)
    assert parameter_count(small) == 9 * 8 + 2 * (2 * 8 + 9 * 8 * 8) + 2 * 8 + 8 * 2 + 2


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
        {**RESNET, "channels": [8, 12]},
        {**RESNET, "channels": [8, 1 << 40]},
        {**RESNET, "channels": [1 << 20, 1 << 20]},
        {**RESNET, "channels": [8]},
        {**RESNET, "channels": 8},
        {**RESNET, "blocks": [1]},
        {**RESNET, "blocks": [1, 0]},
        {**RESNET, "blocks": [1, True]},
        {**RESNET, "blocks": [1, 1 << 20]},
        {**RESNET, "blocks": [20, 20]},
        {**RESNET, "shape": [8, 8]},
        {**RESNET, "shape": [1, 8, -8]},
        {**RESNET, "stride": 3},
        {**RESNET, "stride": 1.0},
        {**RESNET, "stride": True},
        {**RESNET, "classes": 1},
        {**RESNET, "linear_inputs": -1},
        {**RESNET, "norm": "batch"},
        {key: value for key, value in RESNET.items() if key != "stride"},
        ["mlp"],
        None,
    ],
)
def test_anything_else_is_refused(broken):
    with pytest.raises(ValueError):
        architecture_from_json(broken)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_no_value_of_any_key_gets_past_the_checks(value):
    mlp, resnet = architecture_to_json(ARCHITECTURES[1]), RESNET
    tried = [(mlp, key) for key in ("inputs", "hidden", "classes", "linear_inputs")]
    tried += [(resnet, key) for key in ("shape", "channels", "blocks", "stride", "classes")]
    for whole, key in tried:
        candidate = {**whole, key: value}
        try:
            parsed = architecture_from_json(candidate)
        except ValueError:
            continue
        assert architecture_to_json(parsed) == candidate


def test_the_json_form_of_a_residual_network_is_accepted_unbroken():
    assert architecture_to_json(architecture_from_json(RESNET)) == RESNET


def test_an_architecture_needs_no_torch():
    code = (
        "import sys, wardline.models as m; m.Mlp(inputs=1, hidden=(1,), classes=2); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
