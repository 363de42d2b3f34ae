"""The memo of permanent responses: restarts, crashes, damage, other people's files, and what it may cost in all."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wardline.core import IntegrityError, KeyAccessError, SecureRandom, WorkspaceError
from wardline.dp.local import MemoisedClient, Rappor, decode_one

# A report is the permanent row itself, nearly: a bit is flipped again with a probability below 1e-6.
BARE = Rappor(size=64, epsilon=2.0, report_epsilon=1.999999)
NOISY = Rappor(size=64, epsilon=2.0, report_epsilon=0.5)


def client(path: Path, mechanism: Rappor = NOISY) -> MemoisedClient:
    return MemoisedClient(mechanism, path, random=SecureRandom())


def row(message: bytes, mechanism: Rappor = BARE) -> int:
    return int(decode_one(mechanism, message)[0, 0])


def rows(path: Path) -> list[list[object]]:
    return json.loads(path.read_text())["rows"]


def test_the_permanent_row_is_kept_through_restarts_and_reports_differ(tmp_path: Path) -> None:
    store = tmp_path / "memo"
    messages = {client(store).report(5) for _ in range(20)}
    assert len(messages) > 15, "each report is a fresh copy"
    kept = rows(store)
    assert len(kept) == 1
    assert [client(store).report(5) for _ in range(3)]
    assert rows(store) == kept
    # The control: without a store, rows are drawn anew, 64 coins each.
    assert len({client(tmp_path / str(index), BARE).report(5) for index in range(10)}) == 10
    again = [row(client(tmp_path / "bare", BARE).report(5)) for _ in range(10)]
    assert max(bin(one ^ again[0]).count("1") for one in again) <= 2


def test_the_store_is_private_and_whole(tmp_path: Path) -> None:
    store = tmp_path / "folder" / "memo"
    old = os.umask(0)
    try:
        client(store).report(1)
    finally:
        os.umask(old)
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.with_name("memo.lock").stat().st_mode) == 0o600
    assert sorted(one.name for one in store.parent.iterdir()) == ["memo", "memo.lock"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
def test_a_store_that_others_may_read_stops_the_client(tmp_path: Path, mode: int) -> None:
    store = tmp_path / "memo"
    client(store).report(1)
    store.chmod(mode)
    before = store.read_bytes()
    with pytest.raises(KeyAccessError, match="others may read"):
        client(store).report(1)
    assert store.read_bytes() == before


def test_a_further_value_is_answered_with_the_first_row(tmp_path: Path) -> None:
    store = tmp_path / "memo"
    first = row(client(store, BARE).report(3))
    kept = store.read_bytes()
    for value in (9, 60, 3, 0):
        assert bin(row(client(store, BARE).report(value)) ^ first).count("1") <= 2
    assert store.read_bytes() == kept, "nothing about later values is kept"


def test_as_many_values_as_agreed_get_a_row_and_the_last_used_one_answers_for_others(tmp_path: Path) -> None:
    mechanism = Rappor(size=64, epsilon=2.0, report_epsilon=1.999999, most_values=2)
    store = tmp_path / "memo"
    one = row(client(store, mechanism).report(1), mechanism)
    two = row(client(store, mechanism).report(2), mechanism)
    assert bin(one ^ two).count("1") > 4

    def near(value: int, expected: int) -> bool:
        return bin(row(client(store, mechanism).report(value), mechanism) ^ expected).count("1") <= 2

    assert near(1, one)
    assert near(2, two)
    assert near(40, two), "used last"
    assert near(1, one)
    assert near(40, one), "used last, also after a restart"
    assert len(rows(store)) == 2
    claim = mechanism.claim()
    assert claim.value == 4.0
    assert mechanism.event.steps == 2
    assert any("change at the same times" in said for said in claim.assumptions)
    assert not any("Several reports" in said for said in claim.assumptions)


DAMAGE = {
    "empty": lambda text: b"",
    "truncated": lambda text: text[:-5],
    "garbage": lambda text: os.urandom(50),
    "pickle": lambda text: b"\x80\x04]\x94.",
    "deep": lambda text: b"[" * 100_000,
    "spaced": lambda text: text.replace(b",", b", "),
    "key-twice": lambda text: text[:-1] + b',"format":"wardline local memo/1"}',
    "format": lambda text: text.replace(b"memo/1", b"memo/2"),
    "no-rows": lambda text: text[: text.index(b"[[")] + b"[]" + text[text.index(b"]]") + 2 :],
    "rows-null": lambda text: text[: text.index(b"[[")] + b"null" + text[text.index(b"]]") + 2 :],
    "value-beyond": lambda text: text.replace(b"[[7,", b"[[64,"),
    "value-negative": lambda text: text.replace(b"[[7,", b"[[-1,"),
    "value-true": lambda text: text.replace(b"[[7,", b"[[true,"),
    "value-fraction": lambda text: text.replace(b"[[7,", b"[[7.5,"),
    "row-short": lambda text: text.replace(text[text.index(b'[[7,"') + 5 : text.index(b'"]]')], b"AAAA"),
    "row-no-base64": lambda text: text.replace(text[text.index(b'[[7,"') + 5 : text.index(b'"]]')], b"!!!!"),
    "a-row-more": lambda text: text.replace(b'"]]', b'"],[8,"AAAAAAAAAAA="]]'),
    "a-row-twice": lambda text: text.replace(b'"]]', b'"],[7,"AAAAAAAAAAA="]]'),
}


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_a_damaged_store_stops_the_client_and_is_left_alone(tmp_path: Path, name: str) -> None:
    store = tmp_path / "memo"
    client(store).report(7)
    damaged = DAMAGE[name](store.read_bytes())
    assert damaged != store.read_bytes()
    store.write_bytes(damaged)
    with pytest.raises(IntegrityError) as told:
        client(store).report(7)
    assert store.read_bytes() == damaged
    assert "AAAA" not in str(told.value)


def test_a_store_of_other_parameters_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "memo"
    client(store).report(7)
    with pytest.raises(IntegrityError, match="other parameters"):
        client(store, Rappor(size=64, epsilon=3.0, report_epsilon=0.5)).report(7)


def test_links_and_folders_are_no_store(tmp_path: Path) -> None:
    real = tmp_path / "real"
    client(real).report(1)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises(IntegrityError):
            client(tmp_path / name).report(1)


def test_no_report_leaves_before_its_row_is_kept(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(WorkspaceError):
        client(blocked / "memo").report(1)


@pytest.mark.parametrize("value", [-1, 64, 10**9])
def test_a_value_outside_of_the_domain_leaves_no_trace(tmp_path: Path, value: int) -> None:
    with pytest.raises(ValueError, match="outside of the domain"):
        client(tmp_path / "memo").report(value)
    assert not (tmp_path / "memo").exists()


def test_randomness_that_can_be_seeded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="SecureRandom"):
        MemoisedClient(NOISY, tmp_path / "memo", random=np.random.default_rng(0))  # type: ignore[arg-type]


REPORTING = """
import sys
from pathlib import Path
from wardline.core import SecureRandom
from wardline.dp.local import MemoisedClient, Rappor
mechanism = Rappor(size=64, epsilon=2.0, report_epsilon=1.999999)
print("ready", flush=True)
sys.stdin.readline()
while True:
    client = MemoisedClient(mechanism, Path(sys.argv[1]), random=SecureRandom())
    print(client.report(int(sys.argv[2])).hex(), flush=True)
"""


def test_many_processes_that_begin_at_once_and_are_killed_answer_from_one_row(tmp_path: Path) -> None:
    store = tmp_path / "memo"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", REPORTING, str(store), "11"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    firsts = []
    for one in started:
        assert one.stdout is not None
        firsts.append(one.stdout.readline())
    told = []
    for one in started:
        one.send_signal(signal.SIGKILL)
        rest, _ = one.communicate()
        told += [line for line in rest.split("\n")[:-1] if line]
    told += [line.strip() for line in firsts]
    kept = decode_one(BARE, client(store, BARE).report(11))[0, 0]
    assert len(told) >= 4
    for message in told:
        assert bin(row(bytes.fromhex(message)) ^ int(kept)).count("1") <= 3
    assert len(rows(store)) == 1
