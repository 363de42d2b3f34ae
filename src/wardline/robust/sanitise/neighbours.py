"""Labels that a row's neighbours do not share: finding flipped labels without a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least
from wardline.models.learner import Labels
from wardline.robust.sanitise.ranking import Ranking


def neighbour_disagreement(x: npt.NDArray[np.floating], y: Labels, *, neighbours: int = 10) -> Ranking:
    """Rank training rows by how surely their nearest neighbours speak for another label.

    The score is the share of neighbours that carry the most frequent label other than the row's own, less the share
    that carries the row's own: 1 where all agree on one other label, -1 where all agree with the row. Rows count as
    neighbours whatever their own label is worth, so the method bears flips up to a level where they are a majority
    somewhere.

    **What it does not find**: flips among rows that crowd together, for example copies of one image or images under
    one strong trigger; they confirm each other.

    Args:
        x: inputs [rows, ...], numbers; Euclidean distance on flattened rows, or on whatever representation is given.
        y: labels.
        neighbours: how many, from 1 to the number of rows less 1.

    Returns:
        A ranking that proposes, for each row, the most frequent label among its neighbours.

    Raises:
        ValueError: for arguments that do not fit together.

    References: Wilson 1972 (edited nearest neighbours); Paudice, Muñoz-González and Lupu 2018, algorithm 1.
    """
    from sklearn.neighbors import NearestNeighbors

    at_least("neighbours", neighbours, 1)
    if len(x) != len(y) or neighbours >= len(y):
        raise ValueError("there must be as many labels as inputs, and more of them than neighbours")
    flat = np.asarray(x).reshape(len(x), -1)
    # Asked without arguments, scikit-learn leaves each row out of its own neighbours.
    near = NearestNeighbors(n_neighbors=neighbours).fit(flat).kneighbors(return_distance=False)
    shares = np.stack([(y[near] == label).mean(axis=1) for label in range(int(y.max()) + 1)], axis=1)
    every = np.arange(len(y))
    own = shares[every, y].copy()
    proposed = shares.argmax(axis=1).astype(np.int64)
    shares[every, y] = -1.0
    return Ranking(
        method=f"disagreement of {neighbours} nearest neighbours",
        reference="Paudice, Muñoz-González and Lupu 2018, algorithm 1",
        scores=(shares.max(axis=1) if shares.shape[1] > 1 else np.zeros(len(y))) - own,
        proposed=proposed,
    )
