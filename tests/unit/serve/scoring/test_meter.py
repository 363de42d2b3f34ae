"""The account of rows: never above the allowance, each request once, nothing lost."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, WorkspaceError
from wardline.serve.scoring.meter import REMEMBERED_SECONDS, RowMeter
from wardline.serve.scoring.refusals import Reason, Refusal

MODEL = bytes(32)


def name(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_rows_are_charged_up_to_the_allowance(tmp_path: Path) -> None:
    meter = RowMeter(tmp_path / "rows.sqlite")
    assert meter.charge("alice", model=MODEL, request=name(1), rows=6, allowance=10) == 4
    with pytest.raises(Refusal, match="4 are left of 10") as caught:
        meter.charge("alice", model=MODEL, request=name(2), rows=5, allowance=10)
    assert caught.value.reason is Reason.BUDGET
    # What was refused was not charged, and may come again with fewer rows.
    assert meter.charge("alice", model=MODEL, request=name(2), rows=4, allowance=10) == 0
    assert meter.spent("alice", model=MODEL) == 10
    assert meter.charge("bob", model=MODEL, request=name(1), rows=1, allowance=10) == 9, "clients are apart"
    assert meter.charge("alice", model=b"\1" * 32, request=name(3), rows=1, allowance=10) == 9, "models are apart"
    with pytest.raises(ValueError, match="rows"):
        meter.charge("alice", model=MODEL, request=name(4), rows=0, allowance=10)


def test_a_request_is_charged_once_even_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "rows.sqlite"
    meter = RowMeter(path)
    meter.charge("alice", model=MODEL, request=name(1), rows=6, allowance=10)
    meter.close()
    again = RowMeter(path)
    assert again.spent("alice", model=MODEL) == 6
    with pytest.raises(Refusal) as caught:
        again.charge("alice", model=MODEL, request=name(1), rows=1, allowance=10)
    assert caught.value.reason is Reason.REPLAY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_charged_outlives_a_kill(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from wardline.serve.scoring.meter import REMEMBERED_SECONDS, RowMeter
meter = RowMeter(Path(sys.argv[1]))
meter.charge("alice", model=bytes(32), request=bytes(16), rows=7, allowance=10)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "rows.sqlite")], check=False)
    assert RowMeter(tmp_path / "rows.sqlite").spent("alice", model=MODEL) == 7


def test_many_at_once_stay_within_the_allowance(tmp_path: Path) -> None:
    meters = [RowMeter(tmp_path / "rows.sqlite") for _ in range(2)]

    def charge(number: int) -> int:
        try:
            # Each request is sent twice, to both.
            meters[number % 2].charge("alice", model=MODEL, request=name(number // 2), rows=3, allowance=50)
        except Refusal:
            return 0
        return 3

    with ThreadPoolExecutor(4) as pool:
        charged = sum(pool.map(charge, range(80)))
    assert charged == meters[0].spent("alice", model=MODEL) == 48


def tried(meter: RowMeter, number: int, rows: int) -> Reason | None:
    """Why a charge was refused, if it was."""
    try:
        meter.charge("alice", model=MODEL, request=name(number), rows=rows, allowance=60)
    except Refusal as refusal:
        return refusal.reason
    return None


@settings(max_examples=25, deadline=None)
@given(requests=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 20)), max_size=25))
def test_it_agrees_with_a_model_of_itself(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, int]]
) -> None:
    meter = RowMeter(tmp_path_factory.mktemp("meter") / "rows.sqlite")
    seen: set[int] = set()
    spent = 0
    for number, rows in requests:
        wanted = Reason.REPLAY if number in seen else Reason.BUDGET if spent + rows > 60 else None
        assert tried(meter, number, rows) is wanted
        if wanted is None:
            seen.add(number)
            spent += rows
    assert meter.spent("alice", model=MODEL) == spent
    meter.close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be looked at " * 100)
    with pytest.raises(IntegrityError):
        RowMeter(tmp_path / "text")
    with sqlite3.connect(tmp_path / "newer") as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(IntegrityError, match="version 9"):
        RowMeter(tmp_path / "newer")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkspaceError):
        RowMeter(tmp_path / "folder")


def test_names_of_requests_are_forgotten_after_a_week_and_rows_never(tmp_path: Path) -> None:
    at = [1_000_000.0]
    meter = RowMeter(tmp_path / "rows.sqlite", now=lambda: at[0])
    meter.charge("alice", model=MODEL, request=name(1), rows=6, allowance=20)
    at[0] += REMEMBERED_SECONDS
    assert tried(meter, 1, 1) is Reason.REPLAY
    at[0] += 1
    # The name is new again, and is charged as a new one is.
    assert meter.charge("alice", model=MODEL, request=name(1), rows=6, allowance=20) == 8
    with sqlite3.connect(tmp_path / "rows.sqlite") as database:
        assert database.execute("SELECT count(*) FROM requests").fetchone() == (1,)


def test_an_account_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.sqlite") as database:
        database.executescript(
            "CREATE TABLE spent (model BLOB NOT NULL, client TEXT NOT NULL, rows INTEGER NOT NULL CHECK (rows >= 0),"
            " PRIMARY KEY (model, client)) WITHOUT ROWID, STRICT;"
            "CREATE TABLE requests (client TEXT NOT NULL, request BLOB NOT NULL, rows INTEGER NOT NULL,"
            " PRIMARY KEY (client, request)) WITHOUT ROWID, STRICT; PRAGMA user_version = 1;"
        )
        database.execute("INSERT INTO spent VALUES (?, 'alice', 9)", (MODEL,))
        database.execute("INSERT INTO requests VALUES ('alice', ?, 9)", (name(7),))
    for _ in range(2):
        meter = RowMeter(tmp_path / "rows.sqlite")
        assert meter.spent("alice", model=MODEL) == 9
        assert tried(meter, 7, 1) is Reason.REPLAY
        meter.close()
