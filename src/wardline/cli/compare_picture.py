"""The words, the pictures and the page of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from wardline.core.drawing.page import Section, render_page, standalone
from wardline.core.drawing.svg import Look, Scale, drawing, element, marker, placed, share
from wardline.core.drawing.xy import Axis, Line, Point, draw_xy

if TYPE_CHECKING:
    from wardline.dp.local import Comparison, Contender

_ROW, _HEAD, _TOP = 42.0, 34.0, 6.0  # pixels: a mechanism, the heading of an epsilon, the margin above
_LOOKS: dict[str, Look] = {"central": "released", "local": "unprotected"}
_NAMES = {"central": "central: trusts one party", "local": "local: trusts no one"}
_UP = {"counts": "the expected error of a count, as a share of all,", "mean": "the expected error of the mean"}
_DECADES = 4  # of people, to the right of how many take part


@dataclass(frozen=True, slots=True)
class Wording:
    """How a comparison is told, in text and on the page alike."""

    comparison: Comparison

    @property
    def title(self) -> str:
        """What is compared."""
        one = self.comparison
        if one.quantity == "mean":
            return f"Mean of a number from {one.lower:g} to {one.upper:g}, {one.people:,} persons"
        return f"Counts of {one.size:,} values, {one.people:,} persons"

    @property
    def unit(self) -> str:
        """What errors are told in."""
        return "in the unit of the number" if self.comparison.quantity == "mean" else "in persons"

    def error(self, value: float) -> str:
        """An error with its unit."""
        return figure(value) if self.comparison.quantity == "mean" else f"{figure(value)} persons"

    def table(self, epsilon: float) -> list[list[str]]:
        """A heading and a row for each mechanism."""
        counts = self.comparison.quantity == "counts"
        head = ["model", "mechanism", "expected error"]
        head += ["largest"] if counts else []
        head += ["measured error", "95 % interval"] if self.comparison.measured else []
        head += ["persons for the central error", "bytes sent"]
        rows = [head]
        for one in self._at(epsilon):
            row = [one.model, one.name, figure(one.rmse)]
            row += [figure(one.largest)] if counts else []
            if one.measured is not None:
                interval = one.measured.rmse_interval
                row += [figure(one.measured.rmse), f"{figure(interval.low)} to {figure(interval.high)}"]
            row += [people(one.people_needed), f"{one.report_bytes:,}" if one.model == "local" else "the answer"]
            rows.append(row)
        return rows

    def conclusion(self, epsilon: float) -> list[str]:
        """The price in two sentences."""
        one = self.comparison
        central, local = one.central(epsilon), one.best_local(epsilon)
        worst = ", for the worst numbers" if one.quantity == "mean" and not one.measured else ""
        lines = [
            f"Trusting no one costs {figure(local.rmse / central.rmse)} times the error{worst} ({local.name}: "
            f"{figure(local.rmse)} instead of {self.error(central.rmse)})."
        ]
        if one.quantity == "counts":
            lines.append(
                f"As a share of all it is {_percent(local.rmse / one.people)} instead of "
                f"{_percent(central.rmse / one.people)}; for the smaller one the local model needs "
                f"{people(local.people_needed)} persons instead of {one.people:,}."
            )
        else:
            lines.append(
                f"For the smaller one the local model needs {people(local.people_needed)} persons instead of "
                f"{one.people:,}."
            )
        return lines

    def _at(self, epsilon: float) -> list[Contender]:
        return [one for one in self.comparison.contenders if one.epsilon == epsilon]


def figure(value: float, digits: int = 3) -> str:
    """A figure with three digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.{digits}g}'):g}".replace("e-0", "e-")


