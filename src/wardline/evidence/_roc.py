"""The ROC of a membership attack on two logarithmic axes, where the small false-positive rates can be seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from wardline.core.claims import Measurement
from wardline.core.drawing.svg import Look, Scale, coordinate, drawing, element, marker, placed, share
from wardline.evidence import text
from wardline.evidence._figure import Chart, doubt, hollow_key, in_doubt, line_key, mark_key
from wardline.evidence._rows import label

Curve = Sequence[tuple[float, float]]
"""Points (false-positive rate, true-positive rate), rising."""

TOP, HEIGHT = 8.0, 250.0  # of the plot, in pixels
LEFT, WIDTH = 15.0, 82.0  # of the plot, in percent of the picture's width
_READ_AT = (0.001, 0.01, 0.1, 0.5)  # false-positive rates that the table reads off


def draw_roc(name: str, measurement: Measurement) -> Chart:
    """The curve of an attack on the released model against the same attack where nothing protects.

    Raises:
        TypeError: if the ROC is no object.
        ValueError: if its points are not shares that rise.
    """
    roc = measurement.details["roc"]
    if not isinstance(roc, Mapping):
        raise TypeError("a ROC is an object with lists of points")
    released, control = read_curve(roc, ""), read_curve(roc, "control_")
    across = scale_of((*released, *control))
    up = Scale(low=across.low, high=1.0, log=True, start=100.0, end=0.0)
    hollow = in_doubt(measurement)
    method = text.method_name(measurement)
    title = f"{method}: members found against false alarms"
    summary = _summary(method, released, control, hollow=hollow)
    body = (
        _plot(released, control, across, up, hollow=hollow),
        *_labels(across, up),
        *_marks(control, across, up, "unprotected", hollow=False),
        *_marks(released, across, up, "released", hollow=hollow),
    )
    keys = [
        mark_key("released", "attack on the released model"),
        mark_key("unprotected", "without protection (control)"),
        line_key("rule chance", "blind guessing"),
    ]
    return Chart(
        name=name,
        title=title,
        summary=summary,
        keys=(*keys, hollow_key()) if hollow else tuple(keys),
        picture=drawing(name=name, title=title, summary=summary, height=TOP + HEIGHT + 44, body=body),
        columns=("False alarms", "Members found, released", "Members found, control", "Blind guessing"),
        rows=tuple(
            (text.percent(rate), _written(released, rate), _written(control, rate), text.percent(rate))
            for rate in _READ_AT
        ),
        doubt=doubt([measurement]),
    )


def read_curve(roc: Mapping[str, Any], prefix: str) -> Curve:
    """The points of one curve, checked.

    Raises:
        ValueError: if they are not two lists of the same length, of shares, rising.
    """
    fpr, tpr = roc.get(f"{prefix}fpr", ()), roc.get(f"{prefix}tpr", ())
    for values in (fpr, tpr):
        if not isinstance(values, list | tuple) or not all(text.is_probability(value) for value in values):
            raise ValueError("the points of a ROC are shares")
        if list(values) != sorted(values):
            raise ValueError("a ROC rises")
    if len(fpr) != len(tpr):
        raise ValueError("a ROC has as many false as true positive rates")
    return tuple((float(x), float(y)) for x, y in zip(fpr, tpr, strict=True))


def read_off(curve: Curve, rate: float) -> float | None:
    """The true-positive rate at a false-positive rate, on the straight line between two points.

    The line can be reached by tossing a coin between the two thresholds (Fawcett 2006, section 8). A curve begins
    at (0, 0) and ends at (1, 1), whether or not these points are listed.

    Returns:
        The rate, or None if the curve has no points.
    """
    if not curve:
        return None
    points = sorted({(0.0, 0.0), *curve, (1.0, 1.0)})
    left = max(point for point in points if point[0] <= rate)
    right = min(point for point in points if point[0] >= rate)
    if right[0] <= left[0]:
        return left[1]
    return left[1] + (right[1] - left[1]) * (rate - left[0]) / (right[0] - left[0])


def scale_of(points: Curve) -> Scale:
    """A logarithmic axis that holds the points down to 1 in 10,000, and at least two decades."""
    smallest = min((value for point in points for value in point if value > 0), default=0.01)
    decade = math.floor(math.log10(smallest) + 1e-9)
    return Scale(low=10.0 ** min(-2, max(-4, decade)), high=1.0, log=True)


def _written(curve: Curve, rate: float) -> str:
    value = read_off(curve, rate)
    return "no point" if value is None else text.percent(value)


def _summary(method: str, released: Curve, control: Curve, *, hollow: bool) -> str:
    summary = (
        f"At 1{text.NBSP}% false alarms the attack {method} finds {_written(released, 0.01)} of the members of "
        f"the released model, and {_written(control, 0.01)} where nothing protects. "
        "The closer a curve runs to the diagonal, the less the attack knows."
    )
    return summary + (" The control failed, so the curve of the released model proves nothing." if hollow else "")


def _plot(released: Curve, control: Curve, across: Scale, up: Scale, *, hollow: bool) -> Markup:
    """The part that stretches with the page; lines keep their width, and text stands outside of it."""
    grid = (
        element("path", {"class": "grid", "d": f"M{coordinate(across.at(tick))} 0V100M0 {coordinate(up.at(tick))}H100"})
        for tick in across.ticks()
    )
    return element(
        "svg",
        {
            "class": "plot",
            "x": share(LEFT),
            "y": TOP,
            "width": share(WIDTH),
            "height": HEIGHT,
            "viewBox": "0 0 100 100",
            "preserveAspectRatio": "none",
        },
        *grid,
        element("path", {"class": "axis", "d": "M0 0V100H100"}),
        element("path", {"class": "rule chance", "d": "M0 100L100 0"}),
        _path(control, across, up, "curve unprotected"),
        _path(released, across, up, "curve released" + (" hollow" if hollow else "")),
    )


def _path(curve: Curve, across: Scale, up: Scale, look: str) -> Markup:
    points = [f"{coordinate(across.at(fpr))} {coordinate(up.at(tpr))}" for fpr, tpr in curve]
    return element("path", {"class": look, "d": "M" + "L".join(points) if points else ""})


def _on_page(across: Scale, up: Scale, fpr: float, tpr: float) -> tuple[float, float]:
    """Percent of the picture's width, and pixels from its top."""
    return LEFT + WIDTH * across.at(fpr) / 100, TOP + HEIGHT * up.at(tpr) / 100


