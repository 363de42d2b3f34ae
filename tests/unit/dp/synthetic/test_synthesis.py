import dataclasses
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wardline.core import BudgetError, DataError, IntegrityError, SecureRandom, UsageError
from wardline.data import Column, Contract, table_digest
from wardline.dp.accounting import ZeroConcentrated, compose
from wardline.dp.ledger import Ledger, Limit
from wardline.dp.synthetic import (
    SynthesisOptions,
    plan_synthesis,
    read_synthetic,
    synthesis,
    synthesize,
    synthesize_planned,
)
from wardline.dp.synthetic._private import PrivateRows

FAST = SynthesisOptions(cells=16, bins=8, steps=60)
COLUMNS = (
    Column(name="age", kind="integer", low=0, high=99),
    Column(name="dose", kind="number", low=0.0, high=10.0, missing=True),
    Column(name="ward", kind="category", values=("north", "süd, west", "")),
    Column(name="note", kind="ignore"),
    Column(name="sick", kind="boolean"),
)
CONTRACT = Contract(columns=COLUMNS, target="sick")
PERSONS = Contract(columns=COLUMNS, target="sick", unit_column="person", max_rows_per_unit=2)


def people(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 100, rows)
    dose = rng.uniform(0, 10, rows)
    return pa.table(
        {
            "age": age,
            "dose": pa.array(dose, mask=rng.random(rows) < 0.2),
            "ward": rng.choice(["north", "süd, west", ""], rows),
            "note": [f"secret {i}" for i in range(rows)],
            "sick": age / 100 + rng.normal(0, 0.1, rows) > 0.5,
        }
    )


