"""Accounting: Wardline's composition beside dp-accounting, the PRV accountant and Opacus, in one run.

    OMP_NUM_THREADS=1 python benchmarks/accounting.py

First, training runs of 2000 steps and thereabouts: the epsilon that each accountant gives, and its time. Smaller is
tighter; all but PRV's estimate are upper bounds. "Best" is the smallest of dp-accounting's at the finer grid and PRV's
upper end with a tolerance of 0.01. Then 1000 releases of different kinds with different parameters, which only
dp-accounting composes as well (without its zero-concentrated ones, which it does not know).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant, common, privacy_loss_distribution
from opacus.accountants import RDPAccountant
from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

from wardline.dp.accounting import (
    ApproximateDp,
    DiscreteLaplace,
    DpEvent,
    PoissonGaussian,
    PureDp,
    ZeroConcentrated,
    compose,
)
from wardline.dp.accounting.pld import _epsilon
from wardline.dp.accounting.renyi import _log_moment, renyi

SETTINGS = [  # sample_rate, noise_multiplier, steps, delta
    (0.0052, 1.0, 1908, 1e-5),
    (0.0052, 0.6, 1908, 1e-5),
    (0.01, 0.8, 2000, 1e-6),
    (0.05, 1.2, 2000, 1e-5),
    (0.001, 0.5, 2000, 1e-6),
    (0.2, 3.0, 2000, 1e-7),
    (0.01, 4.0, 2000, 1e-8),
    (0.5, 30.0, 2000, 1e-5),
]
MIXED, DELTA, GRID = 1000, 1e-5, 1e-3


def forget() -> None:
    """Empty the caches of figures, so that each call computes."""
    for cached in (_epsilon, _log_moment, renyi):
        cached.cache_clear()


def timed(work: Callable[[], float], repeats: int = 3) -> tuple[float, float]:
    """The result, and the best time of a few runs: the least disturbed one."""
    best, found = float("inf"), 0.0
    for _ in range(repeats):
        forget()
        began = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - began)
    return found, best


def pld(setting: tuple[float, float, int, float], interval: float) -> float:
    rate, noise, steps, delta = setting
    accountant = PLDAccountant(
        dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=interval
    )
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    accountant.compose(event, steps)
    return float(accountant.get_epsilon(delta))


def prv(setting: tuple[float, float, int, float]) -> float:
    rate, noise, steps, delta = setting
    mechanism = PoissonSubsampledGaussianMechanism(sampling_probability=rate, noise_multiplier=noise)
    accountant = PRVAccountant(
        prvs=[mechanism], max_self_compositions=[steps], eps_error=0.01, delta_error=delta / 1000
    )
    return float(accountant.compute_epsilon(delta=delta, num_self_compositions=[steps])[2])


def opacus(setting: tuple[float, float, int, float]) -> float:
    rate, noise, steps, delta = setting
    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    return float(accountant.get_epsilon(delta=delta))


def ours(setting: tuple[float, float, int, float]) -> float:
    rate, noise, steps, delta = setting
    return compose([PoissonGaussian(sample_rate=rate, noise_multiplier=noise, steps=steps)], delta=delta)


def mixed(count: int) -> list[DpEvent]:
    """Releases of every kind, no two alike."""
    rng = np.random.default_rng(1)
    events: list[DpEvent] = []
    for index in range(count):
        size = float(rng.uniform(0.3, 3))
        events.append(
            (
                PureDp(epsilon=0.02 * size),
                DiscreteLaplace(scale=40 * size, sensitivity=int(rng.integers(1, 4))),
                ApproximateDp(epsilon=0.02 * size, delta=1e-9 * size),
                PoissonGaussian(
                    sample_rate=float(rng.uniform(0.001, 0.05)),
                    noise_multiplier=float(rng.uniform(0.8, 4)),
                    steps=int(rng.integers(1, 30)),
                ),
                ZeroConcentrated(rho=2e-4 * size),
            )[index % 5]
        )
    return events


def peer(events: Sequence[DpEvent]) -> float:
    """The same by dp-accounting, one release after the other."""
    library, total = privacy_loss_distribution, None
    for event in events:
        match event:
            case PureDp():
                parameters = common.DifferentialPrivacyParameters(event.epsilon, 0.0)
                one = library.from_privacy_parameters(parameters, value_discretization_interval=GRID)
            case ApproximateDp():
                parameters = common.DifferentialPrivacyParameters(event.epsilon, event.delta)
                one = library.from_privacy_parameters(parameters, value_discretization_interval=GRID)
            case DiscreteLaplace():
                one = library.from_discrete_laplace_mechanism(
                    1 / event.scale, sensitivity=event.sensitivity, value_discretization_interval=GRID
                )
            case PoissonGaussian():
                one = library.from_gaussian_mechanism(
                    event.noise_multiplier, sampling_prob=event.sample_rate, value_discretization_interval=GRID
                ).self_compose(event.steps)
            case ZeroConcentrated():
                raise TypeError("not known to dp-accounting")
        total = one if total is None else total.compose(one)
    return 0.0 if total is None else float(total.get_epsilon_for_delta(DELTA))


def main() -> None:
    warnings.simplefilter("ignore")
    packages = ", ".join(f"{name} {version(name)}" for name in ("dp-accounting", "prv-accountant", "opacus", "numpy"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {packages}\n")
    accountants: dict[str, Callable[[tuple[float, float, int, float]], float]] = {
        "Wardline": ours,
        "dp-accounting 1e-3": lambda one: pld(one, 1e-3),
        "dp-accounting 1e-4": lambda one: pld(one, 1e-4),
        "PRV upper": prv,
        "Opacus RDP": opacus,
    }
    print(f"| q, sigma, steps, delta | {' | '.join(accountants)} | Wardline / best |")
    print("| --- |" + " ---: |" * (len(accountants) + 1))
    for setting in SETTINGS:
        found = {}
        for name, accountant in accountants.items():
            with contextlib.redirect_stdout(io.StringIO()):
                found[name] = timed(partial(accountant, setting), 3 if name == "Wardline" else 1)
        best = min(found["dp-accounting 1e-4"][0], found["PRV upper"][0])
        cells = " | ".join(f"{value:.4f} ({seconds:.2f} s)" for value, seconds in found.values())
        print(
            f"| {', '.join(f'{one:g}' for one in setting)} | {cells} | {found['Wardline'][0] / best:.4f} |", flush=True
        )

    print(f"\n| {MIXED} mixed releases, delta {DELTA:g} | epsilon | seconds |\n| --- | ---: | ---: |")
    everything = mixed(MIXED)
    value, seconds = timed(lambda: compose(everything, delta=DELTA))
    print(f"| Wardline, five kinds | {value:.4f} | {seconds:.2f} |", flush=True)
    known = [event for event in everything if not isinstance(event, ZeroConcentrated)]
    value, seconds = timed(lambda: compose(known, delta=DELTA))
    print(f"| Wardline, without zero-concentrated ones | {value:.4f} | {seconds:.2f} |", flush=True)
    value, seconds = timed(lambda: peer(known), 1)
    print(f"| dp-accounting, the same, grid {GRID:g} | {value:.4f} | {seconds:.2f} |")
    alike = [dataclasses.replace(event, steps=200) for event in everything[:5]]
    value, seconds = timed(lambda: compose(alike, delta=DELTA))
    print(f"| Wardline, five kinds, 200 alike of each | {value:.4f} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
