"""The ledger in a real PostgreSQL server: the same promises as in a file."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charging import assert_kept, race
from wardline.core import BudgetError, IntegrityError, UsageError, WorkspaceError, digest_value
from wardline.crypto import SigningKey
from wardline.dp.accounting import PureDp
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, read_statement
from wardline.dp.ledger._chain import COLUMNS, Row, next_row

psycopg = pytest.importorskip("psycopg")

LIMIT = Limit(epsilon=1.0, delta=1e-6)
RESULT = digest_value("result")


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """The server, with a schema of the test's own in front."""
    schema = f"ledger_{os.urandom(6).hex()}"
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {schema}")
        yield f"{postgres_url}?options=-csearch_path%3D{schema}"
        db.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    for number in range(3):
        ledger.charge(release(f"r{number}"), limit=None)
    ledger.progress("r0", 5, RESULT)
    ledger.seal("r0", RESULT)
    ledger.set_limit("d2", LIMIT)
    yield ledger
    ledger.close()


def release(release_id: str, dataset: str = "d1", epsilon: float = 0.1) -> PlannedRelease:
    return PlannedRelease(
        release_id=release_id, dataset=dataset, unit="person", events=(PureDp(epsilon=epsilon),), description="x"
    )


def test_it_does_what_a_file_does(ledger: Ledger, url: str) -> None:
    again = Ledger(url)
    assert again.id == ledger.id
    assert again.head() == ledger.head()
    assert [entry.kind for entry in again.entries()] == ["open", *["charge"] * 3, "progress", "seal", "limit"]
    assert not again.charge(release("r0"), limit=None).fresh
    assert again.checkpoint("r0") == (5, RESULT)
    assert again.sealed("r0") == RESULT
    assert again.next_attempt_id("r0") == "r0#2"
    assert again.spent("d1", delta=1e-6).epsilon == pytest.approx(0.3, rel=1e-3)
    assert again.limit("d2") == LIMIT
    with pytest.raises(BudgetError):
        again.charge(release("big", "d2", 2.0), limit=None)
    with pytest.raises(IntegrityError, match="charged already"):
        again.charge(release("r0", epsilon=0.2), limit=None)
    with pytest.raises(UsageError, match="not charged"):
        again.seal("r9", RESULT)
    assert again.head() == ledger.head(), "what is refused writes nothing"
    ledger.verify(known=again.head())


def test_the_password_is_in_no_message_and_no_name(ledger: Ledger, url: str) -> None:
    password = url.split(":")[2].split("@")[0]
    assert len(password) == 32
    assert password not in ledger.place
    for broken in (url.replace("/postgres?", "/nowhere?"), url.replace(password, "wrong" + password)):
        with pytest.raises(WorkspaceError) as caught:
            Ledger(broken)
        assert password not in str(caught.value) + caught.value.hint
    with pytest.raises(UsageError) as refused:
        Ledger(f"postgresql://user:{password}@host/db?nonsense=1")
    assert password not in str(refused.value) + refused.value.hint
    with pytest.raises(WorkspaceError, match="cannot be reached"):
        Ledger("postgresql://127.0.0.1:1/db")


def test_many_who_make_it_at_the_same_moment_make_one(url: str) -> None:
    gate, made = threading.Barrier(6), []

    def work() -> None:
        gate.wait()
        try:
            made.append(Ledger(url).id)
        except Exception as error:  # noqa: BLE001 (told below, in the main thread)
            made.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert set(made) == {Ledger(url).id}


def _in_child(ledger: Ledger, failures: Any) -> None:
    try:
        ledger.charge(release("child"), limit=None)
    except BaseException as error:  # noqa: BLE001 (told by the parent)
        failures.put(repr(error))


def test_a_fork_gets_a_connection_of_its_own(ledger: Ledger) -> None:
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    child = context.Process(target=_in_child, args=(ledger, failures))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert failures.empty()
    assert ledger.charge(release("parent"), limit=None).fresh, "the parent's connection still works"
    assert {"child", "parent"} <= {entry.release_id for entry in ledger.entries()}


@pytest.mark.slow
def test_eight_at_once_never_exceed_the_limit_whoever_is_killed(url: str, tmp_path: Path) -> None:
    raced = race(url, tmp_path)
    assert raced.kills >= 6
    assert_kept(Ledger(url), raced)


# Somebody edits the table


