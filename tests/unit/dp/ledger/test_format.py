"""The format: how rows are hashed, the first version, and signed statements of the head."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, UsageError, WorkspaceError, digest_value
from wardline.crypto import SigningKey
from wardline.dp.accounting import ApproximateDp, PureDp
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, read_statement
from wardline.dp.ledger._chain import COLUMNS, Row, next_row, row_hash
from wardline.dp.ledger._sqlite import SCHEMAS
from wardline.dp.ledger.statement import CONTEXT, PAYLOAD_TYPE

KEY, OTHER_KEY = SigningKey.generate(), SigningKey.generate()


def release(release_id: str, dataset: str = "d1") -> PlannedRelease:
    return PlannedRelease(
        release_id=release_id, dataset=dataset, unit="person", events=(PureDp(epsilon=0.1),), description="é ✓"
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for number in range(3):
        ledger.charge(release(f"r{number}", f"d{number % 2}"), limit=None)
    return ledger


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(
    st.builds(
        Row,
        st.integers(1, 2**53 - 1),
        st.sampled_from(["open", "charge", "limit"]),
        TEXT,
        TEXT,
        st.none() | st.integers(1, 2**53 - 1),
        TEXT,
        TEXT,
        TEXT,
    )
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_row_is_hashed_as_canonical_json(row: Row) -> None:
    """The quick encoder of a row writes the bytes that RFC 8785 asks for."""
    columns = row._asdict()
    del columns["hash"]
    assert row_hash(row) == digest_value(columns)


def first_version(path: Path) -> list[Row]:
    """A ledger as the first release of this program made it."""
    event = {"kind": "poisson-gaussian", "noise_multiplier": 2, "sample_rate": 0.1, "steps": 10}
    body = {
        "release": {"release_id": "old", "dataset": "d", "unit": "row", "events": [event], "description": "a model"},
        "limit": {"epsilon": 4, "delta": 1e-5},
    }
    rows = [next_row(None, "open", at="2026-11-20T00:00:00Z", body='{"format":"wardline.ledger/1","id":"00ff"}')]
    rows.append(
        next_row(
            rows[-1],
            "charge",
            at="2026-11-20T00:00:01Z",
            body=json.dumps(body, sort_keys=True, separators=(",", ":")),
            release_id="old",
            dataset="d",
        )
    )
    seal = {"result_sha256": "0" * 64}
    rows.append(
        next_row(
            rows[-1], "seal", at="2026-11-20T00:00:02Z", body=json.dumps(seal), release_id="old", dataset="d", charge=2
        )
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in SCHEMAS[1].values():
            db.execute(statement)
        db.execute("PRAGMA application_id = 0x574C4447")
        db.execute("PRAGMA user_version = 1")
        db.executemany(f"INSERT INTO entry ({COLUMNS}) VALUES ({', '.join('?' * 9)})", rows)
    return rows


def test_a_ledger_of_the_first_version_is_brought_to_the_present_one(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    rows = first_version(path)
    ledger = Ledger(path)
    assert (ledger.head().seq, ledger.head().hash, ledger.id) == (3, rows[-1].hash, "00ff"), "no row changed"
    assert ledger.sealed("old") == "0" * 64
    assert ledger.spent("d", delta=1e-5).releases == 1
    ledger.set_limit("d", Limit(epsilon=1.0, delta=1e-6))
    ledger.verify()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")} == set(
            SCHEMAS[2]
        )
    assert Ledger(path).head().seq == 4


def test_a_tampered_ledger_of_the_first_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    first_version(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER entry_no_update")
        db.execute("UPDATE entry SET body = replace(body, '10', '1') WHERE seq = 2")
        db.execute(SCHEMAS[1]["entry_no_update"])
    with pytest.raises(IntegrityError, match="a row was changed"):
        Ledger(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_the_second_version_refuses_what_the_first_did_not_know(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(
            f"INSERT INTO entry ({COLUMNS}) SELECT 5, 'gift', '', 'd1', NULL, body, at, hash, previous FROM entry "
            "WHERE seq = 4"
        )


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a file or a PostgreSQL table") as caught:
        Ledger("mysql://user:secret@host/db")
    assert "secret" not in str(caught.value)
    assert Ledger(str(tmp_path / "text.sqlite")).path == tmp_path / "text.sqlite"


# Statements


def test_a_signed_statement_is_read_back_and_finds_a_rollback(ledger: Ledger, tmp_path: Path) -> None:
    ledger.set_limit("d1", Limit(epsilon=1.0, delta=1e-7))
    statement = tmp_path / "head.json"
    earlier = tmp_path / "earlier.sqlite"
    ledger.close()
    shutil.copy(ledger.path, earlier)
    ledger.charge(release("r9"), limit=None)
    head = ledger.export(statement, KEY)
    told, value = read_statement(statement, KEY.verifying_key)
    assert told == head == ledger.head()
    assert [(one["dataset"], one["releases"], one["delta"]) for one in value["datasets"]] == [
        ("d0", 2, 1e-6),
        ("d1", 2, 1e-7),
    ]
    assert value["datasets"][1]["limit"] == {"epsilon": 1, "delta": 1e-7, "adaptive": True}
    assert value["datasets"][0]["epsilon"] == pytest.approx(0.2, rel=1e-3)
    ledger.verify(known=told)
    ledger.charge(release("r10"), limit=None)
    ledger.verify(known=told)
    # Somebody puts an older copy in its place. Alone, the copy is sound.
    rolled_back = Ledger(earlier)
    rolled_back.verify()
    with pytest.raises(IntegrityError, match="rolled back or replaced"):
        rolled_back.verify(known=told)


def test_a_release_without_bound_does_not_keep_a_statement_from_being_made(ledger: Ledger, tmp_path: Path) -> None:
    loose = PlannedRelease(
        release_id="x", dataset="d7", unit="row", events=(ApproximateDp(epsilon=1.0, delta=0.1),), description=""
    )
    ledger.charge(loose, limit=None)
    ledger.export(tmp_path / "head.json", KEY)
    _, value = read_statement(tmp_path / "head.json", KEY.verifying_key)
    assert value["datasets"][-1]["epsilon"] is None


def test_statements_that_are_not_signed_by_this_key_for_this_use_are_refused(ledger: Ledger, tmp_path: Path) -> None:
    from wardline.core import canonical_json
    from wardline.crypto import seal

    path = tmp_path / "head.json"
    ledger.export(path, KEY)
    good = path.read_bytes()
    with pytest.raises(IntegrityError, match="another key"):
        read_statement(path, OTHER_KEY.verifying_key)
    for place in range(0, len(good), 101):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(IntegrityError):
            read_statement(path, KEY.verifying_key)
    payload = canonical_json({"format": "wardline.ledger-head/1"})
    for kind, context, content in (
        (PAYLOAD_TYPE, b"wardline.evidence/1", payload),
        ("application/json", CONTEXT, payload),
        (PAYLOAD_TYPE, CONTEXT, payload),
        (PAYLOAD_TYPE, CONTEXT, b"[]"),
        (PAYLOAD_TYPE, CONTEXT, b"no json"),
    ):
        path.write_bytes(seal(content, payload_type=kind, key=KEY, context=context))
        with pytest.raises(IntegrityError):
            read_statement(path, KEY.verifying_key)
    with pytest.raises(WorkspaceError, match="cannot read"):
        read_statement(tmp_path / "missing.json", KEY.verifying_key)
