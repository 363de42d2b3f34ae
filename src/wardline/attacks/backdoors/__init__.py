"""Training data changed so that a model learns what its owner does not want."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.backdoors.clean_label import CleanLabel
    from wardline.attacks.backdoors.measure import BackdoorTrigger
    from wardline.attacks.backdoors.poisons import LabelFlips, Poison, Poisoned, Stamped
    from wardline.attacks.backdoors.training import PoisonedTraining, Training
    from wardline.attacks.backdoors.triggers import Blend, Patch, Trigger, Words

__all__ = [
    "BackdoorTrigger",
    "Blend",
    "CleanLabel",
    "LabelFlips",
    "Patch",
    "Poison",
    "Poisoned",
    "PoisonedTraining",
    "Stamped",
    "Training",
    "Trigger",
    "Words",
]

__getattr__ = lazy(
    __name__,
    {
        "clean_label": ("CleanLabel",),
        "measure": ("BackdoorTrigger",),
        "poisons": ("LabelFlips", "Poison", "Poisoned", "Stamped"),
        "training": ("PoisonedTraining", "Training"),
        "triggers": ("Blend", "Patch", "Trigger", "Words"),
    },
    extra="torch",
)
