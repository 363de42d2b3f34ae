"""What a chart consists of beside its picture: legend, summary, table, doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wardline.core.claims import Measurement
from wardline.core.drawing.svg import Look, element, marker
from wardline.evidence import text


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend: a small picture, and what it stands for."""

    picture: Markup
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart with everything that a reader without eyes, colours or a wide screen needs.

    Attributes:
        name: its identifier on the page.
        title: what it shows.
        summary: what it says, in a sentence or two; also read out in place of the picture.
        keys: the legend.
        picture: the SVG.
        columns, rows: the same figures as a table; the first cell of a row names it.
        doubt: why the figures prove nothing; empty if they do prove something.
    """

    name: str
    title: str
    summary: str
    keys: tuple[Key, ...]
    picture: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    doubt: str = ""


def in_doubt(measurement: Measurement) -> bool:
    """Whether a measurement proves nothing: it was refused, or its control failed."""
    control = measurement.control
    return measurement.value is None or (control is not None and not control.passed)


def doubt(measurements: Sequence[Measurement]) -> str:
    """Why some or all of these measurements prove nothing, in words; empty if all can be used."""
    failed = "the control failed: too little was found even where nothing protects"
    reasons = [f"{text.method_name(one)}: {one.refused or failed}" for one in measurements if in_doubt(one)]
    if not reasons:
        return ""
    return ("Inconclusive. " if len(reasons) == len(measurements) else "Partly inconclusive. ") + "; ".join(reasons)


def swatch(*inside: Markup) -> Markup:
    """A picture of 26 by 14 pixels for a legend, centred at 0."""
    attributes: dict[str, str | float] = {
        "class": "swatch",
        "width": 26,
        "height": 14,
        "viewBox": "-13 -7 26 14",
        "aria-hidden": "true",
    }
    return element("svg", attributes, *inside)


def line_key(look: str, label: str) -> Key:
    """The legend of a line."""
    return Key(picture=swatch(_stroke(look)), label=label)


def mark_key(look: Look, label: str) -> Key:
    """The legend of a mark with its whisker."""
    return Key(picture=swatch(_stroke(f"whisker {look}"), marker(look)), label=label)


def hollow_key() -> Key:
    """The legend of a mark that proves nothing."""
    picture = swatch(_stroke("whisker released hollow"), marker("released", hollow=True))
    return Key(picture=picture, label="proves nothing")


def bar_key(look: Look, label: str, *, filling: str = "", hollow: bool = False) -> Key:
    """The legend of a bar; `filling` names a pattern of the page."""
    attributes: dict[str, str | float] = {"class": f"bar {look}" + (" hollow" if hollow else "")}
    if filling:
        attributes["fill"] = f"url(#{filling})"
    bar = element("rect", {**attributes, "x": -13, "y": -5, "width": 26, "height": 10})
    return Key(picture=swatch(bar), label=label)


def _stroke(look: str) -> Markup:
    return element("line", {"class": look, "x1": -13, "x2": 13, "y1": 0, "y2": 0})
