"""What a model or its gradients reveal about the data behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.reconstruction.attribute import AttributeData, AttributeInference
    from wardline.attacks.reconstruction.first_layer import FirstLayer
    from wardline.attacks.reconstruction.informed import InformedAdversary, InformedData
    from wardline.attacks.reconstruction.inversion import InversionData, ModelInversion
    from wardline.attacks.reconstruction.matching import GradientMatching
    from wardline.attacks.reconstruction.pictures import psnr
    from wardline.attacks.reconstruction.property import PropertyData, PropertyInference
    from wardline.attacks.reconstruction.sharing import Defence, GradientData, Simulation

__all__ = [
    "AttributeData",
    "AttributeInference",
    "Defence",
    "FirstLayer",
    "GradientData",
    "GradientMatching",
    "InformedAdversary",
    "InformedData",
    "InversionData",
    "ModelInversion",
    "PropertyData",
    "PropertyInference",
    "Simulation",
    "psnr",
]

__getattr__ = lazy(
    __name__,
    {
        "attribute": ("AttributeData", "AttributeInference"),
        "first_layer": ("FirstLayer",),
        "informed": ("InformedAdversary", "InformedData"),
        "inversion": ("InversionData", "ModelInversion"),
        "matching": ("GradientMatching",),
        "pictures": ("psnr",),
        "property": ("PropertyData", "PropertyInference"),
        "sharing": ("Defence", "GradientData", "Simulation"),
    },
    extra="torch",
)
