"""What a split model gives to whom, as data that can be shown, kept and compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wardline.core.canonical import to_json
from wardline.he.compiler.layers import Activation, Polynomial
from wardline.he.compiler.program import Program

FEW_ROWS = 10_000
"""A back that fewer metered rows than this determine is warned of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """Who learns what.

    Attributes:
        front_parameters: numbers that every client gets in the clear.
        back_parameters: numbers that stay at the server.
        front_share: of all parameters, those that clients get: 0 to 1.
        features: numbers that are encrypted for a row.
        rows_to_determine: metered rows after which a client can solve for the back, whatever the server does; of a back
            with polynomials the fewer of its parameters and of the terms that its outputs have.
        client_gets: what a client learns.
        server_never_sees: what the server does not.
        warnings: what to think of before it is used; none where there is nothing.
    """

    front_parameters: int
    back_parameters: int
    front_share: float
    features: int
    rows_to_determine: int
    client_gets: tuple[str, ...]
    server_never_sees: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: to_json(getattr(self, name)) for name in self.__slots__}

    def __str__(self) -> str:
        lines = [
            f"front: {self.front_parameters} parameters, {self.front_share:.1%} of the model, in the clear at clients",
            f"back: {self.back_parameters} parameters on ciphertexts of {self.features} features a row; "
            f"{self.rows_to_determine} metered rows determine it",
            *(f"clients get {one}" for one in self.client_gets),
            *(f"the server never sees {one}" for one in self.server_never_sees),
            *(f"warning: {one}" for one in self.warnings),
        ]
        return "\n".join(lines)


def leakage_of(*, front_parameters: int, back_parameters: int, back: Program) -> Leakage:
    """What a model gives away once it is cut so.

    Args:
        front_parameters: numbers of the front.
        back_parameters: numbers of the back.
        back: what is computed on ciphertexts.
    """
    rows = rows_to_determine(back, back_parameters)
    total = front_parameters + back_parameters
    share = front_parameters / total if total else 0.0
    warnings = []
    if rows <= FEW_ROWS:
        warnings.append(
            f"{rows} scores determine the back: with the front in hand, a client that may ask for so many rows has the "
            "whole model. Cut the model earlier, allow fewer rows, or count on the copy"
        )
    if share > 0.5:
        warnings.append(
            f"{share:.0%} of the parameters are given away: another back on this front is trained with few rows"
        )
    return Leakage(
        front_parameters=front_parameters,
        back_parameters=back_parameters,
        front_share=share,
        features=back.inputs,
        rows_to_determine=rows,
        client_gets=(
            "the whole front in the clear: layers and weights",
            "the extremes of the sample's features, widened by the margin of the compiled back",
            "rounded outputs of the back for every row that is charged",
        ),
        server_never_sees=("rows, features or outputs, which are encrypted under the client's key",),
        warnings=tuple(warnings),
    )


def rows_to_determine(back: Program, parameters: int) -> int:
    """After so many rows of a client's choice their outputs determine the back."""
    degree = 1
    for layer in back.layers:
        if isinstance(layer, Activation):
            return parameters  # no polynomial yet: as many equations as unknowns
        degree *= layer.degree if isinstance(layer, Polynomial) else 1
    return min(math.comb(back.inputs + degree, degree), parameters) if degree > 1 else back.inputs + 1
