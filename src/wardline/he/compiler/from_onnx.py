"""ONNX files as programs: read as data, strictly, without running anything that they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wardline.core import DataError, IntegrityError, UsageError
from wardline.core.extras import need
from wardline.he.compiler.convolution import LARGEST_LAYER
from wardline.he.compiler.onnx_graph import GraphReader, attributes_of, constant_array
from wardline.he.compiler.program import Gives, Meaning, Program

MAX_BYTES = 1 << 28
"""The largest file that is read."""

_MAX_NODES = 4096
_LEAST_OPSET = 7  # before it, Add and Mul broadcast by an attribute of their own


def read_onnx(
    model: Path | bytes,
    *,
    input_shape: Sequence[int] | None = None,
    gives: Gives = "logits",
    classes: Sequence[str] = (),
    features: Sequence[str] = (),
) -> Program:
    """The program of an ONNX model: a chain of layers, whose weights lie in the file.

    Gemm, MatMul, Conv, AveragePool, GlobalAveragePool, BatchNormalization, Flatten, Reshape, Relu, Sigmoid, Tanh, Gelu,
    and Add, Sub, Mul, Div and Pow by constants or of a value with itself (polynomials up to degree 4) are read. A
    Softmax at the end is left to whoever decrypts.

    Args:
        model: a file, or its bytes; trusted in nothing.
        input_shape: of one row, without the axis of rows; None takes what the file says.
        gives: what the outputs are.
        classes: names; numbers from 0 on where none are given.
        features: names of the numbers of a flattened row, or none.

    Returns:
        A program whose outputs are the model's (before a last Softmax), computed in 64-bit numbers.

    Raises:
        IntegrityError: for bytes that are no ONNX model, larger than `MAX_BYTES`, or that name files of their own.
        DataError: if the file cannot be read.
        UsageError: naming the node and operator that is not compiled, and what to do.
        ValueError: for shapes, classes or features that do not fit.
    """
    graph, where = _parsed(model)
    names = {tensor.name: constant_array(tensor, where) for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in names]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UsageError(
            f"the model has {len(inputs)} inputs and {len(graph.output)} outputs, and one of each is compiled",
            where=where,
            hint="export the model with a single tensor in and a single one out",
        )
    declared = [int(one.dim_value) for one in inputs[0].type.tensor_type.shape.dim]
    shape = tuple(int(size) for size in (declared[1:] if input_shape is None else input_shape))
    if not shape or min(shape) < 1 or math.prod(shape) > LARGEST_LAYER:
        raise UsageError(
            "the file does not say how large a row is", where=where, hint="give input_shape, without the axis of rows"
        )
    reader = GraphReader(inputs[0].name, shape, constants=names, batch=declared[0] if declared else 0)
    nodes = list(graph.node)
    softmax = gives == "logits" and _ends_in_softmax(nodes, graph.output[0].name)
    for node in nodes[: len(nodes) - softmax]:
        reader.read(node)
    last = nodes[-1].input[0] if softmax else graph.output[0].name
    layers, width = reader.finish(last)
    return Program(
        input_shape=shape,
        layers=layers,
        meaning=Meaning.usual(gives, width, classes),
        features=tuple(features),
    )


def _ends_in_softmax(nodes: list[Any], output: str) -> bool:
    last = nodes[-1]
    if last.op_type != "Softmax" or len(last.input) != 1 or list(last.output) != [output]:
        return False
    if attributes_of(last).get("axis", -1) not in (-1, 1):
        raise UsageError("a Softmax over another axis than the last is not compiled", where=f"{output} (Softmax)")
    return True


def _parsed(model: Path | bytes) -> tuple[Any, str]:
    """The graph of a file that was parsed as protocol buffers and looked at, and the place for errors."""
    where = "" if isinstance(model, bytes) else str(model)
    if isinstance(model, bytes):
        data = model
    else:
        try:
            with model.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise DataError("the model cannot be read", where=where, hint="name a readable .onnx file") from error
    if len(data) > MAX_BYTES:
        raise IntegrityError(f"an ONNX file of more than {MAX_BYTES} bytes is not read", where=where)
    onnx = need("onnx", extra="onnx")
    message = need("google.protobuf.message", extra="onnx")
    try:
        parsed = onnx.load_model_from_string(data)
    except (message.DecodeError, ValueError) as error:
        raise IntegrityError(
            "these bytes are no ONNX model", where=where, hint="get the file again from its source"
        ) from error
    graph = parsed.graph
    if not graph.node or not graph.input or len(graph.node) > _MAX_NODES:
        raise IntegrityError(f"an ONNX model has from 1 to {_MAX_NODES} nodes and an input", where=where)
    if parsed.functions or parsed.training_info or graph.sparse_initializer:
        raise UsageError(
            "functions, training steps and sparse weights in an ONNX file are not read",
            where=where,
            hint="export the model for inference, in plain operators",
        )
    versions = [one.version for one in parsed.opset_import if one.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] < _LEAST_OPSET:
        raise UsageError(
            "the file names no operator set that is read",
            where=where,
            hint=f"export with opset {_LEAST_OPSET} or later",
        )
    return graph, where
