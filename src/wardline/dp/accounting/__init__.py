"""What mechanisms cost: events, their composition, and the noise for a wanted epsilon."""

from __future__ import annotations

from wardline.dp.accounting.calibration import calibrate, calibrate_noise
from wardline.dp.accounting.events import (
    ApproximateDp,
    DiscreteLaplace,
    DpEvent,
    PoissonGaussian,
    PureDp,
    ZeroConcentrated,
    event_from_json,
    event_to_json,
)
from wardline.dp.accounting.pld import compose, compose_delta, delta_spent, epsilon_spent

__all__ = [
    "ApproximateDp",
    "DiscreteLaplace",
    "DpEvent",
    "PoissonGaussian",
    "PureDp",
    "ZeroConcentrated",
    "calibrate",
    "calibrate_noise",
    "compose",
    "compose_delta",
    "delta_spent",
    "epsilon_spent",
    "event_from_json",
    "event_to_json",
]
