"""Inputs changed so that a model gets them wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.evasion.apgd import Apgd, ApgdTargeted
    from wardline.attacks.evasion.autoattack import AutoAttack
    from wardline.attacks.evasion.boundary import Boundary
    from wardline.attacks.evasion.carlini_wagner import CarliniWagner
    from wardline.attacks.evasion.fab import FabTargeted
    from wardline.attacks.evasion.gradient import Fgsm, Pgd
    from wardline.attacks.evasion.hopskipjump import HopSkipJump
    from wardline.attacks.evasion.margin import linear_margin
    from wardline.attacks.evasion.probe import probe_masking
    from wardline.attacks.evasion.square import Square
    from wardline.attacks.evasion.tabular import Tabular

__all__ = [
    "Apgd",
    "ApgdTargeted",
    "AutoAttack",
    "Boundary",
    "CarliniWagner",
    "FabTargeted",
    "Fgsm",
    "HopSkipJump",
    "Pgd",
    "Square",
    "Tabular",
    "linear_margin",
    "probe_masking",
]

__getattr__ = lazy(
    __name__,
    {
        "apgd": ("Apgd", "ApgdTargeted"),
        "autoattack": ("AutoAttack",),
        "boundary": ("Boundary",),
        "carlini_wagner": ("CarliniWagner",),
        "fab": ("FabTargeted",),
        "gradient": ("Fgsm", "Pgd"),
        "hopskipjump": ("HopSkipJump",),
        "margin": ("linear_margin",),
        "probe": ("probe_masking",),
        "square": ("Square",),
        "tabular": ("Tabular",),
    },
    extra="torch",
)
