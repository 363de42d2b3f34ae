"""Hostile policy files: whatever the bytes, a policy or one PolicyError comes out, soon, and nothing runs."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wardline.core import PolicyError
from wardline.policy import LoadedPolicy, load_policy, parse_policy, recipe
from wardline.policy.loader import MAX_BYTES
from wardline.policy.yaml_tree import MAX_DEPTH, MAX_LINE, MAX_NODES

GOOD = recipe("breast-cancer")


def refused(data: bytes | str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_policy(data.encode() if isinstance(data, str) else data)
    assert caught.value.hint
    assert caught.value.where.startswith("policy.yaml")
    return caught.value


# Each: the text, the line, a part of the message, a part of the hint.
SYNTAX = {
    "duplicate key": (
        "schema: 1\nproject: a\nproject: b\n",
        3,
        "project: the key is given twice, first on line 2",
        "one",
    ),
    "duplicate epsilon": (
        "a:\n  epsilon: 1\n  delta: 2\n  epsilon: 9\n",
        4,
        "a.epsilon: the key is given twice",
        "one",
    ),
    "duplicate in flow": ("{a: 1, b: 2, 'a': 3}\n", 1, "a: the key is given twice", "keep"),
    "tab": ("schema: 1\ndata:\n\ttarget: x\n", 3, "a tab stands where YAML needs spaces", "spaces"),
    "octal-like": ("schema: 1\nseed: 010\n", 2, 'seed: "010" begins with a zero', "quotes"),
    "octal-like float": ("schema: 1\nseed: 01.5\n", 2, 'seed: "01.5" begins with a zero', "quotes"),
    "no value": ("schema: 1\nproject:\n", 2, "project: has no value", "remove the key"),
    "null": ("schema: 1\nproject: ~\n", 2, "project: has no value", "remove the key"),
    "python tag": ("schema: !!python/object/apply:os.system ['true']\n", 1, "schema: a tag (!)", "remove the tag"),
    "tagged number": ("schema: !!int '1'\n", 1, "schema: a tag (!)", "remove the tag"),
    "tagged mapping": ("data: !x {a: 1}\n", 1, "data: a tag (!)", "remove the tag"),
    "merge key": ("a: &a {x: 1}\nb:\n  <<: *a\n", 3, "b: YAML 1.2 has no merge key", "write the keys out"),
    "old YAML": ("%YAML 1.1\n---\nschema: 1\n", 2, "a % directive", "YAML 1.2"),
    "tag handle": ("%TAG ! tag:x,2000:\n---\nschema: 1\n", 2, "a % directive", "YAML 1.2"),
    "two documents": ("schema: 1\n---\nschema: 1\n", 2, "a second document begins", "one policy"),
    "unknown alias": ("a: *b\n", 1, "a: *b stands for nothing", "&b"),
    "alias in itself": ("a: &a [*a]\n", 1, "a[0]: *a stands for nothing", "&a"),
    "alias as key": ("a: &a x\n? *a\n: 1\n", 2, "a key must be plain text", "one word"),
    "list as key": ("? [a]\n: 1\n", 1, "a key must be plain text", "one word"),
    "empty key": (": 1\n", 1, "a key is empty", "before the colon"),
    "top list": ("- schema: 1\n", 1, "the policy must be a mapping", "schema: 1"),
    "top text": ("schema\n", 1, "the policy must be a mapping", "schema: 1"),
    "empty": ("", 1, "the file holds no policy", "wardline init"),
    "comment only": ("# nothing\n", 1, "the file holds no policy", "wardline init"),
    "unclosed quote": ("schema: 1\na: 'x\n", 3, "not yaml", "quotes"),
    "bad indentation": ("a:\n  b: 1\n c: 2\n", 3, "not yaml", "indentation"),
    "NUL": ("schema: 1\na: \x00\n", 2, "a character that YAML does not allow", "control"),
    "huge number": ("schema: 99999999999999999999\n", 1, "schema: the whole number is beyond 2**53", "smaller"),
    "huger number": ("schema: " + "9" * 9000 + "\n", 1, "schema: the whole number is beyond 2**53", "smaller"),
    "half a character": ('a: "\\ud800"\n', 1, "a: half a character", "whole"),
}


@pytest.mark.parametrize("name", SYNTAX)
def test_syntax_that_is_refused(name):
    text, line, message, hint = SYNTAX[name]
    error = refused(text)
    assert error.where == f"policy.yaml:{line}"
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_is_refused(mark):
    error = refused(mark + GOOD.encode())
    assert error.where == "policy.yaml:1"
    assert "byte-order mark" in error.message
    assert "without BOM" in error.hint


def test_other_encodings_are_refused_with_the_line():
    error = refused("schema: 1\npurpose: für\n".encode("latin-1"))
    assert error.where == "policy.yaml:2"
    assert "not UTF-8" in error.message
    assert "UTF-8" in error.hint
    refused(GOOD.encode("utf-16-le"))


def test_a_malformed_escape_is_no_crash():
    assert "not YAML" in refused('a: "\\UFFFFFFFF"\n').message


def laughs(levels: int) -> str:
    """A billion laughs: each line holds the one before it ten times."""
    lines = ["a0: &a0 ha"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_a_billion_laughs_are_cut_short():
    error = refused(laughs(10))
    assert f"unfolds into more than {MAX_NODES:,} values" in error.message
    # Positive control: the same idea within the limits is YAML like any other, and fails by the schema.
    assert "a1: is an unknown key" in refused(laughs(3)).message


def test_depth_is_bounded_also_where_aliases_hide_it():
    assert f"nested more than {MAX_DEPTH} deep" in refused("a: " + "[\n" * 400_000).message
    chain = ["a0: &a0 [[[[[x]]]]]"] + [f"a{n}: &a{n} [[[[*a{n - 1}]]]]" for n in range(1, 2000)]
    assert f"nested more than {MAX_DEPTH} deep" in refused("\n".join(chain)).message


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "a," * 21_000 + "]",
        "a: [\n" + "a,\n" * 21_000 + "]",
        "\n".join(f"k{n}: 1" for n in range(MAX_NODES + 1)),
    ],
)
def test_the_number_of_values_is_bounded(text):
    error = refused(text)
    assert "more than" in error.message


def test_the_length_of_a_line_is_bounded():
    # The scanner needs quadratic time for such a tag.
    assert f"a line of more than {MAX_LINE:,} characters" in refused("!" * 900_000).message


def test_the_size_of_the_file_is_bounded(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"# x\n" * (MAX_BYTES // 4 + 1))
    with pytest.raises(PolicyError, match="more than 1,048,576 bytes") as caught:
        load_policy(path)
    assert caught.value.where == "policy.yaml"


def test_what_is_no_file_is_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, message in (
        (tmp_path, "not a file"),
        (pipe, "not a file"),
        (Path("/dev/zero"), "not a file"),
        (tmp_path / "absent.yaml", "no such file"),
        (Path("a\0b"), "not a path"),
    ):
        with pytest.raises(PolicyError, match=message) as caught:
            load_policy(path)
        assert caught.value.where
        assert caught.value.hint


def test_messages_carry_no_control_characters_and_stay_short():
    for key in ("\x1b[31mred", "a" * 30_000, "‮x", "ключ"):
        error = refused(GOOD + f"? {_quoted(key)}\n: 1\n")
        assert "\x1b" not in str(error) + error.hint
        assert "‮" not in str(error) + error.hint
        assert len(str(error)) < 500


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(sign):08x}" if not sign.isalnum() else sign for sign in text) + '"'


def outcome(data: bytes) -> None:
    """A policy, or a PolicyError with place and remedy; any other exception fails the test."""
    result: LoadedPolicy | PolicyError
    try:
        result = parse_policy(data)
    except PolicyError as error:
        result = error
    if isinstance(result, PolicyError):
        assert result.message
        assert result.hint
        assert result.where.startswith("policy.yaml")
    else:
        assert isinstance(result, LoadedPolicy)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xff")
@example(b'a: "\\x')
def test_arbitrary_bytes(data):
    outcome(data)


PIECES = (
    *("a", "schema", "data", "kind", ": ", ":", "- ", "\n", "\n  ", "    ", "[", "]", "{", "}", ",", "&x ", "*x"),
    *("!", "!!str ", "'", '"', "|", ">", ">-", "%", "---\n", "...\n", "#", "? ", "<<", "1", "0", "1e-5", ".nan"),
    *("~", "\t", "\\u", "\\", "é"),
)
yaml_like = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(yaml_like)
def test_what_looks_like_yaml(text):
    outcome(text.encode())


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), yaml_like)
def test_a_good_policy_with_a_piece_replaced(start, length, piece):
    outcome((GOOD[:start] + piece + GOOD[start + length :]).encode())


def json_values() -> st.SearchStrategy[object]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_any_value_at_any_place_is_told_or_taken(data):
    """Structurally odd values reach every error of the validator; none may escape as another exception."""
    from wardline.policy import Policy
    from wardline.policy.problems import Problem
    from wardline.policy.validate import validate

    value = json.loads(json.dumps(SMALL))
    places = list(itertools.islice(_places(value), 400))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(json_values())
    result = validate(value)
    assert isinstance(result, Policy) or (result and all(isinstance(one, Problem) and one.hint for one in result))


SMALL = parse_policy(GOOD.encode()).policy.to_json()
for _name in list(SMALL["data"]["columns"])[2:-1]:
    del SMALL["data"]["columns"][_name]


def _places(value):
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in entries:
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)
