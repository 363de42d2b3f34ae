"""The cheapest moves through a network, counted in transforms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wardline.he.diagonal.moves import Layout, Move, fold_steps, moves, power_of_two
from wardline.he.diagonal.plan import MOST_CIPHERTEXTS

_PRODUCT = 0.1
"""Time of a product of two polynomials in one limb, over that of a transform."""

_KEY = 30.0
"""Transforms that one key fewer is worth: keys are large, though they travel once."""

_CIPHERTEXT = 15.0
"""Transforms that one limb of a ciphertext fewer is worth: encrypting and sending it takes longer, but elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Moves through all layers.

    Attributes:
        moves: one for each layer.
        ciphertexts: that a row is sent in.
        cost: transforms, and what else counts as such.
    """

    moves: tuple[Move, ...]
    ciphertexts: int
    cost: float


def cheapest(
    shapes: Sequence[tuple[int, int]], readings: int, *, slots: int, levels: Sequence[tuple[int, int]]
) -> Route:
    """The cheapest way through matrices.

    Args:
        shapes: outputs and inputs of each.
        readings: the most inputs that one output of the first reads.
        slots: of a ciphertext.
        levels: limbs and primes of a digit that each is likely to have.

    Raises:
        ValueError: for a layer with more numbers than slots.
    """
    if max(max(power_of_two(one) for one in shape) for shape in shapes) > slots:
        raise ValueError(f"a layer has more numbers than the {slots} slots of this ring")
    count = len(shapes)
    best: dict[Layout, Route] = {}
    for move, ciphertexts in _first(shapes[0], readings, slots=slots, last=count == 1):
        cost = cost_of(move, *levels[0]) + ciphertexts * levels[0][0] * (_CIPHERTEXT + 2 * _PRODUCT)
        _keep(best, Route(moves=(move,), ciphertexts=ciphertexts, cost=cost))
    for index in range(1, count):
        following: dict[Layout, Route] = {}
        for layout, route in best.items():
            for move in moves(layout, shapes[index][0], last=index == count - 1):
                cost = route.cost + cost_of(move, *levels[index])
                _keep(following, Route(moves=(*route.moves, move), ciphertexts=route.ciphertexts, cost=cost))
        best = following
    return min(best.values(), key=lambda one: one.cost)


def _first(shape: tuple[int, int], readings: int, *, slots: int, last: bool) -> Iterator[tuple[Move, int]]:
    outputs, inputs = shape
    size = power_of_two(outputs)
    target = Layout(kind="tiled", size=size, slots=slots)
    parts = slots // size if last else 1
    while parts <= slots // size:
        ciphertexts = -(-readings // parts)
        if ciphertexts <= MOST_CIPHERTEXTS:
            for fold in [()] if last else fold_steps(slots // parts, parts):
                yield Move(source=None, target=target, folds=fold, last=last), ciphertexts
        parts *= 2
    room = power_of_two(inputs)
    for source in (
        Layout(kind="tiled", size=room, slots=slots),
        Layout(kind="blocks", size=room, slots=slots, valid=slots // room),
    ):
        for move in moves(source, outputs, last=last):
            yield move, 1


def _keep(best: dict[Layout, Route], route: Route) -> None:
    layout = route.moves[-1].target
    if layout not in best or route.cost < best[layout].cost:
        best[layout] = route


def cost_of(move: Move, limbs: int, group: int) -> float:
    """Of one step at a level, in transforms, without relinearisation, which is the same for all moves.

    Args:
        move: of the step.
        limbs: of its ciphertexts.
        group: primes of a digit.
    """
    digits = -(-limbs // group)
    lift, down = digits * (limbs + 1), 2.2 * (limbs + 1)
    key = 2 * _PRODUCT * (digits + 2) * (limbs + 1)
    plain = 2 * _PRODUCT * (limbs + 1) * move.giants * len(move.babies)
    cost = plain + _KEY * len(move.steps)
    if len(move.babies) > 1:
        cost += lift + (len(move.babies) - 1) * key + move.giants * down
    cost += (move.giants - 1) * (lift + key + down)
    return cost + sum(lift + len(fold) * key + down for fold in move.folds)
