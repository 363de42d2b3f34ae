"""Room `dp`: differentially private training, its accounting, and the ledger of what was spent.

Names are loaded when first used: the ledger and the accountant do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

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

__getattr__ = lazy(
    __name__,
    {
        "accounting": (
            "DpEvent",
            "calibrate_noise",
            "compose",
            "delta_spent",
            "epsilon_spent",
        ),
        "config": (
            "DpSgdConfig",
            "Unit",
        ),
        "defaults": (
            "TrainingOverrides",
            "default_config",
        ),
        "gradients": ("clipped_gradient_sum",),
        "ledger": (
            "Charge",
            "Entry",
            "Head",
            "Ledger",
            "Limit",
            "Release",
            "Spent",
            "dataset_key",
        ),
        "noise": ("noisy_sum",),
        "plain": (
            "PlainConfig",
            "default_plain_config",
            "train_plain",
        ),
        "sampling": (
            "UnitRows",
            "poisson_sample",
        ),
        "training": (
            "CheckpointStore",
            "train_dp",
            "training_claim",
        ),
    },
    extra="dp",
)
