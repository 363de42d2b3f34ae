"""Trees with successive splits of one feature made one split into intervals, without ways that no row can take."""

from __future__ import annotations

from dataclasses import dataclass, field

from wardline.he.forest.integers import IntegerTree
from wardline.he.forest.trees import LEAF, Indices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """A split of one feature into intervals, or a leaf.

    Attributes:
        bounds: bits that end the intervals, but for the last one, rising.
        children: one for each interval.
        value: of a leaf, [outputs].
        height: splits on the longest way down; 0 for a leaf.
    """

    bounds: tuple[int, ...] = field(default=(), repr=False)
    children: tuple[Node, ...] = field(default=(), repr=False)
    value: tuple[int, ...] = field(default=(), repr=False)
    height: int = 0


def root_of(tree: IntegerTree, bit_features: Indices) -> Node:
    """The root of a tree so rewritten, with the value of the tree for bits of every row.

    Args:
        tree: any.
        bit_features: the feature of each bit, [bits]; bits of one feature rise with their thresholds.
    """
    return _Splits(tree, bit_features).root


class _Splits:
    def __init__(self, tree: IntegerTree, bit_features: Indices) -> None:
        self._bit, self._left, self._right = tree.bit.tolist(), tree.left.tolist(), tree.right.tolist()
        self._value = [tuple(one) for one in tree.value.tolist()]
        self._features = bit_features.tolist()
        self.root = self._node(0, {})

    def _node(self, at: int, within: dict[int, tuple[int, int]]) -> Node:
        """`within` holds for a feature the bit that is known to be 0 and the one that is known to be 1."""
        if self._bit[at] == LEAF:
            return Node(value=self._value[at])
        feature = self._features[self._bit[at]]
        low, high = within.get(feature, (-1, len(self._features)))
        found: list[tuple[int, Node]] = []
        for upper, child in self._pieces(at, feature, low, high):
            lower = found[-1][0] if found else low
            node = self._node(child, {**within, feature: (lower, upper)})
            if found and not node.height and not found[-1][1].height and node.value == found[-1][1].value:
                found[-1] = (upper, node)
            else:
                found.append((upper, node))
        if len(found) == 1:
            return found[0][1]
        return Node(
            bounds=tuple(upper for upper, _ in found[:-1]),
            children=tuple(node for _, node in found),
            height=1 + max(node.height for _, node in found),
        )

    def _pieces(self, at: int, feature: int, low: int, high: int) -> list[tuple[int, int]]:
        """Intervals of a feature, as the bit that ends each and the node that it leads to."""
        bit = self._bit[at]
        if bit == LEAF or self._features[bit] != feature:
            return [(high, at)]
        if bit <= low:
            return self._pieces(self._right[at], feature, low, high)
        if bit >= high:
            return self._pieces(self._left[at], feature, low, high)
        return self._pieces(self._left[at], feature, low, bit) + self._pieces(self._right[at], feature, bit, high)
