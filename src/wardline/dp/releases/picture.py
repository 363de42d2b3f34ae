"""A release as a picture: rows with error bars, a curve over a number, or a map of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from wardline.core.drawing.hostile import shorten
from wardline.core.drawing.svg import Scale, drawing, element, marker, placed, share
from wardline.core.drawing.xy import Axis, Line, Point, draw_xy
from wardline.dp.releases.cells import draw_cells
from wardline.dp.releases.noise import Noise
from wardline.dp.releases.show import figure

if TYPE_CHECKING:
    from wardline.dp.releases.value import Release

MOST_ROWS = 80
_ROW, _TOP, _BELOW = 24.0, 36.0, 48.0  # pixels
_LABELS, _FIGURES = 24.0, 15.0  # percent of the width, left and right of the plot


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One row of a release as it is drawn: the value is None where the noise left none."""

    name: str
    place: tuple[object, ...]
    value: float | None
    noise: float | None
    low: float
    high: float


def picture(release: Release, *, label: str | None = None) -> Markup:
    """The picture that fits a release.

    Args:
        release: what to draw.
        label: which figure; by default the first one.

    Raises:
        ValueError: for a label that the release does not have.
    """
    label = release.labels[0] if label is None else label
    if label not in release.labels:
        raise ValueError(f"the release has no figure {label!r}; it has {', '.join(release.labels)}")
    rows = [_shown(row, release.keys, label) for row in release.table.to_pylist()]
    title = f"{shorten(label, 60)}, epsilon {release.claim.value:g}"
    cells = release.about["cells"]
    if len(release.keys) == 2 and all(key in cells for key in release.keys):
        sure = _sure(rows, "laplace" if release.claim.parameters["noise"] == "laplace" else "gaussian")
        north, east = ((key, float(cells[key])) for key in release.keys)
        return draw_cells(rows, sure, title=title, keys=(north, east), summary=_summary(rows))
    ordered = len(release.keys) == 1 and all(isinstance(row.place[0], int) for row in rows) and len(rows) > 2
    if ordered and not isinstance(rows[0].place[0], bool):
        return _curve(rows, title=title, key=release.keys[0], label=label)
    return _rows(rows, title=title, label=label)


def _shown(row: dict[str, object], keys: Sequence[str], label: str) -> Shown:
    def number(name: str) -> float:
        value = row[name]
        assert isinstance(value, int | float)
        return float(value)

    value, noise = row[label], row[label + "_noise"]
    place = tuple(row[key] for key in keys)
    return Shown(
        name=", ".join(
            "all" if part is None else f"{part:g}" if isinstance(part, float) else str(part) for part in place
        ),
        place=place,
        value=None if value is None else number(label),
        noise=None if noise is None else number(label + "_noise"),
        low=number(label + "_low"),
        high=number(label + "_high"),
    )


def _summary(rows: Sequence[Shown]) -> str:
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return "No group has a figure that stands out from the noise."
    low, high = figure(min(values), None), figure(max(values), None)
    return f"{len(rows)} groups, values from {low} to {high}, each with a 95 % interval."


def _sure(rows: Sequence[Shown], kind: Literal["laplace", "gaussian"]) -> list[bool]:
    """Which figures stand out from the noise: where nobody is, at most about one in the whole picture would."""
    factor = Noise(kind=kind, scale=1.0).factor(min(0.1, 2 / max(1, len(rows))))
    return [row.value is not None and row.noise is not None and row.value > factor * row.noise for row in rows]


def _axis_of(rows: Sequence[Shown]) -> Scale:
    """A scale that holds all values; intervals far wider than what is known are cut at its ends."""
    known = [row for row in rows if row.value is not None]
    ends = [end for row in known or rows for end in (row.low, row.high)] or [0.0, 1.0]
    low, high = min(0.0, *ends), max(0.0, *ends)
    if low > -0.02 * high:
        low = 0.0
    return Scale(low=low, high=high if high > low else low + 1.0)


def _ticks(value: float) -> str:
    return f"{value:,.10g}" if abs(value) < 1e6 else f"{value:,.3g}" if abs(value) >= 1e12 else f"{value:,.0f}"


def _rows(rows: Sequence[Shown], *, title: str, label: str) -> Markup:
    """Groups under one another, a mark and an error bar each."""
    shown = rows[:MOST_ROWS]
    scale = _axis_of(shown)
    width = 100 - _LABELS - _FIGURES

    def at(value: float) -> float:
        return _LABELS + width * scale.at(value) / 100

    floor = _TOP + _ROW * max(1, len(shown))
    body = [element("text", {"class": "limit-name limit", "x": 0, "y": 16}, title)]
    for tick in scale.ticks(5):
        x = share(at(tick))
        body.append(element("line", {"class": "grid", "x1": x, "x2": x, "y1": _TOP, "y2": floor}))
        words: dict[str, str | float] = {"class": "tick", "x": x, "y": floor + 18, "text-anchor": "middle"}
        body.append(element("text", words, _ticks(tick)))
    body.append(
        element("line", {"class": "axis", "x1": share(_LABELS), "x2": share(100 - _FIGURES), "y1": floor, "y2": floor})
    )
    body.append(
        element(
            "text",
            {"class": "axis-name", "x": share(_LABELS + width / 2), "y": floor + 40, "text-anchor": "middle"},
            f"{shorten(label, 60)} (bars: 95 % interval)",
        )
    )
    for place, row in enumerate(shown):
        y = _TOP + _ROW * (place + 0.5)
        body.append(
            element("text", {"x": share(_LABELS - 1.5), "y": y + 4, "text-anchor": "end"}, shorten(row.name, 24))
        )
        body += _bar(row, at, y)
        words = {"class": "tick", "x": "100%", "y": y + 4, "text-anchor": "end"}
        body.append(element("text", words, "too noisy" if row.value is None else figure(row.value, row.noise)))
    summary = _summary(rows)
    if len(rows) > len(shown):
        summary += f" The first {len(shown)} are drawn."
    return drawing(name="release", title=title, summary=summary, height=floor + _BELOW, body=tuple(body))


def _bar(row: Shown, at: Callable[[float], float], y: float) -> list[Markup]:
    low, high = share(at(row.low)), share(at(row.high))
    if row.value is None:
        return [element("line", {"class": "rule chance", "x1": low, "x2": high, "y1": y, "y2": y})]
    parts = [element("line", {"class": "whisker released", "x1": low, "x2": high, "y1": y, "y2": y})]
    parts += [
        element("line", {"class": "whisker released", "x1": end, "x2": end, "y1": y - 4, "y2": y + 4})
        for end in (low, high)
    ]
    return [*parts, placed(at(row.value), y, marker("released"))]


def _curve(rows: Sequence[Shown], *, title: str, key: str, label: str) -> Markup:
    """Figures over a whole number."""
    known = sorted((row for row in rows if row.value is not None), key=lambda row: row.place)
    points = tuple(
        Point(x=float(str(row.place[0])), y=row.value, low=row.low, high=row.high)
        for row in known
        if row.value is not None
    )
    xs = [point.x for point in points] or [0.0, 1.0]
    room = 0.03 * (max(xs) - min(xs)) or 0.5
    across = Axis(
        name=shorten(key, 60), scale=Scale(low=min(xs) - room, high=max(xs) + room), write=lambda x: f"{x:.10g}"
    )
    up = Axis(name=shorten(label, 60), scale=_axis_of(known or rows), write=_ticks)
    line = Line(label=label, look="released", points=points, join="none")
    return draw_xy("release", [line], title=title, summary=_summary(rows), across=across, up=up)
