"""The ledger: charged once, never refunded, never above the limit, and nothing half-written."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from wardline.core import BudgetError, IntegrityError, UsageError, WorkspaceError, digest_value
from wardline.dp.accounting import PoissonGaussian, PureDp, compose, event_to_json
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, Spent, dataset_key

EVENT = PoissonGaussian(sample_rate=0.05, noise_multiplier=1.2, steps=200)
LIMIT = Limit(epsilon=4.0, delta=1e-5)  # one EVENT spends about 3.2
FIXED = Limit(epsilon=4.0, delta=1e-5, adaptive=False)
RESULT, OTHER = digest_value("result"), digest_value("other")


def release(release_id: str = "r1", **changes: object) -> PlannedRelease:
    values = {
        "release_id": release_id,
        "dataset": "d1",
        "unit": "row",
        "events": (EVENT,),
        "description": "a model",
    }
    return PlannedRelease(**{**values, **changes})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.sqlite")


def test_a_release_is_charged_once_however_often_it_is_asked(ledger: Ledger) -> None:
    first = ledger.charge(release(), limit=LIMIT)
    again = Ledger(ledger.path).charge(release(), limit=LIMIT)
    assert first.fresh
    assert not again.fresh
    assert dataclasses.replace(again, fresh=True) == first
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first.at)
    assert ledger.spent("d1", delta=1e-5) == Spent(releases=1, epsilon=compose([EVENT], delta=1e-5), delta=1e-5)
    ledger.verify()


def test_going_on_under_one_charge_asks_no_limit_again(ledger: Ledger) -> None:
    ledger.charge(release(), limit=None)
    assert not ledger.charge(release(), limit=Limit(epsilon=0.001, delta=1e-5)).fresh


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "d2"},
        {"unit": "person"},
        {"description": "another model"},
        {"events": (EVENT, EVENT)},
        {"events": (dataclasses.replace(EVENT, steps=201),)},
    ],
)
def test_another_release_under_the_same_id_is_refused(ledger: Ledger, changes: dict[str, object]) -> None:
    ledger.charge(release(), limit=LIMIT)
    before = ledger.head()
    with pytest.raises(IntegrityError, match="charged already for another release"):
        ledger.charge(release(**changes), limit=None)
    assert ledger.head() == before


@pytest.mark.parametrize("adaptive", [True, False])
def test_what_would_exceed_the_limit_is_refused_and_nothing_written(ledger: Ledger, adaptive: bool) -> None:
    limit = dataclasses.replace(LIMIT, adaptive=adaptive)
    ledger.charge(release(), limit=limit)
    before = ledger.head()
    with pytest.raises(
        BudgetError, match=r"with 1 earlier releases.* epsilon 4\.\d+ at delta 1e-05.*limit of 4"
    ) as caught:
        ledger.charge(release("r2"), limit=limit)
    assert caught.value.hint
    assert ledger.head() == before
    wider = dataclasses.replace(limit, epsilon=6.0)
    assert ledger.charge(release("r2"), limit=wider).fresh, "a limit is raised knowingly"
    assert ledger.charge(release("r3", dataset="d2"), limit=limit).fresh, "each data set has its own"


def test_a_release_that_only_a_fixed_plan_would_allow_is_refused_and_told_so(ledger: Ledger) -> None:
    """Two releases cost 4.8 if both were fixed beforehand; the filter, which lets people choose, needs 5.8."""
    limit = Limit(epsilon=5.0, delta=1e-5)
    ledger.charge(release(), limit=limit)
    with pytest.raises(BudgetError, match=r"filter to epsilon 5\.8\d* .*fixed before .*would be 4\.[78]\d*") as caught:
        ledger.charge(release("r2"), limit=limit)
    assert "adaptive=False" in caught.value.hint
    assert ledger.charge(release("r2"), limit=dataclasses.replace(limit, adaptive=False)).fresh


def test_the_first_release_can_exceed_the_limit_too(ledger: Ledger) -> None:
    with pytest.raises(BudgetError, match="with 0 earlier releases"):
        ledger.charge(release(), limit=Limit(epsilon=1.0, delta=1e-5))
    assert ledger.spent("d1", delta=1e-5) == Spent(releases=0, epsilon=0.0, delta=1e-5)


def test_two_privacy_units_are_never_composed(ledger: Ledger) -> None:
    ledger.charge(release(), limit=None)
    with pytest.raises(UsageError, match="another privacy unit"):
        ledger.charge(release("r2", unit="person"), limit=None)
    keys = {dataset_key(source_sha256=one, unit=unit) for one in (RESULT, OTHER) for unit in ("row", {"column": "id"})}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"release_id": ""},
        {"release_id": "a\nb"},
        {"dataset": ""},
        {"dataset": "x" * 513},
        {"unit": "\x00"},
        {"release_id": "\ud800"},
        {"description": "\ud800"},
        {"events": ()},
    ],
)
def test_a_release_that_cannot_be_accounted_for_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        release(**changes)


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-5), (-1, 1e-5), (float("nan"), 1e-5), (1, 0), (1, 1)])
def test_a_limit_that_limits_nothing_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError):
        Limit(epsilon=epsilon, delta=delta)


def test_checkpoints(ledger: Ledger) -> None:
    ledger.charge(release(), limit=LIMIT)
    assert ledger.checkpoint("r1") is None
    ledger.progress("r1", 10, RESULT)
    ledger.progress("r1", 20, OTHER)
    ledger.progress("r1", 20, OTHER)
    assert Ledger(ledger.path).checkpoint("r1") == (20, OTHER)
    assert [entry.kind for entry in ledger.entries()] == ["open", "charge", "progress", "progress"]
    for step, digest in ((20, RESULT), (10, RESULT), (0, RESULT)):
        with pytest.raises(IntegrityError, match="step 20 of this release is already noted"):
            ledger.progress("r1", step, digest)
    assert ledger.checkpoint("r1") == (20, OTHER)


def test_a_result_is_sealed_once(ledger: Ledger) -> None:
    ledger.charge(release(), limit=LIMIT)
    assert ledger.sealed("r1") is None
    ledger.seal("r1", RESULT)
    ledger.seal("r1", RESULT)
    assert ledger.sealed("r1") == RESULT
    with pytest.raises(IntegrityError, match="sealed with another result"):
        ledger.seal("r1", OTHER)
    with pytest.raises(IntegrityError, match="sealed"):
        ledger.progress("r1", 99, RESULT)
    assert ledger.sealed("r1") == RESULT
    assert len(ledger.entries("d1")) == 2


def test_what_is_not_charged_is_neither_computed_nor_delivered(ledger: Ledger) -> None:
    for note in (lambda: ledger.seal("r1", RESULT), lambda: ledger.progress("r1", 1, RESULT)):
        with pytest.raises(UsageError, match="not charged"):
            note()
    assert ledger.sealed("r1") is None
    assert ledger.checkpoint("r1") is None


@pytest.mark.parametrize("digest", ["", "abc", RESULT.upper(), RESULT + "\n", RESULT[:-1] + "g"])
def test_digests_are_digests(ledger: Ledger, digest: str) -> None:
    ledger.charge(release(), limit=None)
    with pytest.raises(ValueError, match="SHA-256"):
        ledger.seal("r1", digest)
    with pytest.raises(ValueError, match="SHA-256"):
        ledger.progress("r1", 1, digest)
    with pytest.raises(ValueError, match="step"):
        ledger.progress("r1", -1, RESULT)


def test_a_lost_result_is_charged_anew_under_the_next_attempt(ledger: Ledger) -> None:
    assert ledger.latest_attempt_id("r1") == ledger.next_attempt_id("r1") == "r1"
    wide = Limit(epsilon=100, delta=1e-5)
    ledger.charge(release(), limit=wide)
    assert ledger.latest_attempt_id("r1") == "r1"
    assert ledger.next_attempt_id("r1") == ledger.next_attempt_id("r1") == "r1#2"
    ledger.charge(release("r1#2"), limit=wide)
    ledger.charge(release("r1#3"), limit=wide)
    for one in ("r1", "r1#2", "r1#3"):
        assert ledger.latest_attempt_id(one) == "r1#3"
        assert ledger.next_attempt_id(one) == "r1#4"
    assert ledger.spent("d1", delta=1e-5).releases == 3
    assert ledger.spent("d1", delta=1e-5).epsilon == compose([EVENT] * 3, delta=1e-5)
    assert ledger.next_attempt_id("r1#x") == "r1#x", "no attempt's number"


def test_the_head_moves_and_names_this_ledger(ledger: Ledger, tmp_path: Path) -> None:
    empty = ledger.head()
    charge = ledger.charge(release(), limit=LIMIT)
    head = ledger.head()
    assert (head.seq, head.hash, head.ledger) == (charge.seq, charge.hash, empty.ledger)
    ledger.verify(known=empty)
    ledger.verify(known=head)
    other = Ledger(tmp_path / "other.sqlite")
    other.charge(release(), limit=LIMIT)
    with pytest.raises(IntegrityError, match="rolled back or replaced"):
        other.verify(known=head)


def test_entries_tell_what_was_released_and_under_which_limit(ledger: Ledger) -> None:
    ledger.charge(release(), limit=LIMIT)
    ledger.charge(release("r2", dataset="d2"), limit=None)
    (entry,) = ledger.entries("d1")
    assert entry.body["release"]["events"] == [event_to_json(EVENT)]
    assert entry.body["limit"] == {"epsilon": 4.0, "delta": 1e-5, "adaptive": True}
    assert [one.seq for one in ledger.entries()] == [1, 2, 3]
    assert ledger.entries("d3") == ()


def test_rows_cannot_be_changed_removed_or_replaced(ledger: Ledger) -> None:
    ledger.charge(release(), limit=LIMIT)
    db = sqlite3.connect(ledger.path, isolation_level=None)
    columns = "seq, kind, release_id, dataset, charge, body, at, previous, hash"
    for statement in (
        "UPDATE entry SET at = 'never'",
        "DELETE FROM entry",
        "DELETE FROM entry WHERE seq = 2",
        f"INSERT OR REPLACE INTO entry ({columns}) SELECT {columns} FROM entry WHERE seq = 2",
        f"INSERT INTO entry ({columns}) SELECT 9, 'seal', 'r1', 'd1', 2, '{{}}', at, '0', hash FROM entry",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()
    ledger.verify()


# Places that fail


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(WorkspaceError):
        Ledger(tmp_path / "file" / "ledger.sqlite")
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        Ledger(tmp_path)


def test_a_ledger_that_vanishes_is_missed_not_replaced(ledger: Ledger) -> None:
    ledger.charge(release(), limit=LIMIT)
    ledger.path.unlink()
    for use in (lambda: ledger.charge(release("r2"), limit=None), ledger.head, lambda: ledger.sealed("r1")):
        with pytest.raises(WorkspaceError, match="cannot be opened"):
            use()
    assert not ledger.path.exists()


def test_a_ledger_that_is_swapped_is_noticed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.charge(release(), limit=LIMIT)
    other = Ledger(tmp_path / "other.sqlite")
    other.close()
    other.path.replace(ledger.path)
    for left_over in ("-wal", "-shm"):
        ledger.path.with_name(ledger.path.name + left_over).unlink()
    for use in (lambda: ledger.charge(release("r2"), limit=None), ledger.head, lambda: ledger.spent("d1", delta=1e-5)):
        with pytest.raises(IntegrityError, match="another ledger"):
            use()


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"not a database, but long enough to be looked at" * 20, b"SQLite format 3\0" * 100],
    ids=["empty", "stump", "text", "header"],
)
def test_what_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        Ledger(path)
    assert caught.value.hint
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    with pytest.raises(IntegrityError, match="not a ledger"):
        Ledger(path)
    db = sqlite3.connect(path)
    assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["theirs"]
    db.close()


def test_a_newer_format_is_refused(ledger: Ledger) -> None:
    db = sqlite3.connect(ledger.path)
    db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(IntegrityError, match="version 2"):
        Ledger(ledger.path)


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def _charge_many(ledger: Ledger) -> None:
    for number in range(100):
        ledger.charge(release(f"more-{number}", dataset="d2"), limit=None)


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted only by root")
    ledger = Ledger(disk / "ledger.sqlite")
    try:
        ledger.charge(release(), limit=LIMIT)
        before = ledger.head()
        filler = disk / "filler"
        _fill(filler)
        with pytest.raises(WorkspaceError) as caught:
            _charge_many(ledger)
        assert "make room" in caught.value.hint
        filler.unlink()
        ledger.verify(known=before)
        charged = [entry.release_id for entry in ledger.entries("d2")]
        assert charged == [f"more-{number}" for number in range(len(charged))]
        assert ledger.charge(release("after"), limit=None).fresh
        ledger.verify()
    finally:
        ledger.close()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_ledger_is_told(ledger: Ledger) -> None:
    """As a person who may read the folder but not write it; root is turned into nobody for the test."""
    folder = ledger.path.parent
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
        if parent.name.startswith("pytest-of"):
            break
    ledger.path.chmod(0o444)
    folder.chmod(0o555)
    child = os.fork()
    if child == 0:
        status = 99
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            try:
                ledger.charge(release(), limit=None)
            except WorkspaceError as error:
                status = 7 if error.hint and error.where == str(ledger.path) else 8
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    folder.chmod(0o755)
    assert len(ledger.entries()) == 1


# Many at once


def test_threads_may_share_one(ledger: Ledger) -> None:
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(5):
                ledger.charge(release(f"r{number}"), limit=None)
                ledger.charge(release(f"own-{name}-{number}"), limit=None)
        except Exception as error:  # noqa: BLE001 (told below, in the main thread)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ledger.entries("d1")) == 5 + 20
    ledger.verify()


def test_many_who_make_it_at_the_same_moment_make_one(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / str(attempt) / "ledger.sqlite"
        gate = threading.Barrier(8)
        made: list[object] = []

        def work(path: Path = path, gate: threading.Barrier = gate, made: list[object] = made) -> None:
            gate.wait()
            try:
                made.append(Ledger(path).id)
            except Exception as error:  # noqa: BLE001 (told below, in the main thread)
                made.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 8
        assert set(made) == {Ledger(path).id}
        assert [one.name for one in path.parent.iterdir()] == ["ledger.sqlite"]


def test_a_limit_holds_when_two_ask_at_the_same_moment(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second arrives while the first composes: the first has to look again, and is refused."""
    from wardline.dp.ledger import _account as module

    asked = []

    def compose_while_another_charges(events: list[PoissonGaussian], *, delta: float) -> float:
        asked.append(len(events))
        if len(asked) == 1:
            Ledger(ledger.path).charge(release("quicker"), limit=None)
        return compose(events, delta=delta)

    monkeypatch.setattr(module, "compose_coarsely", compose_while_another_charges)
    with pytest.raises(BudgetError, match="with 1 earlier"):
        ledger.charge(release("slower"), limit=dataclasses.replace(FIXED, epsilon=3.5))
    assert asked == [1, 2]
    assert [entry.release_id for entry in ledger.entries("d1")] == ["quicker"]


