"""What output perturbation costs: how much noise on the minimiser a budget asks for.

The losses of one unit have a gradient of norm at most L wherever it is taken, and the regularised sum is
Lambda-strongly convex, so a unit more or less moves the minimiser by at most L / Lambda. A computed minimiser whose
gradient is certified to be at most gamma lies within gamma / Lambda of the exact one. So the computed one moves by at
most (L + 2 gamma) / Lambda, and rounding it to a grid of step h adds at most h sqrt(size).

This needs neither smoothness nor the law of a minimiser, and its cost is that of a Gaussian mechanism, which composes
better with other releases than an (epsilon, delta) pair. But every direction gets the noise that the flattest one
needs: it asks for a large Lambda, which biases the model.

References:
    Chaudhuri, Monteleoni and Sarwate 2011, section 3.2; Wu, Li, Kumar, Chaudhuri, Jha and Naughton 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardline.dp.estimators.gaussian import DELTA_MARGIN, LEAST_STEPS, NOISE_MARGIN, gaussian_mu
from wardline.dp.estimators.objective import Problem

REGULARIZATION = 1.0
"""Lambda that is chosen, over L sqrt(columns) times the noise multiplier: the noise on the prediction for a row of norm
R is then about R. Within a factor of 3 of the best on two tables at epsilon 0.5 to 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPlan:
    """How much noise is added.

    Attributes:
        regularization: Lambda.
        noise_multiplier: what is accounted for: the standard deviation of the noise over the sensitivity.
        grid: the step of the released numbers, a power of two.
        sigma: of the discrete Gaussian noise, in steps of the grid; larger than accounted for by `NOISE_MARGIN`.
    """

    regularization: float
    noise_multiplier: float
    grid: float
    sigma: float


def plan_output(problem: Problem, *, epsilon: float, delta: float, regularization: float | None) -> OutputPlan:
    """Choose the noise.

    Args:
        problem: what is minimised. Any number of rows per unit will do: their weights sum to at most 1.
        epsilon: in [0.01, 256].
        delta: in (0, 1).
        regularization: Lambda; None derives it from epsilon.

    Guarantee: (epsilon, delta)-differential privacy, by the argument above and the one in `gaussian`.
    """
    multiplier = 1.0 / gaussian_mu(epsilon=epsilon, delta=delta * (1 - DELTA_MARGIN))
    if regularization is None:
        regularization = REGULARIZATION * problem.sensitivity * math.sqrt(problem.columns) * multiplier
    distance = (problem.sensitivity + 2 * problem.tolerance) / regularization
    grid = 2.0 ** math.floor(math.log2(distance * multiplier / LEAST_STEPS / 4))
    sensitivity = (distance / grid + math.sqrt(problem.parameters)) * (1 + 1e-12)
    return OutputPlan(
        regularization=regularization,
        noise_multiplier=multiplier,
        grid=grid,
        sigma=sensitivity * multiplier * (1 + NOISE_MARGIN),
    )
