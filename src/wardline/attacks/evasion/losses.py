"""What a gradient attack on a classifier climbs: one number a row, larger the nearer the row is to being misread.

All of them are below zero, or below their own value at a tie, while the true class has the largest logit.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

import torch
from torch import Tensor
from torch.nn import functional

Loss: TypeAlias = Literal["ce", "odds", "margin", "dlr", "dlr_targeted"]
"""Which one: `cross_entropy`, `log_odds`, `margin`, `dlr`, or `dlr_targeted`."""

LOSSES: tuple[Loss, ...] = ("ce", "odds", "margin", "dlr", "dlr_targeted")

_TINY = 1e-12


def loss_rows(loss: Loss, logits: Tensor, y: Tensor, *, wanted: Tensor | None = None) -> Tensor:
    """The loss of each row: [rows].

    Args:
        loss: which.
        logits: [rows, classes].
        y: true classes, int64 [rows].
        wanted: the class that each row shall be taken for, int64 [rows]; ``dlr_targeted`` alone reads it.

    Raises:
        ValueError: if ``dlr_targeted`` gets no wanted classes.
    """
    match loss:
        case "ce":
            return cross_entropy(logits, y)
        case "odds":
            return log_odds(logits, y)
        case "margin":
            return margin(logits, y)
        case "dlr":
            return dlr(logits, y)
        case "dlr_targeted":
            if wanted is None:
                raise ValueError("a targeted loss needs the wanted classes")
            return dlr_targeted(logits, y, wanted)
        case _:
            assert_never(loss)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The negative logarithm of the softmax of the true class: [rows].

    It saturates. Once the true logit leads by more than about 17 the softmax rounds to 1 in 32 bits, and from about
    100 on the gradient is exactly zero. A model whose logits are merely scaled up looks robust under it.
    """
    return functional.cross_entropy(logits, y, reduction="none")


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """The logarithm of the odds against the true class: [rows].

    With u for this value, cross-entropy is log(1 + exp(u)), so both gradients point the same way in every row and
    differ by the factor 1 / (1 + exp(-u)) alone, which is what vanishes where cross-entropy saturates. An attack that
    normalises its steps row by row takes with this loss the steps of cross-entropy in exact arithmetic.
    """
    true = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.logsumexp(dim=1) - true[:, 0]


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest other logit minus the true one: [rows]; above 0 exactly where the row is misread.

    References: Carlini and Wagner 2017, section V-A (f6 without its floor).
    """
    true = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(dim=1) - true[:, 0]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference of logits ratio: the margin over the distance of the first to the third logit, [rows].

    It changes neither when the logits are shifted nor when they are scaled. Two classes have no third logit, and the
    ratio would be constant: there it is the plain margin, whose direction does not depend on the scale either.

    References: Croce and Hein 2020 (AutoAttack), equation 6.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2]).clamp_min(_TINY)


def dlr_targeted(logits: Tensor, y: Tensor, wanted: Tensor) -> Tensor:
    """The wanted logit minus the true one over the spread of the leading logits: [rows].

    With less than four classes the spread is not defined and is left out.

    References: Croce and Hein 2020 (AutoAttack), equation 7.
    """
    gap = (logits.gather(1, wanted[:, None]) - logits.gather(1, y[:, None]))[:, 0]
    if logits.shape[1] < 4:
        return gap
    top = logits.topk(4, dim=1).values
    return gap / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2.0).clamp_min(_TINY)
