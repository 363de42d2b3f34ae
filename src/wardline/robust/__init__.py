"""Room `robust`: defences against manipulated inputs and training data, and monitors for models in service.

Names are loaded when first used, so that importing the room does not load torch. Defences of texts stand in
`robust.text`, the cleaning of training data and the search for backdoors in `robust.sanitise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.robust.answers import Rounded, TopOnly
    from wardline.robust.ball import Ball, Norm
    from wardline.robust.client_budgets import ClientBudgets
    from wardline.robust.conformal import Calibration
    from wardline.robust.corrupted_accuracy import CorruptedAccuracy, CorruptionReport, corruption_report
    from wardline.robust.corruptions import CORRUPTIONS, SEVERITIES, corrupt
    from wardline.robust.extraction_monitor import ExtractionMonitor, Suspicion, Watch, calibrate
    from wardline.robust.input_monitor import InputMonitor, Mahalanobis, energy_score, mahalanobis_score
    from wardline.robust.marked_answers import MarkedAnswers
    from wardline.robust.smoothing import InsecureNoise, SmoothedClassifier, SmoothedPredictor
    from wardline.robust.smoothing_bounds import Certificate, CertifiedAccuracy, certified_accuracy
    from wardline.robust.squeezing import BitDepth, MedianSmoothing, Squeezed, SqueezingDetector
    from wardline.robust.training.config import Augmentation, Checks, Fit, RobustConfig, Search, default_robust_config
    from wardline.robust.training.loop import train_robust
    from wardline.robust.training.record import RobustTraining
    from wardline.robust.watermark import (
        Ownership,
        Watermark,
        make_watermark,
        noise_inputs,
        verify_watermark,
        with_watermark,
    )

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "Augmentation",
    "Ball",
    "BitDepth",
    "Calibration",
    "Certificate",
    "CertifiedAccuracy",
    "Checks",
    "ClientBudgets",
    "CorruptedAccuracy",
    "CorruptionReport",
    "ExtractionMonitor",
    "Fit",
    "InputMonitor",
    "InsecureNoise",
    "Mahalanobis",
    "MarkedAnswers",
    "MedianSmoothing",
    "Norm",
    "Ownership",
    "RobustConfig",
    "RobustTraining",
    "Rounded",
    "Search",
    "SmoothedClassifier",
    "SmoothedPredictor",
    "Squeezed",
    "SqueezingDetector",
    "Suspicion",
    "TopOnly",
    "Watch",
    "Watermark",
    "calibrate",
    "certified_accuracy",
    "corrupt",
    "corruption_report",
    "default_robust_config",
    "energy_score",
    "mahalanobis_score",
    "make_watermark",
    "noise_inputs",
    "train_robust",
    "verify_watermark",
    "with_watermark",
]

__getattr__ = lazy(
    __name__,
    {
        "answers": ("Rounded", "TopOnly"),
        "ball": ("Ball", "Norm"),
        "client_budgets": ("ClientBudgets",),
        "conformal": ("Calibration",),
        "corrupted_accuracy": ("CorruptedAccuracy", "CorruptionReport", "corruption_report"),
        "corruptions": ("CORRUPTIONS", "SEVERITIES", "corrupt"),
        "extraction_monitor": ("ExtractionMonitor", "Suspicion", "Watch", "calibrate"),
        "input_monitor": ("InputMonitor", "Mahalanobis", "energy_score", "mahalanobis_score"),
        "marked_answers": ("MarkedAnswers",),
        "smoothing": ("InsecureNoise", "SmoothedClassifier", "SmoothedPredictor"),
        "smoothing_bounds": ("Certificate", "CertifiedAccuracy", "certified_accuracy"),
        "squeezing": ("BitDepth", "MedianSmoothing", "Squeezed", "SqueezingDetector"),
        "training.config": ("Augmentation", "Checks", "Fit", "RobustConfig", "Search", "default_robust_config"),
        "training.loop": ("train_robust",),
        "training.record": ("RobustTraining",),
        "watermark": ("Ownership", "Watermark", "make_watermark", "noise_inputs", "verify_watermark", "with_watermark"),
    },
    extra="torch",
)
