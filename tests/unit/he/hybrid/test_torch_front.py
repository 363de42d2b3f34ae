"""Fronts on disk, read as if a stranger had written them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from wardline.core import IntegrityError, canonical_json, digest_bytes  # noqa: E402
from wardline.he.compiler.activations import Square  # noqa: E402
from wardline.he.hybrid.front import FRONT_FILE, FRONT_WEIGHTS_FILE  # noqa: E402
from wardline.he.hybrid.modules import SETTINGS  # noqa: E402
from wardline.he.hybrid.torch_front import TorchFront, torch_front  # noqa: E402

LAYERS: list[nn.Module] = [
    nn.Conv2d(2, 4, (3, 1), stride=2, padding=(1, 0), groups=2, bias=False),
    nn.Conv2d(2, 2, 3, padding="same", padding_mode="reflect"),
    nn.BatchNorm2d(2),
    nn.InstanceNorm2d(2, affine=True),
    nn.GroupNorm(1, 2),
    nn.LayerNorm([8, 8]),
    nn.LocalResponseNorm(2),
    nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
    nn.AvgPool2d(2, count_include_pad=False),
    nn.AdaptiveAvgPool2d((3, None)),
    nn.AdaptiveMaxPool2d(2),
    nn.ZeroPad2d((1, 0, 2, 0)),
    nn.Flatten(),
    nn.Unflatten(1, (2, 1)),
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.PReLU(2),
    nn.ELU(0.5),
    nn.SELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Softplus(2, 10),
    nn.Sigmoid(),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Hardtanh(-0.5, 0.5),
    nn.Tanh(),
    nn.Softmax(dim=-1),
    nn.Linear(8, 3),
    Square(),
]
LINES: list[nn.Module] = [
    nn.Conv1d(2, 3, 3),
    nn.BatchNorm1d(2),
    nn.MaxPool1d(2),
    nn.AvgPool1d(2),
    nn.AdaptiveAvgPool1d(3),
    nn.AdaptiveMaxPool1d(2),
]


def files(layers: list[nn.Module], shape: tuple[int, ...] = (2, 8, 8)) -> dict[str, bytes]:
    return TorchFront.of([(str(index), one.eval()) for index, one in enumerate(layers)], shape).files()


def described(change: Callable[[dict[str, Any]], Any], *, layers: list[nn.Module] | None = None) -> dict[str, bytes]:
    """Files whose description was changed and written again as it has to be."""
    found = files(layers or [nn.Linear(8, 3), nn.ReLU()])
    value = json.loads(found[FRONT_FILE])
    change(value)
    return {**found, FRONT_FILE: canonical_json(value)}


def test_every_kind_of_layer_comes_back_as_it_was() -> None:
    generator = np.random.default_rng(0)
    assert {type(one) for one in (*LAYERS, *LINES)} == set(SETTINGS)
    for layers, shape in ((LAYERS, (2, 8, 8)), (LINES, (2, 8))):
        x = generator.normal(size=(5, *shape)).astype(np.float32)
        for layer in layers:
            for value in layer.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.from_numpy(generator.uniform(0.5, 1.5, size=tuple(value.shape))))
            again = torch_front(files([layer], shape))
            with torch.no_grad():
                expected = layer.eval()(torch.from_numpy(x)).flatten(1).numpy()
            np.testing.assert_array_equal(again.features(x), expected.astype(np.float64), err_msg=str(layer))


def _set(place: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(found: dict[str, Any]) -> None:
        inner: Any = found
        for one in place[:-1]:
            inner = inner[one]
        inner[place[-1]] = value

    return change


LAYER = ("layers", 0)


CHANGES: list[tuple[tuple[Any, ...], Any]] = [
    (("schema",), "wardline.he.front/2"),
    (("more",), 1),
    (("input_shape",), [0]),
    (("input_shape",), [1 << 40]),
    (("input_shape",), [True]),
    (("input_shape",), []),
    (("output_shape",), [9]),
    (("layers",), []),
    (("layers",), None),
    ((*LAYER, "type"), "Module"),
    ((*LAYER, "type"), "system"),
    ((*LAYER, "type"), None),
    ((*LAYER, "name"), 7),
    ((*LAYER, "settings"), None),
    ((*LAYER, "settings"), {"in_features": 8}),
    ((*LAYER, "settings", "in_features"), 9),
    ((*LAYER, "settings", "in_features"), -8),
    ((*LAYER, "settings", "in_features"), 1 << 30),
    ((*LAYER, "settings", "in_features"), [8, [8]]),
    ((*LAYER, "settings", "in_features"), "zeros"),
    ((*LAYER, "settings", "bias"), 1),
    ((*LAYER, "settings", "device"), "cuda"),
    (("weights_sha256",), "0" * 64),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_changed_description_is_refused(number: int) -> None:
    with pytest.raises(IntegrityError):
        torch_front(described(_set(*CHANGES[number])))


def test_a_front_that_would_make_too_much_is_refused_before_it_does() -> None:
    huge = {"in_features": 1 << 20, "out_features": 1 << 20, "bias": True}
    with pytest.raises(IntegrityError, match="larger than any"):
        torch_front(described(_set((*LAYER, "settings"), huge)))
    wide = [nn.ZeroPad2d(1)]
    found = files(wide, (2, 8, 8))
    value = json.loads(found[FRONT_FILE])
    value["layers"][0]["settings"]["padding"] = [1 << 20] * 4
    with pytest.raises(IntegrityError, match="gives more than"):
        torch_front({**found, FRONT_FILE: canonical_json(value)})


def test_other_numbers_are_refused() -> None:
    found = files([nn.Linear(8, 3), nn.ReLU()])
    torch_front(found)  # the control
    for weights in (b"", found[FRONT_WEIGHTS_FILE][:-1], files([nn.Linear(8, 4)])[FRONT_WEIGHTS_FILE]):
        with pytest.raises(IntegrityError):
            torch_front({**found, FRONT_WEIGHTS_FILE: weights})
        value = json.loads(found[FRONT_FILE])
        value["weights_sha256"] = digest_bytes(weights)
        with pytest.raises(IntegrityError):
            torch_front({FRONT_FILE: canonical_json(value), FRONT_WEIGHTS_FILE: weights})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_other_bytes_are_refused_in_one_way(data: st.DataObject) -> None:
    found = files([nn.Linear(8, 3), nn.ReLU()])
    name = data.draw(st.sampled_from(sorted(found)))
    content = bytearray(found[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = {**found, name: bytes(content)}
    if changed != found:
        with pytest.raises(IntegrityError):
            torch_front(changed)
