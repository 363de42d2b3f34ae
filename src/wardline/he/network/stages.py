"""A program as the encrypted evaluation reads it: matrices, with a polynomial of every number in between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from wardline.core import UsageError
from wardline.he.compiler.layers import Activation, Polynomial
from wardline.he.compiler.program import Program

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_DENSE = 0.5
"""A matrix with a larger share of weights that are not 0 is taken as a full one."""

_BLOCK_OUTPUTS = 32
"""Outputs that are computed at once: what bounds the memory of a layer."""

_NEGLIGIBLE = 2.0**-40
"""A highest term that is so much smaller than another one everywhere in the interval is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondBend:
    """What a second product makes of y and u = y^2 + s y: u^2 + f u + c y (degree 4), or y u + c y (degree 3).

    Every polynomial of these degrees can be written so, up to a factor and a constant, which maps around it take in.

    Attributes:
        degree: 3 or 4, of the whole in y.
        factor: f; 0 for degree 3.
        slope: c.

    Raises:
        ValueError: for another degree, or a factor with degree 3.
    """

    degree: int
    factor: float = field(default=0.0, repr=False)
    slope: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        if self.degree not in (3, 4) or (self.degree == 3 and self.factor != 0.0):
            raise ValueError("a second product gives degree 3, without a factor, or degree 4")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """y = W x + b, and then u = y^2 + s y of each number and perhaps more of both, or nothing in the last stage.

    Attributes:
        name: as people call the linear map.
        weights: W, [outputs, inputs].
        offset: b, [outputs].
        slope: s; None where no polynomial follows.
        second: what comes after u for degree 3 or 4; None for degree 2 or less.
    """

    name: str
    weights: Floats
    offset: Floats
    slope: float | None = None
    second: SecondBend | None = None

    @property
    def degree(self) -> int:
        """Of the polynomial; 1 where there is none."""
        if self.second is not None:
            return self.second.degree
        return 1 if self.slope is None else 2

    @property
    def powers(self) -> tuple[float, ...]:
        """The polynomial's coefficients, the lowest first."""
        if self.slope is None:
            return (0.0, 1.0)
        if self.second is None:
            return (0.0, self.slope, 1.0)
        inner, factor, slope = self.slope, self.second.factor, self.second.slope
        if self.second.degree == 3:
            return (0.0, slope, inner, 1.0)
        return (0.0, factor * inner + slope, inner**2 + factor, 2 * inner, 1.0)

    def linear(self, x: Floats) -> Floats:
        """[rows, inputs] to [rows, outputs], before the polynomial."""
        return np.asarray(x @ self.weights.T + self.offset, dtype=np.float64)

    def bend(self, y: Floats) -> Floats:
        """The polynomial of each number, if there is one."""
        if self.slope is None:
            return y
        if self.second is None:
            return y * (y + self.slope)
        u = y * (y + self.slope)
        if self.second.degree == 3:
            return np.asarray(y * (u + self.second.slope), dtype=np.float64)
        return np.asarray(u * (u + self.second.factor) + self.second.slope * y, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Outputs that read the same inputs, such as all channels of a window.

    Attributes:
        outputs: their places, rising.
        inputs: places of what they read, rising.
    """

    outputs: Places
    inputs: Places


def stages_of(program: Program) -> tuple[Stage, ...]:
    """Stages that compute a program.

    Neighbouring linear maps become one matrix. A polynomial's last coefficient and its constant go into the map behind;
    where there is none, a map that only multiplies is put there.

    Raises:
        UsageError: for an activation that is no polynomial.
    """
    found: list[Stage] = []
    for layer in program.layers:
        match layer:
            case Activation():
                raise UsageError(
                    f"{layer.kind} is no polynomial", where=layer.name, hint="fit or train a polynomial in its place"
                )
            case Polynomial():
                powers = _powers(layer)
                if len(powers) == 2:
                    _then(found, _multiples(layer.units, powers[1], powers[0], layer.name))
                    continue
                if not found or found[-1].slope is not None:
                    found.append(_multiples(layer.units, 1.0, 0.0, layer.name))
                slope, second = _bends(powers)
                found[-1] = replace(found[-1], slope=slope, second=second)
                found.append(_multiples(layer.units, powers[-1], powers[0], layer.name))
            case _:
                _then(found, Stage(name=layer.name, weights=layer.matrix(), offset=np.array(layer.offset)))
    return tuple(found)


def _powers(layer: Polynomial) -> tuple[float, ...]:
    """The coefficients, without a highest term of degree 3 or 4 that is nothing but rounding."""
    powers = layer.powers
    reach = max(map(abs, layer.interval))
    while len(powers) > 3 and abs(powers[-1]) * reach ** (len(powers) - 1) <= _NEGLIGIBLE * max(
        abs(one) * reach**power for power, one in enumerate(powers[:-1])
    ):
        powers = powers[:-1]
    return powers


def _bends(powers: tuple[float, ...]) -> tuple[float, SecondBend | None]:
    """Slope and second bend of a polynomial of degree 2 to 4, divided by its last coefficient."""
    _, first, *others, last = powers
    if not others:
        return first / last, None
    if len(others) == 1:
        return others[0] / last, SecondBend(degree=3, slope=first / last)
    slope = others[1] / last / 2
    factor = others[0] / last - slope**2
    return slope, SecondBend(degree=4, factor=factor, slope=first / last - slope * factor)


def _multiples(units: int, factor: float, offset: float, name: str) -> Stage:
    return Stage(name=name, weights=factor * np.eye(units), offset=np.full(units, offset))


def _then(found: list[Stage], stage: Stage) -> None:
    """Append a linear map, or let the last one, if no polynomial follows it, take it in."""
    if not found or found[-1].slope is not None:
        found.append(stage)
        return
    before = found[-1]
    diagonal = np.diag(before.weights) if before.weights.shape[0] == before.weights.shape[1] else None
    if diagonal is not None and np.count_nonzero(before.weights) == np.count_nonzero(diagonal):
        weights = stage.weights * diagonal  # exact zeros stay, and no product of large matrices is needed
    else:
        weights = stage.weights @ before.weights
    found[-1] = Stage(name=stage.name, weights=weights, offset=stage.weights @ before.offset + stage.offset)


def reach_of(stages: tuple[Stage, ...], rows: Floats, margin: float) -> tuple[Floats, ...]:
    """How large the results of each linear map are over a sample, in size: [outputs] each.

    Args:
        stages: of a network.
        rows: [rows, inputs].
        margin: by which share of its width each range is widened on both sides.
    """
    found = []
    values = rows
    for stage in stages:
        sums = stage.linear(values)
        low, high = sums.min(axis=0), sums.max(axis=0)
        wide = margin * (high - low)
        found.append(np.maximum(np.abs(low - wide), np.abs(high + wide)))
        values = stage.bend(sums)
    return tuple(found)


def through(stages: tuple[Stage, ...], values: Floats) -> Floats:
    """What the stages make of rows, one after the other: [rows, inputs] to [rows, outputs]."""
    for stage in stages:
        values = stage.bend(stage.linear(values))
    return values


def balanced(stages: tuple[Stage, ...], reach: tuple[Floats, ...]) -> tuple[Stage, ...]:
    """The same function with numbers of at most about 1 before every polynomial.

    Args:
        stages: of the program.
        reach: the largest absolute values that each stage's linear map gives, [outputs] each.
    """
    done = list(stages)
    for index, stage in enumerate(stages[:-1]):
        largest = float(reach[index].max())
        if largest == 0.0 or stage.slope is None:
            continue
        now, after = done[index], done[index + 1]
        second = stage.second
        if second is not None:
            second = replace(
                second, factor=second.factor / largest**2, slope=second.slope / largest ** (stage.degree - 1)
            )
        done[index] = replace(
            now, weights=now.weights / largest, offset=now.offset / largest, slope=stage.slope / largest, second=second
        )
        done[index + 1] = replace(after, weights=after.weights * largest**stage.degree)
    return tuple(done)


def groups_of(weights: Floats) -> tuple[Group, ...]:
    """Outputs of a matrix by what they read: one group where most weights are not 0.

    Args:
        weights: [outputs, inputs]. An output without any weight reads the first input.
    """
    read = weights != 0
    if read.mean() > _DENSE:
        return (Group(outputs=np.arange(len(weights)), inputs=np.arange(weights.shape[1])),)
    members: dict[bytes, list[int]] = {}
    for output, row in enumerate(read):
        members.setdefault(np.packbits(row).tobytes(), []).append(output)
    groups = [
        Group(
            outputs=np.array(outputs),
            inputs=np.flatnonzero(read[outputs[0]]) if read[outputs[0]].any() else np.zeros(1, np.int64),
        )
        for outputs in members.values()
    ]
    return tuple(sorted(groups, key=lambda one: (int(one.inputs[-1]), int(one.inputs[0]))))


def blocks_of(groups: tuple[Group, ...]) -> tuple[tuple[Group, ...], ...]:
    """Groups to be computed one after the other, about 32 outputs at once; those that are larger are cut."""
    blocks: list[tuple[Group, ...]] = []
    pending: list[Group] = []
    for group in groups:
        for start in range(0, len(group.outputs), _BLOCK_OUTPUTS):
            piece = replace(group, outputs=group.outputs[start : start + _BLOCK_OUTPUTS])
            if pending and sum(len(one.outputs) for one in (*pending, piece)) > _BLOCK_OUTPUTS:
                blocks.append(tuple(pending))
                pending = []
            pending.append(piece)
    return (*blocks, tuple(pending))


def last_uses(blocks: tuple[tuple[Group, ...], ...]) -> dict[int, int]:
    """After which block each input is no longer needed."""
    return {int(one): index for index, block in enumerate(blocks) for group in block for one in group.inputs.tolist()}


def most_live(blocks: tuple[tuple[Group, ...], ...]) -> int:
    """The most inputs that are needed at once, if each is made when it is first needed."""
    last = last_uses(blocks)
    live: set[int] = set()
    most = 0
    for index, block in enumerate(blocks):
        live.update(one for group in block for one in group.inputs.tolist())
        most = max(most, len(live))
        live = {one for one in live if last[one] > index}
    return most
