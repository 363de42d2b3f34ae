"""Models made friendly to encryption: polynomials for activations, averages for maxima, and a fine-tuning."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wardline.core import DataError, NoProgress, Progress, Seeds, UsageError
from wardline.core.checks import at_least, positive
from wardline.he.compiler.activations import PolynomialActivation, Square
from wardline.he.compiler.layers import HIGHEST_DEGREE, Kind, activation_values
from wardline.he.compiler.polynomials import fit_polynomial
from wardline.models.threads import one_thread

Swap: TypeAlias = Literal["square", "polynomial", "fixed"]

_SILENT = NoProgress()
_ROWS_LOOKED_AT = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class FriendlySettings:
    """What is put in, and how the model is tuned to it.

    Attributes:
        activation: ``square`` puts the square of every number in, the cheapest there is; ``polynomial`` one that is
            fitted to what it replaces and trained along; ``fixed`` the same, not trained.
        degree: of the polynomials, 2 to 4.
        epochs: passes over the rows, at least 1.
        batch: rows in a step, at least 1.
        learning_rate: the highest one; it rises for a third of the steps, then falls to 0. Above 0.
        weight_decay: decoupled, of matrices and kernels, at least 0.
        gradient_norm: longer gradients are cut to this length, above 0: polynomials have no bound, nor have their
            gradients.

    Raises:
        ValueError: for a figure out of range.
    """

    activation: Swap = "polynomial"
    degree: int = 2
    epochs: int = 5
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    gradient_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.activation not in get_args(Swap):
            raise ValueError(f"activation must be one of {', '.join(get_args(Swap))}")
        if not 2 <= self.degree <= HIGHEST_DEGREE:
            raise ValueError(f"degree must lie between 2 and {HIGHEST_DEGREE}, not {self.degree}")
        at_least("epochs", self.epochs, 1)
        at_least("batch", self.batch, 1)
        positive("learning_rate", self.learning_rate)
        positive("gradient_norm", self.gradient_norm)
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError("weight_decay must be a finite number of at least 0")


_DEFAULT = FriendlySettings()


def friendly(
    model: nn.Sequential,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    *,
    settings: FriendlySettings = _DEFAULT,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> nn.Sequential:
    """A copy of a network that can be computed on ciphertexts, fine-tuned on the rows given.

    ReLU, tanh, sigmoid and GELU become polynomials or squares, maximum pooling becomes average pooling, dropout goes.
    Before a square the layer in front is scaled so that squares are about 1 on average.

    Args:
        model: torch's `Sequential`, perhaps of others; it stays as it is.
        x: rows, shaped as the model reads them.
        y: class indices, or real numbers [rows] or [rows, outputs] for regression (mean squared error).
        settings: what is put in and how it is tuned.
        seeds: order of rows (stream ``friendly.order``); nothing else is drawn.
        progress: told of every step, with the epoch's mean loss.

    Returns:
        The new module, in evaluation mode.

    Raises:
        DataError: if there are no rows, or not as many labels, or a number is not finite.
        UsageError: for a layer that has no friendly form, or a training that diverges.

    References:
        Gilad-Bachrach et al. 2016 (CryptoNets: squares and average pooling), section 3.1; Loshchilov and Hutter 2019.
    """
    if not len(x) or len(x) != len(y):
        raise DataError("there must be as many labels as rows, at least one", hint="give one label a row")
    rows = torch.from_numpy(np.array(x, dtype=np.float32))
    if not bool(rows.isfinite().all()):
        raise DataError("rows hold a number that is not finite", hint="drop or fill these rows")
    classified = np.issubdtype(np.asarray(y).dtype, np.integer)
    labels = torch.from_numpy(np.array(y, dtype=np.int64 if classified else np.float32))
    with one_thread():
        tuned = _swapped(model, rows[:_ROWS_LOOKED_AT], settings)
        _tune(tuned, rows, labels, settings=settings, seeds=seeds, progress=progress)
    return tuned.eval()


def _swapped(model: nn.Sequential, rows: Tensor, settings: FriendlySettings) -> nn.Sequential:
    """The copy with friendly layers; each is fitted to what comes in through those before it."""
    layers: list[nn.Module] = []
    with torch.no_grad():
        for name, layer in _flat(copy.deepcopy(model).eval()):
            new = _friendly_layer(layer, rows, name=name, settings=settings)
            if new is None:
                continue
            if isinstance(new, Square) and not isinstance(layer, Square):
                rows = _scaled_front(layers, rows)
            layers.append(new)
            rows = new(rows)
    return nn.Sequential(*layers)


def _flat(model: nn.Module, place: str = "") -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, layer in model.named_children():
        where = f"{place}{name}"
        found += _flat(layer, f"{where}.") if isinstance(layer, nn.Sequential) else [(where, layer)]
    return found


def _friendly_layer(layer: nn.Module, rows: Tensor, *, name: str, settings: FriendlySettings) -> nn.Module | None:
    match layer:
        case nn.Dropout() | nn.Identity():
            return None
        case nn.MaxPool2d():
            if layer.dilation not in (1, (1, 1)) or layer.ceil_mode or layer.return_indices:
                raise UsageError(
                    "maximum pooling with dilation, rounded up or with indices has no average in its place",
                    where=name,
                    hint="use nn.AvgPool2d",
                )
            return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)
        case nn.ReLU() | nn.Tanh() | nn.Sigmoid() | nn.GELU():
            if settings.activation == "square":
                return Square()
            return _fitted(layer, rows, settings)
        case (
            nn.Linear()
            | nn.Conv2d()
            | nn.BatchNorm1d()
            | nn.BatchNorm2d()
            | nn.AvgPool2d()
            | nn.Flatten()
            | Square()
            | PolynomialActivation()
        ):
            return layer
        case _:
            raise UsageError(
                f"{type(layer).__name__} has no form that can be computed on ciphertexts",
                where=name,
                hint="build the model of Linear, Conv2d, AvgPool2d, MaxPool2d, Flatten, BatchNorm and activations",
            )


def kind_of(layer: nn.Module) -> Kind | None:
    """The name of a torch activation; None for anything else."""
    match layer:
        case nn.ReLU():
            return "relu"
        case nn.Tanh():
            return "tanh"
        case nn.Sigmoid():
            return "sigmoid"
        case nn.GELU():
            return "gelu" if layer.approximate == "none" else "gelu-tanh"
        case _:
            return None


def _fitted(layer: nn.Module, rows: Tensor, settings: FriendlySettings) -> PolynomialActivation:
    kind = kind_of(layer)
    if kind is None:
        raise TypeError(f"{type(layer).__name__} is no activation")
    values = rows.double().numpy()
    low, high = float(values.min()), float(values.max())
    wide = 0.1 * (high - low) or 1.0
    fit = fit_polynomial(
        lambda place: activation_values(kind, place),
        (low - wide, high + wide),
        degree=settings.degree,
        sample=values,
        what=kind,
    )
    return PolynomialActivation(fit.polynomial.powers, trainable=settings.activation == "polynomial")


def _scaled_front(layers: list[nn.Module], rows: Tensor) -> Tensor:
    """Scale the last layer so that the squares of what it gives are about 1; what it then gives."""
    front = layers[-1] if layers else None
    size = float(rows.square().mean().sqrt())
    if not isinstance(front, (nn.Linear, nn.Conv2d)) or size == 0.0:
        return rows
    for parameter in front.parameters():
        parameter.mul_(1.0 / size)
    return rows / size


def _tune(
    model: nn.Sequential, x: Tensor, y: Tensor, *, settings: FriendlySettings, seeds: Seeds, progress: Progress
) -> None:
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [value for value in parameters if value.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    batches = math.ceil(len(y) / settings.batch)
    total = batches * settings.epochs
    order = seeds.numpy("friendly.order")
    progress.start("fine-tuning", total)
    model.train()
    step, detail = 0, ""
    for epoch in range(settings.epochs):
        losses = 0.0
        for rows in np.array_split(order.permutation(len(y)), batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate((step + 0.5) / total)
            index = torch.from_numpy(rows)
            loss = _loss(model(x[index]), y[index])
            if not bool(loss.isfinite()):
                raise UsageError("fine-tuning diverged", hint="choose a smaller learning_rate or gradient_norm")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_norm)
            optimizer.step()
            step += 1
            losses += float(loss.detach())
            progress.advance(step, detail)
        detail = f"loss {losses / batches:.4f} after epoch {epoch + 1}"
    progress.finish(detail)


def _loss(outputs: Tensor, y: Tensor) -> Tensor:
    if y.dtype == torch.int64:
        return functional.cross_entropy(outputs, y)
    return functional.mse_loss(outputs, y.reshape(outputs.shape))


def _rate(done: float) -> float:
    """The learning rate's share of the highest: a third of the way up, then down to 0 (Smith 2018)."""
    return 3.0 * done if done < 1 / 3 else 1.5 * (1.0 - done)
