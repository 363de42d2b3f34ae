"""Linear models: their plans as JSON, and what their ciphertexts are like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wardline.crypto.strict import exact_object
from wardline.he.compiled.kinds import Floats, Keys, Shape, range_lines
from wardline.he.json_numbers import number, numbers, whole
from wardline.he.linear.plan import LEFT_OUT, LinearPlan
from wardline.he.parameters import Parameters
from wardline.he.ranges import coarse, outside

MOST_FEATURES = 4096
MOST_OUTPUTS = 1024

_LARGEST_SCALE = 2.0**59  # integers stay below 2^60
_KEYS = frozenset(
    {"parameters", "centre", "half_width", "outputs", "weight_scale", "flood_bits", "bound", "error", "worst", "units"}
)


class LinearKind:
    """See `wardline.he.compiled.kinds.PublicKind`."""

    def to_json(self, plan: LinearPlan) -> dict[str, Any]:
        """A plan as JSON values."""
        return {
            "parameters": plan.parameters.to_json(),
            "centre": plan.centre.tolist(),
            "half_width": plan.half_width.tolist(),
            "outputs": plan.outputs,
            "weight_scale": plan.weight_scale,
            "flood_bits": plan.flood_bits,
            "bound": coarse(plan.bound),
            "error": coarse(plan.error),
            "worst": coarse(plan.worst),
            "units": plan.units.tolist(),
        }

    def from_json(self, value: object) -> LinearPlan:
        """Read `to_json` back."""
        found = exact_object(value, _KEYS, what="the plan")
        parameters = Parameters.from_json(found["parameters"])
        if parameters.scheme != "bfv" or parameters.special is not None:
            raise ValueError("a linear model is computed with bfv and no special prime")
        plan = LinearPlan(
            parameters=parameters,
            centre=numbers(found["centre"], most=MOST_FEATURES),
            half_width=numbers(found["half_width"], most=MOST_FEATURES, above_zero=True),
            outputs=whole(found["outputs"], 1, MOST_OUTPUTS),
            weight_scale=number(found["weight_scale"], above_zero=True),
            flood_bits=whole(found["flood_bits"], 40, math.prod(parameters.moduli).bit_length() - 1),
            bound=number(found["bound"]),
            error=number(found["error"], above_zero=True),
            worst=number(found["worst"], above_zero=True),
            units=numbers(found["units"], most=MOST_OUTPUTS, above_zero=True),
        )
        if len(plan.units) != plan.outputs or (plan.units > 1).any() or (np.frexp(plan.units)[0] != 0.5).any():
            raise ValueError("units are powers of two of at most 1, one for each output")
        if len(plan.centre) != len(plan.half_width):
            raise ValueError("centres and widths are not as many")
        if not 1.0 <= plan.weight_scale <= _LARGEST_SCALE:
            raise ValueError("the weights' scale is out of range")
        return plan

    def columns(self, plan: LinearPlan) -> Shape:
        """A ciphertext for each feature."""
        limbs = len(plan.parameters.moduli)
        return Shape(ciphertexts=plan.features, limbs=limbs, form="coefficients", dropped_bits=LEFT_OUT)

    def replies(self, plan: LinearPlan) -> Shape:
        """A ciphertext of one prime for each output."""
        return Shape(ciphertexts=plan.outputs, limbs=1, form="coefficients")

    def keys(self, plan: LinearPlan) -> Keys:
        """The public key alone."""
        return Keys()

    def charged(self, plan: LinearPlan, rows: int) -> int:
        """Every row for itself: others are cut off."""
        return rows

    def outside(self, plan: LinearPlan, rows: Floats) -> int:
        """How many rows have a feature outside of its range."""
        return outside(plan, rows)

    def describe_inputs(self, plan: LinearPlan, names: Sequence[str]) -> list[str]:
        """Ranges."""
        return range_lines(plan, names)

    def determined_by(self, plan: LinearPlan) -> str:
        """As many rows as it has weights for an output."""
        return f"{plan.features + 1} scores or fewer determine the model: meter rows"


PUBLIC = LinearKind()
