"""A map of cells: two keys that number cells of a grid, coloured by value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from wardline.core.drawing.hostile import shorten
from wardline.core.drawing.svg import drawing, element, share

if TYPE_CHECKING:
    from wardline.dp.releases.picture import Shown

LEVELS = 6
_LEFT, _WIDTH = 12.0, 84.0  # percent of the picture's width
_TOP, _LEGEND = 36.0, 96.0  # pixels
_LEAST, _MOST = 200.0, 900.0


Side = tuple[str, float]
"""A key's name and the width of its cells, in the column's unit."""


def draw_cells(
    rows: Sequence[Shown], sure: Sequence[bool], *, title: str, keys: tuple[Side, Side], summary: str
) -> Markup:
    """Cells at their places, the first key upwards and the second one to the right, as latitude and longitude stand.

    A cell whose figure does not stand out from the noise is grey: a colour would say more than is known.

    Args:
        rows: each with its two cell numbers.
        sure: for each row, whether its figure stands out.
        title: what it shows.
        keys: names and widths of the two keys.
        summary: what it says.
    """
    ups = [int(str(row.place[0])) for row in rows]
    rights = [int(str(row.place[1])) for row in rows]
    south, north = min(ups, default=0), max(ups, default=0)
    west, east = min(rights, default=0), max(rights, default=0)
    high, wide = north - south + 1, east - west + 1
    limits = thresholds([row.value for row, one in zip(rows, sure, strict=True) if one and row.value is not None])
    # The picture is about 640 pixels wide where it is shown; cells should look about square.
    height = min(_MOST, max(_LEAST, 540.0 * high / wide))
    cells = [
        _cell(row, (right - west, north - up), limits if one else None)
        for row, up, right, one in zip(rows, ups, rights, sure, strict=True)
    ]
    plot = element(
        "svg",
        {
            "x": share(_LEFT),
            "y": _TOP,
            "width": share(_WIDTH),
            "height": height,
            "viewBox": f"0 0 {wide} {high}",
            "preserveAspectRatio": "none",
        },
        element("rect", {"class": "cell-ground", "x": 0, "y": 0, "width": wide, "height": high}),
        *cells,
    )
    floor = _TOP + height
    heading = element("text", {"class": "limit-name limit", "x": 0, "y": 16}, title)
    body = (heading, plot, *_corner_labels(keys, (south, north), (west, east), floor), *_legend(limits, floor))
    return drawing(name="release", title=title, summary=summary, height=floor + _LEGEND, body=body)


def thresholds(values: Sequence[float]) -> tuple[float, ...]:
    """Where one colour ends and the next begins: about equally many cells each, at round numbers."""
    positive = sorted(value for value in values if value > 0)
    if not positive:
        return ()
    levels = min(LEVELS, len(set(positive)))
    ranks = np.quantile(np.array(positive), np.linspace(0, 1, levels + 1)[1:-1])
    return tuple(dict.fromkeys(_round(float(rank)) for rank in ranks))


def _round(value: float) -> float:
    return round(value, 1 - math.floor(math.log10(value))) if value > 0 else 0.0


def level_of(value: float, limits: Sequence[float]) -> int:
    """Which colour a value has: 1 for the lowest."""
    return 1 + sum(value >= limit for limit in limits)


def _cell(row: Shown, at: tuple[int, int], limits: Sequence[float] | None) -> Markup:
    place: dict[str, str | float] = {"x": at[0], "y": at[1], "width": 1, "height": 1}
    look = "cell level-0"
    if limits is not None and row.value is not None:
        look = f"cell level-{level_of(row.value, limits)}"
    value = "too noisy" if row.value is None else f"{row.value:,.6g} [{row.low:,.6g}, {row.high:,.6g}]"
    return element("rect", {"class": look, **place}, element("title", {}, f"{row.name}: {value}"))


def _corner_labels(
    keys: tuple[Side, Side], ups: tuple[int, int], rights: tuple[int, int], floor: float
) -> list[Markup]:
    """Where the outermost cells end, in the columns' units, and the names of the keys."""

    def words(text: str, look: str, x: float, y: float, anchor: str) -> Markup:
        return element("text", {"class": look, "x": share(x), "y": y, "text-anchor": anchor}, text)

    right = _LEFT + _WIDTH
    return [
        words(f"{(ups[1] + 1) * keys[0][1]:,.10g}", "tick", _LEFT - 1, _TOP + 12, "end"),
        words(f"{ups[0] * keys[0][1]:,.10g}", "tick", _LEFT - 1, floor, "end"),
        words(shorten(keys[0][0], 14), "axis-name", _LEFT - 1, (_TOP + floor) / 2, "end"),
        words(f"{rights[0] * keys[1][1]:,.10g}", "tick", _LEFT, floor + 18, "start"),
        words(f"{(rights[1] + 1) * keys[1][1]:,.10g}", "tick", right, floor + 18, "end"),
        words(shorten(keys[1][0], 40), "axis-name", _LEFT + _WIDTH / 2, floor + 18, "middle"),
    ]


def _legend(limits: Sequence[float], floor: float) -> list[Markup]:
    """A row of colours with their ranges below."""
    names = ["noise"]
    edges = [0.0, *limits]
    names += [f"{low:,.6g} to {high:,.6g}" for low, high in zip(edges, limits, strict=False)]
    names.append(f"{edges[-1]:,.6g} and more" if limits else "more than noise")
    step = _WIDTH / len(names)
    parts = []
    for level, name in enumerate(names):
        x = _LEFT + step * level
        box: dict[str, str | float] = {
            "class": f"cell level-{level}",
            "x": share(x),
            "y": floor + 40,
            "width": share(step * 0.94),
            "height": 14,
        }
        parts.append(element("rect", box))
        at: dict[str, str | float] = {
            "class": "tick",
            "x": share(x + step * 0.47),
            "y": floor + 72,
            "text-anchor": "middle",
        }
        parts.append(element("text", at, name))
    return parts
