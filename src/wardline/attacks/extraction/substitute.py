"""Networks that are trained on another model's answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wardline.attacks.extraction.theft import Theft
from wardline.attacks.protocol.spec import InputSpec
from wardline.core import Seeds
from wardline.models import Architecture, Cnn, Mlp, Network, build, torch_generator
from wardline.models.predictor import Inputs
from wardline.models.torch_predictor import TorchPredictor

_BATCH = 64

Floats = npt.NDArray[np.float32]


class Substitute(nn.Module):
    """A network behind a fixed scaling of inputs to [-1, 1] by the bounds that the specification gives.

    Args:
        network: reads flat rows.
        spec: of the inputs.
    """

    low: Tensor
    width: Tensor

    def __init__(self, network: Network, spec: InputSpec) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("low", torch.from_numpy(np.ravel(spec.low).copy()))
        self.register_buffer("width", torch.from_numpy(np.ravel(spec.high) - np.ravel(spec.low)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs [rows, ...]."""
        logits: Tensor = self.network(2 * (x.flatten(1) - self.low) / self.width - 1)
        return logits


class Flat(nn.Module):
    """A network that reads flat rows, for inputs of any shape.

    Args:
        network: reads flat rows.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs [rows, ...]."""
        logits: Tensor = self.network(x.flatten(1))
        return logits


def default_architecture(spec: InputSpec, *, classes: int) -> Architecture:
    """A network that somebody would guess who knows the inputs alone: convolutions for images, else one layer."""
    if len(spec.shape) == 3:
        channels, height, width = spec.shape
        return Cnn(shape=(channels, height, width), channels=(16, 32), hidden=64, classes=classes)
    return Mlp(inputs=spec.features, hidden=(128,), classes=classes)


def train_substitute(
    x: Inputs, answers: Floats, *, architecture: Architecture, spec: InputSpec, steps: int, seeds: Seeds
) -> Substitute:
    """Train a fresh network to give these answers.

    The loss is the cross-entropy with the whole answer, so that scores teach more than labels (Hinton et al. 2015).
    Adam's rate falls linearly to 0.

    Args:
        x: questions, [rows, ...].
        answers: probabilities, [rows, classes].
        architecture: of the network; it reads as many columns as an input has numbers.
        spec: of the inputs.
        steps: of the optimiser, each with up to 64 rows.
        seeds: of initial weights and order.
    """
    network = build(architecture, generator=torch_generator(seeds, "substitute.init"))
    module = Substitute(network, spec)
    rate = 1e-3 if isinstance(architecture, Cnn) else 3e-3
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    rng = seeds.numpy("substitute.order")
    rows, taught = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(answers)
    order = np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) == 0:
            order = rng.permutation(len(x))
        chosen, order = torch.from_numpy(order[:_BATCH]), order[_BATCH:]
        loss = functional.cross_entropy(module(rows[chosen]), taught[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return module.eval()


def hand_in_copy(theft: Theft, *, architecture: Architecture | None, steps: int, stream: str) -> Substitute:
    """Train a copy on every answer so far, and hand it in.

    Args:
        theft: the attempt.
        architecture: of the copy; None takes the default for such inputs.
        steps: of its training, at least 1.
        stream: names the randomness of this copy.
    """
    x, answers = theft.transcript()
    copy = train_substitute(
        x,
        answers,
        architecture=architecture or default_architecture(theft.spec, classes=theft.classes),
        spec=theft.spec,
        steps=steps,
        seeds=theft.seeds.child(stream),
    )
    theft.hand_in(TorchPredictor(copy, classes=theft.classes))
    return copy
