"""Forests: what anybody knows of their plans, and what a server does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns
from wardline.he.compiled.evaluator import KindEvaluator, check_expanded
from wardline.he.compiled.kinds import Floats, Keys, Shape
from wardline.he.compiled.public_model import PublicModel
from wardline.he.forest.evaluation import replies
from wardline.he.forest.plan import ForestPlan, ForestWeights
from wardline.he.forest.storage import pack_forest, packed_bytes, plan_from_json, plan_to_json, unpack_forest


class ForestKind:
    """See `wardline.he.compiled.kinds.PublicKind`."""

    def to_json(self, plan: ForestPlan) -> dict[str, Any]:
        """A plan as JSON values."""
        return plan_to_json(plan)

    def from_json(self, value: object) -> ForestPlan:
        """Read `to_json` back."""
        return plan_from_json(value)

    def columns(self, plan: ForestPlan) -> Shape:
        """A ciphertext for each threshold."""
        return Shape(ciphertexts=len(plan.thresholds), limbs=len(plan.parameters.moduli), form="coefficients")

    def replies(self, plan: ForestPlan) -> Shape:
        """A ciphertext for each output."""
        return Shape(ciphertexts=plan.outputs, limbs=plan.reply_limbs, form="coefficients")

    def keys(self, plan: ForestPlan) -> Keys:
        """One to relinearise, if anything is multiplied."""
        return Keys(relinearisation=plan.relinearises)

    def charged(self, plan: ForestPlan, rows: int) -> int:
        """Every row for itself: other slots are uniformly random."""
        return plan.charged(rows)

    def outside(self, plan: ForestPlan, rows: Floats) -> int:
        """None: a comparison has no range to leave."""
        return 0

    def describe_inputs(self, plan: ForestPlan, names: Sequence[str]) -> list[str]:
        """How many thresholds each feature is compared with."""
        return plan.describe_inputs(names)

    def determined_by(self, plan: ForestPlan) -> str:
        """A row finds a leaf of every tree."""
        return (
            "every row tells the sum of one leaf of each tree, and thresholds are public: rows of a client's choice, a "
            f"few for each of {plan.nodes} nodes, determine the forest: meter rows"
        )


class ForestEvaluator(KindEvaluator):
    """A forest on encrypted comparisons."""

    __slots__ = ()

    @property
    def spreads(self) -> bool:
        """A batch takes seconds."""
        return True

    def _check_secret(self) -> None:
        if not isinstance(self.public.plan, ForestPlan):
            raise TypeError("the plan is that of another kind of model")
        if len(self.secret.trees) != self.public.plan.trees or self.secret.base.shape != (self.public.plan.outputs,):
            raise ValueError("the trees do not fit the plan")

    def _answers(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int
    ) -> tuple[Ciphertext, ...]:
        plan = self.public.plan
        assert isinstance(plan, ForestPlan)
        check_expanded(self.public, keys)
        return replies(columns, keys, plan=plan, secret=self.secret, rows=rows, threads=threads)


class ForestServer:
    """See `wardline.he.compiled.kinds.ServerKind`."""

    def evaluator(self, public: PublicModel, secret: ForestWeights) -> ForestEvaluator:
        """Computes on ciphertexts."""
        return ForestEvaluator(public=public, secret=secret)

    def pack(self, secret: ForestWeights) -> bytes:
        """As `wardline.he.forest.storage` writes it."""
        return pack_forest(secret)

    def packed_bytes(self, plan: ForestPlan) -> int:
        """The length of `pack`."""
        return packed_bytes(plan)

    def unpack(self, content: bytes, plan: ForestPlan) -> ForestWeights:
        """Read `pack` back; raises `ValueError` for what does not fit the plan."""
        return unpack_forest(content, plan)


PUBLIC = ForestKind()
SERVER = ForestServer()