def test_rows_cannot_be_changed_removed_or_put_out_of_order(ledger: Ledger, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        for statement in (
            "UPDATE wardline_ledger SET at = 'never'",
            "DELETE FROM wardline_ledger WHERE seq = 7",
            "TRUNCATE wardline_ledger",
            f"INSERT INTO wardline_ledger ({COLUMNS}) SELECT 99, 'seal', 'r1', 'd1', 3, body, at, previous || 'x', "
            "md5('a') || md5('b') FROM wardline_ledger WHERE seq = 6",
        ):
            with pytest.raises(psycopg.Error, match="append-only"):
                db.execute(statement)
    ledger.verify()


def _without_rules(url: str, attack: Callable[[Any], object]) -> None:
    """Change the table as its owner can: rules are taken away first, and put back afterwards."""
    with psycopg.connect(url) as db:
        db.execute("ALTER TABLE wardline_ledger DISABLE TRIGGER USER")
        before = db.execute("SELECT * FROM wardline_ledger ORDER BY seq").fetchall()
        attack(db)
        assert db.execute("SELECT * FROM wardline_ledger ORDER BY seq").fetchall() != before
        db.execute("ALTER TABLE wardline_ledger ENABLE TRIGGER USER")


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        ("UPDATE wardline_ledger SET body = replace(body, '0.1', '0.01') WHERE seq = 3", 3),
        ("UPDATE wardline_ledger SET dataset = 'd2' WHERE seq = 4", 4),
        ("UPDATE wardline_ledger SET at = '1999-12-31T23:59:59Z' WHERE seq = 1", 1),
        ("UPDATE wardline_ledger SET release_id = 'r9' WHERE seq = 6", 6),
        ("UPDATE wardline_ledger SET seq = seq + 100 WHERE seq = 7", 7),
        ("DELETE FROM wardline_ledger WHERE seq = 4", 4),
        ("DELETE FROM wardline_ledger", 1),
    ],
)
def test_an_edited_or_removed_row_is_found(ledger: Ledger, url: str, statement: str, row: int) -> None:
    _without_rules(url, lambda db: db.execute(statement))
    for use in (ledger.verify, lambda: Ledger(url)):
        with pytest.raises(IntegrityError) as caught:
            use()
        assert caught.value.where.endswith(f"row {row}")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE wardline_ledger DISABLE TRIGGER USER",
        "DROP TRIGGER wardline_ledger_no_change ON wardline_ledger",
        "DROP TRIGGER wardline_ledger_order ON wardline_ledger",
        "DROP INDEX wardline_ledger_one_charge",
        "ALTER TABLE wardline_ledger DROP CONSTRAINT wardline_ledger_previous",
        "ALTER TABLE wardline_ledger ADD COLUMN more TEXT",
        "ALTER TABLE wardline_ledger ALTER COLUMN body DROP NOT NULL",
        "CREATE RULE quiet AS ON UPDATE TO wardline_ledger DO INSTEAD NOTHING",
        "CREATE OR REPLACE FUNCTION wardline_ledger_append_only() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NEW; END'",
    ],
)
def test_rules_that_were_taken_away_or_changed_are_missed(ledger: Ledger, url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(statement)
    for use in (ledger.verify, lambda: Ledger(url)):
        with pytest.raises(IntegrityError, match="rules were changed"):
            use()


def _cut(db: Any) -> None:
    db.execute("DELETE FROM wardline_ledger WHERE seq > 3")


def _forge(db: Any) -> None:
    """Compute the whole chain anew, as one can who knows how it is made: it holds no key."""
    rows = [Row._make(row) for row in db.execute(f"SELECT {COLUMNS} FROM wardline_ledger ORDER BY seq")]
    db.execute("DELETE FROM wardline_ledger")
    last = None
    for row in rows:
        body = row.body.replace('"epsilon":0.1', '"epsilon":0.001')
        last = next_row(
            last, row.kind, at=row.at, body=body, release_id=row.release_id, dataset=row.dataset, charge=row.charge
        )
        db.execute(f"INSERT INTO wardline_ledger ({COLUMNS}) VALUES ({', '.join(['%s'] * 9)})", tuple(last))


@pytest.mark.parametrize("attack", [_cut, _forge])
def test_a_rollback_is_found_by_the_signed_head(
    ledger: Ledger, url: str, tmp_path: Path, attack: Callable[[Any], None]
) -> None:
    key = SigningKey.generate()
    ledger.export(tmp_path / "head.json", key)
    spent = ledger.spent("d1", delta=1e-6).epsilon
    _without_rules(url, attack)
    later = Ledger(url)
    later.verify()
    assert later.spent("d1", delta=1e-6).epsilon < spent, "the attack paid off, where nobody kept the head"
    known, _ = read_statement(tmp_path / "head.json", key.verifying_key)
    with pytest.raises(IntegrityError, match="rolled back or replaced"):
        later.verify(known=known)
    with pytest.raises(IntegrityError, match="rolled back or replaced while it was in use"):
        ledger.charge(release("next"), limit=None)


def test_a_role_that_may_only_read_and_insert_is_enough(ledger: Ledger, url: str) -> None:
    role, password = f"clerk_{os.urandom(4).hex()}", os.urandom(8).hex()
    schema = url.rsplit("search_path%3D", 1)[1]
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        db.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        db.execute(f"GRANT SELECT, INSERT ON wardline_ledger TO {role}")
        try:
            own = psycopg.conninfo.conninfo_to_dict(url)
            theirs = f"postgresql://{role}:{password}@{own['host']}:{own['port']}/postgres?{url.split('?', 1)[1]}"
            clerk = Ledger(theirs)
            assert clerk.charge(release("clerk"), limit=None).fresh
            with (
                psycopg.connect(theirs, autocommit=True) as narrow,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                narrow.execute("ALTER TABLE wardline_ledger DISABLE TRIGGER USER")
            clerk.close()
        finally:
            db.execute(f"DROP OWNED BY {role}")
            db.execute(f"DROP ROLE {role}")
    ledger.verify()
