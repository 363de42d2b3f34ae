"""Where training stands, as bytes: safetensors with a step and the digest of what is being trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from wardline.core import IntegrityError
from wardline.dp.training._layers import parts_by_name
from wardline.models import Network, pack_tensors, unpack_tensors

_SCHEMA = "wardline.checkpoint/1"
_PIECE = 1 << 14


class State:
    """What the next step depends on: post-processing of noisy sums and nothing else.

    Parameters, momentum and average are one vector each, in the order of the network's parameters, so that a step
    is a handful of operations whatever the network. The network's parameters become parts of the first.

    There is no random state in it. A stored key or seed would let whoever reads the file draw the noise again and
    subtract it; and a run that went back to it would put equal noise on different sums, whose difference is bare.
    """

    def __init__(self, network: Network) -> None:
        self.step = 0
        self._shapes = {name: value.shape for name, value in network.named_parameters()}
        self.parameters = torch.cat([value.detach().flatten() for value in network.parameters()])
        self.momentum = torch.zeros_like(self.parameters)
        self.average = torch.zeros_like(self.parameters)
        self._flat = [one.numpy() for one in (self.parameters, self.momentum, self.average)]
        for parameter, part in zip(network.parameters(), self.named(self.parameters).values(), strict=True):
            parameter.data = part

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Parts of a vector by the names of the parameters that they belong to; they share its memory."""
        return parts_by_name(flat, self._shapes)

    def descend(
        self, noisy_sum: Tensor, *, scale: float, learning_rate: float, momentum: float, averaged_from: int
    ) -> None:
        """One step of gradient descent.

        Args:
            noisy_sum: the sum of gradients, already private. It is used up.
            scale: what makes a mean of it.
            learning_rate: how far to go.
            momentum: share of the last direction that is kept.
            averaged_from: the steps after this one enter the average.
        """
        self.step += 1
        weight = 1.0 / (self.step - averaged_from) if self.step > averaged_from else 0.0
        flat = [noisy_sum.numpy(), *self._flat]
        # In NumPy, whose calls cost less than torch's, and in pieces that stay near the processor from one line to the
        # next. Divergence is looked for, and told, where checkpoints are made.
        for start in range(0, len(flat[0]), _PIECE):
            change, parameters, velocity, average = (one[start : start + _PIECE] for one in flat)
            change *= scale * learning_rate
            velocity *= momentum
            velocity += change
            parameters -= velocity
            if weight:
                np.subtract(parameters, average, out=change)
                change *= weight
                average += change

    def finite(self) -> bool:
        """Whether every parameter still is a number."""
        return bool(self.parameters.isfinite().all())

    def to_bytes(self, run: str) -> bytes:
        """The state as bytes, bound to the run with this digest."""
        tensors = {f"{part}/{name}": value.numpy() for part, values in self._parts() for name, value in values.items()}
        return pack_tensors(tensors, metadata={"schema": _SCHEMA, "run": run, "step": str(self.step)})

    def read(self, data: bytes, *, run: str, steps: int) -> None:
        """Take over what `to_bytes` wrote; nothing changes if it is refused.

        Raises:
            IntegrityError: if the bytes are damaged, are not a checkpoint, or belong to another run.
        """
        shapes = {
            f"{part}/{name}": tuple(value.shape) for part, values in self._parts() for name, value in values.items()
        }
        tensors, metadata = unpack_tensors(data, shapes=shapes, where="checkpoint")
        if set(metadata) != {"schema", "run", "step"} or metadata["schema"] != _SCHEMA:
            raise _refused("it is not a checkpoint of this format")
        if metadata["run"] != run:
            raise _refused("it belongs to a run with other settings")
        text = metadata["step"]
        if not (text.isascii() and text.isdigit() and len(text) < 16 and str(int(text)) == text):
            raise _refused("its step is not a number")
        if int(text) > steps:
            raise _refused("it is beyond the last step")
        self.step = int(text)
        for part, values in self._parts():
            for name, value in values.items():
                value.copy_(torch.from_numpy(tensors[f"{part}/{name}"]))

    def _parts(self) -> tuple[tuple[str, Mapping[str, Tensor]], ...]:
        return tuple((part, self.named(getattr(self, part))) for part in ("parameters", "momentum", "average"))


def _refused(reason: str) -> IntegrityError:
    return IntegrityError(
        f"not a checkpoint to go on from: {reason}",
        where="checkpoint",
        hint="delete it and train from the start, which charges the budget anew",
    )
