"""Activations in torch that can be computed on ciphertexts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wardline.he.compiler.layers import HIGHEST_DEGREE


class Square(nn.Module):
    """The square of every number: the cheapest activation there is, one product and one level."""

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of any shape, squared."""
        return x * x


class PolynomialActivation(nn.Module):
    """One polynomial of every number, its coefficients trained or fixed.

    Args:
        coefficients: of 1, x, x^2, ..., degree 1 to 4.
        trainable: whether they are parameters of the module, or fixed.

    Raises:
        ValueError: for another degree.
    """

    def __init__(self, coefficients: Sequence[float], *, trainable: bool = True) -> None:
        super().__init__()
        if not 2 <= len(coefficients) <= HIGHEST_DEGREE + 1:
            raise ValueError(f"a polynomial activation has degree 1 to {HIGHEST_DEGREE}")
        values = torch.tensor([float(one) for one in coefficients], dtype=torch.get_default_dtype())
        self.coefficients = nn.Parameter(values, requires_grad=trainable)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of any shape, each put into the polynomial."""
        result = self.coefficients[-1].expand_as(x)
        for coefficient in self.coefficients.flip(0)[1:]:
            result = result * x + coefficient
        return result
