"""Charts that set rows under one another over one horizontal axis: bars from 0, or marks with whiskers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wardline.core.claims import Interval
from wardline.core.drawing.svg import Look, Scale, element, hatch, marker, placed, share
from wardline.evidence import text

ROW_HEIGHT = 44.0  # pixels from one row to the next
GROUP_GAP = 10.0  # pixels between a control and the next method

_LABEL_AT, _MARK_AT = 13.0, 27.0  # pixels below the top of a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        label: what it is the figure of.
        figure: the figure as it is written.
        look: the result, or the same without protection.
        value: where it is drawn; None if there is no figure.
        interval: drawn as a whisker.
        hollow: whether it proves nothing.
        bar: whether it is a bound from below, drawn as a bar from 0 with an open arrow head.
        minor: whether it belongs to the row above.
    """

    label: str
    figure: str
    look: Look
    value: float | None
    interval: Interval | None = None
    hollow: bool = False
    bar: bool = False
    minor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A vertical line: what was promised or required, or what blind guessing reaches."""

    value: float
    look: Look
    label: str = ""


def reach(rows: Sequence[Row]) -> tuple[float, ...]:
    """All values that the axis has to cover."""
    values = [row.value for row in rows if row.value is not None]
    return (*values, *(end for row in rows if row.interval for end in (row.interval.low, row.interval.high)))


def table(rows: Sequence[Row], quantity: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The rows as a table: its columns, and its cells.

    What all intervals have in common stands in the heading, not in each cell.
    """
    kinds = {(row.interval.level, row.interval.method) for row in rows if row.interval is not None}
    kind = f" ({text.interval_kind(*next(iter(kinds)))})" if len(kinds) == 1 else ""
    columns = ("What was measured", "Figure", f"Interval{kind}", "Standing")
    return columns, tuple(
        (
            row.label,
            row.figure,
            "none stated" if row.interval is None else text.between(quantity, row.interval, kind=not kind),
            "proves nothing" if row.hollow or row.value is None else "usable",
        )
        for row in rows
    )


def draw_rows(
    name: str, rows: Sequence[Row], *, limits: Sequence[Limit], scale: Scale, write: Callable[[float], str]
) -> tuple[tuple[Markup, ...], float]:
    """Draw rows, limits and axis.

    Args:
        name: of the chart; begins the identifiers of its patterns.
        rows: from top to bottom.
        limits: at most one of them with a label, or the labels might cover each other.
        scale: from values to percent of the width.
        write: how the axis writes a value.

    Returns:
        The parts of the picture and its height in pixels.
    """
    top = 24.0 if any(limit.label for limit in limits) else 6.0
    tops: list[float] = []
    y = top
    for row in rows:
        if tops and not row.minor:
            y += GROUP_GAP
        tops.append(y)
        y += ROW_HEIGHT
    floor = y
    ticks = scale.ticks(5)
    body = [element("defs", {}, hatch(f"{name}-unprotected", "unprotected"), hatch(f"{name}-over", "over"))]
    body.extend(_vertical("grid", scale.at(tick), top, floor) for tick in ticks)
    promised = min((limit.value for limit in limits if limit.look == "limit"), default=scale.high)
    for row, row_top in zip(rows, tops, strict=True):
        body.extend(_marks(name, row, promised, scale, y=row_top + _MARK_AT))
    for limit in limits:
        body.append(_vertical(f"rule {limit.look}", scale.at(limit.value), top - 4 if limit.label else top, floor))
        if limit.label:
            body.append(label(limit.label, scale.at(limit.value), 14.0, f"limit-name {limit.look}"))
    body.append(element("line", {"class": "axis", "x1": 0, "x2": "100%", "y1": floor, "y2": floor}))
    body.extend(label(write(tick), scale.at(tick), floor + 18.0, "tick") for tick in ticks)
    for row, row_top in zip(rows, tops, strict=True):
        look = "minor" if row.minor else "name"
        y = row_top + _LABEL_AT
        body.append(element("text", {"class": f"{look} halo", "x": 0, "y": y}, row.label))
        figure: dict[str, str | float] = {"class": f"{look} halo", "x": "100%", "y": y, "text-anchor": "end"}
        body.append(element("text", figure, row.figure))
    return tuple(body), floor + 24.0


def label(words: str, x: float, y: float, look: str) -> Markup:
    """Text at a percentage of the width, anchored so that it never leaves the picture."""
    margin = 30 if look.startswith("limit-name") else 6
    anchor = "start" if x < margin else "end" if x > 100 - margin else "middle"
    return element("text", {"class": look, "x": share(x), "y": y, "text-anchor": anchor}, words)


def _vertical(look: str, x: float, top: float, floor: float) -> Markup:
    return element("line", {"class": look, "x1": share(x), "x2": share(x), "y1": top, "y2": floor})


def _marks(name: str, row: Row, promised: float, scale: Scale, *, y: float) -> list[Markup]:
    if row.value is None:
        return [element("line", {"class": "missing", "x1": 0, "x2": "100%", "y1": y, "y2": y})]
    marks = _bar(name, row, row.value, promised, scale, y=y) if row.bar else []
    if row.interval is not None:
        marks.extend(_whisker(row, row.interval, scale, y=y))
    if row.bar:
        look = "over" if row.look == "released" and row.value > promised else row.look
        head = element("path", {"class": f"head {look}", "d": "M0-9 7 0 0 9"})
        return [*marks, placed(scale.at(row.value), y, head)]
    return [*marks, placed(scale.at(row.value), y, marker(row.look, hollow=row.hollow))]


def _bar(name: str, row: Row, value: float, promised: float, scale: Scale, *, y: float) -> list[Markup]:
    x = scale.at(value)
    if row.look == "unprotected":
        # A control makes no promise that it could break: one filling from end to end.
        return [_rectangle("bar unprotected", 0.0, x, y=y, fill=f"url(#{name}-unprotected)")]
    kept = min(x, scale.at(promised))
    bars = [_rectangle("bar released hollow" if row.hollow else "bar released", 0.0, kept, y=y)]
    if x > kept:
        bars.append(_rectangle("bar over", kept, x, y=y, fill=f"url(#{name}-over)"))
    return bars


def _rectangle(look: str, start: float, end: float, *, y: float, fill: str = "") -> Markup:
    attributes: dict[str, str | float] = {"class": look, "x": share(start), "y": y - 6}
    if fill:
        attributes["fill"] = fill
    return element("rect", {**attributes, "width": share(end - start), "height": 12})


def _whisker(row: Row, interval: Interval, scale: Scale, *, y: float) -> list[Markup]:
    low, high = share(scale.at(interval.low)), share(scale.at(interval.high))
    broken = " hollow" if row.hollow else ""
    marks = [element("line", {"class": f"whisker {row.look}{broken}", "x1": low, "x2": high, "y1": y, "y2": y})]
    marks.extend(
        element("line", {"class": f"whisker {row.look}", "x1": end, "x2": end, "y1": y - 5, "y2": y + 5})
        for end in (low, high)
    )
    return marks
