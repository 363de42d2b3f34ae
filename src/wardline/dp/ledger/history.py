"""What was spent about the same people over time, in figures and as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wardline.core.checks import probability
from wardline.core.drawing.page import Section, render_page, standalone
from wardline.core.drawing.svg import Scale, from_zero
from wardline.core.drawing.xy import Axis, Line, Point, draw_xy
from wardline.dp.accounting import DpEvent, compose, event_from_json
from wardline.dp.accounting.filters import Consumed, PrivacyFilter

if TYPE_CHECKING:
    from markupsafe import Markup

    from wardline.dp.ledger.book import Ledger
    from wardline.dp.ledger.release import Dataset, Limit

_ROUND_SPANS = (
    1,
    5,
    15,
    60,
    300,
    900,
    3600,
    4 * 3600,
    12 * 3600,
    86400,
    7 * 86400,
    30 * 86400,
    91 * 86400,
    365 * 86400,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What one person in a data set had lost at most, right after a charge.

    Attributes:
        at: when it was charged (UTC).
        description: the release, in its own words.
        releases: how many there were by then.
        epsilon: composed as if all parameters had been fixed beforehand.
        used: how much of the data set's stored limit was used up (1: all), if a filter keeps it; otherwise None.
    """

    at: str
    description: str
    releases: int
    epsilon: float
    used: float | None


def history(ledger: Ledger, dataset: str, *, delta: float, most: int = 60) -> tuple[Moment, ...]:
    """The loss of each person in a data set after each of its releases.

    Args:
        ledger: it is verified first.
        dataset: its key.
        delta: in (0, 1), for all moments.
        most: of more releases than this, about as many evenly spaced ones, the first and the last among them.

    Raises:
        IntegrityError: if the ledger was tampered with.
        WorkspaceError: if the ledger cannot be read.
        ValueError: for a delta outside of its range, or too small to be accounted for.
    """
    probability("delta", delta)
    limit = ledger.limit(dataset)
    filters = limit is not None and limit.adaptive and limit.delta == delta  # its figure is for its own delta
    kept = PrivacyFilter(epsilon=limit.epsilon, delta=limit.delta) if limit is not None and filters else None
    charges = [entry for entry in ledger.entries(dataset) if entry.kind == "charge"]
    step = max(1, math.ceil(len(charges) / most))
    events: list[DpEvent] = []
    consumed, told = Consumed(), []
    for number, entry in enumerate(charges, start=1):
        release = entry.body["release"]
        more = [event_from_json(event) for event in release["events"]]
        events += more
        if kept is not None:
            consumed += kept.consumed(more)
        if number in (1, len(charges)) or number % step == 0:
            epsilon = compose(events, delta=delta)
            told.append(
                Moment(
                    at=entry.at,
                    description=str(release["description"]),
                    releases=number,
                    epsilon=epsilon,
                    used=None if kept is None else kept.used(consumed),
                )
            )
    return tuple(told)


def draw_history(dataset: Dataset, moments: Sequence[Moment], *, delta: float) -> Markup:
    """The losses over time as a picture.

    Raises:
        ValueError: without any moment whose loss is finite.
    """
    shown = [one for one in moments if math.isfinite(one.epsilon)]
    if not shown:
        raise ValueError("there is no finite loss to draw")
    times = [_seconds(one.at) for one in shown]
    lines = [
        Line(
            label=_COMPOSED,
            look="released",
            points=tuple(Point(x=time, y=one.epsilon) for time, one in zip(times, shown, strict=True)),
            join="step",
        )
    ]
    limit = _limit_at(dataset.limit, delta)
    if limit is not None and all(one.used is not None for one in shown):
        points = tuple(Point(x=x, y=limit * min(one.used or 0.0, 1.2)) for x, one in zip(times, shown, strict=True))
        lines.append(Line(label=_FILTERED, look="third", points=points, join="step"))
    highest = max(point.y for line in lines for point in line.points)
    across = _time_axis(times[0], times[-1])
    return draw_xy(
        "spent",
        lines,
        title="Privacy loss of one person over time (epsilon)",
        summary=f"After {shown[-1].releases} releases, the loss is at most epsilon {shown[-1].epsilon:.3g} at delta "
        f"{delta:g}." + ("" if limit is None else f" The limit is {limit:g}."),
        across=across,
        up=Axis(name="epsilon", scale=from_zero(max(highest, limit or 0.0))),
        limit=None if limit is None else (limit, f"limit: {limit:g}"),
    )


def history_page(dataset: Dataset, moments: Sequence[Moment], *, delta: float) -> bytes:
    """The losses over time as a page of its own: picture, table, and what they mean. No script, no network.

    Raises:
        ValueError: without any moment whose loss is finite.
    """
    last = moments[-1] if moments else None
    columns = ("release", "charged", "number", "epsilon")
    with_filter = any(one.used is not None for one in moments)
    section = Section(
        title="Cumulative loss",
        text=(
            f"The data set {dataset.key[:16]}; each unit ({dataset.unit}) counts as one person. The loss only grows: "
            "what was released cannot be taken back.",
        ),
        picture=draw_history(dataset, moments, delta=delta),
        legend=(("released", _COMPOSED), *((("third", _FILTERED),) if with_filter else ())),
        columns=(*columns, "used of the limit") if with_filter else columns,
        rows=tuple(
            (
                one.description or "(no description)",
                one.at,
                str(one.releases),
                f"{one.epsilon:.4g}",
                *((f"{one.used:.1%}",) if one.used is not None else ()),
            )
            for one in moments
        ),
    )
    lede = "" if last is None else f"{last.releases} releases, epsilon {last.epsilon:.3g} at delta {delta:g}."
    footer = (
        "Epsilon bounds how much more likely any outcome becomes by one person's data, as a factor of exp(epsilon), "
        f"but for a probability of {delta:g}. Composed figures hold where all parameters were fixed before the first "
        "result was seen. Where they may have been chosen on the way, what counts is how much of the limit its filter "
        "has used up."
    )
    return render_page("Privacy loss over time", (section,), lede=lede, footer=footer)


def history_picture(dataset: Dataset, moments: Sequence[Moment], *, delta: float) -> bytes:
    """The losses over time as an SVG file of its own.

    Raises:
        ValueError: without any moment whose loss is finite.
    """
    return standalone(draw_history(dataset, moments, delta=delta))


_COMPOSED = "composed, had all parameters been fixed beforehand"
_FILTERED = "used of the limit, as its filter counts (at the line: all)"


def _limit_at(limit: Limit | None, delta: float) -> float | None:
    """The stored limit, if it is stated for this delta; one for another delta says nothing here."""
    return limit.epsilon if limit is not None and limit.delta == delta else None


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _time_axis(first: float, last: float) -> Axis:
    """Round times from the first charge to the last, and something beyond so that the last one stays."""
    span = max(last - first, 1.0)
    step = next((one for one in _ROUND_SPANS if span / one <= 5), _ROUND_SPANS[-1] * math.ceil(span / 5 / 31_536_000))
    low, high = math.floor(first / step) * step, math.ceil((last + span / 50) / step) * step
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43_200 else "%Y-%m-%d"
    day = datetime.fromtimestamp(first, UTC).strftime("%Y-%m-%d")
    return Axis(
        name="time (UTC)" if "Y" in form else f"time (UTC), from {day}",
        scale=Scale(low=low, high=high),
        write=lambda value: datetime.fromtimestamp(value, UTC).strftime(form),
        ticks=tuple(float(low + index * step) for index in range(round((high - low) / step) + 1)),
    )
