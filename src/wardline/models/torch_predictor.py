"""Any torch module as a predictor."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardline.models.predictor import Gives, Inputs
from wardline.models.trained import TrainedModel

_ROWS_AT_ONCE = 512


class TorchPredictor:
    """A torch module that maps [rows, *shape] to logits, or to probabilities, [rows, classes].

    The module is copied: neither the caller's nor ours changes when the other does. The copy is put into evaluation
    mode; `was_training` remembers that some part of the original was not, because what was attacked is then not what
    the caller had in hand.

    Args:
        module: the model.
        classes: how many classes it tells apart, at least 2.
        gives: what its last layer yields. Gradients through a softmax vanish, so say so where it has one.

    Raises:
        ValueError: for less than two classes, or a module that is said to give labels.
    """

    def __init__(self, module: nn.Module, *, classes: int, gives: Gives = "logits") -> None:
        if classes < 2 or gives == "labels":
            raise ValueError("a torch module gives a number for each of at least two classes")
        self.was_training = any(part.training for part in module.modules())
        self._module = copy.deepcopy(module).eval().requires_grad_(False)
        self._classes = classes
        self._gives: Gives = gives

    @classmethod
    def of(cls, model: TrainedModel) -> TorchPredictor:
        """The predictor of one of Wardline's own models."""
        return cls(model.module(), classes=len(model.classes))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._classes

    @property
    def gives(self) -> Gives:
        """Logits, or probabilities where the module ends in a softmax."""
        return self._gives

    def answer(self, x: Inputs) -> npt.NDArray[np.float32]:
        """Logits or probabilities: [rows, classes]."""
        answers = np.empty((len(x), self._classes), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(x), _ROWS_AT_ONCE):
                rows = torch.from_numpy(np.array(x[start : start + _ROWS_AT_ONCE], dtype=np.float32))
                found = self._module(rows)
                if found.shape != (len(rows), self._classes):
                    raise ValueError(f"the model answers {tuple(found.shape)}, not [rows, {self._classes}]")
                answers[start : start + len(rows)] = found.numpy()
        return answers

    def network(self) -> nn.Module:
        """A copy that yields logits: logarithms are taken of probabilities, which are logits up to a constant.

        A softmax that is the last layer of an `nn.Sequential` is left out instead: the logits before it differ from the
        logarithms by a constant of each row, and keep their gradient where the softmax has saturated.
        """
        module = copy.deepcopy(self._module)
        if self._gives == "logits":
            return module
        return module if _dropped_softmax(module) else _Logarithm(module)


def _dropped_softmax(module: nn.Module) -> bool:
    """Take the softmax over classes out of a module that is seen to end in one; says whether it did."""
    if type(module) is not nn.Sequential or not len(module):
        return False
    last = module[-1]
    if type(last) is nn.Softmax and last.dim in (None, 1, -1):
        module[-1] = nn.Identity().eval()
        return True
    return _dropped_softmax(last)


class _Logarithm(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The least normal 32-bit number: a probability that has underflowed keeps a finite logarithm, and no gradient.
        logits: torch.Tensor = self.module(x).clamp_min(torch.finfo(torch.float32).tiny).log()
        return logits
