"""Forests at the server: the evaluator, and their leaves as bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns
from wardline.he.compiled.evaluator import KindEvaluator, check_expanded
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiler.program import Meaning
from wardline.he.forest.evaluation import replies
from wardline.he.forest.integers import IntegerTree, Thresholds
from wardline.he.forest.plan import ForestPlan, ForestWeights
from wardline.he.forest.storage import pack_forest, packed_bytes, unpack_forest
from wardline.he.forest.trees import LEAF


class ForestEvaluator(KindEvaluator):
    """A forest on encrypted bits.

    The answer tells of the rows that were asked for alone: other slots get uniformly random numbers.
    """

    __slots__ = ()

    @property
    def spreads(self) -> bool:
        """One batch is enough work for all threads."""
        return True

    @property
    def _plan(self) -> ForestPlan:
        plan = self.public.plan
        if not isinstance(plan, ForestPlan):
            raise TypeError("the plan is that of another kind of model")
        return plan

    def _check_secret(self) -> None:
        if not np.array_equal(self.secret.bit_features, self._plan.thresholds.feature):
            raise ValueError("the leaves do not fit the plan")

    def _answers(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int
    ) -> tuple[Ciphertext, ...]:
        check_expanded(self.public, keys)
        return replies(columns, keys, plan=self._plan, secret=self.secret, rows=rows, threads=threads)

    def narrow(self) -> ForestEvaluator:
        """One tree, of two splits where the forest multiplies bits and of one where it does not."""
        splits = 2 if self._plan.relinearises else 1
        feature = np.arange(splits)
        secret = ForestWeights(
            trees=(_tree(splits),), base=np.zeros(1, dtype=np.int64), bit_features=feature.astype(np.int64)
        )
        circuit = secret.circuit
        plan = replace(
            self._plan,
            thresholds=Thresholds(feature=feature, threshold=np.zeros(splits), number=self._plan.thresholds.number),
            inputs=splits,
            centre=np.zeros(1),
            trees=1,
            nodes=2 * splits + 1,
            depth=circuit.depth,
            products=circuit.products,
            last=circuit.last,
            held=circuit.held,
        )
        names = tuple(f"feature {one}" for one in range(splits))
        public = replace(self.public, plan=plan, features=names, meaning=Meaning(gives="values"))
        return ForestEvaluator(public=public, secret=secret)


def _tree(splits: int) -> IntegerTree:
    """Node i of the splits asks bit i and has a leaf to its right."""
    nodes = 2 * splits + 1
    bit, left, right = (np.full(nodes, LEAF, dtype=np.int64) for _ in range(3))
    bit[:splits] = np.arange(splits)
    left[:splits] = [*range(1, splits), 2 * splits]
    right[:splits] = np.arange(splits, 2 * splits)
    value = np.zeros((nodes, 1), dtype=np.int64)
    value[2 * splits] = 1
    return IntegerTree(bit=bit, left=left, right=right, value=value)


class ForestServer:
    """See `wardline.he.compiled.kinds.ServerKind`."""

    def evaluator(self, public: PublicModel, secret: ForestWeights) -> ForestEvaluator:
        """Computes on ciphertexts."""
        return ForestEvaluator(public=public, secret=secret)

    def pack(self, secret: ForestWeights) -> bytes:
        """As `wardline.he.forest.storage.pack_forest`."""
        return pack_forest(secret)

    def packed_bytes(self, plan: ForestPlan) -> int:
        """The length of `pack`."""
        return packed_bytes(plan)

    def unpack(self, content: bytes, plan: ForestPlan) -> ForestWeights:
        """Read `pack` back; raises `ValueError` for what does not fit the plan."""
        return unpack_forest(content, plan)


SERVER = ForestServer()
