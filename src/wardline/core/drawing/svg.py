"""Scales and elements for charts: plain SVG, made here, on purpose.

Matplotlib's and Vega's SVG carry inline styles, which the report's content security policy blocks; they cannot
follow dark mode, scale their text with the page (unreadable on a telephone) and bring no text alternative.
What a chart of ours needs is small: horizontal positions are percentages of the width, vertical ones
pixels, so a chart reflows while its text keeps its size; looks come from classes in the one stylesheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from wardline.core.drawing.hostile import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps a range of values to a range of positions, clamping what lies outside.

    Attributes:
        low, high: the values at the ends, `low` below `high`; above 0 on a logarithmic scale.
        log: whether equal steps are equal ratios.
        start, end: the positions of `low` and `high`, in the unit of the drawing.
    """

    low: float
    high: float
    log: bool = False
    start: float = 0.0
    end: float = 100.0

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("a scale runs from a low to a higher value, above 0 if it is logarithmic")

    def at(self, value: float) -> float:
        """The position of a value."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        """Round values to mark: the decades, or multiples of 1, 2 or 5 times a power of ten."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return tuple(10.0**power for power in range(first, last + 1))
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(round(index * step, 12) for index in range(first, last + 1))


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def around(values: tuple[float, ...], *, low: float, high: float) -> Scale:
    """A linear scale with room around some values, from one round number to another, within limits."""
    least, most = min(values), max(values)
    spread = max(most - least, 0.02)
    step = _round_step(spread / 4)
    start = max(low, math.floor((least - 0.2 * spread) / step) * step)
    return Scale(low=round(start, 12), high=round(min(high, math.ceil((most + 0.2 * spread) / step) * step), 12))


def from_zero(most: float) -> Scale:
    """A linear scale from 0 to a round number that leaves room beyond the largest value."""
    room = max(most, 1e-6) * 1.1
    step = _round_step(room / 5)
    return Scale(low=0.0, high=round(math.ceil(room / step - 1e-9) * step, 12))


def share(position: float) -> str:
    """A position as a percentage of the drawing's width."""
    return f"{coordinate(position)}%"


def coordinate(value: float) -> str:
    """A coordinate with two decimal places, which is finer than any screen."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, attributes: Mapping[str, str | float], *children: Markup | str) -> Markup:
    """One element. Attributes are coordinates, classes and identifiers made by this package; text may be hostile.

    Args:
        name: the element's name.
        attributes: values are escaped, not cleaned: a path is longer than any text that a person reads.
        children: markup made here is kept, text is cleaned and escaped.
    """
    parts = [Markup("<") + Markup(name)]  # noqa: S704 (names are literals of this package)
    for key, value in attributes.items():
        text = coordinate(value) if isinstance(value, int | float) else value
        parts.append(Markup(' {}="{}"').format(Markup(key), text))  # noqa: S704
    inside = Markup("").join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    parts.append(Markup(">{}</{}>").format(inside, Markup(name)))  # noqa: S704
    return Markup("").join(parts)


Look = Literal["released", "unprotected", "third", "fourth", "limit", "chance", "over"]
"""What a mark stands for: the result, the same without protection, two further series, a promised limit, blind
guessing, and the part of a leak that lies beyond the promise."""

_SHAPES = {"unprotected": "M0-6.5 6.5 0 0 6.5-6.5 0z", "third": "M-5-5H5V5H-5z", "fourth": "M0-6.5 6 5H-6z"}


def marker(look: Look, *, hollow: bool = False) -> Markup:
    """The sign of a series, centred at 0: circle, diamond, square and triangle, in the order of `Look`.

    Shape and filling tell the series apart without colour; hollow means that the figure proves nothing.
    """
    classes = f"mark {look}" + (" hollow" if hollow else "")
    if look == "released":
        return element("circle", {"class": classes, "r": 5})
    return element("path", {"class": classes, "d": _SHAPES.get(look, _SHAPES["unprotected"])})


def placed(x: float, y: float, *children: Markup) -> Markup:
    """Things of fixed size at a percentage of the width and a height in pixels."""
    return element(
        "svg", {"x": share(x), "y": y, "class": "at", "overflow": "visible", "width": 1, "height": 1}, *children
    )


def hatch(name: str, look: str) -> Markup:
    """A filling of slanted lines, which survives greyscale print where colour does not."""
    line = element("path", {"class": f"ruling {look}", "d": "M0 0V6"})
    return element(
        "pattern",
        {"id": name, "width": 6, "height": 6, "patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"},
        element("rect", {"class": f"ground {look}", "width": 6, "height": 6}),
        line,
    )


def drawing(*, name: str, title: str, summary: str, height: float, body: tuple[Markup, ...]) -> Markup:
    """A whole picture with its name and its description for those who do not see it."""
    return element(
        "svg",
        {
            "class": "chart",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-summary",
            "width": "100%",
            "height": height,
            "focusable": "false",
        },
        element("title", {"id": f"{name}-title"}, title),
        element("desc", {"id": f"{name}-summary"}, summary),
        *body,
    )
