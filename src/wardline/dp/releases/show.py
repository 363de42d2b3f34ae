"""A release for people: aligned in a terminal, as a table in a notebook."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from wardline.core.drawing.hostile import shorten

if TYPE_CHECKING:
    from wardline.dp.releases.value import Release

MOST_ROWS = 60
_WIDEST = 40


def figure(value: float | None, noise: float | None) -> str:
    """A figure with as many decimal places as its noise leaves meaning to: two digits of the noise."""
    if value is None or not math.isfinite(value):
        return "–"
    if noise is None or not noise > 0 or not math.isfinite(noise):
        return f"{value:,.6g}" if float(value) % 1 else f"{value:,.0f}"
    return f"{value:,.{places(noise)}f}"


def places(noise: float) -> int:
    """How many decimal places two digits of a standard deviation take; at least 0."""
    return max(0, min(12, 1 - math.floor(math.log10(noise)))) if noise < 10 else 0


def cells_of(release: Release, *, most: int | None) -> tuple[list[str], list[list[str]], list[bool]]:
    """The table as text: headings, rows, and which columns hold numbers.

    Args:
        release: what to show.
        most: how many rows; None for all.
    """
    table = release.table if most is None else release.table.slice(0, most)
    rows = table.to_pylist()
    names = list(release.keys)
    headings, numbers = list(names), [_is_number(rows, name) for name in names]
    for label in release.labels:
        headings += [label, "noise", "95 % interval"]
        numbers += [True, True, True]
    shown = []
    for row in rows:
        cells = [shorten(_key(row[name]), _WIDEST) for name in names]
        for label in release.labels:
            whole = isinstance(row[label], int)
            noise = row[label + "_noise"]
            ends = (row[label + "_low"], row[label + "_high"])
            digits = None if whole else noise
            if not whole and row[label] is None:
                digits = (ends[1] - ends[0]) / 4  # no figure, and so no noise: the interval tells how fine to be
            low, high = (f"{end:,}" if whole else figure(end, digits) for end in ends)
            cells += [
                f"{row[label]:,}" if whole else figure(row[label], noise),
                "–" if noise is None else figure(noise, noise),
                f"[{low}, {high}]",
            ]
        shown.append(cells)
    return [shorten(heading, _WIDEST) for heading in headings], shown, numbers


def as_text(release: Release) -> str:
    """The release in a terminal: at most 60 rows, the claim, and what the figures do not tell."""
    headings, rows, numbers = cells_of(release, most=MOST_ROWS)
    widths = [max(map(_width, column)) for column in zip(headings, *rows, strict=True)]
    lines = [_line(headings, widths, numbers), "  ".join("─" * width for width in widths)]
    lines += [_line(row, widths, numbers) for row in rows]
    hidden = release.table.num_rows - len(rows)
    if hidden > 0:
        lines.append(f"and {hidden:,} more rows")
    if not rows:
        lines.append("(no group was large enough to be published)")
    claim = release.claim
    delta = claim.parameters["delta"]
    loss = f"epsilon {claim.value:g}" + (f", delta {delta:g}" if delta else "")
    unit = "each row" if claim.parameters["unit"] == "row" else f"each {shorten(str(claim.parameters['unit']), 60)!r}"
    lines += ["", f"{loss} for {unit} ({claim.parameters['bound']}); {claim.parameters['noise']} noise"]
    lines += [*release.about["limits"]]
    return "\n".join(lines)


def as_html(release: Release) -> str:
    """The release in a notebook. Names and keys count as hostile."""
    headings, rows, numbers = cells_of(release, most=MOST_ROWS)

    def row(tag: str, cells: Sequence[str]) -> Markup:
        aligned = (
            Markup('<{0} style="text-align:{1}">{2}</{0}>').format(tag, "right" if number else "left", cell)
            for cell, number in zip(cells, numbers, strict=True)
        )
        return Markup("<tr>{}</tr>").format(Markup("").join(aligned))

    hidden = release.table.num_rows - len(rows)
    more = Markup("<p>and {} more rows</p>").format(f"{hidden:,}") if hidden > 0 else Markup("")
    limits = Markup("").join(Markup("<li>{}</li>").format(limit) for limit in release.about["limits"])
    return str(
        Markup('<div class="wardline-release"><table><thead>{}</thead><tbody>{}</tbody></table>{}').format(
            row("th", headings), Markup("").join(row("td", cells) for cells in rows), more
        )
        + Markup("<p>{}</p><ul>{}</ul></div>").format(release.claim.statement, limits)
    )


def _key(value: object) -> str:
    match value:
        case None:
            return "all"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _is_number(rows: Sequence[dict[str, object]], name: str) -> bool:
    return all(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    parts = []
    for cell, width, number in zip(cells, widths, numbers, strict=True):
        space = " " * (width - _width(cell))
        parts.append(space + cell if number else cell + space)
    return "  ".join(parts).rstrip()
