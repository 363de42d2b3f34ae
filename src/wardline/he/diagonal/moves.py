"""Where numbers stand in the slots, and how a matrix is multiplied with them by few rotations.

S slots, a power of two, turn in a circle. Numbers x_0, ..., x_(p - 1), p a power of two, stand there tiled (x_i at
every slot that is i modulo p) or in blocks (x_i at the first `valid` of the S / p slots of block i; the rest holds
something else). A move computes, with plaintexts P and rotations to the left,

    z = sum over giant steps g of rot(sum over baby steps b of P_gb rot(x, b), g),

and folds z, adding up slots some steps apart. What stands in a slot after that is a full sum if

- blocks come from tiled numbers: slot u works for output u // w, w = S / q, on inputs that are u modulo t, so that any
  t slots in a row of one block are a sum of everything: w - t + 1 slots of each block are valid after that;
- tiled numbers come from blocks: slot u works for output u modulo q, and all S / q of them are a sum of everything;
- tiled numbers come from tiled ones: generalised diagonals, q or p of them.

References: Halevi and Shoup 2014 (Algorithms in HElib), section 4, and 2018 (baby steps, giant steps, hoisting);
Juvekar, Vaikuntanathan, Chandrakasan 2018 (Gazelle), section 4, for diagonals of wide matrices; Brutzkus, Elisha,
Gilad-Bachrach 2019 (Low latency privacy preserving inference), section 5, for layouts that take turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wardline.he.network.stages import Floats

Places = npt.NDArray[np.int64]
Kind = Literal["tiled", "blocks"]

MOST_SLOTS = 1 << 14
MOST_STEPS = 512
_MOST_BABIES = 128  # each takes a key

FOLDS = (2, 4, 8)
"""Slots that are added up at once: more take more keys and fewer decompositions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where numbers stand.

    Attributes:
        kind: tiled or in blocks.
        size: how many there is room for, a power of two.
        slots: in all, a power of two.
        valid: of blocks, how many of the first slots hold the number; of tiled ones 0.

    Raises:
        ValueError: for anything else.
    """

    kind: Kind
    size: int
    slots: int
    valid: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.slots <= MOST_SLOTS or power_of_two(self.size) != self.size:
            raise ValueError("a layout has room for a power of two of numbers, at most as many as slots")
        if power_of_two(self.slots) != self.slots:
            raise ValueError("slots are a power of two")
        most = self.slots // self.size if self.kind == "blocks" else 0
        if self.kind not in ("tiled", "blocks") or not min(most, 1) <= self.valid <= most:
            raise ValueError("numbers are tiled, or at the first slots of blocks")

    def places(self) -> Places:
        """Which number stands in each slot, -1 where there is none: [slots]."""
        slots = np.arange(self.slots)
        if self.kind == "tiled":
            return slots % self.size
        width = self.slots // self.size
        return np.where(slots % width < self.valid, slots // width, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How one matrix is applied.

    Attributes:
        source: where its inputs stand; None for a first one whose inputs the client puts beside each weight.
        target: where its outputs stand after folding.
        babies: steps of the rotations that one decomposition serves, the first of them 0.
        giants: how many sums of those are made.
        stride: steps between two such sums.
        folds: steps of the rotations that are added up together, one tuple after the other.
        last: whether outputs are only summed over the slots that are equal modulo the target's size, when an answer is
            cut down to them.

    Raises:
        ValueError: for steps that are no rotations, or more of them than anybody needs.
    """

    source: Layout | None
    target: Layout
    babies: tuple[int, ...] = (0,)
    giants: int = 1
    stride: int = 0
    folds: tuple[tuple[int, ...], ...] = ()
    last: bool = False

    def __post_init__(self) -> None:
        if not self.babies or self.babies[0] != 0 or self.giants < 1 or (self.giants > 1 and not self.stride):
            raise ValueError("the first baby step is 0, and giant steps go on")
        if len(self.babies) * self.giants > self.target.slots or not all(self.folds):
            raise ValueError("there are more steps than slots, or a fold of nothing")
        steps = [*self.babies, self.stride, *(one for fold in self.folds for one in fold)]
        if len(steps) > MOST_STEPS or any(abs(one) >= self.target.slots for one in steps):
            raise ValueError("a step is no rotation of these slots, or there are too many")
        if self.source is not None and self.source.slots != self.target.slots:
            raise ValueError("source and target have other slots")
        if self.source is None and (len(self.babies) > 1 or self.giants > 1 or self.target.kind != "tiled"):
            raise ValueError("inputs beside their weights need no rotations before they are folded")
        if self.last and (self.folds or self.target.kind != "tiled"):
            raise ValueError("what is summed as an answer is not folded")
        if self.source is None and self.target.slots % (self.parts * self.target.size):
            raise ValueError("parts of outputs must divide the slots")

    @property
    def steps(self) -> frozenset[int]:
        """Steps of all rotations."""
        giants = {self.stride} if self.giants > 1 else set()
        return frozenset({*self.babies, *giants, *(one for fold in self.folds for one in fold)} - {0})

    @property
    def folded(self) -> int:
        """How many slots are added up."""
        count = 1
        for fold in self.folds:
            count *= 1 + len(fold)
        return count

    @property
    def rotations(self) -> int:
        """Rotations in all."""
        return len(self.babies) - 1 + self.giants - 1 + sum(len(fold) for fold in self.folds)

    @property
    def parts(self) -> int:
        """For a first move without a source: slots that are summed, each for another reading of an output."""
        return self.target.slots // self.target.size if self.last else self.folded

    def labels(self) -> Places:
        """Which output each slot works for before folding, -1 for none: [slots]."""
        slots = np.arange(self.target.slots)
        if self.target.kind == "blocks":
            return slots // (self.target.slots // self.target.size)
        found = slots % self.target.size
        if self.last and self.source is not None and self.source.kind == "tiled":
            return np.where(slots < max(self.source.size, self.target.size), found, -1)
        return found


