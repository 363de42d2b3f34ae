"""The page that tells how near a synthetic table is to real rows."""

from __future__ import annotations

from wardline.core import Measurement
from wardline.core.drawing.page import Section, render_page
from wardline.core.drawing.svg import Scale, from_zero
from wardline.core.drawing.xy import Axis, Line, Point, Series, draw_xy
from wardline.dp.synthetic import Quality, Synthetic

_NAMES = {
    "tv_single": "single columns: mean total variation",
    "tv_pairs": "pairs of columns: mean total variation",
    "association_gap": "pairs of columns: mean difference of Cramer's V",
    "accuracy": "accuracy of a classifier that learnt from it, on real rows",
    "accuracy_gap": "accuracy lost by learning from synthetic rows",
}
_SUBJECTS: dict[str, tuple[Series, str]] = {
    "synthetic": ("released", "synthetic rows"),
    "real": ("unprotected", "real rows"),
}
_FOOTER = (
    "Total variation runs from 0 (the same shares) to 1 (nothing in common). Figures of real rows compare the rows "
    "that the table was made from with the same held-out ones: chance alone sets them apart, and no table can be "
    "expected to be much nearer. The promise of the table holds whatever stands here."
)


def render_quality(project: str, made: Synthetic, quality: Quality) -> bytes:
    """The page of a comparison.

    Args:
        project: the policy's.
        made: the synthetic table; its rows are not shown.
        quality: what the comparison found.
    """
    sections = [_figures(quality)]
    each = [one for one in quality.measurements if one.quantity == "tv_single" and one.details.get("each")]
    if each:
        sections.append(_columns(each))
    sections.append(
        Section(
            title="What is promised",
            text=(made.claim.statement, *(f"Assumed: {one}" for one in made.claim.assumptions)),
        )
    )
    lede = f"{made}. {quality.note[0].upper()}{quality.note[1:]}."
    return render_page(f"Synthetic table: {project}", sections, lede=lede, footer=_FOOTER)


def _figures(quality: Quality) -> Section:
    rows = max((one.trials for one in quality.measurements), default=0)
    return Section(
        title="How near it is to real rows",
        text=(f"Compared with about {rows:,} held-out rows; intervals at 95 % confidence.",),
        columns=("figure", "of", "value", "interval"),
        rows=tuple(
            (
                _NAMES.get(one.quantity, one.quantity),
                _SUBJECTS.get(one.subject, ("third", one.subject))[1],
                "none" if one.value is None else f"{one.value:.3f}",
                "" if one.interval is None else f"{one.interval.low:.3f} to {one.interval.high:.3f}",
            )
            for one in quality.measurements
        ),
    )


def _columns(each: list[Measurement]) -> Section:
    """The distance of each column, the worst of the synthetic table first."""
    order = [str(name) for name, _ in each[0].details["each"]]
    known = {one.subject: {str(name): float(value) for name, value in one.details["each"]} for one in each}
    highest = max(max(values.values()) for values in known.values())
    lines = [
        Line(
            label=_SUBJECTS[subject][1],
            look=_SUBJECTS[subject][0],
            points=tuple(Point(x=place + 1, y=values[name]) for place, name in enumerate(order)),
            join="none",
        )
        for subject, values in known.items()
    ]
    picture = draw_xy(
        "columns",
        lines,
        title="Total variation of single columns",
        summary=f"{order[0]} is furthest from the real rows.",
        across=Axis(name="column, as numbered in the table", scale=Scale(low=0, high=len(order) + 1)),
        up=Axis(name="total variation", scale=from_zero(max(highest, 1e-3)), write="{:.3g}".format),
    )
    return Section(
        title="Single columns",
        text=("How far the shares of a column's values are from those of the held-out rows.",),
        picture=picture,
        legend=tuple((_SUBJECTS[subject][0], _SUBJECTS[subject][1]) for subject in known),
        columns=("number", "column", *(_SUBJECTS[subject][1] for subject in known)),
        rows=tuple(
            (str(place + 1), name, *(f"{values[name]:.4f}" for values in known.values()))
            for place, name in enumerate(order)
        ),
    )
