"""How deep a program is: the levels that each layer uses up, and which one a limit breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardline.core import UsageError
from wardline.core.checks import at_least
from wardline.he.compiler.layers import Activation, Layer, Polynomial
from wardline.he.compiler.merging import adds_only
from wardline.he.compiler.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDepth:
    """Levels of one layer.

    Attributes:
        name: of the layer.
        levels: that it uses up.
        products: whether it multiplies ciphertexts, and so needs keys to relinearise.
        total: levels used up once it is done.
    """

    name: str
    levels: int
    products: bool
    total: int


def layer_levels(layer: Layer) -> int:
    """Multiplications one after the other, by a weight or of two ciphertexts, each of which uses up a level.

    A linear map takes one, and none if it only adds and subtracts. x^2 + c takes one, any other polynomial of degree 2
    or 3 two: x^2 and the multiples of x side by side, then (a x + b) x^2 with all that is lower added, or (a x + b) x.
    Degree 4 takes two if its last coefficient is 1 or -1, as x^2 (x^2 + b x + c), else three.

    Raises:
        UsageError: for an activation that is no polynomial yet.
    """
    match layer:
        case Activation():
            raise UsageError(
                f"{layer.kind} is no polynomial",
                where=layer.name,
                hint="put a polynomial in its place with fit_activations, or train with he.friendly",
            )
        case Polynomial(degree=1):
            return 1
        case Polynomial():
            powers = layer.powers
            monic = abs(powers[-1]) == 1.0
            if layer.degree == 2:
                return 1 if monic and powers[1] in (-1.0, 0.0, 1.0) else 2
            return math.ceil(math.log2(layer.degree)) + (layer.degree == 4 and not monic)
        case _:
            return 0 if adds_only(layer) else 1


def depth_of(program: Program, *, limit: int | None = None) -> tuple[LayerDepth, ...]:
    """Levels of every layer of a program.

    Args:
        program: simplified, or levels are counted that could be spared.
        limit: the most that there may be, at least 0; None for no limit. Beyond what parameters bear, ciphertexts
            would have to be bootstrapped, which is not done here.

    Raises:
        UsageError: naming the layer that breaks the limit, or an activation that is no polynomial.
    """
    if limit is not None:
        at_least("limit", limit, 0)
    found: list[LayerDepth] = []
    total = 0
    for layer in program.layers:
        levels = layer_levels(layer)
        total += levels
        if limit is not None and total > limit:
            needed = total + sum(map(layer_levels, program.layers[len(found) + 1 :]))
            raise UsageError(
                f"layer {len(found) + 1} of {len(program.layers)} needs level {total} and there are {limit}; all layers"
                f" need {needed}",
                where=layer.name,
                hint="use fewer layers or activations of a lower degree, or split the model and run its first layers "
                "in the clear",
            )
        products = isinstance(layer, Polynomial) and layer.degree > 1
        found.append(LayerDepth(name=layer.name, levels=levels, products=products, total=total))
    return tuple(found)
