"""What objective perturbation costs: how much noise on the objective a budget asks for.

The mechanism draws b ~ N(0, sigma^2 I) and minimises J(theta) = sum of losses + Lambda/2 |theta|^2 + <b, theta>.

**Theorem.** Let rows have norm at most R, let the loss be logistic (K = 2, theta a vector) or multinomial (K > 2, theta
a matrix), and let a unit have up to m rows whose weights sum to at most 1. Put

    L = R for K = 2, sqrt(2) R else;       t = R^2/4 for K = 2, R^2 (1 - 1/K) else;     r = m (K - 1);
    epsilon_0 = r log(1 + t / (r Lambda));    V = K^m - 1.

Then the exact minimiser is (epsilon_0 + e, V H(e, L/sigma))-differentially private for every e >= 0 under adding or
removing one unit, where H(e, mu) is the delta of the Gaussian mechanism at epsilon e.

**Proof.** J is strongly convex and smooth, so b = -(gradient of the losses + Lambda theta) maps theta one to one onto
b, and the minimiser has the density phi_sigma(b(theta)) |det b'(theta)|. Let D' be D with one unit more, let g(theta)
be the gradient of that unit's loss and A its Hessian. At any theta

    log(p_D' / p_D) = log det(I + M^-1 A) + (2 <b', g> + |g|^2) / (2 sigma^2),    M = Hessian of J on D, b = b' + g.

(1) A has rank at most r and trace at most t (logistic: the second derivative is at most 1/4; multinomial: the trace
of diag(p) - p p' is 1 - |p|^2 <= 1 - 1/K), and M >= Lambda I. So 0 <= log det(I + M^-1 A) <= epsilon_0, the mean of the
logarithms of at most r eigenvalues being at most the logarithm of their mean.

(2) g(theta) depends on b', so <b', g> is not Gaussian. But whatever theta is, g lies in a fixed polytope: a logistic
row contributes c u with a fixed u and 0 <= c <= 1, since the derivative of the loss never changes its sign; a
multinomial row contributes (p - e_y) x', a convex combination of the K matrices (e_k - e_y) x', one of which is 0. The
unit's polytope has at most K^m vertices v, one of them 0, all of norm at most L. As (2 <b', g> + |g|^2) is convex in g,

    log(p_D' / p_D) <= epsilon_0 + max(0, max over vertices v of G_v),    G_v = (2 <b', v> + |v|^2) / (2 sigma^2),

and b' ~ N(0, sigma^2 I) under D', so that G_v is the privacy loss of a Gaussian mechanism with mu = |v| / sigma.
Hence, for epsilon = epsilon_0 + e with e >= 0,

    delta = E (1 - exp(epsilon - loss))_+ <= sum over v of E (1 - exp(e - G_v))_+ <= V H(e, L / sigma).

(3) In the other direction the determinant only helps: log(p_D / p_D') <= max(0, max over v of the same), with b ~ N(0,
sigma^2 I) under D, and the same bound holds with e = epsilon. QED.

For one row and two classes V is 1: the noise is that of a single Gaussian mechanism at epsilon - epsilon_0. The
published bounds for losses whose derivative may change sign have a factor of 2 here.

**The minimiser that is computed.** It is not exact, and b is discrete. Let b be a discrete Gaussian vector on a grid of
at most sigma 2^-40, and b* = b + a uniform error within the grid's cell: its law differs from N(0, sigma^2 I) by a
factor exp(+-eta / 2) at most, outside of an event of probability exp(-450). Any theta whose gradient under b is
certified to be at most gamma_b has one of at most gamma = gamma_b + |b - b*| under b*, and so lies within
gamma / Lambda of the exact minimiser under b*. Given that minimiser (a release that nobody sees), the computed one is
a statistic of L2 sensitivity 2 gamma / Lambda, to which discrete Laplace noise on a grid is added: epsilon_2, pure.
What is released is that noisy whole number times the grid. Basic composition gives epsilon_0 + e + epsilon_2 + eta.

References:
    Chaudhuri, Monteleoni and Sarwate 2011 (objective perturbation); Kifer, Smith and Thakurta 2012 (the determinant,
    Gaussian noise); Iyengar, Near, Song, Thakkar, Thakurta and Wang 2019 (approximate minima); Redberg, Koskela and
    Wang 2023 (the gradient depends on the noise; Gaussian accounting).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardline.dp.estimators.gaussian import gaussian_mu

CURVATURE_SHARE = 0.15
"""The part of epsilon that pays for the determinant where Lambda is not given: 0.1 to 0.2 were best on two tables."""

ROUNDING_SHARE = 0.01
"""The part of epsilon that pays for the distance between the computed minimiser and the exact one."""

LEAST_REGULARIZATION = 1e-3
"""The least Lambda that is chosen, over R^2: a very large epsilon asks for none, and arithmetic does."""

TOLERANCE = 2.0**-16
"""The largest gradient of a minimiser, over R: small beside the noise, and reached for some ten million rows."""

_LARGEST_LOG_VERTICES = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is minimised, as far as privacy depends on it.

    Attributes:
        row_norm: R, the largest norm of a row, constant feature included.
        classes: K, at least 2.
        columns: numbers in a row, constant feature included.
        rows_per_unit: m, the most rows of a unit, whose weights sum to at most 1.
    """

    row_norm: float
    classes: int
    columns: int
    rows_per_unit: int = 1

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return self.columns * (1 if self.classes == 2 else self.classes)

    @property
    def sensitivity(self) -> float:
        """L, the largest norm of a unit's gradient."""
        return self.row_norm * (1.0 if self.classes == 2 else math.sqrt(2.0))

    @property
    def curvature(self) -> float:
        """t, the largest trace of a unit's Hessian."""
        return self.row_norm**2 * (0.25 if self.classes == 2 else 1.0 - 1.0 / self.classes)

    @property
    def tolerance(self) -> float:
        """The largest gradient with which a minimiser is accepted."""
        return self.row_norm * TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectivePlan:
    """How much noise goes where.

    Attributes:
        regularization: Lambda.
        sigma: standard deviation of b in each coordinate.
        slack: how far b may lie from its ideal, in Euclidean norm.
        grid: the step of the released numbers, a power of two.
        mask_scale: of the discrete Laplace noise, in steps of the grid.
        epsilon_curvature: epsilon_0.
        epsilon_noise: e.
        epsilon_rounding: epsilon_2 and eta.
    """

    regularization: float
    sigma: float
    slack: float
    grid: float
    mask_scale: float
    epsilon_curvature: float
    epsilon_noise: float
    epsilon_rounding: float


