"""Somebody edits the ledger's file by hand, to make spent budget disappear."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from wardline.core import IntegrityError, digest_value
from wardline.dp.accounting import PoissonGaussian
from wardline.dp.ledger import Head, Ledger, PlannedRelease, _chain, _sqlite

EVENT = PoissonGaussian(sample_rate=0.1, noise_multiplier=2.0, steps=10)
COLUMNS = ("seq", "kind", "release_id", "dataset", "charge", "body", "at", "previous", "hash")
ROWS = 8
DATASETS = ("d1", "d2")
TRIGGERS = ("entry_no_update", "entry_no_delete", "entry_in_order")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    for number, dataset in enumerate((*DATASETS, "d1")):
        release = PlannedRelease(
            release_id=f"r{number}", dataset=dataset, unit="row", events=(EVENT,), description="a model"
        )
        ledger.charge(release, limit=None)
    ledger.progress("r0", 5, digest_value(5))
    ledger.progress("r0", 9, digest_value(9))
    ledger.seal("r0", digest_value("result 0"))
    ledger.seal("r1", digest_value("result 1"))
    ledger.verify()
    assert len(ledger.entries()) == ROWS
    return ledger.path


@pytest.fixture
def ledger(original: Path, tmp_path: Path) -> Ledger:
    """A copy that was opened before anybody touches it."""
    path = tmp_path / "ledger.sqlite"
    shutil.copy(original, path)
    return Ledger(path)


def tamper(path: Path, attack: Callable[[sqlite3.Connection], object]) -> None:
    """Change the file as one would who knows SQLite: rules are taken away first, and put back afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("BEGIN")
        rules = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        assert set(rules) == set(TRIGGERS)
        for name in rules:
            db.execute(f"DROP TRIGGER {name}")
        before = db.execute("SELECT * FROM entry ORDER BY seq").fetchall()
        attack(db)
        assert db.execute("SELECT * FROM entry ORDER BY seq").fetchall() != before, "the attack changed something"
        for sql in rules.values():
            db.execute(sql)
        db.execute("COMMIT")


def assert_found(ledger: Ledger, row: int | None) -> None:
    where = "" if row is None else rf"row {row}$"
    uses: list[Callable[[], object]] = [
        ledger.verify,
        ledger.head,
        ledger.entries,
        lambda: ledger.spent("d1", delta=1e-5),
        lambda: ledger.sealed("r0"),
        lambda: ledger.checkpoint("r0"),
        lambda: ledger.next_attempt_id("r0"),
        lambda: ledger.seal("r2", digest_value("r")),
        lambda: ledger.progress("r2", 1, digest_value("r")),
        lambda: Ledger(ledger.path),
    ]
    for use in uses:
        with pytest.raises(IntegrityError) as caught:
            use()
        assert caught.value.hint
        if row is not None:
            assert caught.value.where.endswith(where.removesuffix("$")), caught.value.where


CHANGES = {
    "seq": ["seq + 100", "-seq"],
    "kind": ["CASE kind WHEN 'open' THEN 'charge' ELSE 'open' END", "upper(kind)"],
    "release_id": ["release_id || ' '", "'r9'"],
    "dataset": ["CASE dataset WHEN 'd1' THEN 'd2' ELSE 'd1' END", "''"],
    "charge": ["coalesce(charge, 1) + 1", "CASE WHEN charge IS NULL THEN 2 END"],
    "body": ["replace(body, '0', '1') || ' '", "'{}'", "''", "'[]'", "'not json'"],
    "at": ["'1999-12-31T23:59:59Z'", "''"],
    "previous": ["lower(hex(zeroblob(31))) || printf('%02d', seq)", "''"],
    "hash": ["lower(hex(zeroblob(31))) || printf('%02d', seq)", "upper(hash)"],
}


@pytest.mark.parametrize("row", range(1, ROWS + 1))
@pytest.mark.parametrize("column", COLUMNS)
def test_every_cell_of_every_row(original: Path, tmp_path: Path, row: int, column: str) -> None:
    for number, change in enumerate(CHANGES[column]):
        path = tmp_path / f"{number}.sqlite"
        shutil.copy(original, path)
        ledger = Ledger(path)

        def attack(db: sqlite3.Connection, change: str = change) -> None:
            db.execute(f"UPDATE entry SET {column} = {change} WHERE seq = ?", (row,))

        try:
            tamper(path, attack)
        except AssertionError:
            # The cell holds that value already (the data set of the first row is empty, for one).
            assert (column, row) in {("dataset", 1), ("previous", 1), ("charge", 1)}
            continue
        with pytest.raises(IntegrityError) as caught:
            ledger.verify()
        if column != "seq":
            assert caught.value.where.endswith(f"row {row}")


def test_nothing_changed_is_nothing_found(ledger: Ledger) -> None:
    """The control: taking the rules away and putting them back is no tampering."""
    with pytest.raises(AssertionError, match="the attack changed something"):
        tamper(ledger.path, lambda db: None)
    ledger.verify()


def test_a_forged_charge_stops_every_use(ledger: Ledger) -> None:
    tamper(ledger.path, lambda db: db.execute("UPDATE entry SET body = replace(body, '2', '9') WHERE seq = 2"))
    assert_found(ledger, 2)


@pytest.mark.parametrize("row", range(1, ROWS))
def test_a_removed_row(ledger: Ledger, row: int) -> None:
    tamper(ledger.path, lambda db: db.execute("DELETE FROM entry WHERE seq = ?", (row,)))
    assert_found(ledger, row)


