"""Mechanisms: exact noise on whole numbers, private choice, private selection of keys, and what each costs.

They draw from `SecureRandom` alone, lean on NumPy alone, and work on whole numbers: no floating-point noise comes near
a release (Mironov 2012).
"""

from wardline.dp.mechanisms.choice import exponential
from wardline.dp.mechanisms.costs import (
    choice_event,
    gaussian_event,
    gaussian_partition_events,
    geometric_partition_event,
    laplace_event,
    scale_for,
    sigma_for,
)
from wardline.dp.mechanisms.gaussian import discrete_gaussian
from wardline.dp.mechanisms.laplace import discrete_laplace
from wardline.dp.mechanisms.partitions import gaussian_partitions, geometric_partitions, threshold, truncation

__all__ = [
    "choice_event",
    "discrete_gaussian",
    "discrete_laplace",
    "exponential",
    "gaussian_event",
    "gaussian_partition_events",
    "gaussian_partitions",
    "geometric_partition_event",
    "geometric_partitions",
    "laplace_event",
    "scale_for",
    "sigma_for",
    "threshold",
    "truncation",
]
