"""A chain of ONNX nodes, read one after the other into layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import polynomial

from wardline.core import IntegrityError, UsageError
from wardline.core.extras import need
from wardline.he.compiler.convolution import Values, average_pool, convolve, spread
from wardline.he.compiler.layers import HIGHEST_DEGREE, Activation, Affine, Diagonal, Kind, Layer, Polynomial

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow")
_AS_IT_IS = ("Identity", "Dropout", "Cast")
_ACTIVATIONS: Mapping[str, Kind] = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Gelu": "gelu"}
_FLOATING = (1, 10, 11)  # float, float16, double in onnx.TensorProto
_INTEGER = (6, 7)


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes, as Python values."""
    helper = need("onnx.helper", extra="onnx")
    try:
        return {one.name: helper.get_attribute_value(one) for one in node.attribute}
    except ValueError as error:
        raise IntegrityError("an attribute of this node is malformed", where=node.name) from error


def constant_array(tensor: Any, where: str) -> npt.NDArray[Any]:
    """The numbers of a tensor that lies in the file itself.

    Raises:
        IntegrityError: if it lies elsewhere, or its bytes are not what its shape says.
        UsageError: for numbers that are neither floating nor integers of 32 or 64 bits.
    """
    if tensor.data_location == 1 or tensor.external_data:
        raise IntegrityError(
            "the model's weights lie in another file, which is not opened",
            where=where or tensor.name,
            hint="save the model with its weights inside",
        )
    if tensor.data_type not in (*_FLOATING, *_INTEGER):
        raise UsageError("weights must be floating numbers", where=tensor.name, hint="export the model in float32")
    try:
        found = need("onnx.numpy_helper", extra="onnx").to_array(tensor)
    except (ValueError, TypeError) as error:
        raise IntegrityError("a tensor's bytes are not what its shape says", where=where or tensor.name) from error
    if not np.isfinite(found).all():
        raise IntegrityError("a tensor holds a number that is not finite", where=where or tensor.name)
    return np.asarray(found, dtype=np.int64 if tensor.data_type in _INTEGER else np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """A value that depends on the row: a polynomial of what the first `position` layers give.

    Attributes:
        position: of how many layers it comes.
        powers: coefficients of the polynomial; (0, 1) is the value itself.
        shape: without the axis of rows.
    """

    position: int
    powers: tuple[float, ...]
    shape: tuple[int, ...]


class GraphReader:
    """Reads nodes in order; everything that depends on the row must follow in one line.

    Args:
        name: of the tensor that holds the rows.
        shape: of one row.
        constants: tensors of the file by name.
        batch: how many rows the file was made for; 0 if it does not say.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], *, constants: Mapping[str, npt.NDArray[Any]], batch: int
    ) -> None:
        self._constants = dict(constants)
        self._flows = {name: _Flow(position=0, powers=(0.0, 1.0), shape=shape)}
        self._layers: list[Layer] = []
        self._batch = batch
        self._readers: Mapping[str, Callable[[Any, str], None]] = {
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Conv": self._conv,
            "AveragePool": self._average_pool,
            "GlobalAveragePool": self._global_pool,
            "BatchNormalization": self._normalisation,
            "Flatten": self._flatten,
            "Reshape": self._reshape,
            "Constant": self._constant,
            **dict.fromkeys(_ARITHMETIC, self._arithmetic),
            **dict.fromkeys(_AS_IT_IS, self._pass),
            **dict.fromkeys(_ACTIVATIONS, self._activation),
        }

    def read(self, node: Any) -> None:
        """Take one node in.

        Raises:
            UsageError: naming the node, if it is not compiled.
            IntegrityError: if its tensors do not fit together.
        """
        where = f"{node.name or node.output[0] if node.output else node.name} ({node.op_type})"
        if node.op_type in ("MaxPool", "GlobalMaxPool"):
            raise UsageError(
                "no ciphertext can compute a maximum",
                where=where,
                hint="use average pooling, or he.friendly, which swaps it and fine-tunes",
            )
        reader = self._readers.get(node.op_type)
        if reader is None or node.domain not in ("", "ai.onnx"):
            raise UsageError(
                f"the operator {node.op_type} is not compiled",
                where=where,
                hint="export a chain of Gemm, Conv, AveragePool, BatchNormalization and activations",
            )
        if not node.output or (len(node.output) > 1 and any(node.output[1:])):
            raise UsageError("a node with further outputs is not compiled", where=where, hint="export for inference")
        try:
            with np.errstate(all="ignore"):  # what is not finite then is refused by the layer
                reader(node, where)
        except (ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
            raise IntegrityError(f"this node does not fit what comes in: {error}", where=where) from error

    def finish(self, name: str) -> tuple[tuple[Layer, ...], int]:
        """The layers up to a tensor, and how many numbers it holds for a row.

        Raises:
            UsageError: if it does not depend on the row, or further layers come after it.
        """
        flow = self._flows.get(name)
        if flow is None or (not self._layers and flow.powers == (0.0, 1.0)):
            raise UsageError("the output does not depend on the input", where=name)
        self._settled(name, name)
        return tuple(self._layers), math.prod(flow.shape)

    def _flow(self, name: str, where: str) -> _Flow:
        if name not in self._flows:
            raise UsageError(f"the input {name} of this node is no value of the row", where=where)
        return self._flows[name]

    def _settled(self, name: str, where: str) -> tuple[int, ...]:
        """Write a polynomial that was gathered as a layer; the shape of the value, on which a layer can follow."""
        flow = self._flow(name, where)
        if flow.position != len(self._layers):
            raise UsageError(
                "the model branches: a value is used again after further layers",
                where=where,
                hint="export a model whose layers follow in one line",
            )
        powers, units = flow.powers, math.prod(flow.shape)
        if len(powers) == 2 and powers != (0.0, 1.0):
            constant, factor = np.full(units, powers[0]), np.full(units, powers[1])
            self._layers.append(Diagonal(factors=factor, offset=constant, name=name))
        elif len(powers) > 2:
            self._layers.append(Polynomial(coefficients=powers, units=units, name=name))
        self._flows[name] = _Flow(position=len(self._layers), powers=(0.0, 1.0), shape=flow.shape)
        return flow.shape

    def _push(self, node: Any, layer: Layer, shape: tuple[int, ...]) -> None:
        self._layers.append(layer)
        self._flows[node.output[0]] = _Flow(position=len(self._layers), powers=(0.0, 1.0), shape=shape)

    def _numbers(self, name: str, where: str) -> Values:
        if name not in self._constants:
            raise UsageError(
                f"the weights {name} are not in the file, or depend on the row",
                where=where,
                hint="export the model with its weights inside; products of two layers are not compiled",
            )
        return np.asarray(self._constants[name], dtype=np.float64)

    def _images(self, name: str, where: str) -> tuple[int, int, int]:
        shape = self._settled(name, where)
        if len(shape) != 3:
            raise UsageError("images [channels, height, width] are needed here", where=where, hint="give input_shape")
        return shape[0], shape[1], shape[2]

    def _constant(self, node: Any, where: str) -> None:
        found = attributes_of(node)
        if set(found) != {"value"}:
            raise UsageError("only a Constant with a tensor is read", where=where)
        self._constants[node.output[0]] = constant_array(found["value"], where)

    def _pass(self, node: Any, where: str) -> None:
        training = self._constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if node.op_type == "Dropout" and training is not None and bool(np.any(training)):
            raise UsageError("dropout that goes on in use is not compiled", where=where, hint="export for inference")
        if node.op_type == "Cast" and attributes_of(node).get("to") not in _FLOATING:
            raise UsageError("values cast to other than floating numbers are not compiled", where=where)
        self._flows[node.output[0]] = self._flow(node.input[0], where)

    def _activation(self, node: Any, where: str) -> None:
        shape = self._settled(node.input[0], where)
        kind = _ACTIVATIONS[node.op_type]
        if kind == "gelu" and attributes_of(node).get("approximate", b"none") == b"tanh":
            kind = "gelu-tanh"
        self._push(node, Activation(kind=kind, units=math.prod(shape), name=node.output[0]), shape)

    def _gemm(self, node: Any, where: str) -> None:
        shape = self._settled(node.input[0], where)
        found = attributes_of(node)
        if len(shape) != 1 or found.get("transA", 0):
            raise UsageError("a Gemm needs flat rows on its left", where=where, hint="put a Flatten in front of it")
        weights = self._numbers(node.input[1], where) * found.get("alpha", 1.0)
        weights = weights if found.get("transB", 0) else weights.T
        offset = np.zeros(len(weights))
        if len(node.input) > 2 and node.input[2]:
            added = self._numbers(node.input[2], where) * found.get("beta", 1.0)
            offset = np.broadcast_to(added, (1, len(weights)))[0]
        self._push(node, Affine(weights=weights, offset=offset, name=node.output[0]), (len(weights),))

    def _matmul(self, node: Any, where: str) -> None:
        weights = self._numbers(node.input[1], where).T
        shape = self._settled(node.input[0], where)
        if len(shape) != 1 or weights.ndim != 2:
            raise UsageError("a MatMul needs flat rows on its left and a matrix on its right", where=where)
        layer = Affine(weights=weights, offset=np.zeros(len(weights)), name=node.output[0])
        self._push(node, layer, (len(weights),))

    def _conv(self, node: Any, where: str) -> None:
        shape, found = self._images(node.input[0], where), attributes_of(node)
        kernel = self._numbers(node.input[1], where)
        bias = self._numbers(node.input[2], where) if len(node.input) > 2 and node.input[2] else None
        if kernel.ndim != 4 or (bias is not None and bias.shape != (len(kernel),)):
            raise UsageError("only convolutions over two axes are compiled", where=where)
        stride, dilation = _pair(found.get("strides", (1, 1))), _pair(found.get("dilations", (1, 1)))
        window = (int(kernel.shape[2]), int(kernel.shape[3]))
        layer = convolve(
            kernel,
            bias,
            input_shape=shape,
            stride=stride,
            padding=_padding(found, shape, window=window, stride=stride, dilation=dilation),
            dilation=dilation,
            groups=int(found.get("group", 1)),
            name=node.output[0],
        )
        self._push(node, layer, layer.output_shape)

    def _average_pool(self, node: Any, where: str) -> None:
        shape, found = self._images(node.input[0], where), attributes_of(node)
        window, stride = _pair(found["kernel_shape"]), _pair(found.get("strides", (1, 1)))
        padding = _padding(found, shape, window=window, stride=stride, dilation=(1, 1))
        dilated = _pair(found.get("dilations", (1, 1))) != (1, 1)
        if dilated or found.get("ceil_mode", 0) or (any(padding) and not found.get("count_include_pad", 0)):
            raise UsageError(
                "average pooling with dilation, rounded up or without the padding in its count is not compiled",
                where=where,
                hint="pool without padding",
            )
        layer = average_pool(shape, window, stride=stride, padding=padding, name=node.output[0])
        self._push(node, layer, layer.output_shape)

    def _global_pool(self, node: Any, where: str) -> None:
        shape = self._images(node.input[0], where)
        layer = average_pool(shape, shape[1:], stride=(1, 1), name=node.output[0])
        self._push(node, layer, layer.output_shape)

    def _normalisation(self, node: Any, where: str) -> None:
        shape, found = self._settled(node.input[0], where), attributes_of(node)
        if found.get("training_mode", 0):
            raise UsageError(
                "batch normalisation in training is not compiled", where=where, hint="export for inference"
            )
        scale, bias, mean, variance = (self._numbers(name, where) for name in node.input[1:5])
        factors = scale / np.sqrt(variance + found.get("epsilon", 1e-5))
        places = math.prod(shape[1:])
        layer = Diagonal(
            factors=spread(factors, places), offset=spread(bias - mean * factors, places), name=node.output[0]
        )
        if layer.inputs != math.prod(shape):
            raise ValueError("it has not one figure for each channel")
        self._push(node, layer, shape)

    def _flatten(self, node: Any, where: str) -> None:
        flow = self._flow(node.input[0], where)
        if attributes_of(node).get("axis", 1) != 1:
            raise UsageError("only a Flatten of whole rows (axis 1) is compiled", where=where)
        self._flows[node.output[0]] = _Flow(position=flow.position, powers=flow.powers, shape=(math.prod(flow.shape),))

    def _reshape(self, node: Any, where: str) -> None:
        flow = self._flow(node.input[0], where)
        target = [int(one) for one in self._numbers(node.input[1], where).ravel()]
        rows, inside = target[0], target[1:]
        size = math.prod(flow.shape)
        if inside.count(-1) == 1 and rows != -1:
            inside[inside.index(-1)] = size // max(1, -math.prod(inside))
        allowed = rows in (0, -1) or (rows == self._batch and rows > 0)
        if not allowed or attributes_of(node).get("allowzero", 0) or not inside or math.prod(inside) != size:
            raise UsageError("only a Reshape that keeps rows apart is compiled", where=where, hint="use Flatten")
        self._flows[node.output[0]] = _Flow(position=flow.position, powers=flow.powers, shape=tuple(inside))

    def _arithmetic(self, node: Any, where: str) -> None:
        left, right = node.input
        if left in self._flows and right in self._flows:
            self._both(node, where)
        elif right in self._flows and node.op_type in ("Div", "Pow"):
            raise UsageError("a constant divided by, or raised to, a value of the row is not compiled", where=where)
        else:
            flow_name, name = (left, right) if left in self._flows else (right, left)
            self._with_constant(node, flow_name, self._numbers(name, where), where)

    def _both(self, node: Any, where: str) -> None:
        """Sums and products of polynomials of one and the same value."""
        one, other = (self._flow(name, where) for name in node.input)
        if one.position != other.position or one.shape != other.shape or node.op_type in ("Div", "Pow"):
            raise UsageError(
                "the model joins branches, or divides one value of the row by another, which is not compiled",
                where=where,
                hint="export a model whose layers follow in one line",
            )
        operation = {"Add": polynomial.polyadd, "Sub": polynomial.polysub, "Mul": polynomial.polymul}[node.op_type]
        self._gather(node, one, operation(one.powers, other.powers), where)

    def _with_constant(self, node: Any, name: str, constant: Values, where: str) -> None:
        flow = self._flow(name, where)
        kind, turned = node.op_type, node.input[0] != name
        if constant.size != 1 or constant.ndim > len(flow.shape) + 1:
            if kind == "Pow":
                raise UsageError("powers that differ from number to number are not compiled", where=where)
            shape = self._settled(name, where)
            each = np.broadcast_to(constant, (1, *shape)).ravel()
            units = math.prod(shape)
            factors = {"Mul": each, "Div": 1.0 / each if kind == "Div" else each}.get(kind, np.ones(units))
            offset = {"Add": each, "Sub": each if turned else -each}.get(kind, np.zeros(units))
            factors = -factors if kind == "Sub" and turned else factors
            self._push(node, Diagonal(factors=factors, offset=offset, name=node.output[0]), shape)
            return
        number = float(constant.ravel()[0])
        match kind:
            case "Add":
                powers = polynomial.polyadd(flow.powers, [number])
            case "Sub":
                powers = polynomial.polysub(flow.powers, [number])
                powers = -powers if turned else powers
            case "Mul":
                powers = polynomial.polymul(flow.powers, [number])
            case "Div":
                powers = polynomial.polymul(flow.powers, [1.0 / number])
            case _:
                if number not in range(1, HIGHEST_DEGREE + 1):
                    raise UsageError(f"only powers from 1 to {HIGHEST_DEGREE} are compiled", where=where)
                powers = polynomial.polypow(flow.powers, int(number))
        self._gather(node, flow, powers, where)

    def _gather(self, node: Any, flow: _Flow, powers: npt.NDArray[Any], where: str) -> None:
        trimmed = tuple(float(one) for one in polynomial.polytrim(powers))
        if not 2 <= len(trimmed) <= HIGHEST_DEGREE + 1:
            raise UsageError(
                f"a polynomial of degree {len(trimmed) - 1} is not compiled",
                where=where,
                hint=f"use activations of degree 2 to {HIGHEST_DEGREE}",
            )
        self._flows[node.output[0]] = _Flow(position=flow.position, powers=trimmed, shape=flow.shape)


def _pair(values: Any) -> tuple[int, int]:
    down, across = (int(one) for one in values)
    return down, across


def _padding(
    found: Mapping[str, Any],
    shape: tuple[int, int, int],
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """Above, left, below and right."""
    automatic = found.get("auto_pad", b"NOTSET")
    if automatic == b"VALID":
        return 0, 0, 0, 0
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        total = [
            max(0, (-(-size // step) - 1) * step + far * (taps - 1) + 1 - size)
            for size, step, far, taps in zip(shape[1:], stride, dilation, window, strict=True)
        ]
        less, more = [one // 2 for one in total], [one - one // 2 for one in total]
        first, last = (less, more) if automatic == b"SAME_UPPER" else (more, less)
        return first[0], first[1], last[0], last[1]
    top, left, bottom, right = (int(one) for one in found.get("pads", (0, 0, 0, 0)))
    return top, left, bottom, right
