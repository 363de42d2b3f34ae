"""On real data: describe, enforce, encode and split, and what must hold of each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from wardline.core import SecureRandom, Seeds
from wardline.data import Contract, Encoder, bound_contribution, describe, enforce, fetch, split_by_unit

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("WARDLINE_DATA", ROOT / ".." / "shared" / "data"))
ADULT = "8a61c402a869918e12a70a20efe236f653721f00ae875ccc526b9070d6b851ba"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="no public data sets here: set WARDLINE_DATA to their folder"),
]


@pytest.mark.parametrize(
    ("name", "target", "rows", "classes", "unit"),
    [
        ("adult", "income", 32_561, 2, None),
        ("credit_default", "DEFAULT_NEXT_MONTH", 24_000, 2, None),
        ("german_credit", "credit_class", 800, 2, None),
        ("acs_income", "incgroup", 79_971, 10, "household"),
    ],
)
def test_from_file_to_split(name, target, rows, classes, unit):
    table = fetch(f"file:{name}/train.parquet", sha256=None, base=DATA).table
    description = describe(table, target=target)
    contract = Contract.from_policy(description.to_policy())
    assert contract.unit_column == unit
    examples = Encoder(contract).encode(enforce(contract, table))
    assert len(examples) == rows
    assert len(examples.classes) == classes
    assert np.abs(examples.x).max() <= 1.0
    assert (examples.x.max(axis=0) > examples.x.min(axis=0)).all()
    assert (examples.n_units == rows) == (unit is None)
    split = split_by_unit(examples, holdout=0.25, seeds=Seeds(0))
    assert abs(len(split.holdout) / rows - 0.25) < 0.01
    assert split.train.n_units + split.holdout.n_units == examples.n_units
    bounded = bound_contribution(examples, 1, random=SecureRandom())
    assert len(bounded) == bounded.n_units == examples.n_units


def test_adult_is_the_file_that_its_publisher_names_and_encodes_as_counted():
    table = fetch("file:adult/train.parquet", sha256=ADULT, base=DATA).table
    contract = describe(table, target="income").contract
    examples = Encoder(contract).encode(enforce(contract, table))
    # 24,720 and 7,841 per class (Becker and Kohavi 1996); column sums of a one-hot code are value counts.
    assert np.bincount(examples.y).tolist() == [24_720, 7_841]
    assert examples.classes == ("<=50K", ">50K")
    women = examples.x[:, examples.features.index("sex=Female")].sum()
    assert women == table.column("sex").to_pylist().count("Female")
    assert "fnlwgt" in examples.features
    assert contract.column("capital_gain").scale == "log"
