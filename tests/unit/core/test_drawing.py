"""Charts and pages outside of the report: what is drawn where, and that nothing hostile gets out of its place."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from wardline.core.drawing.page import Section, content_policy, render_page, standalone, stylesheet
from wardline.core.drawing.svg import Scale
from wardline.core.drawing.xy import Axis, Line, Point, draw_xy


def _picture(label: str = "accuracy", join: str = "straight") -> str:
    points = (Point(x=1, y=0.5, low=0.4, high=0.6), Point(x=10, y=0.9))
    return draw_xy(
        "chart",
        [Line(label=label, look="released", points=points, join=join)],  # type: ignore[arg-type]
        title=label,
        summary="it rises",
        across=Axis(name="epsilon", scale=Scale(low=1, high=100, log=True)),
        up=Axis(name=label, scale=Scale(low=0, high=1)),
        limit=(0.8, "floor"),
    )


def test_points_stand_where_the_scales_put_them() -> None:
    root = ElementTree.fromstring(str(_picture()))
    marks = [one for one in root.findall("svg") if one.find("circle") is not None]
    assert [one.get("x") for one in marks] == ["13%", "55%"]  # from 13 %, half of 84 % further
    # The plot is 260 pixels high and begins at 28: 0.5 lies in the middle, 0.9 a tenth below the top.
    assert [one.get("y") for one in marks] == ["158", "54"]
    assert [len(one.findall("path")) for one in marks] == [1, 0]  # the second has no interval
    curve = next(one for one in root.iter("path") if one.get("class") == "curve released")
    assert curve.get("d") == "M0 50L50 10"


def test_a_step_holds_until_the_next_point() -> None:
    assert 'd="M0 50H50V10"' in _picture(join="step")
    assert 'class="curve released" d=""' in _picture(join="none")


def test_an_unknown_look_is_refused() -> None:
    with pytest.raises(ValueError, match="looks like"):
        Line(label="x", look="loud", points=())  # type: ignore[arg-type]


def test_a_page_carries_its_stylesheet_by_digest_and_nothing_else() -> None:
    hostile = "<script>alert(1)</script>\u202e"
    page = render_page(
        hostile,
        [
            Section(title=hostile, text=(hostile,), picture=_picture(hostile), legend=(("released", hostile),)),
            Section(title="table", columns=("a", "b"), rows=((hostile, "1"),)),
        ],
        lede=hostile,
        footer=hostile,
    ).decode()
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") >= 7
    policy = content_policy(stylesheet())
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.replace("'", "&#39;") in page
    assert "<details>" not in page.split("table</h2>")[1]  # a table without a picture is not folded away


def test_a_chart_stands_alone_as_xml() -> None:
    root = ElementTree.fromstring(standalone(_picture()))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    assert style.text == stylesheet()
