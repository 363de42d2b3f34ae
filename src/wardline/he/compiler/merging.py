"""The same program in fewer steps: linear maps merged, scalers folded in, polynomials brought to their cheapest form.

Everything here is exact but for rounding of 64-bit numbers: what a program gives is unchanged on every input, not only
on a sample.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wardline.he.compiler.convolution import Convolution, Values, spread
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Layer, Linear, Polynomial
from wardline.he.compiler.program import Program

_LARGEST_MATRIX = 1 << 22
"""More numbers than this are not written out as one matrix to see whether merging pays."""

_LARGEST_SHIFT = 4.0
"""How far outside of its interval, in half widths, the vertex of a parabola may lie to be completed to a square."""

_LARGEST_STRETCH = 64.0
"""By which factor a map in front may be scaled to make a polynomial's last coefficient 1."""


def simplify(program: Program) -> Program:
    """The same function with fewer levels and no more multiplications by weights.

    Neighbouring linear maps become one wherever that does not raise the number of multiplications; scalers and batch
    normalisation always do. The common factor of an average moves into the next map, so that averaging is adding. A
    polynomial a x^2 + b x + c between linear maps becomes the square alone, and the last coefficient of one of degree 4
    becomes 1 or -1: what is left over goes into the maps. Polynomials of degree 1 are linear maps.

    Args:
        program: any.

    Returns:
        The program; inputs, outputs and meaning are the same.
    """
    layers = [_linear_if_degree_one(layer) for layer in program.layers]
    layers = _without_factors(_merged(layers))
    layers = _merged(_plain_polynomials(_merged(layers)))
    return replace(program, layers=tuple(layers))


def merge(first: Linear, second: Linear) -> Linear | None:
    """One map that does what two do, or None if it would take more multiplications.

    Raises:
        ValueError: if they do not fit.
    """
    if first.outputs != second.inputs:
        raise ValueError(f"{second.name} reads {second.inputs} numbers, and {first.name} gives {first.outputs}")
    name = first.name if isinstance(second, Diagonal) else second.name
    offset = second.apply(first.offset[None])[0]
    found = _merged_map(first, second, offset)
    if found is None or found.products > first.products + second.products:
        return None
    return replace(found, name=name)


