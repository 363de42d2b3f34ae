"""How long a plan will take, roughly: so that a person knows whether to wait or to go home.

Counts multiplications and divides by what one core of an ordinary machine was seen to do (1e10 floating-point
operations a second for these sizes). Good to a factor of about three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import assert_never

from wardline.models.architecture import Architecture, Cnn, Logistic, Mlp, ResNet, parameter_count, residual_blocks
from wardline.plan.plan import Plan

_SECONDS_PER_MULTIPLICATION = 6e-10  # multiply and add; forward, and twice as much backward
_SECONDS_PER_STEP = 1e-3  # of Python and small tensors, whatever the size
_SECONDS_PER_GAUSSIAN = 1e-8
_REFERENCE_ROWS = 10_000
_CONTROL_ROWS = 64_000  # rows that the memorising control reads, about 500 steps of 128
_STACKED_CONVOLUTIONS = 4  # convolutions with a weight for each model run that much slower


def expected_seconds(plan: Plan) -> Mapping[str, float]:
    """Seconds for each step that takes any, by the step's id."""
    row = _multiplications(plan.architecture)
    train, baseline = _trainings(plan, row)
    seconds = {"train": train, "baseline": baseline}
    if plan.membership is not None:
        rows = plan.baseline.epochs * min(plan.facts.train_rows, _REFERENCE_ROWS) + _CONTROL_ROWS
        slower = _STACKED_CONVOLUTIONS if isinstance(plan.architecture, Cnn) else 1
        seconds["membership"] = plan.membership.references * rows * row * slower * _SECONDS_PER_MULTIPLICATION + 1.0
    if plan.audit is not None:
        # A twin of either training, in which every row also has a column for each canary.
        seconds["audit"] = sum(_trainings(plan, row + 2 * plan.audit.canaries * len(plan.facts.classes)))
    return seconds


def _trainings(plan: Plan, multiplications: float) -> tuple[float, float]:
    """Seconds of the protected and of the plain training, with so many multiplications for a row's prediction."""
    training, rows = plan.training, plan.facts.train_rows
    row = multiplications * _SECONDS_PER_MULTIPLICATION
    noise = parameter_count(plan.architecture) * _SECONDS_PER_GAUSSIAN
    protected = training.steps * (training.sample_rate * rows * row + noise + _SECONDS_PER_STEP)
    plain = plan.baseline.epochs * rows * (row + _SECONDS_PER_STEP / plan.baseline.batch)
    return protected, plain


def _multiplications(architecture: Architecture) -> float:
    """Multiplications for one row's prediction."""
    match architecture:
        case Logistic():
            return architecture.inputs * architecture.classes
        case Mlp():
            widths = (architecture.inputs, *architecture.hidden, architecture.classes)
            return sum(one * following for one, following in pairwise(widths))
        case Cnn():
            channels, height, width = architecture.shape
            total = 0
            for following in architecture.channels:
                total += 9 * channels * following * height * width
                channels, height, width = following, height // 2, width // 2
            dense = channels * height * width * architecture.hidden
            return total + dense + architecture.hidden * architecture.classes
        case ResNet():
            return _residual_multiplications(architecture)
        case _:
            assert_never(architecture)


def _residual_multiplications(architecture: ResNet) -> float:
    channels, height, width = (
        architecture.shape[0],
        -(-architecture.shape[1] // architecture.stride),
        -(-architecture.shape[2] // architecture.stride),
    )
    total = 9 * channels * architecture.channels[0] * height * width
    for block in residual_blocks(architecture):
        height, width = -(-height // block.stride), -(-width // block.stride)
        shortcut = block.inputs if block.inputs != block.outputs or block.stride != 1 else 0
        total += (9 * (block.inputs + block.outputs) + shortcut) * block.outputs * height * width
    return total + architecture.channels[-1] * architecture.classes


def told(seconds: float) -> str:
    """A duration as one would say it, one digit."""
    if seconds < 1:
        return "less than a second"
    scale = 10 ** math.floor(math.log10(seconds))
    rounded = round(seconds / scale) * scale
    return f"about {rounded} s" if rounded < 120 else f"about {round(seconds / 60)} minutes"
