"""Limits that the ledger itself stores, the account behind them, and what is told over time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest

from wardline.core import BudgetError, UsageError
from wardline.dp.accounting import ApproximateDp, DpEvent, PoissonGaussian, PureDp, ZeroConcentrated, compose
from wardline.dp.accounting.filters import PrivacyFilter
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, dataset_key
from wardline.dp.ledger import _state as state_module
from wardline.dp.ledger._account import Account
from wardline.dp.ledger.history import draw_history, history, history_page, history_picture

LIMIT = Limit(epsilon=1.0, delta=1e-6)
FIXED = dataclasses.replace(LIMIT, adaptive=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def release(release_id: str, *events: DpEvent, dataset: str = "d1") -> PlannedRelease:
    return PlannedRelease(
        release_id=release_id, dataset=dataset, unit="person", events=events, description=f"about {release_id}"
    )


def fill(ledger: Ledger, event: DpEvent, limit: Limit | None, *, most: int = 1000) -> int:
    """Charge until it is refused; how many were charged."""
    for number in range(most):
        try:
            ledger.charge(release(f"r{number}", event), limit=limit)
        except BudgetError:
            return number
    return most


# Which rule decides


@pytest.mark.parametrize("event", [PureDp(epsilon=0.05), ZeroConcentrated(rho=1e-3)], ids=["pure", "zcdp"])
def test_exactly_what_each_rule_admits_is_charged(tmp_path: Path, event: DpEvent) -> None:
    kept = PrivacyFilter(epsilon=1.0, delta=1e-6)
    filtered = fill(Ledger(tmp_path / "filter.sqlite"), event, LIMIT)
    fixed = fill(Ledger(tmp_path / "fixed.sqlite"), event, FIXED)
    assert kept.admits(kept.consumed([event] * filtered))
    assert not kept.admits(kept.consumed([event] * (filtered + 1)))
    assert compose([event] * fixed, delta=1e-6) <= 1.0 < compose([event] * (fixed + 1), delta=1e-6)
    assert 0.7 * fixed < filtered < fixed


def test_the_first_release_counts_at_its_exact_cost(ledger: Ledger) -> None:
    """It is fixed before anybody saw anything; a filter alone would refuse a training that spends the whole limit."""
    training = PoissonGaussian(sample_rate=0.01, noise_multiplier=1.3, steps=500)
    limit = Limit(epsilon=compose([training], delta=1e-6) * 1.001, delta=1e-6)
    kept = PrivacyFilter(epsilon=limit.epsilon, delta=limit.delta)
    assert not kept.admits(kept.consumed([training]))
    assert ledger.charge(release("first", training), limit=limit).fresh
    with pytest.raises(BudgetError, match="with 1 earlier"):
        ledger.charge(release("second", PureDp(epsilon=1e-6)), limit=limit)


def test_deltas_of_releases_are_limited_too(ledger: Ledger) -> None:
    event = ApproximateDp(epsilon=0.001, delta=1e-7)
    assert fill(ledger, event, LIMIT) in (4, 5)
    with pytest.raises(BudgetError, match="epsilon inf"):
        ledger.charge(release("much", ApproximateDp(epsilon=0.001, delta=1e-5)), limit=FIXED)


def test_what_sums_do_not_settle_is_composed(tmp_path: Path) -> None:
    account = Account()
    events = [PoissonGaussian(sample_rate=0.02, noise_multiplier=1.0, steps=20)] * 5
    account.add("r", "person", events)
    exact = compose([*events, events[0]], delta=1e-6)
    near = dataclasses.replace(FIXED, epsilon=exact * 1.001)
    wide, narrow = dataclasses.replace(FIXED, epsilon=exact * 3), dataclasses.replace(FIXED, epsilon=exact * 0.999)
    planned = release("next", events[0])
    assert account.admits(planned, wide) is True
    for limit, answer in ((near, True), (narrow, False)):
        assert account.admits(planned, limit) is None, "sums do not tell"
        assert account.composes(planned, limit) is answer


# Limits that are stored


def test_a_stored_limit_is_obeyed_whatever_the_caller_says(ledger: Ledger) -> None:
    ledger.set_limit("d1", LIMIT, reason="the board, 12 May")
    assert ledger.limit("d1") == Ledger(ledger.path).limit("d1") == LIMIT
    assert ledger.charge(release("a", PureDp(epsilon=0.9)), limit=None).fresh
    for wider in (None, Limit(epsilon=50.0, delta=1e-3), Limit(epsilon=50.0, delta=1e-3, adaptive=False)):
        with pytest.raises(BudgetError, match="limit of 1"):
            ledger.charge(release("b", PureDp(epsilon=0.5)), limit=wider)
    assert ledger.charge(release("b", PureDp(epsilon=0.5), dataset="d2"), limit=None).fresh, "of another data set"


def test_the_stricter_of_two_limits_decides(ledger: Ledger) -> None:
    ledger.set_limit("d1", Limit(epsilon=5.0, delta=1e-6))
    with pytest.raises(BudgetError, match=r"limit of 0\.5"):
        ledger.charge(release("a", PureDp(epsilon=0.9)), limit=Limit(epsilon=0.5, delta=1e-6))


@pytest.mark.parametrize(
    "looser",
    [
        Limit(epsilon=1.1, delta=1e-6),
        Limit(epsilon=1.0, delta=1e-5),
        Limit(epsilon=1.0, delta=1e-6, adaptive=False),
        Limit(epsilon=0.5, delta=1e-5),
    ],
)
def test_a_limit_is_raised_only_expressly_and_for_all_to_see(ledger: Ledger, looser: Limit) -> None:
    ledger.set_limit("d1", LIMIT)
    before = ledger.head()
    with pytest.raises(UsageError, match="looser"):
        ledger.set_limit("d1", looser)
    assert ledger.head() == before
    entry = ledger.set_limit("d1", looser, unsafe_raise=True, reason="a new law")
    assert entry.body["raised"] is True
    assert entry.body["reason"] == "a new law"
    assert ledger.limit("d1") == looser
    assert [one.kind for one in ledger.entries("d1")] == ["limit", "limit"], "the old one stays in the chain"


def test_a_limit_is_lowered_freely_even_below_what_is_spent(ledger: Ledger) -> None:
    ledger.charge(release("a", PureDp(epsilon=0.9)), limit=None)
    entry = ledger.set_limit("d1", Limit(epsilon=0.1, delta=1e-7))
    assert entry.body["raised"] is False
    with pytest.raises(BudgetError):
        ledger.charge(release("b", PureDp(epsilon=1e-6)), limit=None)
    assert not ledger.charge(release("a", PureDp(epsilon=0.9)), limit=None).fresh, "what is charged stays charged"


def test_data_sets_are_listed(ledger: Ledger) -> None:
    ledger.charge(release("a", PureDp(epsilon=0.1), dataset="d2"), limit=None)
    ledger.set_limit("d1", LIMIT)
    told = {one.key: (one.unit, one.releases, one.limit) for one in ledger.datasets()}
    assert told == {"d2": ("person", 1, None), "d1": ("", 0, LIMIT)}
    with pytest.raises(ValueError, match="reason"):
        ledger.set_limit("d1", LIMIT, reason="a\nb")
    with pytest.raises(ValueError, match="dataset"):
        ledger.set_limit("", LIMIT)


def test_a_live_table_is_known_by_a_name(ledger: Ledger) -> None:
    keys = {
        dataset_key(name="visits", unit="person"),
        dataset_key(name="visits", unit="row"),
        dataset_key(name="bills", unit="person"),
        dataset_key(source_sha256="0" * 64, unit="person"),
    }
    assert len(keys) == 4
    assert dataset_key(name="visits", unit="person") == dataset_key(name="visits", unit="person")
    for bad in ({}, {"name": "a", "source_sha256": "0" * 64}, {"name": ""}, {"name": "a\x00"}):
        with pytest.raises(ValueError):
            dataset_key(unit="person", **bad)


# What one process remembers, and what it looks at again


def test_rows_of_others_are_taken_over_and_the_whole_chain_is_verified_now_and_then(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_FULL_AFTER_ROWS", 10)
    verified = []
    verify = state_module.verify_chain
    monkeypatch.setattr(
        state_module,
        "verify_chain",
        lambda rows, **more: (verified.append(len(rows)), verify(rows, **more)),
    )
    other = Ledger(ledger.path)
    verified.clear()
    for number in range(25):
        other.charge(release(f"r{number}", PureDp(epsilon=0.001)), limit=None)
        assert ledger.spent("d1", delta=1e-6).releases == number + 1
    whole = [count for count in verified if count > 5]
    assert 2 <= len(whole) <= 8, "of both, after about every ten rows"
    assert sum(verified) < 25 * 25, "and not each time"


# Over time


def test_the_loss_over_time_only_grows_and_ends_where_it_stands(ledger: Ledger) -> None:
    ledger.set_limit("d1", Limit(epsilon=3.0, delta=1e-6))
    for number, event in zip(
        range(9), itertools.cycle([PureDp(epsilon=0.1), ZeroConcentrated(rho=0.004)]), strict=False
    ):
        ledger.charge(release(f"r{number}", event), limit=None)
    moments = history(ledger, "d1", delta=1e-6)
    assert [one.releases for one in moments] == list(range(1, 10))
    losses = [one.epsilon for one in moments]
    assert losses == sorted(losses)
    assert losses[-1] == ledger.spent("d1", delta=1e-6).epsilon
    used = [one.used or 0.0 for one in moments]
    assert 0 < used[0] < used[-1] < 1
    assert history(ledger, "d1", delta=1e-5)[0].used is None, "a filter's figure is for its own delta"
    few = history(ledger, "d1", delta=1e-6, most=3)
    assert [one.releases for one in few] == [1, 3, 6, 9]
    assert history(ledger, "d2", delta=1e-6) == ()


def test_the_page_holds_the_figures_and_no_script_and_hostile_text_stays_text(ledger: Ledger) -> None:
    ledger.set_limit("d1", Limit(epsilon=3.0, delta=1e-6))
    hostile = PlannedRelease(
        release_id="x",
        dataset="d1",
        unit="person",
        events=(PureDp(epsilon=0.5),),
        description="<script>alert(1)</script>",
    )
    ledger.charge(hostile, limit=None)
    ledger.charge(release("y", PureDp(epsilon=0.25)), limit=None)
    (dataset,) = ledger.datasets()
    moments = history(ledger, "d1", delta=1e-6)
    page = history_page(dataset, moments, delta=1e-6).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "0.75" in page
    assert "limit: 3" in page
    assert history_page(dataset, moments, delta=1e-6).decode() == page
    picture = history_picture(dataset, moments, delta=1e-6)
    assert picture.startswith(b"<svg xmlns")
    assert b"epsilon 0.75" in picture
    with pytest.raises(ValueError, match="no finite loss"):
        draw_history(dataset, [dataclasses.replace(moments[0], epsilon=math.inf)], delta=1e-6)
