"""What verification says of a good bundle, and when evidence contradicts itself."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, Verdict, canonical_json
from wardline.crypto import SigningKey, public_key_text
from wardline.evidence import verify_bundle, write_bundle
from wardline.evidence.consistency import check_consistency
from wardline.evidence.statement import decode_statement

VECTORS = Path(__file__).parents[2] / "vectors"
PREDICATE = json.loads((VECTORS / "evidence-predicate.json").read_text())
KEY = SigningKey.generate()
FILES = {"report.html": b"<!doctype html>", "model.json": b"{}"}


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "evidence", predicate=PREDICATE, files=FILES, key=KEY).parent


def test_a_whole_folder(folder):
    result = verify_bundle(folder, KEY.verifying_key)
    assert result.predicate == PREDICATE
    assert result.verdict is Verdict.PASS
    assert result.subjects_checked == ("model.json", "report.html")
    assert result.subjects_absent == ()
    assert result.key_id == KEY.id
    assert set(result.digests) == set(FILES)
    assert str(result) == f"verified, verdict pass, 2 files checked, key {KEY.id}"


def test_the_envelope_alone(folder, tmp_path):
    alone = tmp_path / "alone" / "kept.json"
    alone.parent.mkdir()
    alone.write_bytes((folder / "bundle.json").read_bytes())
    (alone.parent / "model.json").write_bytes(FILES["model.json"])
    (alone.parent / "unrelated").write_bytes(b"")
    result = verify_bundle(alone, KEY.verifying_key)
    assert (result.subjects_checked, result.subjects_absent) == (("model.json",), ("report.html",))
    assert "1 files checked, 1 absent" in str(result)
    (alone.parent / "model.json").write_bytes(b"{ }")
    with pytest.raises(IntegrityError, match="not the one that was signed") as failure:
        verify_bundle(alone, KEY.verifying_key)
    assert failure.value.where.endswith("model.json")


def test_verification_needs_nothing_but_the_base(folder, tmp_path):
    """In a process in which everything else is missing."""
    (tmp_path / "key.pub").write_text(public_key_text(KEY.verifying_key))
    program = f"""
import sys
blocked = {{"torch", "sklearn", "scipy", "pandera", "pandas", "pyarrow", "duckdb", "dp_accounting", "safetensors",
           "jinja2", "pydantic", "click", "rich", "ruamel"}}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
from pathlib import Path
from wardline.crypto import read_public_key
from wardline.evidence import verify_bundle
result = verify_bundle(Path({str(folder)!r}), read_public_key(Path({str(tmp_path / "key.pub")!r})))
assert not blocked & {{name.split(".")[0] for name in sys.modules}}
assert not [name for name in sys.modules if name.startswith("wardline.evidence.report")]
print(result.verdict.value)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("pass\n", "")


def test_the_room_is_cheap_to_import():
    program = "import sys, wardline.evidence; print('cryptography' in sys.modules, 'jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive"])
def test_evidence_as_a_run_writes_it_holds_together(name):
    predicate = json.loads((VECTORS / f"evidence_{name}.json").read_text())
    assert check_consistency(predicate).value == name


def changed(*changes: tuple[tuple[Any, ...], Any]) -> dict[str, Any]:
    """The good predicate with some places changed."""
    value = copy.deepcopy(PREDICATE)
    for path, new in changes:
        holder: Any = value
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = new
    return value


def waiver(until: str) -> dict[str, str]:
    return {"who": "A. Person <a@b.example>", "why": "pilot", "until": until}


FAILED = (("rules", 2, "outcome"), "fail")
SAYS_FAIL = (("verdict", "outcome"), "fail")
DOUBT = (("rules", 2, "outcome"), "inconclusive")
SAYS_DOUBT = (("verdict", "outcome"), "inconclusive")
AUDIT = ("measurements", 0)
REFUSED = [((*AUDIT, "value"), None), ((*AUDIT, "refused"), "too few")]
CLAIM_FAILS = (("rules", 1, "outcome"), "fail")
INTERVAL = {"low": 3.5, "high": 9.0, "level": 0.95, "method": "m"}

HOLDS = {
    "as it is": ([], Verdict.PASS),
    "fail": ([FAILED, SAYS_FAIL], Verdict.FAIL),
    "doubt": ([DOUBT, SAYS_DOUBT], Verdict.INCONCLUSIVE),
    "fail outweighs doubt": ([FAILED, (("rules", 0, "outcome"), "inconclusive"), SAYS_FAIL], Verdict.FAIL),
    "waived": ([FAILED, (("rules", 2, "waiver"), waiver("2027-01-01"))], Verdict.PASS),
    "waived on its last day": ([FAILED, (("rules", 2, "waiver"), waiver("2026-11-21"))], Verdict.PASS),
    "expired and failed": ([FAILED, SAYS_FAIL, (("rules", 2, "waiver"), waiver("2026-11-20"))], Verdict.FAIL),
    "contradiction and failed": ([((*AUDIT, "value"), 4.8), CLAIM_FAILS, SAYS_FAIL], Verdict.FAIL),
    "at the claim exactly": ([((*AUDIT, "value"), 3)], Verdict.PASS),
    "upper bound above": ([((*AUDIT, "value"), 9), ((*AUDIT, "bound"), "upper")], Verdict.PASS),
    "another quantity": ([((*AUDIT, "value"), 9), ((*AUDIT, "quantity"), "delta")], Verdict.PASS),
    "interval reaches down": (
        [((*AUDIT, "value"), 5), ((*AUDIT, "bound"), "estimate"), ((*AUDIT, "interval"), {**INTERVAL, "low": 2.9})],
        Verdict.PASS,
    ),
}

