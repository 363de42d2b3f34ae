"""A torch module that charges a ledger for every row it is given."""

from __future__ import annotations

import torch
from torch import nn

from wardline.attacks.protocol.ledger import QueryLedger


class Metered(nn.Module):
    """Passes rows on to a module after charging for them; rows that carry a gradient count as differentiated.

    Args:
        module: what answers, in evaluation mode.
        ledger: what is charged.
    """

    def __init__(self, module: nn.Module, ledger: QueryLedger) -> None:
        super().__init__()
        self.module = module
        self.ledger = ledger
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The module's answers."""
        self.ledger.charge(len(x), gradients=x.requires_grad)
        answers: torch.Tensor = self.module(x)
        return answers
