"""Poisoned training data and backdoors: finding them, cleaning them out, and training that withstands them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.robust.sanitise.clustering import SplitClass, activation_clusters
    from wardline.robust.sanitise.influence import influence_on, late_learners, loss_trajectories, self_influence
    from wardline.robust.sanitise.neighbours import neighbour_disagreement
    from wardline.robust.sanitise.partitions import Certified, PartitionedModel, certified_sizes, train_partitions
    from wardline.robust.sanitise.ranking import Ranking, RankingQuality
    from wardline.robust.sanitise.representation import Representation, represent
    from wardline.robust.sanitise.spectral import spectral_signatures
    from wardline.robust.sanitise.strip import StripMonitor, strip_monitor
    from wardline.robust.sanitise.trigger_search import TriggerScan, TriggerSearch, neural_cleanse

__all__ = [
    "Certified",
    "PartitionedModel",
    "Ranking",
    "RankingQuality",
    "Representation",
    "SplitClass",
    "StripMonitor",
    "TriggerScan",
    "TriggerSearch",
    "activation_clusters",
    "certified_sizes",
    "influence_on",
    "late_learners",
    "loss_trajectories",
    "neighbour_disagreement",
    "neural_cleanse",
    "represent",
    "self_influence",
    "spectral_signatures",
    "strip_monitor",
    "train_partitions",
]

__getattr__ = lazy(
    __name__,
    {
        "clustering": ("SplitClass", "activation_clusters"),
        "influence": ("influence_on", "late_learners", "loss_trajectories", "self_influence"),
        "neighbours": ("neighbour_disagreement",),
        "partitions": ("Certified", "PartitionedModel", "certified_sizes", "train_partitions"),
        "ranking": ("Ranking", "RankingQuality"),
        "representation": ("Representation", "represent"),
        "spectral": ("spectral_signatures",),
        "strip": ("StripMonitor", "strip_monitor"),
        "trigger_search": ("TriggerScan", "TriggerSearch", "neural_cleanse"),
    },
    extra="torch",
)
