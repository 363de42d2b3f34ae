"""Activation clustering: does a class fall into two groups? Weak evidence only, and the result says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import Seeds
from wardline.core.canonical import to_json
from wardline.models.learner import Labels
from wardline.models.predictor import Differentiable, Inputs
from wardline.robust.sanitise.representation import represent

_COMPONENTS = 10
_LEAST_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitClass:
    """How one class falls into two groups.

    Attributes:
        label: the class.
        silhouette: how well the groups part, from -1 to 1.
        smaller_share: the smaller group's share of the class.
        smaller_rows: the training rows of the smaller group.
    """

    label: int
    silhouette: float
    smaller_share: float
    smaller_rows: npt.NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the number of rows in place of the rows."""
        figures = {name: getattr(self, name) for name in ("label", "silhouette", "smaller_share")}
        return {**to_json(figures), "smaller_rows": len(self.smaller_rows)}


def activation_clusters(
    predictor: Differentiable, x: Inputs, y: Labels, *, seeds: Seeds, components: int = _COMPONENTS
) -> tuple[SplitClass, ...]:
    """Split each class into two groups in the last hidden layer; the best split first.

    **Weak evidence.** A clean class with two ways of writing it (a seven with and without a bar) may split better than
    a poisoned one: in our measurements a clean class ranked first. There is no threshold here, and no false-alarm rate.
    Use it to look at rows, not to decide.

    Args:
        predictor: the network that was trained on these rows.
        x: training inputs [rows, ...].
        y: their labels as trained on. Classes of fewer than 10 rows are left out.
        seeds: starts of k-means (stream ``clusters``).
        components: principal components that are kept, at least 1.

    Raises:
        ValueError: if labels are not as many as inputs, or components are out of range.

    References: Chen et al. 2018, section 4 (principal components in place of independent ones).
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    if len(x) != len(y) or components < 1:
        raise ValueError("there must be as many labels as inputs, and at least one component")
    hidden = represent(predictor, x).hidden
    found = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < _LEAST_ROWS:
            continue
        centred = hidden[rows] - hidden[rows].mean(axis=0)
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        reduced = (left * values)[:, :components]
        start = seeds.integer("clusters") % 2**32  # what scikit-learn takes
        groups = KMeans(n_clusters=2, n_init=4, random_state=start).fit(reduced).labels_
        smaller = rows[groups == int((groups == 1).mean() < 0.5)]
        found.append(
            SplitClass(
                label=int(label),
                silhouette=float(silhouette_score(reduced, groups)),
                smaller_share=len(smaller) / len(rows),
                smaller_rows=smaller.astype(np.int64),
            )
        )
    return tuple(sorted(found, key=lambda split: -split.silhouette))
