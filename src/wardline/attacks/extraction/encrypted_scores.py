"""What rounded scores alone tell of a model: a linear one is determined by one row more than it has features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from wardline.attacks.extraction.encrypted_findings import ScoresAlone, correlation_of
from wardline.attacks.extraction.encrypted_linear_replies import Served
from wardline.attacks.extraction.encrypted_replies import Floats
from wardline.he.ciphertext import EvaluationKeys
from wardline.he.compiled.kinds import kind_of
from wardline.he.diagonal.plan import DiagonalPlan
from wardline.he.linear.plan import LinearPlan, LinearWeights, encode
from wardline.he.network.plan import NetworkPlan
from wardline.he.seal.bridge import SealLattice

MOST_TERMS = 512
"""Terms of a network's polynomial up to which it is solved for, and not only counted."""

_MOST_SINGLE_TERMS = 16  # where each row is a request
_JUDGED_ON = 2000
_ROWS_A_TERM = 2


def from_scores(
    served: Served, lattice: SealLattice, keys: EvaluationKeys, *, random: np.random.Generator
) -> ScoresAlone:
    """Ask for as many rows as a model has unknowns, and solve; of a large network say how many that would be.

    Args:
        served: a linear model or a network.
        lattice: the client's keys.
        keys: the public ones.
        random: draws rows.
    """
    plan = served.public.plan
    if isinstance(plan, (NetworkPlan, DiagonalPlan)) and len(plan.layers) > 1:
        return _of_network(served, plan, lattice, keys, random)
    inputs = len(plan.centre)
    # One row in which all numbers are at the low end, then one for each number with that at the high end.
    rows = np.full((inputs + 1, inputs), -1.0)
    rows[1:] += 2 * np.eye(inputs)
    scores, exact = _scored(served, lattice, keys, rows), _in_the_clear(served, rows)
    slopes, truth = ((found[1:] - found[0]).T / 2 for found in (scores, exact))  # [outputs, inputs]
    offset = scores[0] + slopes.sum(axis=1)
    explained, agreement = _judged(served, lambda tried: tried @ slopes.T + offset, random)
    error = float(np.abs(slopes - truth).max() / max(float(np.abs(truth).max()), 1e-300))
    fewer = f", but no fewer than {_fewest(plan, served.secret)}" if isinstance(plan, LinearPlan) else ""
    return ScoresAlone(
        rows=inputs + 1,
        asked=len(rows),
        correlation=correlation_of(slopes, truth),
        largest_error=error,
        explained=explained,
        agreement=agreement,
        detail=f"{inputs + 1} metered rows determine the model. Solved from so many rounded scores, weights are off by "
        f"at most {error:.2g} of the largest{_decided(agreement)}. Rows beyond the ranges need fewer"
        f"{fewer}. Only metering stands against that",
    )


def _of_network(
    served: Served,
    plan: NetworkPlan | DiagonalPlan,
    lattice: SealLattice,
    keys: EvaluationKeys,
    random: np.random.Generator,
) -> ScoresAlone:
    stages = served.secret.stages if isinstance(plan, DiagonalPlan) else served.secret.layers
    degree = math.prod(_degree(one) for one in plan.layers)
    terms = math.comb(plan.inputs + degree, degree)
    weights = sum(int(np.count_nonzero(one.weights)) + len(one.offset) for one in stages)
    rows = min(terms, weights)
    count = f"{min(terms, 10**300):.4g}"  # no float is larger
    what = (
        f"outputs are polynomials of degree {degree} in {plan.inputs} numbers: as many metered rows as terms, {count},"
    )
    if terms > (MOST_TERMS if plan.rows > 1 else _MOST_SINGLE_TERMS):
        return ScoresAlone(
            rows=rows,
            detail=f"{what} determine them, and as many as there are weights, {weights}, may be enough. This was not "
            "tried. A copy that agrees on most rows takes fewer",
        )
    asked = random.uniform(-1.0, 1.0, size=(_ROWS_A_TERM * terms, plan.inputs))
    solved, *_ = np.linalg.lstsq(_terms(asked, degree), _scored(served, lattice, keys, asked), rcond=None)
    explained, agreement = _judged(served, lambda tried: _terms(tried, degree) @ solved, random)
    return ScoresAlone(
        rows=rows,
        asked=len(asked),
        explained=explained,
        agreement=agreement,
        detail=f"{what} determine them. Solved from {len(asked)} rounded outputs, the copy explains {explained:.2%} of "
        f"the outputs' variance{_decided(agreement)}. Only metering stands against that",
    )


def _fewest(plan: LinearPlan, secret: LinearWeights) -> int:
    """Rows whose scores have room for all bits of an output's weights: a score tells what stands above the noise."""
    room = math.log2(math.prod(plan.parameters.moduli)) - plan.flood_bits - 1
    bits = np.log2(2.0 * np.abs(secret.weights) + 1.0).sum(axis=1)
    return max(1, math.ceil(float(bits.max()) / room))


def _judged(
    served: Served, copy: Callable[[Floats], Floats], random: np.random.Generator
) -> tuple[float, float | None]:
    """How well a copy does on rows over the whole ranges: share of the variance, share of equal decisions."""
    tried = random.uniform(-1.0, 1.0, size=(_JUDGED_ON, len(served.public.plan.centre)))
    copied, model = copy(tried), _in_the_clear(served, tried)
    varied = float(((model - model.mean(axis=0)) ** 2).sum())
    explained = 1.0 - float(((copied - model) ** 2).sum()) / max(varied, 1e-300)
    meaning = served.public.meaning
    if meaning.gives == "values":
        return explained, None
    return explained, float((meaning.decide(copied) == meaning.decide(model)).mean())


def _decided(agreement: float | None) -> str:
    return "" if agreement is None else f"; the copy decides as the model on {agreement:.2%} of {_JUDGED_ON} rows"


def _terms(rows: Floats, degree: int) -> Floats:
    """All products of up to so many numbers of a row: [rows, terms]."""
    whole = np.concatenate([np.ones((len(rows), 1)), rows], axis=1)
    places = itertools.combinations_with_replacement(range(whole.shape[1]), degree)
    return np.stack([whole[:, list(one)].prod(axis=1) for one in places], axis=1)


def _degree(layer: object) -> int:
    """Of the polynomial behind a layer."""
    second = getattr(layer, "second", None)
    if not getattr(layer, "squared", False):
        return 1
    return 2 if second is None else int(second.degree)


def _scored(served: Served, lattice: SealLattice, keys: EvaluationKeys, scaled: Floats) -> Floats:
    """Rows in [-1, 1], scored, decrypted and rounded, as any client gets them: [rows, outputs]."""
    plan = served.public.plan
    rows = scaled * plan.half_width + plan.centre
    replies, left = [], len(rows)
    client = kind_of(plan).client
    for columns in client.encrypt_rows(lattice, plan, rows):
        count = min(plan.rows, left)
        replies.append(served.evaluate(columns, keys, rows=count))
        left -= count
    found: Floats = client.decrypt_outputs(lattice, plan, replies, rows=len(rows))
    return found


def _in_the_clear(served: Served, scaled: Floats) -> Floats:
    """What the integers give without any noise, for rows in [-1, 1]: [rows, outputs]."""
    plan = served.public.plan
    rows = scaled * plan.half_width + plan.centre
    if isinstance(plan, LinearPlan):
        found: Floats = served.secret.scores(encode(plan, rows), plan)
        return found
    outputs: Floats = served.secret.simulate(rows, plan)
    return outputs