def plaintexts(move: Move, weights: Floats) -> Floats:
    """What slots are multiplied with, [giants, babies, slots].

    Args:
        move: with a source.
        weights: [outputs, inputs], no larger than target and source have room for.
    """
    assert move.source is not None
    slots, places, labels = move.target.slots, move.source.places(), move.labels()
    found = np.zeros((move.giants, len(move.babies), slots))
    for giant in range(move.giants):
        for index, baby in enumerate(move.babies):
            inputs = np.roll(places, -(baby + giant * move.stride))
            both = (labels >= 0) & (labels < len(weights)) & (inputs >= 0) & (inputs < weights.shape[1])
            one = np.zeros(slots)
            one[both] = weights[labels[both], inputs[both]]
            found[giant, index] = np.roll(one, giant * move.stride)
    return found


def beside(move: Move, reads: npt.NDArray[np.int32], ciphertexts: int) -> npt.NDArray[np.int32]:
    """For a first move without a source: which of an output's readings each slot holds.

    Args:
        move: the first.
        reads: inputs that each output reads, -1 for none: [outputs, readings].
        ciphertexts: that the client sends.

    Returns:
        Inputs [ciphertexts, slots], -1 for none.
    """
    slots = np.arange(move.target.slots)
    labels = slots % move.target.size
    part = slots // (move.target.slots // move.parts)
    found = np.full((ciphertexts, move.target.slots), -1, dtype=np.int32)
    for one in range(ciphertexts):
        reading = one * move.parts + part
        both = (labels < len(reads)) & (reading < reads.shape[1])
        found[one, both] = reads[labels[both], reading[both]]
    return found


def plaintexts_beside(move: Move, weights: Floats, inputs: npt.NDArray[np.int32]) -> Floats:
    """What the client's ciphertexts are multiplied with: [ciphertexts, slots], for inputs of `beside`."""
    labels = np.arange(move.target.slots) % move.target.size
    both = inputs >= 0
    found = np.zeros(inputs.shape)
    found[both] = weights[np.broadcast_to(labels, inputs.shape)[both], inputs[both]]
    return found


def applied(move: Move, factors: Floats, values: Floats) -> Floats:
    """The move on numbers in the clear, folded unless it is the last: [rows, slots] to [rows, slots].

    Args:
        move: any.
        factors: of `plaintexts`, or of `plaintexts_beside`.
        values: [rows, slots], or without a source [rows, ciphertexts, slots].
    """
    if move.source is None:
        total = np.asarray((values * factors).sum(axis=1))
    else:
        total = np.zeros_like(values)
        for giant in reversed(range(move.giants)):
            total = np.roll(total, -move.stride, axis=1) if giant + 1 < move.giants else total
            for index, baby in enumerate(move.babies):
                total += factors[giant, index] * (np.roll(values, -baby, axis=1) if baby else values)
    for fold in move.folds:
        total = total + sum(np.roll(total, -step, axis=1) for step in fold)
    return total


def moves(source: Layout, outputs: int, *, last: bool) -> Iterator[Move]:
    """Ways to apply a matrix with so many outputs to numbers that stand somewhere.

    Args:
        source: where they stand.
        outputs: rows of the matrix, at most as many as slots.
        last: whether outputs are wanted as an answer.
    """
    slots, inputs = source.slots, source.size
    size = power_of_two(outputs)
    tiled = Layout(kind="tiled", size=size, slots=slots)
    if source.kind == "blocks":
        whole = min(1 << (source.valid.bit_length() - 1), size)
        exact = Layout(kind="blocks", size=inputs, slots=slots, valid=whole)
        folds = 1 if last else slots // size
        yield from _split(exact, tiled, -whole, size // whole, folds=(size, folds), last=last)
        return
    if not last:
        width = slots // size
        part = min(width, inputs)
        while part:
            blocks = Layout(kind="blocks", size=size, slots=slots, valid=width - part + 1)
            yield from _split(source, blocks, part, inputs // part, folds=(1, part), last=False)
            part //= 2
    folds = 1 if last else max(inputs // size, 1)
    yield from _split(source, tiled, 1, min(inputs, size), folds=(size, folds), last=last)


def _split(
    source: Layout, target: Layout, step: int, count: int, *, folds: tuple[int, int], last: bool
) -> Iterator[Move]:
    """All splits of `count` rotations, `step` apart, into babies and giants, and of the folds."""
    babies = 1
    while babies <= min(count, _MOST_BABIES):
        for fold in fold_steps(*folds):
            yield Move(
                source=source,
                target=target,
                babies=tuple(step * one for one in range(babies)),
                giants=count // babies,
                stride=step * babies if babies < count else 0,
                folds=fold,
                last=last,
            )
        babies *= 2


def fold_steps(step: int, count: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Ways to add up `count` slots that are `step` apart, a power of two."""
    if count == 1:
        yield ()
        return
    for several in FOLDS:
        if several <= count:
            for others in fold_steps(step * several, count // several):
                yield (tuple(step * one for one in range(1, several)), *others)


def power_of_two(number: int) -> int:
    """The smallest power of two that is no less."""
    return 1 << max(number - 1, 0).bit_length()
