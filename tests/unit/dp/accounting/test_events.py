"""Events: what they hold, what they refuse, and their form in a ledger."""

from __future__ import annotations

import json
import math

import pytest

from wardline.core import canonical_json
from wardline.dp.accounting import (
    ApproximateDp,
    DiscreteLaplace,
    DpEvent,
    PoissonGaussian,
    PureDp,
    ZeroConcentrated,
    event_from_json,
    event_to_json,
)

EVENTS: list[DpEvent] = [
    PoissonGaussian(sample_rate=0.0052123456789, noise_multiplier=1.11837, steps=1908),
    PureDp(epsilon=0.1),
    DiscreteLaplace(scale=12.5, sensitivity=3, steps=2),
    ApproximateDp(epsilon=0, delta=1e-7),
    ZeroConcentrated(rho=0.005, steps=4),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.kind)
def test_an_event_survives_json(event: DpEvent) -> None:
    told = json.loads(canonical_json(event))
    assert told == json.loads(json.dumps(event_to_json(event)))
    assert told["kind"] == event.kind
    assert event_from_json(told) == event
    assert type(event_from_json(told)) is type(event)


def test_the_first_version_of_a_ledger_is_still_read() -> None:
    written = {"kind": "poisson-gaussian", "noise_multiplier": 1.2, "sample_rate": 0.05, "steps": 200}
    assert event_from_json(written) == PoissonGaussian(sample_rate=0.05, noise_multiplier=1.2, steps=200)


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.kind)
def test_a_strange_event_is_refused(event: DpEvent) -> None:
    told = event_to_json(event)
    for changes in ({"kind": "cauchy"}, {"kind": None}, {"kind": ["pure"]}, {"extra": 1}, {"steps": "2"}):
        with pytest.raises((ValueError, TypeError)):
            event_from_json({**told, **changes})
    for name in told:
        with pytest.raises(ValueError, match="kind"):
            event_from_json({key: value for key, value in told.items() if key != name})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (PureDp, {"epsilon": 0}),
        (PureDp, {"epsilon": math.inf}),
        (PureDp, {"epsilon": math.nan}),
        (PureDp, {"epsilon": 1.0, "steps": 0}),
        (PureDp, {"epsilon": 1.0, "steps": True}),
        (DiscreteLaplace, {"scale": 0}),
        (DiscreteLaplace, {"scale": -2.0}),
        (DiscreteLaplace, {"scale": 2.0, "sensitivity": 0}),
        (DiscreteLaplace, {"scale": 1e-300, "sensitivity": 10**9}),
        (ApproximateDp, {"epsilon": -0.1, "delta": 0.1}),
        (ApproximateDp, {"epsilon": 1.0, "delta": 1.0}),
        (ApproximateDp, {"epsilon": 1.0, "delta": -1e-9}),
        (ApproximateDp, {"epsilon": 1.0, "delta": math.nan}),
        (ZeroConcentrated, {"rho": 0.0}),
        (ZeroConcentrated, {"rho": math.inf}),
    ],
)
def test_figures_outside_of_their_range_are_refused(kind: type[DpEvent], values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        kind(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1.5, "3", None])
@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.kind)
def test_steps_are_whole_numbers(event: DpEvent, steps: object) -> None:
    values = {name: value for name, value in event_to_json(event).items() if name != "kind"}
    with pytest.raises(TypeError):
        type(event)(**{**values, "steps": steps})