@pytest.mark.parametrize("row", range(2, ROWS))
def test_a_removed_row_with_the_gap_closed(ledger: Ledger, row: int) -> None:
    def attack(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entry WHERE seq = ?", (row,))
        db.execute("UPDATE entry SET seq = seq - 1 WHERE seq > ?", (row,))

    tamper(ledger.path, attack)
    assert_found(ledger, row)


@pytest.mark.parametrize(("one", "other"), [(2, 3), (3, 4), (5, 6), (2, 8)])
def test_swapped_rows(ledger: Ledger, one: int, other: int) -> None:
    def attack(db: sqlite3.Connection) -> None:
        for before, after in ((one, -1), (other, one), (-1, other)):
            db.execute("UPDATE entry SET seq = ? WHERE seq = ?", (after, before))

    tamper(ledger.path, attack)
    assert_found(ledger, one)


def test_an_inserted_row(ledger: Ledger) -> None:
    def attack(db: sqlite3.Connection) -> None:
        db.execute(
            "INSERT INTO entry SELECT 9, 'seal', 'r2', 'd1', 4, body, at, hash, lower(hex(randomblob(32))) "
            "FROM entry WHERE seq = 8"
        )

    tamper(ledger.path, attack)
    assert_found(ledger, 9)


def test_an_emptied_table(ledger: Ledger) -> None:
    tamper(ledger.path, lambda db: db.execute("DELETE FROM entry"))
    assert_found(ledger, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER entry_no_update",
        "DROP TRIGGER entry_no_delete",
        "DROP TRIGGER entry_in_order",
        "DROP INDEX entry_one_charge",
        "DROP INDEX entry_one_seal",
        "CREATE TABLE more (x)",
        "CREATE TRIGGER drain AFTER INSERT ON entry BEGIN SELECT 1; END",
        "ALTER TABLE entry ADD COLUMN more TEXT",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 0",
    ],
)
def test_rules_that_were_taken_away_or_added(ledger: Ledger, statement: str) -> None:
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as db:
        db.execute(statement)
    assert_found(ledger, None)


def test_a_cell_of_another_type(ledger: Ledger) -> None:
    """The table's STRICT rule is taken away too, and a blob of the same bytes put in the place of text."""

    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ' STRICT', '') WHERE name = 'entry'")
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER entry_no_update")
        db.execute("UPDATE entry SET body = CAST(body AS BLOB) WHERE seq = 3")
        db.execute(_sqlite.SCHEMAS[_sqlite.VERSION]["entry_no_update"])
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = 'entry'", (_sqlite.SCHEMAS[_sqlite.VERSION]["entry"],)
        )
    assert_found(ledger, 3)


def test_a_file_cut_short_or_with_flipped_bytes_is_never_believed(original: Path, tmp_path: Path) -> None:
    """Any of them is refused, or hits unused space and changes nothing that the ledger tells."""
    data = original.read_bytes()
    told = Ledger(original).entries()
    refused = 0
    for place in range(0, len(data), 97):
        path = tmp_path / f"{place}.sqlite"
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            assert Ledger(path).entries() == told
        except IntegrityError:
            refused += 1
        path.unlink()
    assert refused > 20
    for size in range(1, len(data), len(data) // 7):
        path = tmp_path / f"cut-{size}.sqlite"
        path.write_bytes(data[:size])
        with pytest.raises(IntegrityError):
            Ledger(path).verify()


def _rewrite(db: sqlite3.Connection) -> None:
    """Compute the whole chain anew, as one can who knows how it is made: it holds no key."""
    previous = _chain.GENESIS
    rows = [_chain.Row._make(row) for row in db.execute(f"SELECT {', '.join(COLUMNS)} FROM entry ORDER BY seq")]
    db.execute("DELETE FROM entry")
    for number, row in enumerate(rows, start=1):
        made = row._replace(seq=number, previous=previous)
        made = made._replace(hash=_chain.row_hash(made))
        db.execute(f"INSERT INTO entry ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * 9)})", made)
        previous = made.hash


def _cut(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM entry WHERE seq > 3")


def _forge(db: sqlite3.Connection) -> None:
    db.execute("UPDATE entry SET body = replace(body, '\"steps\":10', '\"steps\":1') WHERE seq = 4")
    _rewrite(db)


@pytest.mark.parametrize("attack", [_cut, _forge])
def test_a_rollback_is_seen_only_by_whoever_kept_a_head(
    ledger: Ledger, attack: Callable[[sqlite3.Connection], None]
) -> None:
    """What a chain alone cannot see, as its documentation says; a head that was kept shows it.

    So does a process that has the ledger open: it remembers where the chain stood.
    """
    published: Head = ledger.head()
    spent = ledger.spent("d1", delta=1e-5)
    tamper(ledger.path, attack)
    later = Ledger(ledger.path)
    later.verify()
    assert later.spent("d1", delta=1e-5).epsilon < spent.epsilon, "the attack paid off"
    with pytest.raises(IntegrityError, match="rolled back or replaced"):
        later.verify(known=published)
    uses: list[Callable[[], object]] = [
        ledger.head,
        lambda: ledger.spent("d1", delta=1e-5),
        lambda: ledger.seal("r2", digest_value("r")),
    ]
    for use in uses:
        with pytest.raises(IntegrityError, match="rolled back or replaced while it was in use"):
            use()
