"""Examples: what they refuse, and that they need NumPy alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from wardline.data import Examples


def make(**changes) -> Examples:
    parts = {
        "x": np.arange(12, dtype=np.float32).reshape(4, 3),
        "y": np.array([0, 1, 0, 1]),
        "unit": np.array([0, 0, 1, 2]),
        "features": ("a", "b", "c"),
        "classes": ("no", "yes"),
    }
    return Examples(**{**parts, **changes})


def test_sizes_and_units():
    examples = make()
    assert len(examples) == 4
    assert examples.n_units == 3


def test_take_keeps_order_and_renumbers_units_densely():
    taken = make().take(np.array([3, 1]))
    assert taken.x.tolist() == [[9, 10, 11], [3, 4, 5]]
    assert taken.y.tolist() == [1, 1]
    assert taken.unit.tolist() == [1, 0]
    assert taken.n_units == 2
    twice = make().take(np.array([2, 2]))
    assert twice.unit.tolist() == [0, 0]


def test_nothing_taken_is_nobody():
    nothing = make().take(np.array([], dtype=np.int64))
    assert len(nothing) == 0
    assert nothing.n_units == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((4, 3))}, "float32"),
        ({"x": np.zeros(4, dtype=np.float32)}, "two dimensions"),
        ({"x": np.full((4, 3), np.nan, dtype=np.float32)}, "finite"),
        ({"x": np.full((4, 3), -np.inf, dtype=np.float32)}, "finite"),
        ({"y": np.array([0, 1, 0])}, "one entry"),
        ({"y": np.array([0, 1, 0, 2])}, "indices into classes"),
        ({"y": np.array([0, 1, 0, -1])}, "indices into classes"),
        ({"y": np.array([0, 1, 0, 1], dtype=np.int32)}, "int64"),
        ({"unit": np.array([0, 0, 1, 3])}, "densely"),
        ({"unit": np.array([-1, 0, 1, 2])}, "densely"),
        ({"unit": np.array([0, 0, 1, 9])}, "densely"),
        ({"features": ("a", "b")}, "features"),
        ({"features": ("a", "b", "a")}, "features"),
        ({"classes": ("no", "no")}, "classes"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_printing_shows_no_row():
    secret = make(x=np.full((4, 3), 31337, dtype=np.float32))
    assert "31337" not in repr(secret)
    assert repr(secret) == "Examples(rows=4, units=3, features=3, classes=2)"


def test_one_unit_in_all_rows_of_a_single_nan_is_seen():
    x = np.zeros((4, 3), dtype=np.float32)
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        make(x=x)


BLOCKED = ("pyarrow", "pandera", "duckdb", "sklearn", "scipy", "torch", "narwhals", "pandas")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_examples_and_contracts_need_numpy_alone():
    code = f"""
import sys
for name in {BLOCKED!r}: sys.modules[name] = None
from wardline.data import Column, Contract, Examples
print(Examples.__module__)
"""
    assert run(code) == "wardline.data.examples"


def test_every_module_of_the_room_imports_without_its_libraries():
    code = f"""
import sys, pkgutil, importlib
for name in {BLOCKED!r}: sys.modules[name] = None
import wardline.data
names = [m.name for m in pkgutil.iter_modules(wardline.data.__path__)]
for name in names: importlib.import_module("wardline.data." + name)
from wardline.core import MissingExtraError
import pathlib
try:
    wardline.data.fetch("sklearn:iris", sha256=None, base=pathlib.Path())
except MissingExtraError as error:
    print(len(names) > 10, error.hint)
"""
    assert run(code) == "True pip install 'wardline[data]'"


def test_using_the_room_for_examples_loads_nothing_heavy():
    code = f"""
import sys
from wardline.data import Examples
print([name for name in {BLOCKED!r} if name in sys.modules])
"""
    assert run(code) == "[]"


def test_the_public_names_are_all_there_and_not_modules():
    import wardline.data as room

    for name in room.__all__:
        assert callable(getattr(room, name)), name
    with pytest.raises(AttributeError):
        _ = room.nothing_of_the_kind
