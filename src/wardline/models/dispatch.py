"""The predictor of whatever model somebody has."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from wardline.models.answers import detect
from wardline.models.callable_predictor import CallablePredictor
from wardline.models.predictor import Gives, Inputs, Predictor
from wardline.models.scikit_predictor import scikit_predictor
from wardline.models.text import TextModel, TextPredictor
from wardline.models.torch_predictor import TorchPredictor
from wardline.models.trained import TrainedModel


def predictor_of(
    model: Any, *, example: Inputs | None = None, classes: int | None = None, gives: Gives | None = None
) -> Predictor:
    """The predictor of a model: one of Wardline's, a torch module, a scikit-learn estimator, a function, a predictor.

    Args:
        model: the model. Nothing is unpickled, and no file is read.
        example: a few inputs, [rows, ...], from whose answers the form of a torch module's or function's answers is
            told, as far as it is not stated.
        classes: how many classes it tells apart; a function that gives labels needs it stated.
        gives: what a torch module or function answers.

    Raises:
        ValueError: if what it answers is neither stated nor can be told, or contradicts what is stated.
        TypeError: if it is none of these.
    """
    if isinstance(model, TrainedModel):
        return TorchPredictor.of(model)
    if isinstance(model, TextModel):
        return TextPredictor(model)
    if isinstance(model, nn.Module):
        return _torch(model, example, classes, gives)
    if hasattr(model, "answer") and hasattr(model, "gives") and hasattr(model, "classes"):
        known: Predictor = model
        return known
    if hasattr(model, "get_params") and hasattr(model, "predict"):
        return scikit_predictor(model)
    if callable(model):
        if example is None:
            raise ValueError("a function's answers to an example are needed to tell what it answers")
        return CallablePredictor.of(model, example, classes=classes, gives=gives)
    raise TypeError(f"{type(model).__name__} is no model: neither torch, nor scikit-learn, nor a function")


def _torch(module: nn.Module, example: Inputs | None, classes: int | None, gives: Gives | None) -> TorchPredictor:
    if example is None:
        if classes is None:
            raise ValueError("the number of classes of a torch module must be stated, or an example given")
        return TorchPredictor(module, classes=classes, gives=gives or "logits")
    stated = classes or _width(module, example)
    answers = TorchPredictor(module, classes=stated).answer(example)
    form = detect(answers, classes=classes, gives=gives)
    return TorchPredictor(module, classes=form.classes, gives=form.gives)


def _width(module: nn.Module, example: Inputs) -> int:
    """How many numbers a row the module gives."""
    with torch.inference_mode():
        found = copy.deepcopy(module).eval()(torch.from_numpy(example[:1].astype(np.float32)))
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or found.shape[1] < 2:
        raise ValueError("the torch module does not give [rows, classes] with at least two classes")
    return int(found.shape[1])
