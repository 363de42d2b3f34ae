"""Charts against coordinates computed by hand, and the properties that make them readable for everybody."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import Claim, Control, Interval, Measurement
from wardline.core.drawing.svg import Scale, around, element, from_zero
from wardline.evidence._roc import HEIGHT, LEFT, TOP, WIDTH, read_off
from wardline.evidence.charts import charts

VECTORS = Path(__file__).parents[2] / "vectors"


def evidence(name: str) -> dict:
    return json.loads((VECTORS / f"evidence_{name}.json").read_bytes())


def drawn(name: str) -> dict:
    value = evidence(name)
    claims = [Claim.from_json(one) for one in value["claims"]]
    measurements = [Measurement.from_json(one) for one in value["measurements"]]
    return {chart.name: chart for chart in charts(claims, measurements, value["policy"])}


def parse(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def of_class(picture: str, name: str) -> list[ElementTree.Element]:
    return [one for one in parse(picture).iter() if name in one.get("class", "").split()]


def claim(value: float) -> Claim:
    return Claim(
        id="dp.training",
        quantity="epsilon",
        value=value,
        direction="at_most",
        statement="s",
        adversary="a",
        reference="r",
    )


def audit(value: float | None, *, control: float = 4.0, passed: bool = True) -> Measurement:
    return Measurement(
        id="audit.epsilon",
        quantity="epsilon",
        value=value,
        bound="lower",
        trials=1000,
        subject="audit twin",
        bears_on="dp.training",
        control=Control(description="c", value=control, threshold=1.0, passed=passed),
        refused="" if value is not None else "too few canaries",
        method="m",
        reference="r",
    )


def membership(value: float, low: float, high: float, **more: object) -> Measurement:
    return Measurement(
        id="membership.lira",
        quantity="tpr_at_fpr_0.01",
        value=value,
        interval=Interval(low=low, high=high, level=0.95, method="Clopper-Pearson"),
        trials=100,
        subject="released",
        method="m",
        reference="r",
        **more,
    )


# --- scales -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "position"), [(1e-3, 0.0), (1e-2, 100 / 3), (10**-1.5, 50.0), (1.0, 100.0)])
def test_logarithmic_positions(value, position):
    assert Scale(low=1e-3, high=1.0, log=True).at(value) == pytest.approx(position)


@pytest.mark.parametrize(("value", "position"), [(0, 10), (1, 30), (2, 50), (-5, 10), (9, 50)])
def test_linear_positions_and_clamping(value, position):
    assert Scale(low=0.0, high=2.0, start=10, end=50).at(value) == pytest.approx(position)


def test_zero_on_a_logarithmic_axis_lies_at_its_beginning():
    assert Scale(low=1e-4, high=1.0, log=True).at(0.0) == 0.0


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0)])
def test_a_scale_without_extent_is_refused(ends):
    with pytest.raises(ValueError, match="scale"):
        Scale(low=ends[0], high=ends[1], log=True)


def test_ticks():
    assert Scale(low=1e-3, high=1.0, log=True).ticks() == pytest.approx((1e-3, 1e-2, 1e-1, 1.0))
    assert Scale(low=0.0, high=6.0).ticks(5) == (0, 2, 4, 6)
    assert Scale(low=0.82, high=0.87).ticks(5) == (0.82, 0.83, 0.84, 0.85, 0.86, 0.87)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_scale_from_zero_leaves_room_and_is_not_empty(most):
    scale = from_zero(most)
    assert most < scale.high <= 4 * most
    assert 2 <= len(scale.ticks(5)) <= 7


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=6))
def test_a_scale_around_values_holds_them_within_limits(values):
    scale = around(tuple(values), low=0.0, high=1.0)
    assert 0 <= scale.low <= min(values) + 1e-9
    assert max(values) - 1e-9 <= scale.high <= 1
    assert 2 <= len(scale.ticks(5)) <= 12


def test_elements_escape_text_and_attributes():
    written = element("text", {"class": '"><script>'}, "<script>\u202e")
    assert "<script>" not in written
    assert "[U+202E]" in written
    assert parse(str(written)).text == "<script>[U+202E]"


# --- epsilon ------------------------------------------------------------------------------------------


def test_bars_of_epsilon_end_where_they_should():
    (chart,) = charts([claim(3.0)], [audit(0.6, control=5.2)], {})
    # The largest figure is 5.2, so the axis runs to 6: 0.6 is at 10 %, 5.2 at 86.67 %, the promise at 50 %.
    (released,) = of_class(chart.picture, "released")[:1]
    assert (released.get("x"), released.get("width")) == ("0%", "10%")
    widths = [one.get("width") for one in of_class(chart.picture, "bar") if "unprotected" in one.get("class")]
    assert widths == ["86.67%"]
    (limit,) = of_class(chart.picture, "rule")
    assert (limit.get("x1"), limit.get("x2")) == ("50%", "50%")
    assert not [one for one in of_class(chart.picture, "over") if one.tag.endswith("rect") and one.get("x")]
    assert chart.doubt == ""


def test_what_lies_beyond_the_promise_is_drawn_apart():
    (chart,) = charts([claim(1.0)], [audit(4.8, control=4.9)], {})
    # The axis runs to 6 again: kept to 16.67 %, broken from there to 80 %.
    rectangles = [one for one in of_class(chart.picture, "bar") if "unprotected" not in one.get("class")]
    kept, over = rectangles
    assert (kept.get("class"), kept.get("width")) == ("bar released", "16.67%")
    assert (over.get("class"), over.get("x"), over.get("width")) == ("bar over", "16.67%", "63.33%")
    assert over.get("fill") == f"url(#{chart.name}-over)"
    assert "exceeds the promise" in chart.summary
    assert "beyond the promise" in [key.label for key in chart.keys]


def test_a_failed_control_makes_the_bar_hollow():
    (chart,) = charts([claim(3.0)], [audit(0.04, control=0.31, passed=False)], {})
    (bar,) = [one for one in of_class(chart.picture, "bar") if "unprotected" not in one.get("class")]
    assert bar.get("class") == "bar released hollow"
    assert chart.doubt.startswith("Inconclusive. Audit: the control failed")
    assert "proves nothing" in chart.summary
    assert ("This training", "ε ≥\u00a00.04 (inconclusive)", "none stated", "proves nothing") in chart.rows


def test_a_refused_audit_is_drawn_as_missing():
    (chart,) = charts([claim(3.0)], [audit(None)], {})
    assert of_class(chart.picture, "missing")
    assert "too few canaries" in chart.doubt
    assert ("This training", "no figure", "none stated", "proves nothing") in chart.rows


# --- membership and utility ---------------------------------------------------------------------------


def test_whiskers_and_marks_of_membership_lie_on_a_logarithmic_axis():
    gates = {"gates": [{"rule": "membership-tpr", "at_fpr": 0.01, "at_most": 0.1}]}
    (chart,) = charts([], [membership(0.01, 0.001, 0.1)], gates)
    whiskers = [one for one in of_class(chart.picture, "whisker") if one.get("x1") != one.get("x2")]
    assert [(one.get("x1"), one.get("x2")) for one in whiskers] == [("0%", "66.67%")]
    (mark,) = of_class(chart.picture, "at")
    assert mark.get("x") == "33.33%"
    lines = {one.get("class"): one.get("x1") for one in of_class(chart.picture, "rule")}
    assert lines == {"rule chance": "33.33%", "rule limit": "66.67%"}


def test_a_gate_at_another_rate_sets_no_limit():
    gates = {"gates": [{"rule": "membership-tpr", "at_fpr": 0.001, "at_most": 0.1}]}
    (chart,) = charts([], [membership(0.01, 0.001, 0.1)], gates)
    assert [one.get("class") for one in of_class(chart.picture, "rule")] == ["rule chance"]


def test_members_found_nowhere_still_have_a_mark():
    (chart,) = charts([], [membership(0.0, 0.0, 0.036)], {})
    (mark,) = of_class(chart.picture, "at")
    assert mark.get("x") == "0%"
    assert chart.rows[0][1] == "0\u00a0%"


def test_utility_has_both_intervals_and_the_required_line():
    chart = drawn("pass")["chart-utility"]
    # Figures from 83.5 % to 86.18 % with room: the axis runs from 82 % to 87 %, one percent is 20 % of the width.
    whiskers = [one for one in of_class(chart.picture, "whisker") if one.get("x1") != one.get("x2")]
    assert [(one.get("x1"), one.get("x2")) for one in whiskers] == [("36.2%", "67.8%"), ("52.6%", "83.6%")]
    limits = {one.get("class"): one.get("x1") for one in of_class(chart.picture, "rule")}
    assert limits == {"rule limit": "30%", "rule chance": "50%"}


# --- ROC ----------------------------------------------------------------------------------------------


def roc(released: tuple, control: tuple = ((), ())) -> Measurement:
    points = {"fpr": released[0], "tpr": released[1], "control_fpr": control[0], "control_tpr": control[1]}
    return membership(0.1, 0.05, 0.2, details={"roc": {key: list(value) for key, value in points.items()}})


def test_a_roc_is_drawn_on_two_logarithmic_axes():
    picture = charts([], [roc(((0.01, 0.1, 1.0), (0.1, 1.0, 1.0)), ((0.01, 1), (1, 1)))], {})[-1].picture
    paths = {one.get("class"): one.get("d") for one in parse(picture).iter() if one.tag.endswith("path")}
    # Two decades: 0.01 is at 0, 0.1 in the middle, 1 at the end; upwards the same, counted from the bottom.
    assert paths["curve released"] == "M0 50L50 0L100 0"
    assert paths["curve unprotected"] == "M0 0L100 0"
    assert paths["rule chance"] == "M0 100L100 0"
    released = [one for one in of_class(picture, "at") if one[0].tag.endswith("circle")]
    assert [(one.get("x"), float(one.get("y"))) for one in released] == [(f"{LEFT + WIDTH / 2:g}%", TOP)]
    (plot,) = of_class(picture, "plot")
    assert (plot.get("x"), plot.get("width")) == (f"{LEFT:g}%", f"{WIDTH:g}%")
    assert float(plot.get("height")) == HEIGHT


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0.2), (0.25, 0.4), (0.5, 0.9), (0.75, 0.95), (1.0, 1.0)])
def test_reading_a_roc_off(rate, expected):
    curve = ((0.0, 0.2), (0.5, 0.6), (0.5, 0.9))
    assert read_off(curve, rate) == pytest.approx(expected)


def test_nothing_is_read_off_an_empty_curve():
    assert read_off((), 0.1) is None
    assert "no point" in charts([], [roc(((), ()))], {})[-1].rows[0]


@pytest.mark.parametrize(
    ("released", "match"),
    [
        (((0.1, 0.05), (0.1, 0.2)), "rises"),
        (((0.1, 0.2), (0.3, 0.2)), "rises"),
        (((0.1,), (0.1, 0.2)), "as many"),
        (((0.1,), (1.5,)), "shares"),
        (((0.1,), ("M0 0",)), "shares"),
        (((0.1,), (True,)), "shares"),
    ],
)
def test_a_roc_that_is_none_is_refused(released, match):
    with pytest.raises(ValueError, match=match):
        charts([], [roc(released)], {})


def test_one_curve_for_an_attack_measured_at_two_rates():
    one = roc(((0.01, 1), (0.1, 1)))
    names = [chart.name for chart in charts([], [one, one], {})]
    assert names == ["chart-membership-0", "chart-roc-0"]


# --- readable for everybody ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive"])
def test_every_chart_has_a_name_a_description_and_its_figures_as_a_table(name):
    made = drawn(name)
    assert {"chart-epsilon-0", "chart-utility", "chart-membership-0", "chart-roc-0"} <= set(made)
    for chart in made.values():
        root = parse(chart.picture)
        assert root.get("role") == "img"
        texts = {one.get("id"): one.text for one in root.iter() if one.get("id")}
        title, summary = (texts[part] for part in root.get("aria-labelledby").split())
        assert (title, summary) == (chart.title, chart.summary)
        assert summary
        assert chart.rows
        assert all(len(row) == len(chart.columns) for row in chart.rows)


@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive"])
def test_pictures_have_no_styles_no_links_and_only_numbers_as_coordinates(name):
    for chart in drawn(name).values():
        for one in parse(chart.picture).iter():
            assert {"style", "href", "onload"}.isdisjoint(one.attrib)
            for key in {"x", "y", "x1", "x2", "y1", "y2", "width", "height", "r"} & set(one.attrib):
                assert re.fullmatch(r"-?\d+(\.\d+)?%?", one.get(key)), (key, one.get(key))
            if one.get("fill"):
                assert re.fullmatch(rf"url\(#{chart.name}-(over|unprotected)\)", one.get("fill"))


def test_released_and_unprotected_differ_in_shape_and_filling():
    made = drawn("pass")
    marks = made["chart-membership-0"].picture
    assert {one.tag for one in parse(marks).iter() if one.get("class") == "mark released"} == {"circle"}
    assert {one.tag for one in parse(marks).iter() if one.get("class") == "mark unprotected"} == {"path"}
    bars = made["chart-epsilon-0"].picture
    assert [one.get("fill") for one in of_class(bars, "bar")] == [None, "url(#chart-epsilon-0-unprotected)"]


def test_partly_inconclusive_says_which_attack():
    chart = drawn("inconclusive")["chart-membership-0"]
    assert chart.doubt.startswith("Partly inconclusive. LOSS: the control failed")
    assert "RMIA: too few rows" in chart.doubt
    standing = {row[0]: row[3] for row in chart.rows}
    assert (standing["LOSS"], standing["RMIA"], standing["LiRA"]) == ("proves nothing", "proves nothing", "usable")
