"""What training rows did to the model, followed through its training: influence and loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wardline.models.learner import Checkpoint, Labels
from wardline.models.predictor import Inputs
from wardline.robust.sanitise.ranking import Ranking
from wardline.robust.sanitise.representation import represent

_TRACIN = "Pruthi et al. 2020, section 3 (TracInCP, last layer)"

_GAS = "Hammoudeh and Lowd 2022, section 4"


def self_influence(checkpoints: Sequence[Checkpoint], x: Inputs, y: Labels) -> Ranking:
    """Rank training rows by how much a step on a row alone changes the loss of that row.

    Mislabelled and rare rows come first. It is the sum over checkpoints of the learning rate times the squared norm
    of the row's gradient in the last layer, which is the product of two norms and costs one prediction.

    **What it does not find**: poison that is learned fast and well. A patch is easy to learn, so its rows rank low.

    Args:
        checkpoints: models along the training, at least one.
        x: training inputs.
        y: their labels as trained on.

    Raises:
        ValueError: without checkpoints.

    References: Pruthi et al. 2020, sections 3 and 4.1.
    """
    scores = np.zeros(len(y))
    for checkpoint in _some(checkpoints):
        hidden, residual = _parts(checkpoint, x, y)
        scores += checkpoint.learning_rate * (hidden**2).sum(axis=1) * (residual**2).sum(axis=1)
    return Ranking(method="self-influence in the last layer", reference=_TRACIN, scores=scores)


def influence_on(
    checkpoints: Sequence[Checkpoint], x: Inputs, y: Labels, *, suspects: Inputs, predicted: Labels
) -> Ranking:
    """Rank training rows by how much they taught the model what it says of some suspicious inputs.

    Given inputs that the model takes for a class without cause (what a monitor has caught), the rows that made it so
    come first: those whose gradient in the last layer points where the suspects' gradients point. Gradients are scaled
    to length 1, because poison is learned early and has a small gradient from then on. The layer is taken as a function
    of centred and scaled inputs, on which influence depends: on MNIST with 5 % patched rows that raised the share of
    poisoned rows among as many first ones from 0.49 to 0.75.

    **What it does not find**: anything, without suspects. And rows that merely support the poison (covers) rank low.

    Args:
        checkpoints: models along the training, at least one.
        x: training inputs.
        y: their labels as trained on.
        suspects: inputs in question, [suspects, ...].
        predicted: what the model takes them for.

    Raises:
        ValueError: without checkpoints or suspects.

    References: Hammoudeh and Lowd 2022, section 4 (renormalised influence); Pruthi et al. 2020, section 3.
    """
    if not len(suspects) or len(suspects) != len(predicted):
        raise ValueError("there must be suspects, and a predicted class for each")
    scores = np.zeros(len(y))
    for checkpoint in _some(checkpoints):
        hidden, residual = _parts(checkpoint, x, y)
        their_hidden, their_residual = _parts(checkpoint, suspects, predicted)
        # The gradient is the outer product of both parts, so scaling each scales it, and products multiply.
        inputs = _unit(_standard(hidden, hidden)) @ _unit(_standard(their_hidden, hidden)).T
        outputs = _unit(residual) @ _unit(their_residual).T
        scores += (inputs * outputs).mean(axis=1)
    return Ranking(method="renormalised influence on suspects in the last layer", reference=_GAS, scores=scores)


def loss_trajectories(checkpoints: Sequence[Checkpoint], x: Inputs, y: Labels) -> npt.NDArray[np.float64]:
    """The loss of each training row at each checkpoint, in nats: [checkpoints, rows]."""
    return np.stack([represent(one.predictor, x).losses(y) for one in _some(checkpoints)])


def late_learners(checkpoints: Sequence[Checkpoint], x: Inputs, y: Labels) -> Ranking:
    """Rank training rows by their mean loss over the training: mislabelled rows are learned late or never.

    **What it does not find**: the same as `self_influence`. A backdoor is often learned before anything else.

    Args:
        checkpoints: models along the training, at least one.
        x: training inputs.
        y: their labels as trained on.

    Raises:
        ValueError: without checkpoints.

    References: Arpit et al. 2017; Pleiss et al. 2020, section 3 (which averages margins).
    """
    losses = loss_trajectories(checkpoints, x, y)
    return Ranking(method="mean loss over training", reference="Pleiss et al. 2020", scores=losses.mean(axis=0))


def _some(checkpoints: Sequence[Checkpoint]) -> Sequence[Checkpoint]:
    if not checkpoints:
        raise ValueError("at least one checkpoint is needed")
    return checkpoints


def _standard(rows: npt.NDArray[np.float64], like: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows with the mean of others subtracted and divided by their deviation; a dead unit and the bias become 0."""
    spread = like.std(axis=0)
    live = spread > 1e-9 * (1.0 + np.abs(like.mean(axis=0)))
    scaled: npt.NDArray[np.float64] = np.where(live, (rows - like.mean(axis=0)) / np.where(live, spread, 1.0), 0.0)
    return scaled


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths: npt.NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-300)


def _parts(checkpoint: Checkpoint, x: Inputs, y: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The two factors of each row's gradient in the last layer: what goes in (with 1 for the bias), and p - one-hot."""
    seen = represent(checkpoint.predictor, x)
    residual = seen.probabilities()
    residual[np.arange(len(y)), y] -= 1.0
    return np.hstack([seen.hidden, np.ones((len(y), 1))]), residual
