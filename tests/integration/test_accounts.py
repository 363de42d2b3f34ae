"""One account for the same people: a run, a sweep and a release of the same rows are added up together."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from wardline.core import NoProgress
from wardline.data import read_table
from wardline.dp import Ledger
from wardline.dp.queries import Count, Key, Query, Table
from wardline.dp.releases import release
from wardline.policy import load_policy
from wardline.run.inputs import account_of, load_inputs


def _charged(ledger: Ledger) -> list[str]:
    return [entry.dataset for entry in ledger.entries() if entry.kind == "charge"]


def _query(table: Table) -> Query:
    return Query(table=table, unit=None, by=(Key("ward", ["north", "south", "west"]),), aggregates=(Count(),))


def test_a_release_is_charged_to_the_account_of_the_training(small_project: Path) -> None:
    folder = small_project.parent
    pq.write_table(read_table(folder / "people.csv"), folder / "people.parquet")
    loaded = load_policy(small_project)
    account = account_of(loaded, load_inputs(loaded, local_copy=None, progress=NoProgress()).sha256)
    ledger = Ledger(folder / "ledger.sqlite")
    for source in ("people.csv", "people.parquet"):
        release(_query(Table(folder / source)), epsilon=0.1, ledger=ledger)
    assert _charged(ledger) == [account, account]


def test_a_name_holds_whatever_file_they_come_in(small_project: Path) -> None:
    folder = small_project.parent
    small_project.write_text(small_project.read_text().replace("data:\n", "data:\n  name: wards-2026\n"))
    account = account_of(load_policy(small_project), "0" * 64)
    assert account == account_of(load_policy(small_project), "1" * 64)
    ledger = Ledger(folder / "ledger.sqlite")
    release(_query(Table(folder / "people.csv", name="wards-2026")), epsilon=0.1, ledger=ledger)
    assert _charged(ledger) == [account]
