"""What rounded scores alone tell of a model: a linear one is determined by one row more than it has features."""

from __future__ import annotations

import math

import numpy as np

from wardline.attacks.extraction.encrypted_findings import ScoresAlone, correlation_of
from wardline.attacks.extraction.encrypted_linear_replies import Served
from wardline.attacks.extraction.encrypted_replies import Floats
from wardline.he.ciphertext import EvaluationKeys
from wardline.he.linear import rows as linear_rows
from wardline.he.linear.plan import LinearPlan, encode
from wardline.he.network import rows as network_rows
from wardline.he.network.plan import NetworkPlan, NetworkWeights
from wardline.he.seal.bridge import SealLattice

_JUDGED_ON = 2000


def from_scores(
    served: Served, lattice: SealLattice, keys: EvaluationKeys, *, random: np.random.Generator
) -> ScoresAlone:
    """Ask for so many rows as a linear model has unknowns, and solve; of a deeper network say how many that would be.

    Args:
        served: a linear model or a network.
        lattice: the client's keys.
        keys: the public ones.
        random: draws the rows on which the copy is compared with the model.
    """
    plan = served.public.plan
    if isinstance(plan, NetworkPlan) and len(plan.layers) > 1:
        return _of_network(plan, served.secret)
    inputs = len(plan.centre)
    # One row in which all numbers are at the low end, then one for each number with that at the high end.
    rows = np.tile(plan.centre - plan.half_width, (inputs + 1, 1))
    rows[1:] += 2 * np.diag(plan.half_width)
    scores = _scored(served, lattice, keys, rows)
    slopes = ((scores[1:] - scores[0]) / 2).T  # of inputs in [-1, 1]: [outputs, inputs]
    offset = scores[0] + slopes.sum(axis=1)
    exact = _in_the_clear(served, rows)
    truth = ((exact[1:] - exact[0]) / 2).T
    tried = random.uniform(-1.0, 1.0, size=(_JUDGED_ON, inputs))
    copied = tried @ slopes.T + offset
    model = _in_the_clear(served, tried * plan.half_width + plan.centre)
    meaning, agreement = served.public.meaning, None
    if meaning.gives != "values":
        agreement = float((meaning.decide(copied) == meaning.decide(model)).mean())
    correlation = correlation_of(slopes, truth)
    error = float(np.abs(slopes - truth).max() / max(float(np.abs(truth).max()), 1e-300))
    decided = "" if agreement is None else f"; the copy decides as the model on {agreement:.2%} of {_JUDGED_ON} rows"
    return ScoresAlone(
        rows=inputs + 1,
        solved=True,
        correlation=correlation,
        largest_error=error,
        agreement=agreement,
        detail=f"{inputs + 1} metered rows determine the model. Solved from so many rounded scores, weights are off by "
        f"at most {error:.2g} of the largest{decided}. Rows beyond the ranges need fewer. Only metering stands against "
        "that",
    )


def _of_network(plan: NetworkPlan, secret: NetworkWeights) -> ScoresAlone:
    degree = math.prod(_degree(one) for one in plan.layers)
    monomials = math.comb(plan.inputs + degree, degree)
    weights = sum(int(np.count_nonzero(one.weights)) + len(one.offset) for one in secret.layers)
    rows = min(monomials, weights)
    return ScoresAlone(
        rows=rows,
        solved=False,
        detail=f"outputs are polynomials of degree {degree} in {plan.inputs} numbers: {monomials:.4g} metered rows "
        f"determine them, and as many rows as there are weights, {weights}, may be enough. This was not tried. A copy "
        "that agrees on most rows takes fewer",
    )


def _degree(layer: object) -> int:
    """Of the polynomial behind a layer."""
    second = getattr(layer, "second", None)
    if not getattr(layer, "squared", False):
        return 1
    return 2 if second is None else int(second.degree)


def _scored(served: Served, lattice: SealLattice, keys: EvaluationKeys, rows: Floats) -> Floats:
    """Decrypted and rounded, as any client gets them: [rows, outputs]."""
    plan = served.public.plan
    replies, left = [], len(rows)
    encrypted = (linear_rows if isinstance(plan, LinearPlan) else network_rows).encrypt_rows(lattice, plan, rows)
    for columns in encrypted:
        count = min(plan.parameters.slots, left)
        replies.append(served.evaluate(columns, keys, rows=count))
        left -= count
    if isinstance(plan, LinearPlan):
        return linear_rows.decrypt_scores(lattice, plan, replies, rows=len(rows))
    return network_rows.decrypt_outputs(lattice, plan, replies, rows=len(rows))


def _in_the_clear(served: Served, rows: Floats) -> Floats:
    """What the integers give without any noise: [rows, outputs]."""
    plan = served.public.plan
    if isinstance(plan, LinearPlan):
        found: Floats = served.secret.scores(encode(plan, rows), plan)
        return found
    outputs: Floats = served.secret.simulate(rows, plan)
    return outputs
