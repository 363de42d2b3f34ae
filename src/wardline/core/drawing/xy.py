"""A chart of series over two axes, with error bars: over time, over epsilon, over groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from markupsafe import Markup

from wardline.core.drawing.svg import Look, Scale, coordinate, drawing, element, marker, placed, share

_TOP, _BELOW = 28.0, 46.0  # pixels above and below the plot
_LEFT, _WIDTH = 13.0, 84.0  # of the plot, in percent of the picture's width

Series = Literal["released", "unprotected", "third", "fourth"]
"""The looks that a series can have; see `svg.Look`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One figure: where it stands, and the ends of its interval if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series.

    Attributes:
        label: its name in the legend.
        look: its colour and mark.
        points: its figures, by rising x.
        join: how they are joined: not at all, by straight lines, or by steps that hold until the next one.
    """

    label: str
    look: Series
    points: tuple[Point, ...]
    join: Literal["none", "straight", "step"] = "straight"

    def __post_init__(self) -> None:
        if self.look not in get_args(Series):
            raise ValueError(f"no series looks like {self.look!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis.

    Attributes:
        name: what it measures, with its unit.
        scale: its range; positions from 0 to 100.
        write: how a figure on it is written.
        ticks: the figures that are marked; by default round ones.
    """

    name: str
    scale: Scale
    write: Callable[[float], str] = "{:g}".format
    ticks: tuple[float, ...] | None = None

    @property
    def marked(self) -> tuple[float, ...]:
        """The figures that are marked."""
        return self.scale.ticks() if self.ticks is None else self.ticks


def draw_xy(
    name: str,
    lines: Sequence[Line],
    *,
    title: str,
    summary: str,
    across: Axis,
    up: Axis,
    limit: tuple[float, str] | None = None,
    height: float = 260.0,
) -> Markup:
    """A picture of all series, reflowing with the page's width.

    Args:
        name: its identifier on the page.
        lines: the series; at most one of each look.
        title: what it shows, read out in place of the picture.
        summary: what it says, read out as well.
        across: the horizontal axis.
        up: the vertical axis.
        limit: a height at which a horizontal line is drawn, and its name.
        height: of the plot, in pixels.
    """
    rise = Scale(low=0.0, high=100.0, start=_TOP + height, end=_TOP)

    def x_at(value: float) -> float:
        return _LEFT + _WIDTH / 100 * across.scale.at(value)

    def y_at(value: float) -> float:
        return rise.at(up.scale.at(value))

    grid = [
        *(element("path", {"class": "grid", "d": f"M{coordinate(across.scale.at(t))} 0V100"}) for t in across.marked),
        *(element("path", {"class": "grid", "d": f"M0 {coordinate(100 - up.scale.at(t))}H100"}) for t in up.marked),
        element("path", {"class": "axis", "d": "M0 0V100H100"}),
        *(element("path", {"class": f"curve {line.look}", "d": _path(line, across, up)}) for line in lines),
    ]
    if limit is not None:
        grid.append(element("path", {"class": "rule limit", "d": f"M0 {coordinate(100 - up.scale.at(limit[0]))}H100"}))
    plot = element(
        "svg",
        {
            "x": share(_LEFT),
            "y": _TOP,
            "width": share(_WIDTH),
            "height": height,
            "viewBox": "0 0 100 100",
            "preserveAspectRatio": "none",
            "overflow": "visible",
        },
        *grid,
    )
    labels = [
        *(
            element("text", {"class": "tick", "x": share(x_at(t)), "y": _TOP + height + 18, "text-anchor": "middle"}, w)
            for t in across.marked
            for w in [across.write(t)]
        ),
        *(
            element("text", {"class": "tick", "x": share(_LEFT - 1.2), "y": y_at(t) + 4, "text-anchor": "end"}, w)
            for t in up.marked
            for w in [up.write(t)]
        ),
        element(
            "text",
            {"class": "axis-name", "x": share(_LEFT + _WIDTH / 2), "y": _TOP + height + 38, "text-anchor": "middle"},
            across.name,
        ),
        element("text", {"class": "axis-name", "x": share(_LEFT), "y": _TOP - 14, "text-anchor": "middle"}, up.name),
    ]
    if limit is not None:
        where: dict[str, str | float] = {
            "class": "limit-name limit halo",
            "x": share(_LEFT + _WIDTH),
            "y": y_at(limit[0]) - 7,
        }
        labels.append(element("text", {**where, "text-anchor": "end"}, limit[1]))
    marks = [
        placed(x_at(point.x), y_at(point.y), *_whisker(line.look, point, y_at), marker(line.look))
        for line in lines
        for point in line.points
    ]
    body = (plot, *labels, *marks)
    return drawing(name=name, title=title, summary=summary, height=_TOP + height + _BELOW, body=body)


def _path(line: Line, across: Axis, up: Axis) -> str:
    spots = [(across.scale.at(point.x), 100 - up.scale.at(point.y)) for point in line.points]
    if line.join == "none" or len(spots) < 2:
        return ""
    path = [f"M{coordinate(spots[0][0])} {coordinate(spots[0][1])}"]
    for x, y in spots[1:]:
        path.append(f"H{coordinate(x)}V{coordinate(y)}" if line.join == "step" else f"L{coordinate(x)} {coordinate(y)}")
    return "".join(path)


def _whisker(look: Look, point: Point, y_at: Callable[[float], float]) -> tuple[Markup, ...]:
    if point.low is None or point.high is None:
        return ()
    top, bottom = y_at(point.high) - y_at(point.y), y_at(point.low) - y_at(point.y)
    ends = f"M-4 {coordinate(top)}H4M0 {coordinate(top)}V{coordinate(bottom)}M-4 {coordinate(bottom)}H4"
    return (element("path", {"class": f"whisker {look}", "d": ends}),)
