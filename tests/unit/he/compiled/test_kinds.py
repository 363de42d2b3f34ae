"""The registry of kinds: each side loads what it needs, and no more."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from wardline.he.compiled.compiling import Compiled
from wardline.he.compiled.kinds import KINDS, kind_named, kind_of
from wardline.he.json_numbers import number, numbers, whole

_LOADED = """
import sys
from wardline.he.compiled import folder
from wardline.he.compiled.kinds import KINDS
from wardline.serve.scoring import server, service
for kind in KINDS:
    kind.public, kind.{side}
heavy = ("tenseal", "zstandard", "wardline.he.seal", "torch", "sklearn")
print([name for name in sys.modules if name.startswith(heavy)])
"""


def loaded(side: str) -> str:
    code = _LOADED.format(side=side)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_server_of_any_kind_loads_nothing_that_holds_keys() -> None:
    pytest.importorskip("grpc")
    assert loaded("server").strip() == "[]"
    assert "wardline.he.seal" in loaded("client"), "the control: a client does"


def test_kinds_are_found_by_name_and_by_plan(compiled: Compiled) -> None:
    assert kind_of(compiled.public.plan) is kind_named("linear")
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert kind_named("oracle") is None
    with pytest.raises(TypeError, match="no plan"):
        kind_of(object())


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), [1], 10**400])
def test_what_is_no_number_is_refused(value: object) -> None:
    for read in (number, lambda one: whole(one, 0, 10), lambda one: numbers([one], most=3)):
        with pytest.raises((ValueError, OverflowError)):
            read(value)  # type: ignore[operator]


def test_numbers_are_read_within_their_ranges() -> None:
    assert (number(3), number(-2.5), whole(4, 0, 4)) == (3.0, -2.5, 4)
    assert np.array_equal(numbers([1, 2.5], most=2), [1.0, 2.5])
    for wrong in ([], [1, 2, 3], "12", {}):
        with pytest.raises(ValueError, match="list of numbers"):
            numbers(wrong, most=2)
    with pytest.raises(ValueError, match="out of range"):
        numbers([0.0], most=2, above_zero=True)
    with pytest.raises(ValueError, match="out of range"):
        number(-5.0, most=4.0)
