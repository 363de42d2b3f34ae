"""Programs of ONNX files give what ONNX's own reference evaluator gives; hostile files give a clean error."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from wardline.core import DataError, IntegrityError, UsageError, WardlineError
from wardline.he.compiler import from_onnx
from wardline.he.compiler.from_onnx import read_onnx
from wardline.he.compiler.merging import simplify


class Graph:
    """Nodes one after the other, and the numbers that they need."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape, self.start = shape, shape
        self.nodes, self.constants = [], []
        self.last = "x"

    def numbers(self, *shape: int, low: float = -0.6) -> str:
        return self.constant(self.rng.uniform(low, 1.0, size=shape).astype(np.float32))

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes) -> Graph:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        self.last = name
        return self

    def then(self, kind: str, *constants: str, **attributes) -> Graph:
        return self.node(kind, self.last, *constants, **attributes)

    def model(self, *, rows: int | str = "rows", opset: int = 20) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, *self.start])],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()

    def agree(self) -> None:
        data = self.model()
        program = read_onnx(data, gives="values")
        x = self.rng.normal(size=(3, *self.start)).astype(np.float32)
        wanted = ReferenceEvaluator(onnx.load_model_from_string(data)).run(None, {"x": x})[0].reshape(3, -1)
        size = 1.0 + np.abs(wanted).max()
        np.testing.assert_allclose(program.evaluate(x) / size, wanted / size, atol=1e-5)
        np.testing.assert_allclose(simplify(program).evaluate(x) / size, wanted / size, atol=1e-5)


def dense(graph: Graph, outputs: int, *, width: int, transposed: bool) -> Graph:
    weights = graph.numbers(outputs, width) if transposed else graph.numbers(width, outputs)
    return graph.then("Gemm", weights, graph.numbers(outputs), transB=int(transposed), alpha=0.7, beta=1.3)


def arithmetic(graph: Graph, kind: str, width: int) -> Graph:
    value = graph.last
    match kind:
        case "square":
            return graph.then("Mul", value)
        case "power":
            return graph.then("Pow", graph.constant(np.float32(3.0)))
        case "horner":  # (0.3 x + 0.2) x - 1
            graph.then("Mul", graph.constant(np.float32(0.3))).then("Add", graph.constant(np.float32(0.2)))
            return graph.then("Mul", value).then("Sub", graph.constant(np.float32(1.0)))
        case "turned":
            return graph.node("Sub", graph.numbers(width), value)
        case "scaled":
            return graph.then("Div", graph.numbers(width, low=0.5)).then("Add", graph.numbers(1, width))
        case _:
            return graph.then(kind)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(2, 6), min_size=2, max_size=4),
    kinds=st.lists(
        st.sampled_from(["square", "power", "horner", "turned", "scaled", "Relu", "Sigmoid", "Tanh", "Gelu"]),
        min_size=4,
        max_size=4,
    ),
    plain=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_tables(widths: list[int], kinds: list[str], plain: bool, seed: int) -> None:
    graph = Graph((widths[0],), seed)
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        if plain:
            graph.then("MatMul", graph.numbers(inputs, outputs)).then("Add", graph.numbers(outputs))
        else:
            dense(graph, outputs, width=inputs, transposed=bool(index % 2))
        arithmetic(graph, kinds[index], outputs)
    graph.agree()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    padding=st.sampled_from([{}, {"pads": [1, 0, 0, 1]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}]),
    stride=st.integers(1, 2),
    groups=st.integers(1, 2),
    pool=st.sampled_from(["none", "window", "global"]),
    reshape=st.sampled_from(["Flatten", "all", "rows"]),
    seed=st.integers(0, 10_000),
)
def test_images(padding: dict, stride: int, groups: int, pool: str, reshape: str, seed: int) -> None:
    graph = Graph((2, 7, 8), seed)
    graph.then(
        "Conv", graph.numbers(4, 2 // groups, 3, 2), graph.numbers(4), strides=[stride] * 2, group=groups, **padding
    )
    graph.then("BatchNormalization", *(graph.numbers(4, low=0.2) for _ in range(4)))
    graph.then("Mul", graph.last)
    if pool == "window":
        graph.then("AveragePool", kernel_shape=[2, 2], strides=[2, 1])
    elif pool == "global":
        graph.then("GlobalAveragePool")
    width = read_onnx(graph.model(), gives="values").outputs
    if reshape == "Flatten":
        graph.then("Flatten")
    else:
        graph.then("Reshape", graph.constant(np.array([-1, width] if reshape == "all" else [0, -1], dtype=np.int64)))
    dense(graph, 3, width=width, transposed=True)
    graph.agree()


def test_a_softmax_at_the_end_is_left_to_whoever_decrypts(tmp_path: Path) -> None:
    graph = dense(Graph((4,)), 3, width=4, transposed=True)
    logits = read_onnx(graph.model())
    (tmp_path / "model.onnx").write_bytes(graph.then("Softmax", axis=-1).model())
    program = read_onnx(tmp_path / "model.onnx", classes=("a", "b", "c"))
    x = graph.rng.normal(size=(5, 4))
    np.testing.assert_array_equal(program.evaluate(x), logits.evaluate(x))
    wanted = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"x": x.astype(np.float32)})[0]
    np.testing.assert_allclose(program.meaning.probabilities(program.evaluate(x)), wanted, atol=1e-5)


