"""What is decided before an audit: time, limits of the adversary, and what the model and its inputs are called."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wardline.attacks.protocol.spec import InputSpec, Spec
from wardline.core.checks import at_least, positive
from wardline.robust.ball import Norm
from wardline.run.audit_plan import SECONDS, Kind, Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """What the person who asks for an audit decides.

    Attributes:
        tier: how much time there is: 2, 10 or 60 minutes on two cores.
        norm: of the changes to numeric inputs that the adversary can make.
        radius: how large they can be, in the unit of the inputs, above 0; None derives it (see `default_radius`).
        tolerated: the success rate up to which the model counts as having withstood an attack on its inputs.
        seed: of all randomness.
        copied: the agreement with a copy up to which the model counts as not copied, in [0, 1).
        examples: the most examples that any attack is tried on.
        pictures: how many broken images the report shows. They are rows of the data: 0 keeps them out of the evidence.
        seconds: another time than the tier's; above 0.
    """

    tier: Tier = "quick"
    norm: Norm = "linf"
    radius: float | None = None
    tolerated: float = 0.0
    copied: float = 0.9
    seed: int = 0
    examples: int = 10_000
    pictures: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.tier not in SECONDS:
            raise ValueError(f"tier must be one of {', '.join(SECONDS)}")
        for name in ("radius", "seconds"):
            value = getattr(self, name)
            if value is not None:
                positive(name, value)
        at_least("examples", self.examples, 1)
        at_least("pictures", self.pictures, 0)
        for name in ("tolerated", "copied"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What stands in the evidence about the model itself.

    Attributes:
        where: what the person named: a path, an import path, an address.
        kind: what that is, in a few words.
        sha256: digest of its files; None where there are none.
    """

    where: str
    kind: str
    sha256: str | None = None


def kind_of_inputs(spec: Spec) -> Kind:
    """Which attacks suit these inputs: images have channels, height and width; texts are no numbers."""
    if not isinstance(spec, InputSpec):
        return "texts"
    if not spec.continuous:
        return "constrained rows"
    return "images" if len(spec.shape) == 3 else "rows"


def default_radius(spec: Spec, norm: Norm) -> float:
    """A radius that is customary for such inputs, in their unit.

    Images: at linf 8/255 of the range for colours and 0.1 for grey, at l2 0.5 and 1.5, at l1 12 and 10 (Croce et al.
    2021, RobustBench; Croce and Hein 2021). Tables: at linf a twentieth of the median range of a column, times the
    square root of their number at l2, times their number at l1.
    """
    if not isinstance(spec, InputSpec):
        return 0.0
    width = float(np.median(np.asarray(spec.high) - np.asarray(spec.low)))
    if len(spec.shape) == 3:
        colours = spec.shape[0] == 3
        table = {"linf": 8 / 255 if colours else 0.1, "l2": 0.5 if colours else 1.5, "l1": 12.0 if colours else 10.0}
        return table[norm] * width
    return 0.05 * width * {"linf": 1.0, "l2": math.sqrt(spec.features), "l1": float(spec.features)}[norm]
