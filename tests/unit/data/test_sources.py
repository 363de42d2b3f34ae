"""Sources on this machine: scikit-learn's data sets and files. Downloads: tests/adversarial/test_data_download.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from wardline.core import DataError, IntegrityError
from wardline.data import fetch, table_digest

CSV = b"a,y\n1,no\n2,yes\n"


def get(source: str, *, base: Path = Path(), sha256: str | None = None):
    return fetch(source, sha256=sha256, base=base)


@pytest.mark.parametrize(
    ("name", "shape", "target", "classes"),
    [
        ("breast_cancer", (569, 31), "diagnosis", {"malignant", "benign"}),
        ("iris", (150, 5), "species", {"setosa", "versicolor", "virginica"}),
        ("wine", (178, 14), "cultivar", {"class_0", "class_1", "class_2"}),
        ("digits", (1797, 65), "digit", set(range(10))),
    ],
)
def test_data_sets_of_scikit_learn(name, shape, target, classes):
    source = get(f"sklearn:{name}")
    assert source.table.shape == shape
    assert source.table.column_names[-1] == target
    assert set(source.table.column(target).to_pylist()) == classes
    assert all(column.isidentifier() and column == column.lower() for column in source.table.column_names)
    assert source.sha256 == table_digest(source.table)
    assert get(f"sklearn:{name}", sha256=source.sha256).sha256 == source.sha256
    with pytest.raises(IntegrityError):
        get(f"sklearn:{name}", sha256="0" * 64)


def test_labels_belong_to_their_rows():
    # 212 malignant and 357 benign (Street, Wolberg and Mangasarian 1993); the first row is malignant.
    table = get("sklearn:breast_cancer").table
    labels = table.column("diagnosis").to_pylist()
    assert (labels.count("malignant"), labels.count("benign"), labels[0]) == (212, 357, "malignant")
    assert table.column("mean_radius")[0].as_py() == 17.99


def test_a_data_set_keeps_its_digest():
    # A vector: a policy that pins a data set must go on working.
    expected = "bd68e09f349a5de5e94380c38c1310408ffb0ce985e0f7ddd3fcd81efab95dc3"
    assert get("sklearn:breast_cancer").sha256 == expected


def test_a_file_lies_relative_to_the_policy(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").write_bytes(CSV)
    monkeypatch.chdir("/")
    source = get("file:data/t.csv", base=tmp_path)
    assert source.table.equals(pa.table({"a": [1, 2], "y": ["no", "yes"]}))
    assert source.sha256 == hashlib.sha256(CSV).hexdigest()
    assert str(tmp_path) not in source.description
    assert get(f"file:{tmp_path}/data/t.csv").sha256 == source.sha256
    assert get("file:data/t.csv", base=tmp_path, sha256=source.sha256.upper()).sha256 == source.sha256


def test_a_changed_file_is_refused_before_it_is_parsed(tmp_path):
    digest = hashlib.sha256(CSV).hexdigest()
    (tmp_path / "t.csv").write_bytes(CSV.replace(b"no", b"\xff\xff"))
    with pytest.raises(IntegrityError) as caught:
        get("file:t.csv", base=tmp_path, sha256=digest)
    assert digest in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("source", "sha256", "message", "hint"),
    [
        ("sklearn:california_housing", None, "no such data set", "breast_cancer"),
        ("http://example.org/t.csv", "0" * 64, "not understood", "https"),
        ("HTTPS://example.org/t.csv", "0" * 64, "not understood", "https"),
        ("ftp://example.org/t.csv", "0" * 64, "not understood", "https"),
        ("t.csv", None, "not understood", "file:PATH"),
        ("file:", None, "not understood", "file:PATH"),
        ("", None, "not understood", "file:PATH"),
        ("https://example.org/t.csv", None, "needs a sha256", "data.sha256"),
        ("https://user:secret@example.org/t.csv", "0" * 64, "password", "file:"),
        ("https:///t.csv", "0" * 64, "only https", "HOST"),
        ("https://[::1/t.csv", "0" * 64, "cannot be understood", "HOST"),
        ("https://example.org:99999/t.csv", "0" * 64, "cannot be understood", "HOST"),
        ("file:t.csv", "abc", "64 hexadecimal", "whole"),
        ("file:nowhere.csv", None, "no such file", "data.source"),
        ("file:.", None, "directory", "may read"),
    ],
)
def test_sources_that_make_no_sense(source, sha256, message, hint, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        get(source, base=tmp_path, sha256=sha256)
    assert hint in caught.value.hint
    assert "secret" not in str(caught.value)


def test_printing_a_source_shows_no_row(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,y\n31337,no\n2,yes\n")
    assert "31337" not in repr(get("file:t.csv", base=tmp_path))
