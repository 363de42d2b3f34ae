"""Private training by noisy gradients (DP-SGD), and its twin without protection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.dp.training.config import DpSgdConfig, Unit
    from wardline.dp.training.defaults import TrainingOverrides, default_config
    from wardline.dp.training.ftrl import FtrlConfig, default_ftrl_config, ftrl_claim, train_ftrl
    from wardline.dp.training.gradients import clipped_gradient_sum
    from wardline.dp.training.noise import noisy_sum
    from wardline.dp.training.plain import PlainConfig, default_plain_config, train_plain
    from wardline.dp.training.private import CheckpointStore, train_dp, training_claim
    from wardline.dp.training.sampling import PoissonSampler, UnitRows, poisson_sample

__all__ = [
    "CheckpointStore",
    "DpSgdConfig",
    "FtrlConfig",
    "PlainConfig",
    "PoissonSampler",
    "TrainingOverrides",
    "Unit",
    "UnitRows",
    "clipped_gradient_sum",
    "default_config",
    "default_ftrl_config",
    "default_plain_config",
    "ftrl_claim",
    "noisy_sum",
    "poisson_sample",
    "train_dp",
    "train_ftrl",
    "train_plain",
    "training_claim",
]

__getattr__ = lazy(
    __name__,
    {
        "config": (
            "DpSgdConfig",
            "Unit",
        ),
        "defaults": (
            "TrainingOverrides",
            "default_config",
        ),
        "ftrl": (
            "FtrlConfig",
            "default_ftrl_config",
            "ftrl_claim",
            "train_ftrl",
        ),
        "gradients": ("clipped_gradient_sum",),
        "noise": ("noisy_sum",),
        "plain": (
            "PlainConfig",
            "default_plain_config",
            "train_plain",
        ),
        "private": (
            "CheckpointStore",
            "train_dp",
            "training_claim",
        ),
        "sampling": (
            "PoissonSampler",
            "UnitRows",
            "poisson_sample",
        ),
    },
    extra="dp",
)
