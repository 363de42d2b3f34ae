"""Examples for an audit: arrays, tables, texts, and the table of a policy."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wardline.core import DataError, UsageError
from wardline.data import Column, Contract, Encoder, enforce
from wardline.run.audit_data import read_examples, spec_of_contract


def test_colour_images_are_scaled_and_their_channels_moved_first(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(6))
    read = read_examples(tmp_path / "images.npz")
    assert read.held_out.x.shape == (6, 3, 8, 8)
    assert read.held_out.x.dtype == np.float32
    assert np.allclose(read.held_out.x, x.transpose(0, 3, 1, 2) / 255)
    assert read.note == "pixels divided by 255; channels moved first"


def test_grey_images_get_their_channel(tmp_path):
    np.savez(tmp_path / "grey.npz", images=np.full((4, 8, 8), 255, np.uint8), labels=np.array([[0], [1], [0], [1]]))
    read = read_examples(tmp_path / "grey.npz")
    assert read.held_out.x.shape == (4, 1, 8, 8)
    assert read.held_out.x.max() == 1.0
    assert read.held_out.y.tolist() == [0, 1, 0, 1]


def test_numbers_that_are_no_pixels_stay_as_they_are(tmp_path):
    x = np.array([[-3.0, 400.0], [1.5, 2.5]], np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=[0, 1])
    read = read_examples(tmp_path / "rows.npz")
    assert np.array_equal(read.held_out.x, x)
    assert read.note == ""


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((3, 2))},
        {"x": np.zeros((3, 2)), "y": np.zeros(2, np.int64)},
        {"x": np.array([[np.nan, 0.0]]), "y": np.array([0])},
        {"x": np.zeros((2, 2)), "y": np.array([0, -1])},
        {"x": np.zeros((2, 2)), "y": np.array([0.0, 1.0])},
    ],
    ids=["no classes", "too few classes", "not finite", "a class below zero", "classes with fractions"],
)
def test_arrays_that_are_no_examples_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError):
        read_examples(tmp_path / "bad.npz")


def test_a_file_with_objects_in_it_is_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    np.savez(tmp_path / "trap.npz", x=np.array([Trap()], dtype=object), y=np.array([0]))
    with pytest.raises(DataError, match="cannot read the examples"):
        read_examples(tmp_path / "trap.npz")


def test_a_broken_file_is_one_clear_error(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(DataError, match="cannot read the examples"):
        read_examples(tmp_path / "broken.npz")


def test_classes_go_by_the_names_that_the_model_has(tmp_path):
    table = pa.table({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0], "fate": ["yes", "no", "yes"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    known = read_examples(tmp_path / "rows.parquet", label="fate", classes=("yes", "no"))
    assert known.held_out.y.tolist() == [0, 1, 0]
    assert known.features == ("a", "b")
    unknown = read_examples(tmp_path / "rows.parquet", label="fate")
    assert unknown.held_out.y.tolist() == [1, 0, 1]
    assert unknown.note == "classes numbered: no, yes"


def test_texts_come_as_texts(tmp_path):
    table = pa.table({"label": ["ham", "spam"], "text": ["see you", "win now"]})
    pq.write_table(table, tmp_path / "texts.parquet")
    read = read_examples(tmp_path / "texts.parquet", label="label", text="text")
    assert read.held_out.x.tolist() == ["see you", "win now"]
    assert read.held_out.x.dtype == object


def test_what_a_table_lacks_is_said(tmp_path):
    pq.write_table(pa.table({"a": [1.0], "b": ["x"], "y": [0]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="name of the column"):
        read_examples(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no column 'z'"):
        read_examples(tmp_path / "t.parquet", label="z")
    with pytest.raises(DataError, match="'b' holds something that is no finite number"):
        read_examples(tmp_path / "t.parquet", label="y")


def test_encoded_rows_meet_the_form_that_their_contract_gives():
    columns = (
        Column(name="age", kind="integer", low=18, high=98),
        Column(name="income", kind="number", low=0, high=1e5, scale="log"),
        Column(name="job", kind="category", values=("a", "b", "c"), missing=True),
        Column(name="owner", kind="boolean", missing=True),
        Column(name="fate", kind="category", values=("no", "yes")),
    )
    contract = Contract(columns=columns, target="fate")
    rng = np.random.default_rng(0)
    n = 200
    table = pa.table(
        {
            "age": rng.integers(18, 99, n),
            "income": rng.uniform(0, 1e5, n),
            "job": [None if draw == 3 else "abc"[draw] for draw in rng.integers(0, 4, n)],
            "owner": [None if draw == 2 else bool(draw) for draw in rng.integers(0, 3, n)],
            "fate": rng.choice(["no", "yes"], n),
        }
    )
    encoder = Encoder(contract)
    rows = encoder.encode(enforce(contract, table)).x
    spec = spec_of_contract(contract, encoder.features)
    spec.check(rows)
    assert spec.admissible(rows, rows).all()
    assert [tuple(encoder.features[index] for index in group) for group in spec.groups] == [
        ("job=a", "job=b", "job=c", "job is missing")
    ]
    flag = encoder.features.index("owner is missing")
    changed = rows.copy()
    changed[:, flag] = 1 - changed[:, flag]
    assert not spec.admissible(changed, rows).any()
    # An age between two whole years is not possible.
    between = rows.copy()
    between[:, 0] = np.clip(between[:, 0] + 0.4 * 2 / 80, -1, 1)
    assert spec.admissible(between, rows).mean() < 0.05
    assert spec.admissible(spec.repair(between, rows), rows).all()
