"""A forest of integers as sums and products of bits, with few products one after the other and few of them at all.

A bit is [x <= threshold]. Successive splits of one feature are one split into intervals, whose indicators b_j - b_i are
linear in bits. What lies 2^k such splits below a node is reached by products of depth k, halves of the way multiplied
with each other; indicators of all ends sum to 1, which saves the last product. The products of the last level are
added up before they are relinearised: sums of w (sum of c v) over few wires w.

Bits of one feature are nested, and products of bits are 0 or 1, so that b_i b_j = b_min(i, j) within a feature and
w w = w. That holds for honest clients; what others may learn is said in `wardline.he.forest.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from wardline.he.forest.integers import Integers, IntegerTree
from wardline.he.forest.splits import Node, root_of
from wardline.he.forest.trees import Indices

_Key = TypeVar("_Key")

ONE = -1
"""The wire that is always 1, in sums of wires."""

BLOCK_WIRES = 192
"""Products that are held at once; trees are taken together as long as they need no more."""

Terms = dict[int, int]
"""A sum of wires, each times an integer; `ONE` stands for the constant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sum:
    """A weighted sum of wires, without a constant.

    Attributes:
        wires: their numbers, rising: bits first, then the block's products.
        weights: of each, not 0.
    """

    wires: Indices = field(repr=False)
    weights: Integers = field(repr=False)

    @classmethod
    def of(cls, terms: Mapping[int, int]) -> Sum:
        """The sum of these terms, whose constant is left out."""
        kept = sorted((wire, weight) for wire, weight in terms.items() if weight and wire != ONE)
        pairs = np.array(kept, dtype=np.int64).reshape(-1, 2)
        return cls(wires=pairs[:, 0].copy(), weights=pairs[:, 1].copy())

    def __len__(self) -> int:
        return len(self.wires)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some trees.

    Attributes:
        products: level by level, the pairs of sums whose products become wires, numbered on from the bits.
        last: pairs of a wire and, for each output, the sum that it is multiplied with; these are added up.
        linear: for each output a sum of wires that is added.
    """

    products: tuple[tuple[tuple[Sum, Sum], ...], ...] = field(repr=False)
    last: tuple[tuple[int, tuple[Sum, ...]], ...] = field(repr=False)
    linear: tuple[Sum, ...] = field(repr=False)

    @property
    def wires(self) -> int:
        """How many products are held."""
        return sum(len(level) for level in self.products)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Circuit:
    """All of a forest.

    Attributes:
        bits: how many there are.
        blocks: computed one after the other.
        constant: for each output what is added at the end.
        depth: products one after the other.
    """

    bits: int
    blocks: tuple[Block, ...]
    constant: Integers = field(repr=False)
    depth: int

    @property
    def products(self) -> int:
        """Products that are relinearised each."""
        return sum(block.wires for block in self.blocks)

    @property
    def last(self) -> int:
        """Products that are added up first."""
        return sum(len(sums) > 0 for block in self.blocks for _, every in block.last for sums in every)

    @property
    def held(self) -> int:
        """The most products that are held at once."""
        return max(block.wires for block in self.blocks)


def build(trees: tuple[IntegerTree, ...], base: Integers, bit_features: Indices) -> Circuit:
    """The circuit of a forest.

    Args:
        trees: at least one.
        base: what is added to their sum, [outputs].
        bit_features: the feature of each bit, [bits].

    Returns:
        What gives, for bits of honest clients, the sum of the trees.
    """
    common = _Builder(bit_features, len(base))
    common.total = [{ONE: int(one)} for one in base]
    blocks: list[Block] = []
    builder = _Builder(bit_features, len(base))
    depth = 0
    for tree in trees:
        root = root_of(tree, bit_features)
        for output in range(len(base)):
            depth = max(depth, builder.add(root, output))
        if builder.count > BLOCK_WIRES:
            blocks += builder.block(common)
            builder = _Builder(bit_features, len(base))
    blocks += builder.block(common)
    blocks += common.block(None)
    constant = np.array([total.get(ONE, 0) for total in common.total], dtype=np.int64)
    return Circuit(bits=len(bit_features), blocks=tuple(blocks), constant=constant, depth=depth)


class _Builder:
    """Products and sums of some trees."""

    def __init__(self, bit_features: Indices, outputs: int) -> None:
        self._features = bit_features.tolist()
        self._bits, self._outputs = len(self._features), outputs
        self._known: dict[tuple[object, object], int] = {}
        self._pairs: list[tuple[Terms, Terms]] = []
        self._levels: list[int] = []
        self._indicators: dict[tuple[int, int], list[tuple[Node, Terms]]] = {}
        self.total: list[Terms] = [{} for _ in range(outputs)]
        self.crossed: list[dict[tuple[int, int], int]] = [{} for _ in range(outputs)]

    @property
    def count(self) -> int:
        """Products so far."""
        return len(self._pairs)

    def add(self, root: Node, output: int) -> int:
        """Add a tree's value to an output; gives the depth of its products."""
        self._indicators.clear()  # of another tree, whose nodes may have the same identity
        if not root.height:
            _increase(self.total[output], {ONE: root.value[output]}, 1)
            return 0
        depth = _depth(root)
        if not depth:
            _increase(self.total[output], self._value(root, output), 1)
            return 0
        for indicator, value in self._parts(root, output, depth):
            self._cross(output, indicator, value)
        return depth

    def block(self, common: _Builder | None) -> list[Block]:
        """What was built; what needs bits alone goes to `common`, if there is one."""
        if common is not None:
            for output in range(self._outputs):
                _move(self.total[output], common.total[output], lambda wire: wire < self._bits)
                _move(self.crossed[output], common.crossed[output], lambda pair: max(pair) < self._bits)
        deepest = max(self._levels, default=0)
        products = tuple(
            tuple(
                (Sum.of(left), Sum.of(right))
                for (left, right), level in zip(self._pairs, self._levels, strict=True)
                if level == wanted
            )
            for wanted in range(1, deepest + 1)
        )
        order = sorted(range(self.count), key=lambda index: self._levels[index])
        place = {self._bits + old: self._bits + new for new, old in enumerate(order)}
        renamed = [
            tuple((self._renamed(left, place), self._renamed(right, place)) for left, right in level)
            for level in products
        ]
        last = tuple(
            (place.get(wire, wire), tuple(self._renamed(Sum.of(one), place) for one in every))
            for wire, every in _cover(self.crossed)
        )
        linear = tuple(self._renamed(Sum.of(total), place) for total in self.total)
        if not products and not last and not any(map(len, linear)):
            return [] if common is not None else [Block(products=(), last=(), linear=linear)]
        return [Block(products=tuple(renamed), last=last, linear=linear)]

    def _renamed(self, found: Sum, place: Mapping[int, int]) -> Sum:
        return Sum.of({place.get(wire, wire): weight for wire, weight in _pairs(found)})

    def _value(self, node: Node, output: int) -> Terms:
        """The value of a subtree."""
        if not node.height:
            return {ONE: node.value[output]}
        depth = _depth(node)
        if not depth:
            found: Terms = {}
            for child, indicator in self._ends(node, 1):
                _increase(found, indicator, child.value[output])
            return found
        found = {}
        for indicator, value in self._parts(node, output, depth):
            _increase(found, self._times(indicator, value), 1)
        return found

    def _parts(self, node: Node, output: int, depth: int) -> list[tuple[Terms, Terms]]:
        """Pairs of sums whose products add up to a subtree's value."""
        ends = self._ends(node, 1 << (depth - 1))
        values = [self._value(end, output) for end, _ in ends]
        # Indicators add up to 1, so that one value can be taken from all: a constant one saves no product.
        simple = [index for index, value in enumerate(values) if not _wires(value)]
        taken = len(ends) - 1 if not simple else simple[0]
        parts: list[tuple[Terms, Terms]] = [({ONE: 1}, values[taken])]
        for index, (_, indicator) in enumerate(ends):
            if index != taken:
                rest = dict(values[index])
                _increase(rest, values[taken], -1)
                parts.append((indicator, rest))
        return parts

    def _ends(self, node: Node, height: int) -> list[tuple[Node, Terms]]:
        """The leaves and the nodes so many splits below, with the indicator of the way to each."""
        key = (id(node), height)
        if key in self._indicators:
            return self._indicators[key]
        found: list[tuple[Node, Terms]] = []
        if not node.height:
            found.append((node, {ONE: 1}))
        elif height == 1:
            before: Terms = {}
            for bound, child in zip((*node.bounds, ONE), node.children, strict=True):
                here = {bound: 1}
                _increase(here, before, -1)
                found.append((child, here))
                before = {bound: 1}
        else:
            for middle, upper in self._ends(node, height // 2):
                rest = dict(upper)
                *others, (end, _) = self._ends(middle, height // 2)
                for other, lower in others:
                    both = self._times(upper, lower)
                    _increase(rest, both, -1)
                    found.append((other, both))
                found.append((end, rest))
        self._indicators[key] = found
        return found

    def _cross(self, output: int, left: Terms, right: Terms) -> None:
        """Add a product of the last level, term by term."""
        crossed, total = self.crossed[output], self.total[output]
        for wire, weight in left.items():
            for other, factor in right.items():
                if not weight * factor:
                    continue
                joined = self._joined(wire, other)
                if joined is None:
                    pair = (min(wire, other), max(wire, other))
                    crossed[pair] = crossed.get(pair, 0) + weight * factor
                else:
                    total[joined] = total.get(joined, 0) + weight * factor

    def _joined(self, wire: int, other: int) -> int | None:
        """The wire that a product of two wires is, if it is one."""
        if wire == ONE or other == ONE:
            return max(wire, other)
        if wire == other:
            return wire
        nested = max(wire, other) < self._bits and self._features[wire] == self._features[other]
        return min(wire, other) if nested else None

    def _times(self, left: Terms, right: Terms) -> Terms:
        """A product as a sum of wires; at most one of them is new."""
        joined = [
            (self._joined(wire, other), weight * factor)
            for wire, weight in left.items()
            for other, factor in right.items()
            if weight * factor
        ]
        simple = [(wire, weight) for wire, weight in joined if wire is not None]
        found: Terms = {}
        if len(simple) == len(joined):
            for wire, weight in simple:
                found[wire] = found.get(wire, 0) + weight
            return found
        # (a + c) (b + d) = a b + d a + c b + c d, so that more products are the same.
        first, second = left.get(ONE, 0), right.get(ONE, 0)
        one, other_terms = ({wire: terms[wire] for wire in _wires(terms)} for terms in (left, right))
        found = {ONE: first * second}
        _increase(found, one, second)
        _increase(found, other_terms, first)
        _increase(found, {self._product(one, other_terms): 1}, 1)
        return found

    def _product(self, left: Terms, right: Terms) -> int:
        keys = sorted((tuple(sorted(left.items())), tuple(sorted(right.items()))))
        key = (keys[0], keys[1])
        if key not in self._known:
            self._known[key] = self._bits + self.count
            self._levels.append(1 + max(self._level(wire) for wire in (*left, *right)))
            self._pairs.append((left, right))
        return self._known[key]

    def _level(self, wire: int) -> int:
        return 0 if wire < self._bits else self._levels[wire - self._bits]


def _depth(node: Node) -> int:
    """Products one after the other that a subtree needs."""
    return max(node.height - 1, 0).bit_length()


def _wires(terms: Terms) -> list[int]:
    return [wire for wire, weight in terms.items() if weight and wire != ONE]


def _increase(terms: Terms, more: Terms, factor: int) -> None:
    for wire, weight in more.items():
        terms[wire] = terms.get(wire, 0) + weight * factor


def _pairs(found: Sum) -> Iterable[tuple[int, int]]:
    return zip(found.wires.tolist(), found.weights.tolist(), strict=True)


def _move(source: dict[_Key, int], target: dict[_Key, int], belongs: Callable[[_Key], bool]) -> None:
    for key in [key for key in source if belongs(key)]:
        target[key] = target.get(key, 0) + source.pop(key)


def _cover(crossed: list[dict[tuple[int, int], int]]) -> list[tuple[int, list[Terms]]]:
    """Products of pairs of wires as few products of a wire with a sum: the wire with most partners first."""
    partners: dict[int, set[int]] = {}
    for every in crossed:
        for (one, other), weight in every.items():
            if weight:
                partners.setdefault(one, set()).add(other)
                partners.setdefault(other, set()).add(one)
    found = []
    while partners:
        wire = max(partners, key=lambda one: (len(partners[one]), -one))
        others = partners.pop(wire)
        for other in others:
            partners[other].discard(wire)
            if not partners[other]:
                del partners[other]
        rights: list[Terms] = [
            {other: weight for other in others if (weight := every.get((min(wire, other), max(wire, other)), 0))}
            for every in crossed
        ]
        found.append((wire, rights))
    return found
