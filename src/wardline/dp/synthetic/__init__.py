"""Differentially private synthetic tables: select marginals, measure them with noise, generate rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.dp.synthetic.charged import charged_quality, quality_event
    from wardline.dp.synthetic.comparison import Quality, quality
    from wardline.dp.synthetic.domain import Attribute, Domain
    from wardline.dp.synthetic.files import read_synthetic
    from wardline.dp.synthetic.fitting import Fit, Measured, fit
    from wardline.dp.synthetic.model import MarginalModel
    from wardline.dp.synthetic.plan import SynthesisOptions, SynthesisPlan, plan_synthesis
    from wardline.dp.synthetic.synthesis import synthesize, synthesize_planned
    from wardline.dp.synthetic.value import Synthetic

__all__ = [
    "Attribute",
    "Domain",
    "Fit",
    "MarginalModel",
    "Measured",
    "Quality",
    "SynthesisOptions",
    "SynthesisPlan",
    "Synthetic",
    "charged_quality",
    "fit",
    "plan_synthesis",
    "quality",
    "quality_event",
    "read_synthetic",
    "synthesize",
    "synthesize_planned",
]

__getattr__ = lazy(
    __name__,
    {
        "charged": ("charged_quality", "quality_event"),
        "domain": ("Attribute", "Domain"),
        "files": ("read_synthetic",),
        "fitting": ("Fit", "Measured", "fit"),
        "model": ("MarginalModel",),
        "plan": ("SynthesisOptions", "SynthesisPlan", "plan_synthesis"),
        "comparison": ("Quality", "quality"),
        "synthesis": ("synthesize", "synthesize_planned"),
        "value": ("Synthetic",),
    },
    extra="dp",
)
