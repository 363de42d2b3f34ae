"""Room `serve`: services that answer over a network. The first one scores encrypted rows over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.serve.scoring.admission import ServiceLimits
    from wardline.serve.scoring.certificates import TlsFiles
    from wardline.serve.scoring.client import ScoringClient
    from wardline.serve.scoring.connection import ScoringConnection
    from wardline.serve.scoring.meter import RowMeter
    from wardline.serve.scoring.server import ScoringServer
    from wardline.serve.scoring.service import Allowance, Scoring

__all__ = [
    "Allowance",
    "RowMeter",
    "Scoring",
    "ScoringClient",
    "ScoringConnection",
    "ScoringServer",
    "ServiceLimits",
    "TlsFiles",
]

__getattr__ = lazy(
    __name__,
    {
        "scoring.admission": ("ServiceLimits",),
        "scoring.certificates": ("TlsFiles",),
        "scoring.client": ("ScoringClient",),
        "scoring.connection": ("ScoringConnection",),
        "scoring.meter": ("RowMeter",),
        "scoring.server": ("ScoringServer",),
        "scoring.service": ("Allowance", "Scoring"),
    },
    extra="serve",
)
