"""The weights of a linear model from what it said: three kinds of answers, three solvers.

All take inputs as rows of a system, [rows, unknowns], the constant included, and give weights [unknowns, classes] whose
classes add up to zero: adding the same to every class changes neither probabilities nor classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

_RIDGE = 1e-7  # of the mean loss: enough to choose among weights that fit alike, too little to move those that matter
_GAP = 1e-7  # squares of singular values: a second one below it means a second solution, to within the points' error

Numbers = npt.NDArray[np.float64]


def from_logits(design: Numbers, scores: npt.NDArray[np.float32]) -> Numbers:
    """Least squares on logits, which are linear; the smallest solution where there are several."""
    centred = scores - scores.mean(axis=1, keepdims=True, dtype=np.float64)
    solution: Numbers = np.linalg.lstsq(design, centred)[0]
    return solution


def from_probabilities(design: Numbers, answers: npt.NDArray[np.float32]) -> Numbers:
    """The weights of greatest likelihood for probabilities that may be rounded, zeros included.

    The problem is convex: cross-entropy with the whole answer (Tramèr et al. 2016, section 4.1.2).
    """
    rows, unknowns = design.shape
    classes = answers.shape[1]

    def loss(flat: Numbers) -> tuple[float, Numbers]:
        weights = flat.reshape(unknowns, classes)
        logits = design @ weights
        top = logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits - top)
        total = exponentials.sum(axis=1, keepdims=True)
        value = float((np.log(total) + top).sum() - (answers * logits).sum()) / rows
        slope = design.T @ (exponentials / total - answers) / rows + 2 * _RIDGE * weights
        return value + _RIDGE * float((weights**2).sum()), slope.ravel()

    found = minimize(
        loss, np.zeros(unknowns * classes), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-14}
    )
    weights = found.x.reshape(unknowns, classes)
    solution: Numbers = weights - weights.mean(axis=1, keepdims=True)
    return solution


def from_boundaries(
    design: Numbers,
    pairs: npt.NDArray[np.int64],
    *,
    classes: int,
    rows: Numbers,
    labels: npt.NDArray[np.int64],
) -> tuple[Numbers, bool]:
    """Weights from points at which two logits are equal, up to a factor, and whether the points determine them.

    Each point gives one homogeneous equation; that the classes add up to zero gives the rest. The direction in which
    the system vanishes are the weights (the right singular vector of the smallest singular value).

    Args:
        design: the points.
        pairs: the two classes that meet there, [points, 2].
        classes: how many there are.
        rows: inputs whose class is known, to find the sign of the factor.
        labels: their classes.
    """
    points, unknowns = design.shape
    system = np.zeros((points + unknowns, classes, unknowns))
    system[np.arange(points), pairs[:, 0]] = design
    system[np.arange(points), pairs[:, 1]] -= design
    system[points + np.arange(unknowns), :, np.arange(unknowns)] = np.sqrt(points / unknowns)
    flat = system.reshape(len(system), -1)
    # Of the square only the last vector is needed: cheaper than a decomposition of the tall system, and its error,
    # the square root of the machine's precision, is that of the 32-bit points.
    values, vectors = np.linalg.eigh(flat.T @ flat)
    weights = vectors[:, 0].reshape(classes, unknowns).T
    agreement = ((rows @ weights).argmax(axis=1) == labels).mean()
    opposite = ((rows @ -weights).argmax(axis=1) == labels).mean()
    solution: Numbers = weights if agreement >= opposite else -weights
    return solution, bool(values[1] > _GAP * values[-1])
