"""What accidents do to a model of images, as curves for the report of an audit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.models import Differentiable
from wardline.robust.corrupted_accuracy import corruption_report
from wardline.robust.corruptions import CORRUPTIONS, SEVERITIES

_EXAMPLES = 200
_LEAST = 16
_SHOWN = 4
_OVERHEAD = 2.0  # making a corrupted image may cost as much as predicting it


class LeftOut(Exception):  # noqa: N818 (a reason, no fault)
    """Why there are no such curves."""


def corruption_curves(target: Target, examples: Labelled, *, seconds: float, seed: int) -> dict[str, Any]:
    """Accuracy by severity under the corruptions that hurt most: accidents, no attacks, and no part of the verdict.

    Args:
        target: a model in hand; what a service would be asked for this would exceed most caps.
        examples: images.
        seconds: how much time there is.
        seed: of the corruptions.

    Returns:
        A chart of the form that the evidence of an audit has.

    Raises:
        LeftOut: if the model is not in hand, its images are of another range, or there is no time.
    """
    spec = target.spec
    if target.ledger.cap is not None or not isinstance(target.predictor, Differentiable):
        raise LeftOut("they take thousands of answers, of a model in hand")
    if not isinstance(spec, InputSpec) or float(np.min(spec.low)) < 0 or float(np.max(spec.high)) > 1:
        raise LeftOut("they are made for images in [0, 1]")
    began = time.monotonic()
    target.predictor.answer(examples.x[:_LEAST])
    each = _OVERHEAD * (time.monotonic() - began) / _LEAST * len(CORRUPTIONS) * len(SEVERITIES)
    n = min(_EXAMPLES, len(examples), int(seconds / max(each, 1e-9)))
    if n < _LEAST:
        raise LeftOut("the time was spent")
    found = corruption_report(target.predictor, examples.x[:n], y=examples.y[:n], seed=seed)
    worst = sorted(CORRUPTIONS, key=lambda kind: float(np.mean(found.of(kind))))[:_SHOWN]
    series = [
        {
            "label": kind.replace("_", " "),
            "points": [
                [row.severity, row.accuracy, row.interval.low, row.interval.high]
                for row in (found.clean, *(row for row in found.rows if row.kind == kind))
            ],
        }
        for kind in worst
    ]
    title = f"Accuracy under the {_SHOWN} of {len(CORRUPTIONS)} common corruptions that hurt most"
    return {"title": title, "across": "severity", "up": "accuracy", "series": series}
