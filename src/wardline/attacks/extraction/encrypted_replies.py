"""Reading a server's weights out of an encrypted reply: what a linear layer on ciphertexts must not allow.

The server adds up ciphertexts (c0_j, c1_j) with its integer weights. Unless it hides the sum, the reply's c1 is a known
linear combination of polynomials that the client has sent: as many equations as coefficients, for as many unknowns as
features. And whoever owns the secret key knows the error of every ciphertext that it has sent, so that the error of the
reply is a second set of equations, even where c1 is made fresh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.core import Interval
from wardline.core.checks import probability
from wardline.core.extras import need
from wardline.he.ciphertext import Residues

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SPARE = 8
"""Equations beyond the unknowns that a wrong solution would have to meet by chance, one in 2^25 each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecoveredWeights:
    """What an attack on a reply found.

    Attributes:
        weights: integers [features].
        consistent: whether they explain equations that they were not solved from. If not, they say nothing.
    """

    weights: Integers
    consistent: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """Weights by least squares.

    Attributes:
        values: [outputs, features].
        deviations: standard errors of the values, [outputs, features]; all infinite where the equations do not
            determine the weights.
        left: deviation of what the values do not explain, [outputs].
    """

    values: Floats
    deviations: Floats
    left: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of what the true weights would put into replies is in them: 1 in bare ones, 0 where nothing is.

    Attributes:
        slope: the share.
        deviation: its standard error.
        equations: how many numbers it was estimated from.
    """

    slope: float
    deviation: float
    equations: int

    def interval(self, level: float) -> Interval:
        """Its confidence interval, by the central limit theorem over thousands of equations.

        Raises:
            ValueError: for a level that is not strictly between 0 and 1.
        """
        probability("level", level)
        reach = float(need("scipy.stats", extra="torch").norm.isf((1.0 - level) / 2)) * self.deviation
        return Interval(low=self.slope - reach, high=self.slope + reach, level=level, method="normal")


def from_masks(sent: Residues, replied: Residues, *, prime: int) -> RecoveredWeights:
    """Solve c1 = sum_j w_j c1_j modulo one prime; anybody who sees the traffic can do it.

    Args:
        sent: c1 of each column modulo the prime, [features, degree].
        replied: c1 of the reply modulo the same prime, [degree].
        prime: the modulus of these residues.

    Raises:
        ValueError: for shapes that do not fit, or fewer coefficients than features and eight more.

    References: Gaussian elimination; the attack is why circuit privacy is asked for (Gentry 2009, section 8.4).
    """
    if replied.ndim != 1:
        raise ValueError("replied must be [degree]")
    return all_from_masks(sent, replied[None], prime=prime)[0]


def all_from_masks(sent: Residues, replied: Residues, *, prime: int) -> tuple[RecoveredWeights, ...]:
    """The same of several outputs at once, which share one elimination.

    Args:
        sent: c1 of each column modulo the prime, [features, degree].
        replied: c1 of each output's reply modulo the same prime, [outputs, degree].
        prime: the modulus of these residues.

    Raises:
        ValueError: as `from_masks` does.
    """
    features, degree = sent.shape
    if replied.ndim != 2 or replied.shape[1] != degree or degree < features + SPARE:
        raise ValueError("sent must be [features, degree] and replied [degree], with eight equations to spare")
    rows = np.concatenate([sent.T, replied.T], axis=1).astype(np.int64)
    solved = _eliminate(rows[:features], prime)
    if solved is None:
        nothing = RecoveredWeights(weights=np.zeros(features, dtype=np.int64), consistent=False)
        return (nothing,) * len(replied)
    spare = rows[features:]
    # Residues and weights are below 2^31: one product after the other is reduced, so that nothing overflows.
    found = np.zeros((len(spare), len(replied)), dtype=np.int64)
    for column, weights in enumerate(solved):
        found = (found + spare[:, column, None] * weights) % prime
    agree = (found == spare[:, features:]).all(axis=0)
    centred = np.where(solved > prime // 2, solved - prime, solved)
    return tuple(
        RecoveredWeights(weights=np.ascontiguousarray(centred[:, output]), consistent=bool(agree[output]))
        for output in range(len(replied))
    )


def from_noise(errors: Floats, replied: Floats, *, tolerance: float = 0.25) -> RecoveredWeights:
    """Solve the reply's error for the weights by least squares; the owner of the secret key can do it.

    It needs coefficients in which the client sent zeros, so that nothing but errors is there: one row is enough to ask
    for, and all others are such coefficients.

    Args:
        errors: of each column, [features, equations].
        replied: of the reply in the same coefficients, [equations].
        tolerance: weights count as found if the largest standard error of one of them is below this.

    Raises:
        ValueError: for shapes that do not fit, or fewer equations than features and eight more.
    """
    if replied.ndim != 1:
        raise ValueError("replied must be [equations]")
    found = least_squares(errors, replied[None])
    return RecoveredWeights(
        weights=np.rint(found.values[0]).astype(np.int64), consistent=bool(found.deviations.max() < tolerance)
    )


def least_squares(known: Floats, replied: Floats) -> Estimate:
    """The weights, and a constant beside them, that explain replies best.

    Args:
        known: what the client has put into each column, [features, equations].
        replied: what it sees of each output in the same places, [outputs, equations].

    Raises:
        ValueError: for shapes that do not fit, or fewer equations than features and eight more.
    """
    features, equations = known.shape
    if replied.ndim != 2 or replied.shape[1] != equations or equations < features + SPARE:
        raise ValueError("known must be [features, equations] and replied alike, with eight equations to spare")
    design = np.concatenate([known.T, np.ones((equations, 1))], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(design, replied.T, rcond=None)
    left = np.sqrt(((replied.T - design @ solution) ** 2).sum(axis=0) / (equations - features - 1))
    spread = np.sqrt(np.diag(np.linalg.pinv(design.T @ design))[:features])
    deviations = np.outer(left, spread) if rank == features + 1 else np.full((len(replied), features), math.inf)
    return Estimate(values=np.ascontiguousarray(solution[:features].T), deviations=deviations, left=left)


def share_of(expected: Floats, replied: Floats) -> Share:
    """The known-answer test, which only the server's owner can make: no attack without the weights sees more.

    Args:
        expected: what the true weights would put into each output's reply, [outputs, equations].
        replied: what is in it, [outputs, equations], in the same unit; a constant in each is of no account.

    Raises:
        ValueError: for other shapes, or expected numbers that are all alike.
    """
    if expected.shape != replied.shape or expected.ndim != 2 or expected.shape[1] < SPARE:
        raise ValueError("expected and replied must both be [outputs, equations]")
    wanted = expected - expected.mean(axis=1, keepdims=True)
    found = replied - replied.mean(axis=1, keepdims=True)
    power, size = (wanted**2).sum(axis=1), (found**2).sum(axis=1)
    if not (power > 0).any():
        raise ValueError("the weights would put nothing into the replies")
    used = power > 0
    wanted, found, power, size = wanted[used], found[used], power[used], size[used]
    slopes = (wanted * found).sum(axis=1) / power
    # A reply without any noise leaves nothing over but the rounding of doubles.
    left = np.maximum(size - slopes**2 * power, 1e-24 * np.maximum(size, power)) / (expected.shape[1] - 2)
    weight = power / left
    total = float(weight.sum())
    return Share(slope=float((weight * slopes).sum() / total), deviation=total**-0.5, equations=wanted.size)


def _eliminate(rows: Integers, prime: int) -> Integers | None:
    """Solve a square system modulo a prime below 2^31, [n, n + outputs] to [n, outputs]; None if it has no solution."""
    rows = rows % prime
    size = len(rows)
    for column in range(size):
        below = np.flatnonzero(rows[column:, column])
        if not len(below):
            return None
        pivot = column + int(below[0])
        rows[[column, pivot]] = rows[[pivot, column]]
        rows[column] = rows[column] * pow(int(rows[column, column]), -1, prime) % prime
        factors = rows[:, column].copy()
        factors[column] = 0
        rows[:, column:] = (rows[:, column:] - factors[:, None] * rows[column, column:]) % prime
    return np.ascontiguousarray(rows[:, size:])
