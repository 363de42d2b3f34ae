"""A self-contained page of charts and tables, and a chart as a file of its own: for results outside of the report.

The page runs no script, loads nothing and sends nothing; its content security policy allows the stylesheet inside
it, by digest, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup, escape

from wardline.core.drawing.hostile import clean
from wardline.core.drawing.svg import element, marker
from wardline.core.drawing.xy import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        title: its heading.
        text: what it says, one paragraph each.
        picture: a drawing of `svg` or `xy`; None for none.
        legend: look and name of each series in the picture.
        columns, rows: a table, folded away below a picture; the first cell of a row names it.
        png: a photographic picture, as PNG in base64; empty for none.
    """

    title: str
    text: tuple[str, ...] = ()
    picture: Markup | None = None
    legend: tuple[tuple[Series, str], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    png: str = ""


def stylesheet() -> str:
    """The stylesheet of pages and of charts that stand alone."""
    return "\n" + resources.files("wardline.core.drawing").joinpath("page.css").read_text("utf-8")


def content_policy(style: str, *, pictures: bool = False) -> str:
    """The content security policy of a page whose only resource is this inline stylesheet.

    Args:
        style: the stylesheet as it stands between its tags.
        pictures: whether pictures inside the page (``data:`` addresses) are shown as well.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    images = "img-src data:; " if pictures else ""
    return f"default-src 'none'; style-src 'sha256-{digest}'; {images}base-uri 'none'; form-action 'none'"


def render_page(title: str, sections: Sequence[Section], *, lede: str = "", footer: str = "") -> bytes:
    """A whole page, light or dark as the reader's system asks for.

    Args:
        title: its heading; like all text here it may be hostile.
        sections: its parts, in order.
        lede: what it says, in a sentence or two, below the heading.
        footer: what it does not say, and where it comes from.

    Returns:
        HTML in UTF-8; the same arguments give the same bytes.
    """
    style = stylesheet()
    policy = content_policy(style, pictures=any(section.png for section in sections))
    head = Markup(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="{}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{}</title>\n<style>{}</style>\n'
        '</head>\n<body>\n<main class="wide">\n<h1>{}</h1>\n'
    ).format(policy, clean(title), Markup(style), clean(title))  # noqa: S704 (this package's own file)
    parts = [head]
    if lede:
        parts.append(Markup('<p class="lede">{}</p>\n').format(clean(lede)))
    parts += [_section(section) for section in sections]
    if footer:
        parts.append(Markup('<footer class="small">{}</footer>\n').format(clean(footer)))
    parts.append(Markup("</main>\n</body>\n</html>\n"))
    return Markup("").join(parts).encode()


def standalone(picture: Markup, *, width: int = 760) -> bytes:
    """A chart as an SVG file of its own, its stylesheet inside.

    Args:
        picture: what `svg.drawing` made, its width in percent.
        width: the width in pixels at which it is shown where nothing else is said.
    """
    style = element("style", {}, Markup(escape(stylesheet())))  # noqa: S704 (escaped)
    opened = str(picture).replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" style="max-width:{width}px" ', 1)
    end = opened.index(">") + 1
    return (opened[:end] + str(style) + opened[end:]).encode()


_KEY = Markup(
    '<li><svg class="swatch" width="26" height="14" viewBox="-13 -7 26 14" aria-hidden="true">{}</svg>{}</li>'
)


def _section(section: Section) -> Markup:
    parts = [Markup("<section>\n<h2>{}</h2>\n").format(clean(section.title))]
    parts += [Markup('<p class="lede">{}</p>\n').format(clean(text)) for text in section.text]
    table = _table(section) if section.rows else Markup("")
    if section.png:
        address = f"data:image/png;base64,{section.png}"
        parts.append(
            Markup('<figure><img class="grid-picture" alt="{}" src="{}"></figure>\n').format(
                clean(section.title), address
            )
        )
    if section.picture is None:
        parts.append(table)
    else:
        legend = Markup("").join(_KEY.format(marker(look), clean(name)) for look, name in section.legend)
        parts.append(Markup("<figure>\n"))
        if legend:
            parts.append(Markup('<ul class="keys">{}</ul>\n').format(legend))
        parts.append(section.picture)
        if section.rows:
            parts.append(Markup("<details><summary>The figures as a table</summary>{}</details>\n").format(table))
        parts.append(Markup("</figure>\n"))
    parts.append(Markup("</section>\n"))
    return Markup("").join(parts)


def _table(section: Section) -> Markup:
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(clean(name)) for name in section.columns)
    body = Markup("\n").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            clean(row[0]), Markup("").join(Markup("<td>{}</td>").format(clean(cell)) for cell in row[1:])
        )
        for row in section.rows
    )
    return Markup(
        '<div class="scroll" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>\n'
    ).format(head, body)
