"""Ranges found privately, intervals of published counts, text, tables and pictures."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from wardline.core import DataError, UsageError
from wardline.dp.queries import MAGNITUDES, Bound, Count, Histogram, Key, Mean, Quantiles, Query, Table, TopK
from wardline.dp.releases import Release, read_release, release
from wardline.dp.releases.cells import level_of, thresholds
from wardline.dp.releases.noise import Noise
from wardline.dp.releases.ranges import choose_range, threshold
from wardline.dp.releases.selection import Selection
from wardline.dp.releases.show import cells_of, figure

NARROW = Noise(kind="laplace", scale=2.0)


def bins(*values: float, rows: int = 1000) -> np.ndarray:
    counts = np.zeros(len(MAGNITUDES) + 1)
    for value in values:
        counts[np.searchsorted(MAGNITUDES, value, side="right")] += rows
    return counts


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((5.0, 700.0), (0.0, 1024.0)),
        ((-5.0, 700.0), (-8.0, 1024.0)),
        ((300.0, 700.0), (256.0, 1024.0)),
        ((0.0, 3.0), (0.0, 4.0)),
        ((-0.3, 0.0), (-0.5, 0.0)),
        ((0.0,), (-(2.0**-30), 2.0**-30)),
        ((-900.0, -1.0), (-1024.0, 0.0)),
        ((1e300, -1e300), (-(2.0**62), 2.0**62)),
    ],
)
def test_a_range_holds_the_values_that_stand_out(values: tuple[float, ...], expected: tuple[float, float]) -> None:
    assert choose_range(bins(*values), NARROW, column="x") == expected


def test_a_range_is_not_made_of_noise() -> None:
    few = bins(5.0, rows=int(threshold(NARROW, len(MAGNITUDES) + 1)))
    with pytest.raises(DataError, match="stand out"):
        choose_range(few, NARROW, column="x")


@pytest.mark.parametrize("kind", ["geometric", "gaussian"])
def test_intervals_of_published_counts_cover_exactly(kind: str) -> None:
    """For each true count, summed over all that can be published: at least 95 %, and not much more far above."""
    rule = Selection(
        kind=kind,  # type: ignore[arg-type]
        groups=1,
        epsilon=0.5 if kind == "geometric" else 0.0,
        sigma=0.0 if kind == "geometric" else 4.0,
        delta=1e-4,
    )
    above = rule.threshold
    seen = np.arange(above + 1, above + 400)
    answer = rule.answer("persons", seen)
    spread = rule.noise.scale
    for true in (1, 2, above // 2, above, above + 3, above + 100):
        away = np.abs(seen - true)
        mass = np.exp(-away / spread) * (away <= above) if kind == "geometric" else np.exp(-0.5 * (away / spread) ** 2)
        inside = (answer.low <= true) & (true <= answer.high)
        share = mass[inside].sum() / mass.sum()
        assert share >= 0.95 - 1e-9, true
        assert share < 0.975 or true < above + 50


def small(*, keys: int = 1) -> Release:
    table = pa.table({"g": ["a", "b"] * 50, "h": [1, 2] * 50, "x": [1.0] * 100})
    by = (Key("g", ["a", "b"]), Key("h", [1, 2]))[:keys]
    return release(
        Query(table=Table(table), unit=None, by=by, aggregates=(Count(), Mean("x", lower=0, upper=2))), epsilon=50
    )


def test_text_is_aligned_and_names_what_it_does_not_tell() -> None:
    text = str(small())
    lines = text.splitlines()
    assert lines[0].split() == ["g", "count", "noise", "95", "%", "interval", "x_mean", "noise", "95", "%", "interval"]
    assert len({len(line) for line in lines[2:4]}) == 1
    assert "epsilon 50 for each row" in text
    assert "no interval" in text
    wide = release(
        Query(
            table=Table(pa.table({"g": list(range(100))})), unit=None, by=(Key("g", range(100)),), aggregates=(Count(),)
        ),
        epsilon=1,
    )
    assert "and 40 more rows" in str(wide)


@pytest.mark.parametrize(
    ("value", "noise", "text"),
    [(1234.567, 12.0, "1,235"), (1.23456, 0.012, "1.235"), (0.5, 3.0, "0.5"), (None, None, "–"), (7.0, 0.0, "7")],
)
def test_figures_have_the_digits_that_noise_leaves(value: float | None, noise: float | None, text: str) -> None:
    assert figure(value, noise) == text


def test_a_release_prints_in_a_notebook() -> None:
    html = small()._repr_html_()
    root = ElementTree.fromstring(html)
    assert len(list(root.iter("tr"))) == 3
    assert "e**50" in html


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_days_nulls_and_truth_values_come_back_from_files(ending: str, tmp_path: Path) -> None:
    days = [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]
    table = pa.table({"day": [days[0]] * 40, "yes": [True] * 40, "x": [1.0] * 40})
    query = Query(
        table=Table(table),
        unit=None,
        by=(Key("day", days), Key("yes", [True, False])),
        aggregates=(Mean("x", lower=0, upper=2),),
    )
    made = release(query, epsilon=30)
    assert made.table.column("x_mean").null_count == 3
    made.save(tmp_path / f"a.{ending}")
    back = read_release(tmp_path / f"a.{ending}")
    assert back.table.equals(made.table)
    assert back.claim == made.claim
    assert str(back) == str(made)


def test_only_two_kinds_of_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="parquet"):
        small().save(tmp_path / "a.xlsx")
    with pytest.raises(UsageError, match="parquet"):
        read_release(tmp_path / "a.xlsx")
    with pytest.raises(UsageError, match="read"):
        read_release(tmp_path / "none.parquet")


def test_top_values_come_in_order_and_only_those_with_enough_persons() -> None:
    who = list(range(300))
    what = ["tea"] * 150 + ["coffee"] * 100 + ["milk"] * 49 + ["absinthe"]
    table = Table(pa.table({"who": who, "what": what}))
    asked = Query(table=table, unit="who", bound=Bound(rows=1), aggregates=(TopK("what", k=3),))
    rows = release(asked, epsilon=5, delta=1e-6).table.to_pylist()
    assert [row["what"] for row in rows] == ["tea", "coffee", "milk"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    public = Query(
        table=table, unit="who", bound=Bound(rows=1), aggregates=(TopK("what", k=1, values=["milk", "tea"]),)
    )
    (best,) = release(public, epsilon=5).table.to_pylist()
    assert (best["what"], best["rank"]) == ("tea", 1)
    assert best["what_top_low"] <= 150 <= best["what_top_high"]


def test_histograms_and_quantiles() -> None:
    table = Table(pa.table({"x": [float(i % 100) for i in range(10_000)]}))
    found = release(Query(table=table, unit=None, aggregates=(Histogram("x", edges=[0, 10, 50, 100]),)), epsilon=5)
    assert [round(value, -2) for value in found.table.column("x_histogram").to_pylist()] == [1000, 4000, 5000]
    assert found.keys == ("x_from", "x_to")
    many = Quantiles("x", lower=0, upper=100, probs=(0.1, 0.5, 0.9))
    row = release(Query(table=table, unit=None, aggregates=(many,)), epsilon=5).table.to_pylist()[0]
    for prob in (10, 50, 90):
        assert row[f"x_quantiles_{prob}"] == pytest.approx(prob, abs=3)
    assert row["x_quantiles_10"] < row["x_quantiles_50"] < row["x_quantiles_90"]


@pytest.mark.parametrize("keys", [1, 2])
def test_pictures_hold_each_group(keys: int, tmp_path: Path) -> None:
    made = small(keys=keys)
    root = ElementTree.fromstring(made.plot(tmp_path / "a.svg").read_text())
    text = list(root.itertext())
    assert "count, epsilon 50" in text
    assert all((name if keys == 1 else f"{name}, 1") in text for name in "ab")
    with pytest.raises(ValueError, match="no figure"):
        made.plot(tmp_path / "b.svg", label="nothing")


def test_a_map_colours_only_what_stands_out(tmp_path: Path) -> None:
    lat = [100] * 500 + [300] * 100
    table = Table(pa.table({"lat": lat, "lon": [10] * 600}))
    by = (Key("lat", range(10), cell=100), Key("lon", range(10), cell=10))
    made = release(Query(table=table, unit=None, by=by, aggregates=(Count(),)), epsilon=1)
    root = ElementTree.fromstring(made.plot(tmp_path / "a.svg").read_text())
    cells = [one for one in root.iter() if one.tag.endswith("rect") and one.find("{*}title") is not None]
    assert len(cells) == 100
    coloured = [one for one in cells if "level-0" not in one.attrib["class"]]
    assert 2 <= len(coloured) <= 12  # two are there, and noise passes for about one; 1 in a million times for ten
    names = [one.find("{*}title").text.partition(":")[0] for one in coloured]  # type: ignore[union-attr]
    assert {"1, 1", "3, 1"} <= set(names)


def test_colours_begin_at_round_figures() -> None:
    limits = thresholds([1.0, 12.0, 123.0, 1234.0, 12345.0, 123456.0])
    assert list(limits) == sorted(limits)
    assert level_of(0.5, limits) == 1
    assert level_of(1e9, limits) == 1 + len(limits)
    assert thresholds([-1.0]) == ()


def test_empty_releases_print_and_draw(tmp_path: Path) -> None:
    table = Table(pa.table({"a": [1], "b": [1]}))
    by = (Key("a", cell=1), Key("b", cell=1))
    made = release(Query(table=table, unit=None, by=by, aggregates=(Count(),)), epsilon=1, delta=1e-6)
    assert made.table.num_rows == 0
    assert "no group" in str(made)
    assert made._repr_html_()
    assert made.plot(tmp_path / "a.svg").exists()
    assert cells_of(dataclasses.replace(made), most=3)[1] == []
