"""Scaffolded policies load, and the recipes are the examples."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import PolicyError, UsageError
from wardline.policy import RECIPES, Dataset, IgnoredColumn, load_policy, parse_policy, recipe, scaffold

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("WARDLINE_DATA", ROOT.parent / "shared" / "data"))

COLUMNS = {
    "age": {"kind": "integer", "low": 17, "high": 90},
    "amount": {"kind": "number", "low": 0.0, "high": 1e16, "scale": "log", "missing": True},
    "no": {"kind": "category", "values": ["?", "no", "010", "a: b", "é", " x", "1e5"]},
    "smoker": {"kind": "boolean"},
    "patient id": {"kind": "ignore"},
    "ill": {"kind": "category", "values": ["no", "yes"]},
}


def make(**changes):
    given = {"project": "p", "source": "file:a b.csv", "sha256": None, "columns": COLUMNS, "target": "ill"} | changes
    return scaffold(**given)


def test_it_loads_and_holds_what_it_was_given():
    text = make(unit={"column": "patient id", "max_rows": 4}, sha256="a" * 64, table_sha256="b" * 64, units=5000)
    policy = parse_policy(text.encode()).policy
    assert list(policy.data.columns) == list(COLUMNS)
    assert policy.data == Dataset(
        source="file:a b.csv",
        sha256="a" * 64,
        table_sha256="b" * 64,
        target="ill",
        unit={"column": "patient id", "max_rows": 4},
        columns=COLUMNS,
        budget=policy.data.budget,
    )


def test_every_choice_is_commented():
    lines = make().splitlines()
    for key in (
        "purpose:",
        "  target:",
        "  unit:",
        "  holdout:",
        "  budget:",
        "model:",
        "threats:",
        "    epsilon:",
        "    delta:",
    ):
        index = next(i for i, line in enumerate(lines) if line.startswith(key))
        assert any(line.lstrip().startswith("#") for line in lines[max(0, index - 3) : index]), key


@pytest.mark.parametrize("units", [1, 10, 455, 24_420, 10**7, 10**12])
def test_delta_is_well_below_one_in_all_units(units):
    delta = parse_policy(make(units=units).encode()).policy.protections[0].delta
    assert 0 < delta <= 0.1 / units


def test_what_makes_no_policy_is_refused_before_it_is_written():
    with pytest.raises(PolicyError, match="names a column of kind integer"):
        make(target="age")
    with pytest.raises(PolicyError, match=r"the column .absent., which"):
        make(target="absent")
    with pytest.raises(PolicyError, match="control character"):
        make(columns=COLUMNS | {"a\x1b": {"kind": "boolean"}})
    with pytest.raises(PolicyError, match="an https source needs sha256"):
        make(source="https://h.example/a.csv")


names = st.text(min_size=1, max_size=20)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(name=names, values=st.lists(names, min_size=2, max_size=4, unique=True), source=names)
def test_any_text_comes_back_as_it_was_or_is_refused(name, values, source):
    """Quoting is where a scaffold could change the meaning of a name, or let it write keys of its own."""
    columns = {"a": {"kind": "boolean"}, name: {"kind": "category", "values": values}}
    try:
        text = make(columns=columns, target=name, source=f"file:{source}")
    except PolicyError:
        return
    data = parse_policy(text.encode()).policy.data
    assert list(data.columns) == list(columns)
    assert data.columns[name].values == tuple(values)
    assert data.source == f"file:{source}"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_example_is_the_recipe(name):
    path = ROOT / "examples" / name / "policy.yaml"
    assert path.read_text(encoding="utf-8") == RECIPES[name] == recipe(name)
    loaded = load_policy(path)
    assert loaded.policy.project == name


def test_an_unknown_recipe_lists_the_known():
    with pytest.raises(UsageError, match='no recipe "adult-incme"') as caught:
        recipe("adult-incme")
    assert 'did you mean "adult-income"' in caught.value.hint
    assert "breast-cancer" in caught.value.hint


def holds(column, values):
    """Whether the contract of one column is kept, by the plainest reading of it."""
    match column.kind:
        case "ignore":
            return True
        case "category":
            return set(values) <= set(column.values)
        case _:
            return all(column.low <= value <= column.high for value in values)


def test_the_breast_cancer_recipe_fits_the_data_and_delta_fits_the_split():
    datasets = pytest.importorskip("sklearn.datasets")
    loaded = datasets.load_breast_cancer()
    policy = parse_policy(recipe("breast-cancer").encode()).policy
    columns = dict(policy.data.columns)
    assert list(columns.pop("diagnosis").values) == [str(name) for name in loaded.target_names]
    assert list(columns) == [str(name).replace(" ", "_") for name in loaded.feature_names]
    assert all(holds(column, loaded.data[:, index]) for index, column in enumerate(columns.values()))
    assert policy.protections[0].delta < 1 / (len(loaded.data) * (1 - policy.data.holdout))


@pytest.mark.data
def test_the_adult_recipe_fits_the_data_and_pins_the_published_file():
    parquet = pytest.importorskip("pyarrow.parquet")
    path = DATA / "adult" / "train.parquet"
    if not path.exists():
        pytest.skip(f"no data set at {path}; set WARDLINE_DATA")
    table = parquet.read_table(path)
    policy = parse_policy(recipe("adult-income").encode()).policy
    assert list(policy.data.columns) == table.column_names
    for name, column in policy.data.columns.items():
        assert isinstance(column, IgnoredColumn) or holds(column, table[name].to_pylist()), name
    # The published file, written anew from its rows, has the digest that the policy pins.
    import hashlib

    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    published = "".join(", ".join(map(str, row)) + "\n" for row in rows) + "\n"
    assert hashlib.sha256(published.encode()).hexdigest() == policy.data.sha256
    assert policy.protections[0].delta < 1 / (table.num_rows * (1 - policy.data.holdout))