BREAKS = {
    "verdict better": ([FAILED], "add up to fail"),
    "verdict worse": ([SAYS_FAIL], "add up to pass"),
    "doubt called pass": ([DOUBT], "add up to inconclusive"),
    "doubt called fail": ([DOUBT, SAYS_FAIL], "add up to inconclusive"),
    "waiver expired the day before": ([FAILED, (("rules", 2, "waiver"), waiver("2026-11-20"))], "add up to fail"),
    "waiver without a day": ([FAILED, (("rules", 2, "waiver"), waiver("for ever"))], "names no day"),
    "waiver on no day": ([FAILED, (("rules", 2, "waiver"), waiver("2027-02-30"))], "calendar"),
    "claims-hold waived": ([CLAIM_FAILS, (("rules", 1, "waiver"), waiver("2027-01-01"))], "cannot be waived"),
    "no rules": ([(("rules",), []), (("policy", "gates"), [])], "add up to inconclusive"),
    "rule left out": ([(("rules",), PREDICATE["rules"][:2])], "asks for 'accuracy'"),
    "rule judged once, asked twice": (
        [(("policy", "gates"), [{"rule": "accuracy"}, {"rule": "accuracy"}])],
        "asks for 'accuracy'",
    ),
    "policy without gates": ([(("policy",), {})], "no list of gates"),
    "lower bound above": ([((*AUDIT, "value"), 3.01)], "contradicts"),
    "lower bound above, verdict fail for another reason": (
        [((*AUDIT, "value"), 4.8), FAILED, SAYS_FAIL],
        "contradicts",
    ),
    "interval above": (
        [((*AUDIT, "value"), 5), ((*AUDIT, "bound"), "estimate"), ((*AUDIT, "interval"), INTERVAL)],
        "contradicts",
    ),
    "estimate without interval above": ([((*AUDIT, "value"), 5), ((*AUDIT, "bound"), "estimate")], "contradicts"),
    "at least, lower": (
        [(("claims", 0, "direction"), "at_least"), ((*AUDIT, "bound"), "upper")],
        "contradicts",
    ),
    "contradicted though its control failed": (
        [((*AUDIT, "value"), 4.8), ((*AUDIT, "control", "passed"), False), (("rules", 1, "measurement"), None)],
        "contradicts",
    ),
    "control failed": ([((*AUDIT, "control", "passed"), False)], "control failed"),
    "refused": (REFUSED, "was refused"),
    "measurement absent": ([(("rules", 2, "measurement"), "utility.speed")], "absent"),
    "two claims of one id": ([(("claims",), PREDICATE["claims"] * 2)], "same id"),
    "no time": ([(("created",), "2026-11-21")], "when it was made"),
    "time zone": ([(("created",), "2026-11-21T04:00:00+02:00")], "when it was made"),
    "no such time": ([(("created",), "2026-02-30T04:00:00Z")], "calendar"),
    "claim is text": ([(("claims", 0, "value"), "3")], "no evidence of the form"),
    "claim is true": ([(("claims", 0, "value"), True)], "no evidence of the form"),
    "claim of another direction": ([(("claims", 0, "direction"), "about")], "no evidence of the form"),
    "control passed is text": ([((*AUDIT, "control", "passed"), "no")], "no evidence of the form"),
    "measurement is text": ([((*AUDIT, "value"), "0")], "no evidence of the form"),
    "bound of another kind": ([((*AUDIT, "bound"), "somewhere")], "no evidence of the form"),
    "interval of text": ([((*AUDIT, "interval"), {**INTERVAL, "low": "0"})], "no evidence of the form"),
    "interval upside down": ([((*AUDIT, "interval"), {**INTERVAL, "low": 10})], "malformed"),
    "unknown key in a claim": ([(("claims", 0, "note"), "")], "malformed"),
    "unknown key in a measurement": ([((*AUDIT, "note"), "")], "malformed"),
    "value and refusal": ([((*AUDIT, "refused"), "too few")], "malformed"),
    "another schema": ([(("schema",), "wardline.evidence/2")], "no evidence of the form"),
    "unknown outcome": ([(("rules", 0, "outcome"), "passed")], "no evidence of the form"),
}


@pytest.mark.parametrize(("changes", "verdict"), HOLDS.values(), ids=HOLDS)
def test_evidence_that_holds_together(changes, verdict):
    assert check_consistency(changed(*changes)) is verdict


@pytest.mark.parametrize(("changes", "message"), BREAKS.values(), ids=BREAKS)
def test_evidence_that_contradicts_itself(changes, message):
    assert check_consistency(PREDICATE) is Verdict.PASS
    with pytest.raises(IntegrityError, match=message):
        check_consistency(changed(*changes))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, part in inner for place in places(part, (*path, key)))]


PLACES = places(PREDICATE)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "pass", "dp.training"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rule", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), json_values), min_size=1, max_size=2))
def test_any_predicate_gives_its_stated_verdict_or_the_one_error(changes):
    try:
        predicate = changed(*changes)
    except (TypeError, KeyError, IndexError):  # the first change removed the place of the second
        return
    try:
        verdict = check_consistency(predicate)
    except IntegrityError:
        return
    assert verdict.value == predicate["verdict"]["outcome"]


STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "predicateType": "urn:wardline:evidence:1",
    "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
    "predicate": {},
}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(places(STATEMENT)), json_values)
def test_any_statement_is_read_or_refused_with_the_one_error(path, new):
    value = copy.deepcopy(STATEMENT)
    assert decode_statement(canonical_json(value)).digests == {"a": "0" * 64}
    holder: Any = value
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = new
    data = canonical_json(value)
    try:
        statement = decode_statement(data)
    except IntegrityError:
        return
    assert statement.predicate == value["predicate"]
