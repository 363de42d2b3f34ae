"""Forests: their plans as JSON, and what their ciphertexts are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wardline.he.compiled.kinds import Floats, Keys, Shape
from wardline.he.forest.plan import ForestPlan
from wardline.he.forest.storage import plan_from_json, plan_to_json


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


PUBLIC = ForestKind()