def people(value: float) -> str:
    """How many persons, in words where there are many."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{float(f'{value / size:.3g}'):,g} {word}"
    return f"{value:,.0f}"


def picture(comparison: Comparison) -> bytes:
    """The errors as one SVG file."""
    return standalone(_drawing(comparison))


def page(comparison: Comparison, *, standing: str, notes: Sequence[str]) -> bytes:
    """The errors as a page: pictures, tables, and what they mean.

    Args:
        comparison: what is shown.
        standing: where the figures come from, and who may see them.
        notes: what a reader must know.
    """
    wording = Wording(comparison)
    sections = [
        Section(
            title="The error of each mechanism",
            picture=_drawing(comparison),
            legend=(("released", _NAMES["central"]), ("unprotected", _NAMES["local"])),
        )
    ]
    for epsilon in comparison.epsilons:
        head, *rows = wording.table(epsilon)
        sections.append(
            Section(
                title=f"Epsilon {epsilon:g}",
                text=(
                    *wording.conclusion(epsilon),
                    f"Below: {_UP[comparison.quantity]} against the number of persons.",
                ),
                picture=_against_people(comparison, epsilon),
                legend=(
                    ("released", comparison.central(epsilon).name),
                    ("unprotected", comparison.best_local(epsilon).name),
                ),
                columns=("mechanism", "model", *head[2:]),
                rows=tuple((row[1], row[0], *row[2:]) for row in rows),
            )
        )
    title = f"What trusting no one costs: {wording.title[0].lower() + wording.title[1:]}"
    return render_page(title, sections, lede=standing[0].upper() + standing[1:], footer=" ".join(notes))


def _drawing(comparison: Comparison) -> Markup:
    """Rows over one logarithmic axis: a circle for the central model, diamonds for the local one."""
    wording = Wording(comparison)
    values = [one.rmse for one in comparison.contenders]
    for one in comparison.contenders:
        if one.measured is not None:
            interval = one.measured.rmse_interval
            values += [value for value in (one.measured.rmse, interval.low, interval.high) if value > 0]
    low = 10.0 ** math.floor(math.log10(min(values)) - 1e-9)
    high = 10.0 ** math.ceil(math.log10(max(values)) + 1e-9)
    scale = Scale(low=low, high=high, log=True, start=3.0, end=95.0)
    rows: list[Markup] = []
    y = _TOP
    for epsilon in comparison.epsilons:
        rows.append(_text(f"epsilon {epsilon:g}", 0, y + 18, "limit-name limit halo"))
        y += _HEAD
        for one in comparison.contenders:
            if one.epsilon == epsilon:
                rows += _row(one, comparison.central(epsilon), wording, scale, y=y)
                y += _ROW
    floor = y + 4
    lines = []
    for tick in scale.ticks():
        at = share(scale.at(tick))
        lines.append(element("line", {"class": "grid", "x1": at, "x2": at, "y1": _TOP, "y2": floor}))
        lines.append(_text(figure(tick), at, floor + 18, "tick", "middle"))
    axis = element("line", {"class": "axis", "x1": "3%", "x2": "95%", "y1": floor, "y2": floor})
    name = f"{'measured' if comparison.measured else 'expected'} error {wording.unit}, logarithmic"
    return drawing(
        name="compare",
        title=f"What trusting no one costs: {wording.title}",
        summary=" ".join(" ".join((f"Epsilon {one:g}.", *wording.conclusion(one))) for one in comparison.epsilons),
        height=floor + 52,
        body=(*lines, axis, *rows, _text(name, 0, floor + 42, "axis-name")),
    )


def _row(one: Contender, central: Contender, wording: Wording, scale: Scale, *, y: float) -> list[Markup]:
    shown = one.rmse if one.measured is None else one.measured.rmse
    # Two measured errors each have an interval, and their ratio a wide one: it is told of expected errors only.
    times = "" if one is central or one.measured else f", {figure(one.rmse / central.rmse)} times"
    look, at = _LOOKS[one.model], y + 25
    drawn = []
    if one.measured is not None:
        interval = one.measured.rmse_interval
        ends = [share(scale.at(max(end, scale.low))) for end in (interval.low, interval.high)]
        whisker = f"whisker {look}"
        drawn.append(element("line", {"class": whisker, "x1": ends[0], "x2": ends[1], "y1": at, "y2": at}))
        drawn += [element("line", {"class": whisker, "x1": end, "x2": end, "y1": at - 5, "y2": at + 5}) for end in ends]
    drawn.append(placed(scale.at(max(shown, scale.low)), at, marker(look)))
    drawn.append(_text(one.name, 0, y + 11, "halo"))
    drawn.append(_text(f"{figure(shown)}{times}", "100%", y + 11, "halo", "end"))
    return drawn


def _against_people(comparison: Comparison, epsilon: float) -> Markup:
    """How the expected error falls with the number of persons, centrally and locally."""
    counts = comparison.quantity == "counts"
    first = math.floor(math.log10(max(10, comparison.people))) - 1
    decades = range(first, first + _DECADES + 2)
    central, local = comparison.central(epsilon), comparison.best_local(epsilon)
    unit = comparison.people if counts else 1

    def line(one: Contender, look: str, power: float) -> Line:
        points = (10.0**decade for decade in decades)
        return Line(
            label=one.name,
            look="released" if look == "central" else "unprotected",
            points=tuple(Point(x=x, y=one.rmse / unit * (comparison.people / x) ** power) for x in points),
        )

    # Centrally the same noise is shared by more; locally every person brings noise, which averages out slowly.
    lines = [line(central, "central", 1.0), line(local, "local", 0.5)]
    heights = [point.y for one in lines for point in one.points]
    up = Scale(
        low=10.0 ** math.floor(math.log10(min(heights)) + 1e-9),
        high=10.0 ** math.ceil(math.log10(max(heights)) - 1e-9),
        log=True,
    )
    write = _percent if counts else figure
    return draw_xy(
        f"people-{comparison.epsilons.index(epsilon)}",
        lines,
        title=f"Expected error against the number of persons, epsilon {epsilon:g}",
        summary=" ".join(Wording(comparison).conclusion(epsilon)),
        across=Axis(
            name="persons",
            scale=Scale(low=10.0 ** decades[0], high=10.0 ** decades[-1], log=True),
            write=people,
            ticks=tuple(10.0**one for one in decades[::2]),
        ),
        up=Axis(
            name="error",
            scale=up,
            write=write,
            ticks=up.ticks()[:: 1 + len(up.ticks()) // 8],
        ),
    )


def _percent(value: float) -> str:
    return f"{figure(100 * value, digits=2)} %"


def _text(words: str, x: str | float, y: float, look: str, anchor: str = "start") -> Markup:
    return element("text", {"class": look, "x": x, "y": y, "text-anchor": anchor}, words)
