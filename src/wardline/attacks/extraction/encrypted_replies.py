"""Reading a server's weights out of an encrypted reply: what a linear layer on ciphertexts must not allow.

The server adds up ciphertexts (c0_j, c1_j) with its integer weights. Unless it hides the sum, the reply's c1 is a known
linear combination of polynomials that the client has sent: as many equations as coefficients, for as many unknowns as
features. And whoever owns the secret key knows the error of every ciphertext that it has sent, so that the error of the
reply is a second set of equations, even where c1 is made fresh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues

_SPARE = 8  # equations beyond the unknowns that a wrong solution would have to meet by chance, 1 in 2^25 each


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecoveredWeights:
    """What an attack on a reply found.

    Attributes:
        weights: integers [features].
        consistent: whether they explain equations that they were not solved from. If not, they say nothing.
    """

    weights: npt.NDArray[np.int64]
    consistent: bool


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
    features, degree = sent.shape
    if replied.shape != (degree,) or degree < features + _SPARE:
        raise ValueError("sent must be [features, degree] and replied [degree], with eight equations to spare")
    rows = np.concatenate([sent.T, replied[:, None]], axis=1).astype(np.int64)
    solved = _eliminate(rows[:features], prime)
    if solved is None:
        return RecoveredWeights(weights=np.zeros(features, dtype=np.int64), consistent=False)
    spare = rows[features:]
    # Residues and weights are below 2^31: one product after the other is reduced, so that nothing overflows.
    found = np.zeros(len(spare), dtype=np.int64)
    for column, weight in enumerate(solved.tolist()):
        found = (found + spare[:, column] * weight) % prime
    centred = np.where(solved > prime // 2, solved - prime, solved)
    return RecoveredWeights(weights=centred, consistent=bool(np.array_equal(found, spare[:, -1])))


def from_noise(
    errors: npt.NDArray[np.float64], replied: npt.NDArray[np.float64], *, tolerance: float = 0.25
) -> RecoveredWeights:
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
    features, equations = errors.shape
    if replied.shape != (equations,) or equations < features + _SPARE:
        raise ValueError("errors must be [features, equations] and replied [equations], with eight equations to spare")
    design = np.concatenate([errors.T, np.ones((equations, 1))], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(design, replied, rcond=None)
    left = replied - design @ solution
    spread = float(np.sqrt((left**2).sum() / (equations - features - 1)))
    inverse = np.linalg.pinv(design.T @ design)
    deviations = spread * np.sqrt(np.diag(inverse)[:features])
    return RecoveredWeights(
        weights=np.rint(solution[:features]).astype(np.int64),
        consistent=bool(rank == features + 1 and deviations.max() < tolerance),
    )


def _eliminate(rows: npt.NDArray[np.int64], prime: int) -> npt.NDArray[np.int64] | None:
    """Solve a square system modulo a prime below 2^31, [n, n + 1]; None if it has no single solution."""
    rows = rows % prime
    size = len(rows)
    for column in range(size):
        below = np.flatnonzero(rows[column:, column])
        if not len(below):
            return None
        pivot = column + int(below[0])
        rows[[column, pivot]] = rows[[pivot, column]]
        rows[column] = rows[column] * pow(int(rows[column, column]), -1, prime) % prime
        for other in range(size):
            if other != column and rows[other, column]:
                rows[other] = (rows[other] - rows[other, column] * rows[column]) % prime
    return rows[:, -1]
