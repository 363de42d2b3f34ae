"""Room `dp`: differentially private training, its accounting, and the ledger of what was spent.

Names are loaded when first used: the ledger and the accountant do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wardline.core.extras import need

if TYPE_CHECKING:
    from wardline.dp.accounting import DpEvent, calibrate_noise, compose, delta_spent, epsilon_spent
    from wardline.dp.config import DpSgdConfig, Unit
    from wardline.dp.defaults import TrainingOverrides, default_config
    from wardline.dp.gradients import clipped_gradient_sum
    from wardline.dp.ledger import Charge, Entry, Head, Ledger, Limit, Release, Spent, dataset_key
    from wardline.dp.noise import noisy_sum
    from wardline.dp.plain import PlainConfig, default_plain_config, train_plain
    from wardline.dp.sampling import UnitRows, poisson_sample
    from wardline.dp.training import CheckpointStore, train_dp, training_claim

_HOMES = {
    "Charge": "ledger",
    "CheckpointStore": "training",
    "DpEvent": "accounting",
    "DpSgdConfig": "config",
    "Entry": "ledger",
    "Head": "ledger",
    "Ledger": "ledger",
    "Limit": "ledger",
    "PlainConfig": "plain",
    "Release": "ledger",
    "Spent": "ledger",
    "TrainingOverrides": "defaults",
    "Unit": "config",
    "UnitRows": "sampling",
    "calibrate_noise": "accounting",
    "clipped_gradient_sum": "gradients",
    "compose": "accounting",
    "dataset_key": "ledger",
    "default_config": "defaults",
    "default_plain_config": "plain",
    "delta_spent": "accounting",
    "epsilon_spent": "accounting",
    "noisy_sum": "noise",
    "poisson_sample": "sampling",
    "train_dp": "training",
    "train_plain": "plain",
    "training_claim": "training",
}

__all__ = [
    "Charge",
    "CheckpointStore",
    "DpEvent",
    "DpSgdConfig",
    "Entry",
    "Head",
    "Ledger",
    "Limit",
    "PlainConfig",
    "Release",
    "Spent",
    "TrainingOverrides",
    "Unit",
    "UnitRows",
    "calibrate_noise",
    "clipped_gradient_sum",
    "compose",
    "dataset_key",
    "default_config",
    "default_plain_config",
    "delta_spent",
    "epsilon_spent",
    "noisy_sum",
    "poisson_sample",
    "train_dp",
    "train_plain",
    "training_claim",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(need(f"wardline.dp.{_HOMES[name]}", extra="dp"), name)