def test_whoever_is_outrun_again_and_again_makes_the_others_wait(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wardline.dp.ledger import _account as module

    events = (PureDp(epsilon=0.2),)
    asked = []

    def compose_while_another_charges(events: list[PoissonGaussian], *, delta: float) -> float:
        asked.append(len(events))
        if len(asked) <= 3:
            Ledger(ledger.path).charge(release(f"quicker-{len(asked)}", events=(PureDp(epsilon=0.2),)), limit=None)
        return compose(events, delta=delta)

    monkeypatch.setattr(module, "compose_coarsely", compose_while_another_charges)
    monkeypatch.setattr(module._Sums, "epsilon", lambda self, more, *, delta: 1e9)  # nothing is clear at once
    assert ledger.charge(release("slower", events=events), limit=FIXED).fresh
    assert asked == [1, 2, 3, 4]
    assert [entry.release_id for entry in ledger.entries("d1")] == ["quicker-1", "quicker-2", "quicker-3", "slower"]


class _LedgerMachine(RuleBasedStateMachine):
    """Any order of calls, compared with a model in plain Python."""

    open_releases = Bundle("open_releases")

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(Path(self.folder.name) / "ledger.sqlite")
        self.charged: dict[str, str] = {}
        self.steps: dict[str, int] = {}
        self.seals: dict[str, str] = {}
        self.heads = [self.ledger.head()]

    @rule(target=open_releases, name=st.sampled_from("abcd"), dataset=st.sampled_from(["d1", "d2"]))
    def charge(self, name: str, dataset: str) -> str:
        if self.charged.get(name, dataset) != dataset:
            with pytest.raises(IntegrityError):
                self.ledger.charge(release(name, dataset=dataset), limit=None)
        else:
            fresh = self.ledger.charge(release(name, dataset=dataset), limit=None).fresh
            assert fresh == (name not in self.charged)
            self.charged[name] = dataset
        return name

    @rule(name=open_releases, step=st.integers(0, 5))
    def progress(self, name: str, step: int) -> None:
        if name in self.seals or step < self.steps.get(name, -1):
            with pytest.raises(IntegrityError):
                self.ledger.progress(name, step, digest_value(step))
        else:
            self.ledger.progress(name, step, digest_value(step))
            self.steps[name] = step

    @rule(name=consumes(open_releases), result=st.sampled_from([RESULT, OTHER]))
    def seal(self, name: str, result: str) -> None:
        if self.seals.get(name, result) != result:
            with pytest.raises(IntegrityError):
                self.ledger.seal(name, result)
        else:
            self.ledger.seal(name, result)
            self.seals[name] = result

    @rule()
    def open_again(self) -> None:
        self.ledger = Ledger(self.ledger.path)
        self.heads.append(self.ledger.head())

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "heads"):
            return
        for head in self.heads:
            self.ledger.verify(known=head)
        kinds = [entry.kind for entry in self.ledger.entries()]
        assert kinds.count("charge") == len(self.charged)
        assert kinds.count("seal") == len(self.seals)
        for name in self.charged:
            step = self.steps.get(name)
            assert self.ledger.checkpoint(name) == (None if step is None else (step, digest_value(step)))
            assert self.ledger.sealed(name) == self.seals.get(name)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestAnyOrderOfCalls = _LedgerMachine.TestCase
TestAnyOrderOfCalls.settings = settings(max_examples=12, stateful_step_count=15, deadline=None, derandomize=True)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(("each", "fit", "whole"), [(0.5, 2, 1.0), (0.1, 10, 1.0), (0.1, 3, 0.3)])
def test_a_limit_can_be_filled_exactly(tmp_path: Path, each: float, fit: int, whole: float, adaptive: bool) -> None:
    """A tenth is no double, and the sum of ten is no whole one: decimal figures count as people mean them."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    limit = Limit(epsilon=whole, delta=1e-9, adaptive=adaptive)
    for number in range(fit):
        assert ledger.charge(_pure(f"r{number}", each), limit=limit).fresh
    with pytest.raises(BudgetError):
        ledger.charge(_pure("tiny", 1e-6), limit=limit)


def _pure(release_id: str, epsilon: float) -> PlannedRelease:
    events = (PureDp(epsilon=epsilon),)
    return PlannedRelease(release_id=release_id, dataset="d", unit="row", events=events, description="a test")
