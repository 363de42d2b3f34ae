"""What a differentially private training run is told. Nothing in it may depend on the data's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wardline.core.checks import at_least, positive, probability

LARGEST_LEARNING_RATE = 1e30
"""Beyond it, the 32-bit arithmetic of a step overflows whatever the data is."""

Unit = Literal["row", "person"]
"""What one participant contributes: a row, or all rows of a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DpSgdConfig:
    """The parameters of DP-SGD; `default_config` derives them.

    The first eight decide about privacy or train the model; all of them are public, so none may be chosen by
    looking at the data that is trained on, unless that look is charged as well.

    Attributes:
        epsilon: what the whole training run may cost, above 0.
        delta: the probability with which epsilon may not hold, in (0, 1); well below 1 / units.
        clip_norm: the most that one unit's gradient may measure, in Euclidean norm; above 0.
        noise_multiplier: standard deviation of the noise on a step's gradient sum, in units of clip_norm; above 0.
        sample_rate: probability with which a unit joins a step, in (0, 1].
        steps: how many noisy steps are taken, at least 1.
        learning_rate: how far a step goes, per unit of the mean clipped gradient; above 0, at most 1e30.
        momentum: share of the last step's direction that is kept, in [0, 1). Post-processing.
        unit: whose privacy is protected.
        max_rows_per_unit: the most rows that a unit may have, at least 1; 1 if the unit is a row.

    Raises:
        ValueError: for a figure out of range. A noise multiplier of 0 is one: there is no private run without noise.
    """

    epsilon: float
    delta: float
    clip_norm: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    learning_rate: float
    momentum: float = 0.0
    unit: Unit = "row"
    max_rows_per_unit: int = 1

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon)
        probability("delta", self.delta)
        positive("clip_norm", self.clip_norm)
        positive("noise_multiplier", self.noise_multiplier)
        check_learning_rate(self.learning_rate)
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be above 0 and at most 1, not {self.sample_rate}")
        at_least("steps", self.steps, 1)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        check_unit(self.unit, self.max_rows_per_unit)


def check_learning_rate(value: float) -> None:
    """Refuse a learning rate that is not above 0 or that overflows by itself.

    Raises:
        ValueError: if it is out of range.
    """
    if positive("learning_rate", value) > LARGEST_LEARNING_RATE:
        raise ValueError(f"learning_rate must be at most {LARGEST_LEARNING_RATE:g}, not {value}")


def check_unit(unit: Unit, max_rows_per_unit: int) -> None:
    """Refuse a privacy unit that there is not, or rows that do not go with it.

    Raises:
        ValueError: if one of them is out of range.
    """
    if unit not in ("row", "person"):
        raise ValueError("unit must be row or person")
    at_least("max_rows_per_unit", max_rows_per_unit, 1)
    if unit == "row" and max_rows_per_unit != 1:
        raise ValueError("max_rows_per_unit must be 1 if the privacy unit is a row")
