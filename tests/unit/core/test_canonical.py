"""Canonical JSON against the vectors of RFC 8785 and against a second implementation."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import shutil
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import canonical_json, digest_bytes, digest_file, digest_value, to_json

# RFC 8785, appendix B: IEEE 754 bits in hexadecimal, and the one form of the number.
RFC_NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


def _double(bits: str) -> float:
    return float(struct.unpack(">d", bytes.fromhex(bits))[0])


@pytest.mark.parametrize(("bits", "text"), RFC_NUMBERS.items())
def test_numbers_have_the_form_of_rfc_8785_appendix_b(bits: str, text: str) -> None:
    assert canonical_json(_double(bits)) == text.encode()


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_numbers_that_are_not_finite_are_refused(bits: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        canonical_json({"deep": [_double(bits)]})


def test_the_example_of_rfc_8785_section_3_2_2() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(value) == expected.encode()


def test_keys_are_sorted_by_utf_16_units_as_in_rfc_8785_section_3_2_3() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(canonical_json(dict.fromkeys(keys, 0)), object_pairs_hook=list)
    assert [key for key, _ in written] == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_whole_numbers_beyond_what_json_carries_exactly_are_refused() -> None:
    assert canonical_json(2**53 - 1) == b"9007199254740991"
    for value in (2**53, -(2**53), 10**400):
        with pytest.raises(ValueError):
            canonical_json(value)


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, {"a": ["\udfff"]}])
def test_text_that_is_not_unicode_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


class _Colour(enum.StrEnum):
    RED = "red"


class _Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass(frozen=True)
class _Point:
    x: float
    tags: tuple[str, ...] = ()


def test_values_become_plain_json_values() -> None:
    made = to_json(
        {
            "enum": [_Colour.RED, _Level.HIGH],
            "point": _Point(1.5, ("a",)),
            "array": np.array([[1, 2], [3, 4]]),
            "scalars": [np.float32(0.5), np.int64(3), np.bool_(True), np.str_("s"), True],
        }
    )
    assert made == {
        "enum": ["red", 3],
        "point": {"x": 1.5, "tags": ["a"]},
        "array": [[1, 2], [3, 4]],
        "scalars": [0.5, 3, True, "s", True],
    }
    assert [type(one) for one in made["enum"]] == [str, int]
    assert [type(one) for one in made["scalars"]] == [float, int, bool, str, bool]


@pytest.mark.parametrize("value", [b"bytes", {1: 2}, {None: 1}, {1, 2}, object(), _Point, np.array([object()])])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json(value)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    # A whole double beyond 2**53 is written without a point, read back as an int, and as such refused.
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: abs(one) < 2**53 or abs(one) >= 1e21)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


@given(_json)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_reading_gives_the_value_back_and_writing_again_the_bytes(value: object) -> None:
    written = canonical_json(value)
    assert canonical_json(json.loads(written)) == written
    assert b"\n" not in written


@pytest.mark.crosscheck
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_numbers_equal_those_of_a_second_implementation() -> None:
    generator = np.random.default_rng(8785)
    bits = generator.integers(0, 2**64, 5000, dtype=np.uint64)
    values = [value for value in bits.view(np.float64).tolist() if math.isfinite(value)]
    values += [float(f"{digits}e{power}") for digits in (1, 9.99, 1.5) for power in range(-30, 30)]
    script = (
        "const t = require('fs').readFileSync(0, 'utf8').trim().split('\\n');"
        "for (const h of t) console.log(JSON.stringify(Buffer.from(h, 'hex').readDoubleBE(0)));"
    )
    told = subprocess.run(
        ["node", "-e", script],
        input="\n".join(struct.pack(">d", value).hex() for value in values),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(told) == len(values) > 5000 * 0.99
    assert [canonical_json(value).decode() for value in values] == told


def test_digests_are_those_of_the_bytes(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"a":1}')
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert digest_bytes(b'{"a":1}') == digest_file(path) == digest_value({"a": 1}) == expected
