"""A model copied through its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.extraction.equations import Equations
    from wardline.attacks.extraction.jbda import Jbda
    from wardline.attacks.extraction.knockoff import Knockoff
    from wardline.attacks.extraction.theft import ExtractionData

__all__ = [
    "Equations",
    "ExtractionData",
    "Jbda",
    "Knockoff",
]

__getattr__ = lazy(
    __name__,
    {
        "equations": ("Equations",),
        "jbda": ("Jbda",),
        "knockoff": ("Knockoff",),
        "theft": ("ExtractionData",),
    },
    extra="torch",
)
