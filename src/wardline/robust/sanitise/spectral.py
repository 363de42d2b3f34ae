"""Spectral signatures: poisoned rows of a class lie along the direction in which the class varies most."""

from __future__ import annotations

import numpy as np

from wardline.models.learner import Labels
from wardline.models.predictor import Differentiable, Inputs
from wardline.robust.sanitise.ranking import Ranking
from wardline.robust.sanitise.representation import represent

_REFERENCE = "Tran, Li and Madry 2018, algorithm 1"


def spectral_signatures(predictor: Differentiable, x: Inputs, y: Labels) -> Ranking:
    """Rank training rows by how far they lie along the top direction of their class in the last hidden layer.

    Each class (by label) is centred; a row's score is its squared projection onto the class's top right singular
    vector, as published. Scores are not scaled between classes: a class that a second population has entered varies
    more. Where the class is known, look at its rows alone.

    **What it does not find**: poison that the network represents like the rest of the class (clean labels, triggers
    that depend on the source class with covers), and anything else if the poisoned rows are most of a class.

    Args:
        predictor: the network that was trained on these rows.
        x: training inputs [rows, ...].
        y: their labels as trained on.

    Raises:
        ValueError: if labels are not as many as inputs.

    References: Tran, Li and Madry 2018, algorithm 1.
    """
    if len(x) != len(y):
        raise ValueError("there must be as many labels as inputs")
    hidden = represent(predictor, x).hidden
    scores = np.zeros(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        centred = hidden[rows] - hidden[rows].mean(axis=0)
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
        scores[rows] = (centred @ direction) ** 2
    return Ranking(method="spectral signatures", reference=_REFERENCE, scores=scores)