def _marks(curve: Curve, across: Scale, up: Scale, look: Look, *, hollow: bool) -> list[Markup]:
    """Marks at the decades, so that the curves differ in more than their colour."""
    marks = []
    for rate in across.ticks()[1:-1]:
        value = read_off(curve, rate)
        if value is not None and value >= across.low:
            marks.append(placed(*_on_page(across, up, rate, value), marker(look, hollow=hollow)))
    return marks


def _labels(across: Scale, up: Scale) -> list[Markup]:
    floor = TOP + HEIGHT
    labels = []
    for tick in across.ticks():
        x, y = _on_page(across, up, tick, tick)
        below: dict[str, str | float] = {"class": "tick", "x": share(x), "y": floor + 18, "text-anchor": "middle"}
        labels.append(element("text", below, text.percent(tick)))
        side: dict[str, str | float] = {
            "class": "tick",
            "x": share(LEFT - 1.5),
            "y": max(y + 4, 12),
            "text-anchor": "end",
        }
        labels.append(element("text", side, text.percent(tick)))
    labels.append(label("false alarms \u2192", LEFT + WIDTH / 2, floor + 38, "axis-name"))
    inside: dict[str, str | float] = {"class": "axis-name halo", "x": share(LEFT + 1.5), "y": TOP + 14}
    labels.append(element("text", inside, "\u2191 members found"))
    return labels
