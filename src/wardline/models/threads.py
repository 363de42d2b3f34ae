"""How many threads torch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and as many as before afterwards.

    The matrices of tabular models are so small that handing out their rows costs more than multiplying them.
    On a machine that does something else as well it is worse: OpenMP's threads wait for each other by spinning,
    and a whole run on two contended cores was measured to take eight times as long as on one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
