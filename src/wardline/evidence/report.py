"""The report: one self-contained page for people, rendered from the evidence and from nothing else.

The page runs no script, loads nothing and sends nothing: its content security policy allows exactly one
thing, the stylesheet inside it, by its SHA-256. Every value of the evidence counts as hostile: it is cleaned
(`hostile.clean`), then escaped (jinja2 with autoescape), and can reach neither an attribute that is read as
code nor the stylesheet.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from wardline.core.canonical import to_json
from wardline.core.drawing import hostile
from wardline.core.drawing.page import content_policy
from wardline.core.errors import IntegrityError
from wardline.evidence import text
from wardline.evidence._view import build_view
from wardline.evidence.consistency import check_consistency

_MOST_POLICY_CHARACTERS = 60_000


def render_report(predicate: Mapping[str, Any]) -> bytes:
    """Render evidence as a self-contained HTML page; the same evidence gives the same bytes.

    Args:
        predicate: evidence of the form ``wardline.evidence/1``, for example out of a verified bundle.

    Returns:
        The page, UTF-8.

    Raises:
        IntegrityError: if the evidence lacks a part, or its verdict does not follow from its rules. Nothing
            is rendered then: half a report would look too good.
        ValueError: for a number that is not finite.

    Guarantee:
        Opening the page runs no code and opens no connection, whatever the evidence contains, in a browser
        that implements Content Security Policy level 2.

    References:
        W3C, Content Security Policy Level 3, section 2.3.1 (hash sources).
    """
    evidence = to_json(predicate)
    check_consistency(evidence)
    try:
        view = build_view(evidence)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"the evidence holds what cannot be shown: {error}",
            hint="do not rely on this evidence; run the policy again",
        ) from error
    style = stylesheet()
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            evidence=evidence,
            style=Markup(style),  # noqa: S704 (this package's own file, and the policy pins its digest)
            security_policy=content_policy(style),
        )
    )
    return page.encode()


def stylesheet() -> str:
    """The one stylesheet, as it stands between the tags of the page."""
    return "\n" + resources.files("wardline.evidence").joinpath("templates/report.css").read_text("utf-8")


def _shown(value: object) -> object:
    """What the template prints for a value; markup made by this package passes, text is cleaned."""
    return value if isinstance(value, Markup) else hostile.clean(text.plain(value))


def _block(value: str) -> Markup:
    """A long text with its lines, for a ``pre`` element."""
    return escape(hostile.clean(value, most=_MOST_POLICY_CHARACTERS))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wardline.evidence", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        block=_block,
        duration=text.duration,
        number=text.number,
    )
    return environment