def with_persons(table, each=4):
    return table.append_column("person", pa.array(np.arange(table.num_rows) // each))


@pytest.fixture(scope="module")
def made():
    return synthesize(people(), CONTRACT, epsilon=2, delta=1e-5, method="mst", options=FAST)


@pytest.mark.parametrize("method", ["aim", "mst"])
def test_plenty_of_budget_gives_nearly_the_real_shares(method):
    real = people(3000)
    made = synthesize(real, CONTRACT, epsilon=50, delta=1e-5, method=method, options=FAST)
    assert made.table.column_names == ["age", "dose", "ward", "sick"]
    assert abs(made.table.num_rows - 3000) < 30
    old_and_sick = [np.mean((np.array(table["age"]) >= 50) & np.array(table["sick"])) for table in (real, made.table)]
    assert abs(old_and_sick[0] - old_and_sick[1]) < 0.03
    assert abs(made.table["dose"].null_count / made.table.num_rows - 0.2) < 0.03
    assert "secret" not in str(made.table.to_pylist())


def test_the_claim_says_what_was_spent(made):
    claim = made.claim
    assert (claim.id, claim.quantity, claim.value, claim.direction) == ("dp.synthetic", "epsilon", 2, "at_most")
    rho, delta = claim.parameters["rho"], claim.parameters["delta"]
    assert compose([ZeroConcentrated(rho=rho)], delta=delta) == pytest.approx(claim.parameters["epsilon_accounted"])
    assert 1.98 < claim.parameters["epsilon_accounted"] <= 2
    assert "one row" in claim.statement
    assert "2 rows" in plan_synthesis(PERSONS, epsilon=1, delta=1e-6).claim().statement
    assert str(made).startswith(f"synthetic table: {made.table.num_rows:,} rows, 4 columns, mst; dp.synthetic")
    assert "<td>" in made._repr_html_()


def test_planning_reads_nothing_and_more_budget_means_more_rho():
    rhos = [plan_synthesis(CONTRACT, epsilon=epsilon, delta=1e-6).rho for epsilon in (0.1, 1, 10)]
    assert rhos == sorted(rhos)
    # The simple bound rho + 2 sqrt(rho log(1 / delta)) <= epsilon is met with room to spare by the one in use.
    assert rhos[1] + 2 * math.sqrt(rhos[1] * math.log(1e6)) > 1


def test_the_number_of_rows_can_be_chosen():
    assert (
        synthesize(people(50), CONTRACT, epsilon=1, delta=1e-3, method="mst", rows=7, options=FAST).table.num_rows == 7
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"epsilon": 1001.0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"method": "gan"},
        {"rows": 0},
        {"rows": 10**9},
    ],
)
def test_figures_out_of_range_are_refused_before_anything_is_charged(wrong, tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(ValueError):
        synthesize(people(20), CONTRACT, **({"epsilon": 1.0, "delta": 1e-5} | wrong), ledger=ledger)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("wrong", [{"cells": 1}, {"bins": 1}, {"steps": 0}, {"most_cells": 0}, {"cells": 10**6}])
def test_senseless_options_are_refused(wrong):
    with pytest.raises(ValueError):
        SynthesisOptions(**wrong)


@pytest.mark.parametrize(
    "table",
    [
        people(10).set_column(0, "age", pa.array([100] * 10)),
        people(10).set_column(1, "dose", pa.array([float("inf")] * 10)),
        people(10).set_column(2, "ward", pa.array(["'; DROP TABLE people; --"] * 10)),
        people(10).drop_columns(["sick"]),
        people(0),
    ],
)
def test_rows_that_break_the_contract_are_refused_before_anything_is_charged(table, tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(DataError) as caught:
        synthesize(table, CONTRACT, epsilon=1, delta=1e-5, ledger=ledger)
    assert "DROP" not in str(caught.value)
    assert len(ledger.entries()) == 1


def test_an_absent_class_or_an_empty_column_is_no_reason_to_refuse(tmp_path):
    table = people(60)
    table = table.set_column(4, "sick", pa.array([True] * 60)).set_column(1, "dose", pa.nulls(60, pa.float64()))
    made = synthesize(table, CONTRACT, epsilon=20, delta=1e-5, method="mst", options=FAST)
    assert np.mean(made.table["sick"]) > 0.8
    assert made.table["dose"].null_count > 0.8 * made.table.num_rows


# --- the ledger ------------------------------------------------------------------------------------------


def events_of(ledger):
    return [(entry.kind, entry.release_id) for entry in ledger.entries() if entry.kind in ("charge", "seal")]


def test_it_is_charged_before_it_is_counted_and_never_refunded(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def killed(self, clique, *, rho):
        assert [kind for kind, _ in events_of(ledger)][-1:] == ["charge"], "nothing may be counted without a charge"
        raise KeyboardInterrupt

    plan = plan_synthesis(CONTRACT, epsilon=1, delta=1e-5, method="mst", options=FAST)
    with monkeypatch.context() as patch:
        patch.setattr(PrivateRows, "measure", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                synthesize_planned(plan, people(), ledger=ledger, out=tmp_path / "s.parquet")
    made = synthesize_planned(plan, people(), ledger=ledger, out=tmp_path / "s.parquet")
    told = events_of(ledger)
    assert [kind for kind, _ in told] == ["charge", "charge", "charge", "seal"], "a charge is never used twice"
    assert len({release for _, release in told}) == 3
    assert told[-1] == ("seal", made.release_id)
    assert ledger.sealed(made.release_id)


def test_the_same_call_with_its_file_in_place_gives_it_back_for_free(tmp_path):
    ledger, out = Ledger(tmp_path / "ledger.sqlite"), tmp_path / "s.parquet"
    plan = plan_synthesis(CONTRACT, epsilon=1, delta=1e-5, method="mst", options=FAST)
    first = synthesize_planned(plan, people(), ledger=ledger, out=out)
    again = synthesize_planned(plan, people(), ledger=ledger, out=out)
    assert again.table.equals(first.table)
    assert again.model is None
    assert [kind for kind, _ in events_of(ledger)] == ["charge", "seal"]
    out.write_bytes(out.read_bytes() + b"x")
    third = synthesize_planned(plan, people(), ledger=ledger, out=out)
    assert not third.table.equals(first.table)
    assert [kind for kind, _ in events_of(ledger)] == ["charge", "seal", "charge", "seal"]


def test_a_limit_stops_it_before_anything_is_counted(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    plan = plan_synthesis(CONTRACT, epsilon=1, delta=1e-5, options=FAST)
    monkeypatch.setattr(synthesis, "learn", lambda *_, **__: pytest.fail("the rows were looked at"))
    with pytest.raises(BudgetError):
        synthesize_planned(plan, people(), ledger=ledger, limit=Limit(epsilon=0.5, delta=1e-5))
    with pytest.raises(ValueError, match="ledger"):
        synthesize_planned(plan, people(), limit=Limit(epsilon=0.5, delta=1e-5))


def test_rows_and_persons_have_accounts_of_their_own(tmp_path):
    ledger, table = Ledger(tmp_path / "ledger.sqlite"), with_persons(people(100))
    rows = Contract(columns=(*COLUMNS, Column(name="person", kind="ignore")), target="sick")
    for contract in (rows, PERSONS):
        synthesize(table, contract, epsilon=1, delta=1e-4, method="mst", ledger=ledger, options=FAST)
    charged = [entry for entry in ledger.entries() if entry.kind == "charge"]
    assert len({entry.dataset for entry in charged}) == 2
    assert {entry.body["release"]["unit"] for entry in charged} == {"row", "person"}


# --- persons -----------------------------------------------------------------------------------------------


def test_no_person_has_more_rows_than_the_bound(monkeypatch):
    seen = {}
    counted = PrivateRows.__init__

    def spy(self, columns, sizes, **more):
        seen.setdefault("rows", len(columns[0]))
        seen.setdefault("per_unit", more["rows_per_unit"])
        counted(self, columns, sizes, **more)

    monkeypatch.setattr(PrivateRows, "__init__", spy)
    synthesize(with_persons(people(400)), PERSONS, epsilon=1, delta=1e-4, method="mst", options=FAST)
    assert seen == {"rows": 200, "per_unit": 2}


def test_which_rows_of_a_person_stay_is_random_and_bounded():
    persons = pa.chunked_array([pa.array(["a"] * 5 + ["b"] + ["c"] * 3).dictionary_encode()])
    seen = set()
    for _ in range(60):
        kept = synthesis.bounded(persons, 2, SecureRandom())
        assert len(kept) == 5
        assert 5 in kept
        assert sum(kept < 5) == 2
        seen |= set(kept.tolist())
    assert seen == set(range(9)), "each of 9 rows is missed by 60 draws with probability below 1e-12"


def test_a_row_without_a_person_is_refused():
    table = people(3).append_column("person", pa.array([1, None, 2]))
    with pytest.raises(DataError, match="person"):
        synthesize(table, PERSONS, epsilon=1, delta=1e-4, options=FAST)


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s.parquet", "s.csv"])
def test_a_saved_table_comes_back_with_its_claim(made, tmp_path, name):
    digest = made.save(tmp_path / name)
    again = read_synthetic(tmp_path / name)
    assert again.table.equals(made.table)
    assert again.claim == made.claim
    assert again.about["measured"] == made.about["measured"]
    assert len(digest) == 64


def test_the_claim_stands_in_the_parquet_files_metadata(made, tmp_path):
    made.save(tmp_path / "s.parquet")
    value = json.loads(pq.read_schema(tmp_path / "s.parquet").metadata[b"wardline.synthetic"])
    assert value["claim"]["value"] == 2


def test_a_changed_table_or_a_lost_claim_is_noticed(made, tmp_path):
    path = tmp_path / "s.csv"
    made.save(path)
    text = path.read_text()
    path.write_text(text.replace("true", "false", 1))
    with pytest.raises(IntegrityError, match="not the one"):
        read_synthetic(path)
    path.write_text(text)
    claim = tmp_path / "s.claim.json"
    claim.write_text(claim.read_text()[:-20])
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_synthetic(path)
    claim.unlink()
    with pytest.raises(IntegrityError, match="no claim"):
        read_synthetic(path)
    other = tmp_path / "o.parquet"
    pq.write_table(made.table, other)
    with pytest.raises(IntegrityError, match="no claim"):
        read_synthetic(other)
    other.write_bytes(b"PAR1 nonsense")
    with pytest.raises(IntegrityError, match="sound"):
        read_synthetic(other)


@pytest.mark.parametrize("name", ["s.parquet", "s.csv"])
def test_nothing_that_is_derived_from_the_real_rows_without_noise_is_written(tmp_path, name):
    """A digest of the rows, or of a digest of them, would let whoever knows all rows but one test guesses about it."""
    table, ledger = people(50), Ledger(tmp_path / "ledger.sqlite")
    plan = plan_synthesis(CONTRACT, epsilon=1, delta=1e-3, method="mst", options=FAST)
    made = synthesize_planned(plan, table, ledger=ledger, out=tmp_path / "out" / name)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    (charged,) = (entry for entry in ledger.entries() if entry.kind == "charge")
    assert made.release_id == charged.release_id
    for secret in (table_digest(table), charged.dataset, charged.release_id, charged.hash):
        assert secret.encode() not in written
    assert b"epsilon" in written


def test_other_files_are_refused(made, tmp_path):
    with pytest.raises(UsageError, match="parquet"):
        made.save(tmp_path / "s.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_synthetic(tmp_path / "missing.csv")


def test_results_are_frozen(made):
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.claim = None
