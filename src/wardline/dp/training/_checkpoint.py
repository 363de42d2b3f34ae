"""Where training stands, as bytes: safetensors with a step and the digest of what is being trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wardline.core import IntegrityError
from wardline.models import pack_tensors, unpack_tensors

_SCHEMA = "wardline.checkpoint/1"


@dataclass(slots=True, kw_only=True)
class State:
    """What the next step depends on: post-processing of noisy sums and nothing else.

    There is no random state in it. A stored key or seed would let whoever reads the file draw the noise again and
    subtract it; and a run that went back to it would put equal noise on different sums, whose difference is bare.
    """

    step: int
    parameters: dict[str, Tensor]
    momentum: dict[str, Tensor]
    average: dict[str, Tensor]

    def finite(self) -> bool:
        """Whether every parameter still is a number."""
        return all(bool(value.isfinite().all()) for value in self.parameters.values())

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
        return ("parameters", self.parameters), ("momentum", self.momentum), ("average", self.average)


def _refused(reason: str) -> IntegrityError:
    return IntegrityError(
        f"not a checkpoint to go on from: {reason}",
        where="checkpoint",
        hint="delete it and train from the start, which charges the budget anew",
    )