NOISE_GRID = 2.0**-40
"""The grid of b, over sigma."""


def plan_objective(problem: Problem, *, epsilon: float, delta: float, regularization: float | None) -> ObjectivePlan:
    """Divide a budget.

    Args:
        problem: what is minimised.
        epsilon: in [0.01, 256].
        delta: in (0, 1).
        regularization: Lambda; None derives it from epsilon.

    Raises:
        ValueError: if Lambda is so small that its determinant alone costs the budget, or a unit has too many rows.

    Guarantee: what the plan describes is (epsilon, delta)-differentially private; see the theorem above.
    """
    rank = problem.rows_per_unit * (problem.classes - 1)
    least = problem.curvature / rank / math.expm1(0.9 * epsilon / rank)
    if regularization is None:
        ideal = problem.curvature / rank / math.expm1(CURVATURE_SHARE * epsilon / rank)
        regularization = max(ideal, LEAST_REGULARIZATION * problem.row_norm**2)
    elif regularization < least:
        raise ValueError(f"regularization must be at least {least:.4g} for an epsilon of {epsilon:g}")
    log_vertices = problem.rows_per_unit * math.log(problem.classes)
    if log_vertices > _LARGEST_LOG_VERTICES:
        raise ValueError(
            "max_rows_per_group is too large for objective perturbation with so many classes: "
            "bound it lower, or choose method='output'"
        )
    vertices = problem.classes**problem.rows_per_unit - 1
    curvature = rank * math.log1p(problem.curvature / (rank * regularization))
    size = problem.parameters
    # The log-density of b* strays from a Gaussian's by grid |b*|_1 / (2 sigma^2) + grid^2 size / (8 sigma^2) at most.
    coupling = 2 * NOISE_GRID * (math.sqrt(size) * (math.sqrt(size) + 30.0) + 1.0)
    masking = ROUNDING_SHARE * epsilon
    noise = epsilon - curvature - masking - coupling
    # exp(coupling) and the events of probability exp(-450) are far inside of a thousandth of delta.
    sigma = problem.sensitivity / gaussian_mu(epsilon=noise, delta=delta * (1 - 1e-3) / vertices)
    slack = math.sqrt(size) * sigma * NOISE_GRID
    distance = 2 * (problem.tolerance + slack) / regularization
    grid = 2.0 ** math.floor(math.log2(distance / (4 * math.sqrt(size))))
    steps = math.ceil(math.sqrt(size) * distance / grid * (1 + 1e-12)) + size
    return ObjectivePlan(
        regularization=regularization,
        sigma=sigma,
        slack=slack,
        grid=grid,
        mask_scale=steps / masking * (1 + 1e-12),
        epsilon_curvature=curvature,
        epsilon_noise=noise,
        epsilon_rounding=masking + coupling,
    )
