"""Room `dp`: differential privacy, from the noise to the ledger of what was spent.

Names are loaded when first used: the ledger and the accountant do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.dp.accounting import (
        ApproximateDp,
        DiscreteLaplace,
        DpEvent,
        PoissonGaussian,
        PureDp,
        ZeroConcentrated,
        calibrate_noise,
        compose,
        delta_spent,
        epsilon_spent,
    )
    from wardline.dp.ledger import Charge, Entry, Head, Ledger, Limit, PlannedRelease, Spent, dataset_key
    from wardline.dp.training import (
        CheckpointStore,
        DpSgdConfig,
        PlainConfig,
        TrainingOverrides,
        Unit,
        UnitRows,
        clipped_gradient_sum,
        default_config,
        default_plain_config,
        noisy_sum,
        poisson_sample,
        train_dp,
        train_plain,
        training_claim,
    )

__all__ = [
    "ApproximateDp",
    "Charge",
    "CheckpointStore",
    "DiscreteLaplace",
    "DpEvent",
    "DpSgdConfig",
    "Entry",
    "Head",
    "Ledger",
    "Limit",
    "PlainConfig",
    "PlannedRelease",
    "PoissonGaussian",
    "PureDp",
    "Spent",
    "TrainingOverrides",
    "Unit",
    "UnitRows",
    "ZeroConcentrated",
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
            "ApproximateDp",
            "DiscreteLaplace",
            "DpEvent",
            "PoissonGaussian",
            "PureDp",
            "ZeroConcentrated",
            "calibrate_noise",
            "compose",
            "delta_spent",
            "epsilon_spent",
        ),
        "ledger": ("Charge", "Entry", "Head", "Ledger", "Limit", "PlannedRelease", "Spent", "dataset_key"),
        "training": (
            "CheckpointStore",
            "DpSgdConfig",
            "PlainConfig",
            "TrainingOverrides",
            "Unit",
            "UnitRows",
            "clipped_gradient_sum",
            "default_config",
            "default_plain_config",
            "noisy_sum",
            "poisson_sample",
            "train_dp",
            "train_plain",
            "training_claim",
        ),
    },
    extra="dp",
)
