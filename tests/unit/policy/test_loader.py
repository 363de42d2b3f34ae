"""Loading from a file: lines, digests, places."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wardline.core import PolicyError, digest_bytes
from wardline.policy import load_policy


@pytest.fixture
def loaded(tmp_path, good):
    path = tmp_path / "mine.yaml"
    path.write_text(good, encoding="utf-8")
    return load_policy(path)


def test_every_key_has_its_line(loaded, good):
    lines = good.splitlines()
    assert loaded.line("project") == 2
    assert loaded.line("data", "columns", "work", "values", 1) == 1 + next(
        i for i, x in enumerate(lines) if "work:" in x
    )
    assert lines[loaded.line("protections", 0, "epsilon") - 1] == "    epsilon: 3"
    assert "rule: accuracy" in lines[loaded.line("gates", 1) - 1]
    assert loaded.line("protections", 0, "clip_norm") is None
    assert loaded.line("protections", 7) is None


def test_a_place_falls_back_to_what_holds_it(loaded):
    assert loaded.place("protections", 0, "epsilon") == "mine.yaml:21"
    assert loaded.place("protections", 0, "clip_norm") == "mine.yaml:20"
    assert loaded.place("nothing", "like", "it") == "mine.yaml:1"


def test_lines_in_a_multi_line_value(tmp_path, good):
    path = tmp_path / "policy.yaml"
    path.write_text(
        good.replace('["?", Private, no]', '[\n      "?",\n      Private,\n      no,\n    ]'), encoding="utf-8"
    )
    assert load_policy(path).line("data", "columns", "work", "values", 2) == 16


def test_digest_and_text_are_those_of_the_file(loaded, good):
    assert loaded.sha256 == digest_bytes(good.encode())
    assert loaded.text == good
    assert "mine.yaml" in str(loaded)
    assert "Predict" not in repr(loaded.lines)


def test_windows_line_ends_are_fine(tmp_path, good):
    path = tmp_path / "policy.yaml"
    path.write_bytes(good.replace("\n", "\r\n").encode())
    assert load_policy(path).line("model") == 16


def test_an_alias_repeats_a_value(tmp_path, good):
    text = good.replace(
        "age: {kind: number, low: 17, high: 90}", "age: &a {kind: number, low: 17, high: 90}\n    old: *a"
    )
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    columns = load_policy(path).policy.data.columns
    assert columns["old"] == columns["age"]


def test_an_absent_file_is_told_with_its_path(tmp_path):
    with pytest.raises(PolicyError, match="no such file") as caught:
        load_policy(tmp_path / "absent.yaml")
    assert caught.value.where.endswith("absent.yaml")
    assert "wardline init" in caught.value.hint


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys, wardline.policy\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pandera', 'pandas', 'pyarrow', 'duckdb', 'dp_accounting'}\n"
        "rooms = {'data', 'crypto', 'models', 'dp', 'attacks', 'gate', 'evidence', 'plan', 'run', 'cli'}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(r for r in rooms if f'wardline.{r}' in sys.modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] []"
