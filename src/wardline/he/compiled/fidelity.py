"""How a compiled model compares with the plain one, in the simulated mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wardline.core import Seeds
from wardline.he.compiled.kinds import Floats, Plan, kind_of
from wardline.he.compiler.program import Meaning
from wardline.he.diagonal.plan import DiagonalPlan, DiagonalWeights
from wardline.he.forest.plan import ForestPlan, ForestWeights
from wardline.he.linear.plan import LinearPlan, LinearWeights, encode
from wardline.he.network.plan import NetworkPlan, NetworkWeights

MOST_OFF = 0.05
"""Values that decide nothing may be off by so much of their spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How a compiled model compares with the plain one, over the sample, in the simulated mode.

    Attributes:
        rows: of the sample.
        agreement: share of them with equal decisions; None for outputs that decide nothing.
        share: of the outputs' spread, that rounded scores are typically off by.
        largest_error: of a rounded score.
        deviation: root of the mean squared error of rounded scores.
    """

    rows: int
    agreement: float | None
    largest_error: float
    deviation: float
    share: float

    def __str__(self) -> str:
        decided = "" if self.agreement is None else f"decisions equal on {self.agreement:.4%} of them, "
        return (
            f"{self.rows} rows simulated: {decided}errors {self.deviation:.2g} typical, {self.largest_error:.2g} most"
        )


def simulate(plan: Plan, secret: Any, rows: Floats) -> Floats:
    """Rounded scores as a client would get them, with noise of the size that encryption adds: [rows, outputs].

    The noise is of a fixed seed and of an experiment's quality: nothing is protected here.

    Args:
        plan: of the model.
        secret: its integers.
        rows: finite numbers [rows, features].

    Raises:
        TypeError: for a plan of no kind that can be simulated here.
    """
    generator = Seeds(0).numpy("noise of a compiled model")
    if isinstance(plan, (NetworkPlan, DiagonalPlan)):
        assert isinstance(secret, (NetworkWeights, DiagonalWeights))
        found: Floats = secret.simulate(rows, plan, random=generator)  # type: ignore[arg-type]  # they belong together
        return found
    if isinstance(plan, ForestPlan):
        assert isinstance(secret, ForestWeights)
        return secret.simulate(rows, plan)
    if not isinstance(plan, LinearPlan):
        raise TypeError(f"a {kind_of(plan).name} model is simulated by its own weights")
    assert isinstance(secret, LinearWeights)
    parameters = plan.parameters
    assert parameters.plain_modulus is not None
    exact = secret.scores(encode(plan, rows), plan)
    unit = parameters.plain_modulus / plan.scale * plan.units
    flood = 2.0**plan.flood_bits * unit / math.prod(parameters.moduli)
    spread = math.sqrt((1 + 2 / 3 * parameters.degree) / 12) * unit / parameters.moduli[0]
    noise = generator.uniform(-1.0, 1.0, exact.shape) * flood + generator.normal(0.0, 1.0, exact.shape) * spread
    return plan.rounded(exact + noise)


def fidelity_of(meaning: Meaning, plain: Floats, found: Floats) -> Fidelity:
    """Compare simulated outputs with plain ones, both [rows, outputs]."""
    off = np.abs(found - plain)
    agreement = None
    if meaning.gives != "values":
        agreement = float((meaning.decide(found) == meaning.decide(plain)).mean())
    deviation = float(np.sqrt((off**2).mean()))
    spread = float(np.sqrt(plain.var(axis=0).mean()))
    return Fidelity(
        rows=len(plain),
        agreement=agreement,
        largest_error=float(off.max()),
        deviation=deviation,
        share=deviation / spread if spread else math.inf,
    )


def shortfall(fidelity: Fidelity, plan: Plan | None, *, agreement: float, first: bool) -> str | None:
    """What a compiled model lacks; None if it may be served."""
    if isinstance(plan, LinearPlan) and fidelity.largest_error > plan.worst + plan.step / 2:
        return f"a simulated score is off by {fidelity.largest_error:.2g}, more than the plan's bound"
    if fidelity.agreement is None:
        if fidelity.share <= MOST_OFF:
            return None
        return f"values are off by {fidelity.share:.2g} of their spread, and {MOST_OFF} is allowed"
    # The largest error is taken if it leaves a margin: half of the decisions that may differ.
    if fidelity.agreement >= ((1 + agreement) / 2 if first else agreement):
        return None
    return f"decisions agree on {fidelity.agreement:.4%} of the sample, and {agreement:.4%} is wanted"