REFUSED = {
    "MaxPool": (lambda: Graph((1, 4, 4)).then("MaxPool", kernel_shape=[2, 2]), "maximum"),
    "LeakyRelu": (lambda: Graph((4,)).then("LeakyRelu"), "LeakyRelu is not compiled"),
    "foreign": (lambda: Graph((4,)).then("Relu", domain="com.microsoft"), "not compiled"),
    "branches": (lambda: residual(), "branches"),
    "two values": (lambda: products(), "one line|branches"),
    "high degree": (
        lambda: Graph((4,)).then("Mul", "x").then("Mul", "v0").then("Mul", "v1"),
        "degree 8",
    ),
    "mixed rows": (lambda: reshaped([4, -1]), "rows apart"),
    "zero": (lambda: Graph((4,)).then("Mul", "none"), "not in the file"),
    "padded average": (
        lambda: Graph((1, 4, 4)).then("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
        "padding",
    ),
}


def residual() -> Graph:
    graph = dense(Graph((3,)), 3, width=3, transposed=True)
    before = graph.last
    return graph.then("Relu").then("Add", before)


def products() -> Graph:
    graph = dense(Graph((3,)), 3, width=3, transposed=True)
    return graph.then("Mul", "x")


def reshaped(target: list[int]) -> Graph:
    graph = Graph((4,))
    return graph.then("Reshape", graph.constant(np.array(target, dtype=np.int64)))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_is_named(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(UsageError, match=said) as refused:
        read_onnx(make().model())
    assert refused.value.where


def test_weights_in_other_files_are_never_opened(tmp_path: Path) -> None:
    graph = dense(Graph((4,)), 2, width=4, transposed=True)
    model = onnx.load_model_from_string(graph.model())
    (tmp_path / "weights").write_bytes(bytes(64))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location="weights")
    model.graph.initializer[0].ClearField("raw_data")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(IntegrityError, match="another file"):
        read_onnx(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.initializer[0].dims.__setitem__(0, 1 << 40),
        lambda model: model.graph.initializer[0].__setattr__("raw_data", b"\x00" * 7),
        lambda model: model.graph.initializer[0].__setattr__("raw_data", b"\xff" * 32),  # not finite
        lambda model: model.graph.node[1].attribute.pop(),
        lambda model: model.graph.ClearField("node"),
    ],
    ids=["dims", "length", "finite", "attribute", "nodes"],
)
def test_tensors_that_lie(change) -> None:
    graph = Graph((4,))
    graph.then("Gemm", graph.numbers(4, 2))
    graph.then("AveragePool", kernel_shape=[2, 2])
    model = onnx.load_model_from_string(graph.model())
    change(model)
    with pytest.raises((IntegrityError, UsageError)):
        read_onnx(model.SerializeToString())


def test_figures_made_to_exhaust_memory_are_refused() -> None:
    huge = [1 << 30] * 4
    graph = Graph((1, 4, 4))
    graph.then("Conv", graph.numbers(1, 1, 1, 1), pads=huge)
    with pytest.raises(IntegrityError, match="more than"):
        read_onnx(graph.model())
    graph = Graph((1, 4, 4)).then("AveragePool", kernel_shape=huge[:2], pads=huge, count_include_pad=1)
    with pytest.raises(IntegrityError, match="more than"):
        read_onnx(graph.model())
    with pytest.raises(UsageError, match="how large"):
        read_onnx(Graph((1 << 30, 4, 4)).then("GlobalAveragePool").model())


def test_a_file_that_is_too_large_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_onnx, "MAX_BYTES", 100)
    with pytest.raises(IntegrityError, match="100 bytes"):
        read_onnx(bytes(101))
    with pytest.raises(DataError, match="cannot be read"):
        read_onnx(tmp_path / "none.onnx")


VALID = dense(Graph((4,)).then("Mul", "x"), 2, width=4, transposed=True).then("Softmax").model()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_files_give_a_clean_error_or_a_program(data) -> None:
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(VALID) - 1))] = data.draw(st.integers(0, 255))
    try:
        program = read_onnx(bytes(damaged[: data.draw(st.sampled_from([len(VALID), data.draw(st.integers(0, 200))]))]))
    except (WardlineError, ValueError):
        return
    assert program.layers


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_bytes_that_are_nothing(data: bytes) -> None:
    with pytest.raises(WardlineError):
        read_onnx(data)
