"""`wardline compare` from the command line: figures, honesty about where they come from, pictures, bad input."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from wardline.cli.app import cli
from wardline.core import DataError, UsageError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WARNING = "do not publish"


def wardline(*words: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wardline", "compare", "--quiet", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def figures(*words: object) -> dict:
    done = wardline(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    generator = np.random.default_rng(4)
    path = tmp_path / "people.parquet"
    ward = np.array(["north", "sø\u202eth", "<b>east</b>", "west"])[generator.choice(4, 3000, p=[0.5, 0.3, 0.15, 0.05])]
    table = {
        "ward": ward,
        "age": generator.integers(18, 90, 3000),
        "dose": generator.uniform(0, 1, 3000),
        "gone": pa.array([None, *["x"] * 2999]),
    }
    pq.write_table(pa.table(table), path)
    return path


def test_formulas_need_no_data_and_carry_no_warning() -> None:
    done = wardline("--people", 100_000, "--values", 50, "--epsilon", 0.5, "--epsilon", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("Counts of 50 values, 100,000 persons\n")
    assert done.stdout.count("Trusting no one costs") == 2
    assert "no answer was looked at" in done.stdout
    assert "measured" not in done.stdout
    value = figures("--people", 100_000, "--values", 50)
    assert value["publishable"] is True
    assert {one["epsilon"] for one in value["contenders"]} == {1.0}
    assert [one["model"] for one in value["contenders"]] == ["central", "local", "local", "local", "local"]
    assert all(one["measured"] is None for one in value["contenders"])


def test_a_file_without_measuring_gives_two_numbers_and_no_more(people: Path) -> None:
    from_file = figures(people, "--column", "ward")
    from_numbers = figures("--people", 3000, "--values", 4)
    assert from_file == from_numbers
    assert figures(people, "--column", "ward", "--values", 9)["size"] == 9
    numbers = figures(people, "--column", "age", "--lower", 0, "--upper", 120)
    assert numbers == figures("--people", 3000, "--lower", 0, "--upper", 120)


def test_measuring_on_private_data_warns_and_keeps_the_picture_private(people: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plots" / "price.html"
    done = wardline(people, "--column", "ward", "--measure", "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: these are true errors")
    assert WARNING in done.stdout
    assert "measured error" in done.stdout
    assert WARNING in plot.read_text()
    assert stat.S_IMODE(plot.stat().st_mode) == 0o600
    value = figures(people, "--column", "ward", "--measure")
    assert value["publishable"] is False
    assert WARNING in value["standing"]
    text = json.dumps(value) + done.stdout + plot.read_text()
    for answer in ("north", "east", "west", "ward"):
        assert answer not in text.replace("wardline", ""), "errors are told, answers are not"


def test_measured_errors_are_those_that_formulas_expect(people: Path) -> None:
    # 80 draws of 4 errors each; one of a mean each. A mean square of 80 normal errors varies by 16 per cent, that of
    # Laplace errors by 25: the root of it strays by six deviations, three quarters, less often than once in a million.
    for words in (("ward",), ("age", "--lower", 0, "--upper", 120)):
        value = figures(people, "--column", *words, "--measure", "--draws", 80, "--epsilon", 1)
        for one in value["contenders"]:
            assert 0.4 < one["measured"]["rmse"] / one["rmse"] < 1.75, one
            assert one["measured"]["rmse_interval"]["low"] <= one["measured"]["rmse"]
        central, *local = value["contenders"]
        assert min(one["measured"]["rmse"] for one in local) > 3 * central["measured"]["rmse"], "it costs something"


def test_public_and_made_up_data_may_be_shown(people: Path, tmp_path: Path) -> None:
    plot = tmp_path / "price.svg"
    done = wardline(people, "--column", "dose", "--lower", 0, "--upper", 1, "--measure", "--public", "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "said to be public" in done.stdout
    assert stat.S_IMODE(plot.stat().st_mode) & 0o044
    assert ET.fromstring(plot.read_text()).tag.endswith("svg")
    made_up = figures("--people", 2000, "--values", 20, "--synthetic")
    assert made_up["publishable"] is True
    assert "made-up" in made_up["standing"]
    assert all(one["measured"]["draws"] == 20 for one in made_up["contenders"])
    numbers = figures("--people", 500, "--lower", -5, "--upper", 5, "--synthetic", "--draws", 3)
    assert numbers["quantity"] == "mean"


BAD: list[tuple[tuple[object, ...], str]] = [
    ((), "nothing to compare"),
    (("--people", 100), "nothing to compare"),
    (("--values", 5), "nothing to compare"),
    (("--people", 0, "--values", 5), "people must be at least 1"),
    (("--people", 10, "--values", 1), "size must be at least 2"),
    (("--people", 10, "--values", 5, "--epsilon", 0), "epsilon must lie"),
    (("--people", 10, "--values", 5, "--epsilon", "nan"), "epsilon must lie"),
    (("--people", 10, "--values", 5, "--epsilon", -1), "epsilon must lie"),
    (("--people", 10, "--values", 5, "--synthetic", "--draws", 1), "draws must be at least 2"),
    (("--people", 10, "--values", 5, "--measure"), "no FILE"),
    (("--people", 10, "--values", 5, "--column", "x"), "no FILE"),
    (("--people", 10, "--lower", 5, "--upper", 5), "lower and an upper bound"),
    (("--people", 10, "--lower", 5), "lower and an upper bound"),
    (("--people", 10, "--lower", "nan", "--upper", 5), "lower and an upper bound"),
    (("--people", 10, "--lower", 0, "--upper", "inf"), "finite"),
    (("--people", 10, "--values", 5, "--plot", "price.png"), ".html or .svg"),
    (("FILE",), "which column"),
    (("FILE", "--column", "nobody"), "no such column"),
    (("FILE", "--column", "gone"), "answers are missing"),
    (("FILE", "--column", "ward", "--lower", 0, "--upper", 1), "no finite number"),
    (("FILE", "--column", "ward", "--people", 5), "FILE says"),
    (("FILE", "--column", "ward", "--synthetic"), "FILE says"),
    (("FILE", "--column", "ward", "--measure", "--values", 3), "outside of the domain"),
    (("missing.csv", "--column", "ward"), "no such file"),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_bad_calls_are_refused_with_a_hint(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    words, expected = BAD[index]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["compare", *(str(people if word == "FILE" else word) for word in words)])
    assert isinstance(done.exception, UsageError | DataError), done.output
    assert expected in str(done.exception)
    assert done.exception.hint
    assert done.stdout == ""
    assert sorted(one.name for one in tmp_path.iterdir()) == ["people.parquet"]


def test_a_bad_call_is_told_in_two_lines() -> None:
    done = wardline("--people", 10)
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package `chromium`")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_telephone_and_a_screen(people: Path, tmp_path: Path, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    plot = tmp_path / "price.html"
    assert (
        wardline(people, "--column", "ward", "--measure", "--epsilon", 0.5, "--epsilon", 4, "--plot", plot).returncode
        == 0
    )
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        problems: list[str] = []
        for width in (360, 1200):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(plot.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            # No two texts of the first picture lie over one another.
            overlaps = page.evaluate(
                """() => {
                    const boxes = [...document.querySelector('svg.chart').querySelectorAll('text')]
                        .map(one => [one.textContent, one.getBoundingClientRect()]);
                    return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([b, q]) =>
                        p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1)
                        .map(([b]) => a + ' / ' + b));
                }"""
            )
            assert overlaps == []
            assert page.locator("svg.chart").count() == 3
            background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert background == ("rgb(245, 244, 239)" if scheme == "light" else "rgb(19, 22, 26)")
            page.close()
        browser.close()
    assert problems == []