def _merged_map(first: Linear, second: Linear, offset: Values) -> Linear | None:
    match first, second:
        case Diagonal(), Diagonal():
            return Diagonal(factors=first.factors * second.factors, offset=offset)
        case Diagonal(), Affine():
            return Affine(weights=second.weights * first.factors, offset=offset)
        case Affine(), Diagonal():
            return Affine(weights=first.weights * second.factors[:, None], offset=offset)
        case Diagonal(), Convolution():
            each = _of_channels(first.factors, second.input_shape)
            if each is None:
                return None
            inside = second.kernel.shape[1]
            # Output channel o of group g reads the input channels of that group.
            own = np.repeat(each.reshape(second.groups, inside), second.kernel.shape[0] // second.groups, axis=0)
            return replace(second, kernel=second.kernel * own[:, :, None, None], offset=offset)
        case Convolution(), Diagonal():
            each = _of_channels(second.factors, first.output_shape)
            return (
                None if each is None else replace(first, kernel=first.kernel * each[:, None, None, None], offset=offset)
            )
        case Convolution(), Convolution() if _pools(second) and first.dilation == (1, 1):
            return _pooled(first, second, offset)
        case _:
            return _written_out(first, second, offset)


def _written_out(first: Linear, second: Linear, offset: Values) -> Affine | None:
    """The product of both matrices, if it is small enough to look at."""
    sizes = (first.inputs * first.outputs, second.inputs * second.outputs, first.inputs * second.outputs)
    # Of matrices that are full it is known beforehand whether the product has fewer numbers.
    full = isinstance(first, Affine) and isinstance(second, Affine)
    if max(sizes) > _LARGEST_MATRIX or (full and sizes[2] > sizes[0] + sizes[1]):
        return None
    return Affine(weights=second.matrix() @ first.matrix(), offset=offset)


def _of_channels(factors: Values, shape: tuple[int, int, int]) -> Values | None:
    """A factor for each channel, if all places of a channel have the same."""
    table = factors.reshape(shape[0], -1)
    return table[:, 0].copy() if bool((table == table[:, :1]).all()) else None


def _pools(layer: Convolution) -> bool:
    """Whether channels stay apart and no padding comes between: then a convolution in front takes it in."""
    return (
        layer.groups == layer.input_shape[0] == layer.kernel.shape[0]
        and layer.padding == (0, 0, 0, 0)
        and layer.dilation == (1, 1)
    )


def _pooled(first: Convolution, second: Convolution, offset: Values) -> Convolution:
    """A convolution with the windows of the second one, each weight at all places where it is met."""
    out, inside, tall, wide = first.kernel.shape
    down, across = first.stride
    windows = second.kernel[:, 0]
    high, broad = windows.shape[1:]
    kernel = np.zeros((out, inside, tall + down * (high - 1), wide + across * (broad - 1)))
    for y in range(high):
        for x in range(broad):
            part = kernel[:, :, y * down : y * down + tall, x * across : x * across + wide]
            part += first.kernel * windows[:, y, x][:, None, None, None]
    # Rounding down twice is rounding down once here, so that as many places come out, with the same padding.
    stride = (down * second.stride[0], across * second.stride[1])
    return replace(first, kernel=kernel, offset=offset, stride=stride)


def _merged(layers: list[Layer]) -> list[Layer]:
    done: list[Layer] = []
    for layer in layers:
        done.append(layer)
        while len(done) > 1:
            first, second = done[-2:]
            if isinstance(first, (Polynomial, Activation)) or isinstance(second, (Polynomial, Activation)):
                break
            merged = merge(first, second)
            if merged is None:
                break
            done[-2:] = [merged]
    return done


def _linear_if_degree_one(layer: Layer) -> Layer:
    if not isinstance(layer, Polynomial) or layer.degree != 1:
        return layer
    constant, slope = layer.powers
    return Diagonal(factors=np.full(layer.units, slope), offset=np.full(layer.units, constant), name=layer.name)


def _without_factors(layers: list[Layer]) -> list[Layer]:
    """Averages become sums; what they were divided by goes into the next layer."""
    done = list(layers)
    for index in range(len(done) - 1):
        layer, after = done[index], done[index + 1]
        if isinstance(layer, (Polynomial, Activation)) or isinstance(after, Activation):
            continue
        used = layer.coefficients[layer.coefficients != 0]
        if not len(used) or used[0] == 1.0 or not bool((used == used[0]).all()):
            continue
        factor = float(used[0])
        if isinstance(after, Polynomial):
            done[index + 1] = _stretched(after, 1.0 / factor)
        else:
            done[index + 1] = after.with_coefficients(after.coefficients * factor)
        plain = layer.with_coefficients((layer.coefficients != 0).astype(np.float64))
        done[index] = plain.with_offset(layer.offset / factor)
    return done


def _plain_polynomials(layers: list[Layer]) -> list[Layer]:
    done = list(layers)
    for index in range(1, len(done)):
        layer, before = done[index], done[index - 1]
        if not isinstance(layer, Polynomial) or isinstance(before, (Polynomial, Activation)):
            continue
        # Degree 3 takes two levels, whatever its last coefficient is.
        if layer.degree == 2:
            shift = _to_vertex(layer)
            if shift is None:
                continue
            done[index - 1] = before = before.with_offset(before.offset + shift)
            done[index] = layer = _centred(layer, shift)
        if layer.degree in (2, 4):
            _make_monic(done, index)
            _fold_constant(done, index)
    return done


def _to_vertex(layer: Polynomial) -> float | None:
    """What to add to x so that a parabola's vertex lies at 0; None if it is too far for numbers of this precision."""
    _, slope, last = layer.powers
    low, high = layer.interval
    vertex = -slope / (2.0 * last)
    if abs(vertex - 0.5 * (low + high)) > (_LARGEST_SHIFT + 1.0) * 0.5 * (high - low):
        return None  # nearly a straight line: two huge numbers would have to cancel
    return -vertex


def _centred(layer: Polynomial, shift: float) -> Polynomial:
    """The parabola of numbers that were shifted so that its vertex lies at 0."""
    constant, slope, last = layer.powers
    low, high = layer.interval
    rest = constant - slope * slope / (4.0 * last)
    return replace(layer, coefficients=(rest, 0.0, last), basis="power", interval=(low + shift, high + shift))


def _make_monic(layers: list[Layer], index: int) -> None:
    """Bring the last coefficient to 1 or -1: a parabola's goes behind if it can, all others into the map in front."""
    layer, before = layers[index], layers[index - 1]
    behind = layers[index + 1] if index + 1 < len(layers) else None
    if not isinstance(layer, Polynomial) or isinstance(before, (Polynomial, Activation)):
        return
    last = layer.powers[-1]
    goes_behind = layer.degree == 2 or adds_only(before)
    if goes_behind and isinstance(behind, (Affine, Diagonal, Convolution)) and not adds_only(behind):
        layers[index] = replace(layer, coefficients=tuple(one / last for one in layer.powers), basis="power")
        layers[index + 1] = behind.with_coefficients(behind.coefficients * last)
        return
    stretch = math.pow(abs(last), 1.0 / layer.degree)
    if 1.0 / _LARGEST_STRETCH <= stretch <= _LARGEST_STRETCH and not adds_only(before):
        layers[index - 1] = before.with_coefficients(before.coefficients * stretch).with_offset(before.offset * stretch)
        monic = _stretched(layer, stretch).powers
        layers[index] = replace(_stretched(layer, stretch), coefficients=(*monic[:-1], math.copysign(1.0, last)))


def adds_only(layer: Linear) -> bool:
    """Whether a map only adds and subtracts: on ciphertexts it takes no level."""
    weights = layer.coefficients
    return bool(((weights == 0) | (np.abs(weights) == 1)).all())


def _stretched(layer: Polynomial, stretch: float) -> Polynomial:
    """The polynomial that gives, for stretched numbers, what `layer` gives for the numbers themselves."""
    powers = tuple(one / stretch**power for power, one in enumerate(layer.powers))
    low, high = sorted(end * stretch for end in layer.interval)
    return replace(layer, coefficients=powers, basis="power", interval=(low, high))


def _fold_constant(layers: list[Layer], index: int) -> None:
    """Move a polynomial's constant into the linear map behind it."""
    layer = layers[index]
    after = layers[index + 1] if index + 1 < len(layers) else None
    if not isinstance(layer, Polynomial) or after is None or isinstance(after, (Polynomial, Activation)):
        return
    constant, *others = layer.powers
    layers[index] = replace(layer, coefficients=(0.0, *others), basis="power")
    layers[index + 1] = after.with_offset(after.apply(np.full((1, layer.units), constant))[0])


def scaled_inputs(program: Program, factors: Values, offset: Values) -> Program:
    """A program for other inputs u, where x = factors u + offset, that gives what `program` gives for x.

    Whoever scores scales the rows; the program undoes it, at no cost where its first map takes it in.

    Args:
        program: any.
        factors: [inputs], not 0.
        offset: [inputs].

    Raises:
        ValueError: for other shapes, or a factor that is 0.
    """
    if not bool(np.all(factors)):
        raise ValueError("a factor of the inputs is 0")
    first = Diagonal(factors=factors, offset=offset, name="inputs")
    return replace(program, layers=tuple(_merged([first, *program.layers])))


def channel_common(values: Values, shape: tuple[int, int, int]) -> Values:
    """The largest of each channel's numbers, at all its places: what a convolution can take in."""
    table = values.reshape(shape[0], -1)
    return spread(table.max(axis=1), table.shape[1])
