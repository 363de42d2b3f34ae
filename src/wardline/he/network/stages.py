"""A program as the encrypted evaluation reads it: matrices, with x^2 + s x of every number in between."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """y = W x + b, and then y^2 + s y of each number, or nothing in the last stage.

    Attributes:
        name: as people call the linear map.
        weights: W, [outputs, inputs].
        offset: b, [outputs].
        slope: s; None where no polynomial follows.
    """

    name: str
    weights: Floats
    offset: Floats
    slope: float | None = None

    def linear(self, x: Floats) -> Floats:
        """[rows, inputs] to [rows, outputs], before the polynomial."""
        return np.asarray(x @ self.weights.T + self.offset, dtype=np.float64)

    def bend(self, y: Floats) -> Floats:
        """The polynomial of each number, if there is one."""
        return y if self.slope is None else y * (y + self.slope)


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

    Neighbouring linear maps become one matrix. Of a x^2 + b x + c, a and c go into the map behind; where there is none,
    a map that only multiplies by a is put there.

    Raises:
        UsageError: for an activation that is no polynomial, or a polynomial of degree 3 or more.
    """
    found: list[Stage] = []
    for layer in program.layers:
        match layer:
            case Activation():
                raise UsageError(
                    f"{layer.kind} is no polynomial", where=layer.name, hint="fit or train a polynomial in its place"
                )
            case Polynomial() if layer.degree > 2:
                raise UsageError(
                    f"a polynomial of degree {layer.degree} cannot be computed on batch columns",
                    where=layer.name,
                    hint="fit one of degree 2",
                )
            case Polynomial(degree=2):
                constant, linear, last = layer.powers
                if not found or found[-1].slope is not None:
                    found.append(_multiples(layer.units, 1.0, 0.0, layer.name))
                found[-1] = replace(found[-1], slope=linear / last)
                found.append(_multiples(layer.units, last, constant, layer.name))
            case Polynomial():
                constant, linear = layer.powers
                _then(found, _multiples(layer.units, linear, constant, layer.name))
            case _:
                _then(found, Stage(name=layer.name, weights=layer.matrix(), offset=np.array(layer.offset)))
    return tuple(found)


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
        done[index] = replace(
            now, weights=now.weights / largest, offset=now.offset / largest, slope=stage.slope / largest
        )
        done[index + 1] = replace(after, weights=after.weights * largest**2)
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
