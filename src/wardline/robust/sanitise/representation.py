"""The last hidden layer of a network: where poisoned rows stand apart from clean ones, if anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardline.models.predictor import Differentiable, Inputs

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Representation:
    """Rows as the last linear layer of a network sees them.

    Attributes:
        hidden: what goes into that layer, float64 [rows, width].
        logits: what the network yields, float64 [rows, classes].
    """

    hidden: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64]

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits, [rows, classes]."""
        raised = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        shares: npt.NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
        return shares

    def losses(self, y: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Cross-entropy of each row with its label, in nats."""
        top = self.logits.max(axis=1)
        total = top + np.log(np.exp(self.logits - top[:, None]).sum(axis=1))
        losses: npt.NDArray[np.float64] = total - self.logits[np.arange(len(y)), y]
        return losses


def represent(predictor: Differentiable, x: Inputs) -> Representation:
    """What the last linear layer of a network is given, and the logits, for each input.

    Args:
        predictor: a network with at least one `torch.nn.Linear`; the one registered last counts as the last.
        x: inputs [rows, ...], float32.

    Raises:
        ValueError: if the network has no linear layer, or the layer does not see one vector a row.
    """
    network = predictor.network()
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("the network has no linear layer to look at")
    seen: list[torch.Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    logits = []
    try:
        with torch.inference_mode():
            for start in range(0, len(x), _ROWS_AT_ONCE):
                logits.append(network(torch.from_numpy(np.array(x[start : start + _ROWS_AT_ONCE], dtype=np.float32))))
    finally:
        handle.remove()
    hidden = torch.cat(seen)
    if hidden.dim() != 2 or len(hidden) != len(x):
        raise ValueError("the last linear layer must see one vector for each input")
    return Representation(hidden=hidden.double().numpy(), logits=torch.cat(logits).double().numpy())
