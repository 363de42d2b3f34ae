"""The audit of mechanisms, pointed at whole releases over tables: an empirical bound beside each claim.

One release with thousands of public groups is thousands of independent trials: in each group the same few people, and
one person more on one of the two tables, who has no rows elsewhere. So the way from the SQL to the published figure is
under audit, with nothing of it replaced.

A sound release fails with a probability of at most 1e-6. The broken twins go unnoticed with less: what the audit finds
for them lies ten standard deviations and more above the claim.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from wardline.attacks import audit_mechanism
from wardline.attacks.auditing.mechanism_conformance import low_bits
from wardline.core import Measurement
from wardline.dp.mechanisms import discrete_gaussian, discrete_laplace
from wardline.dp.queries import Bound, Count, Key, Mean, Persons, Query, Sum, Table, bounding
from wardline.dp.releases import noise, release

TRIALS = 20_000
OTHERS = {False: 6, True: 40}  # groups that are found in the data must be larger, or hardly any would be shown
CONFIDENCE = 1 - 1e-6
AGGREGATES = {
    "count": (Count(),),
    "persons": (Persons(),),
    "sum": (Sum("value", lower=-3, upper=7),),
    "mean": (Mean("value", lower=-3, upper=7),),
    "several": (Count(), Persons(), Sum("value", lower=-3, upper=7)),
}


def table(trials: int, *, there: bool, others: int, rows: int) -> pa.Table:
    """In each group some people with one row, and the person in question, with as many as are to be told apart."""
    groups = np.repeat(np.arange(trials), others)
    people = np.arange(trials * others)
    values = np.resize([-3.0, 0.0, 1.0, 1.0, 2.0, 7.0], trials * others)
    if there:
        groups = np.concatenate([groups, np.repeat(np.arange(trials), rows)])
        people = np.concatenate([people, np.repeat(-1 - np.arange(trials), rows)])
        values = np.concatenate([values, np.full(trials * rows, 7.0)])
    return pa.table({"person": people, "group": groups, "value": values})


def run(name: str, *, there: bool, delta: float, found: bool):
    def outputs(trials: int):
        query = Query(
            table=Table(table(trials, there=there, others=OTHERS[found], rows=4)),
            unit="person",
            bound=Bound(rows=2) if name != "persons" else Bound(groups=1, rows_per_group=2),
            by=(Key("group", None if found else tuple(range(trials))),),
            aggregates=AGGREGATES[name],
        )
        made = release(query, epsilon=1.0, delta=delta).table
        # What is published for each group: a group that is not shown is one outcome, too.
        columns = [made[column].to_numpy() for column in made.schema.names if column != "group"]
        published = np.zeros((trials, 1 + len(columns)))
        published[made["group"].to_numpy(), 0] = 1
        published[made["group"].to_numpy(), 1:] = np.stack(columns, axis=1)
        # A mean of nobody is not a number, which is one outcome among others.
        return np.nan_to_num(published, nan=-1e9)

    return outputs


def audit(name: str, *, delta: float = 0.0, found: bool = False, seen=np.asarray) -> Measurement:
    pair = (run(name, there=there, delta=delta, found=found) for there in (True, False))
    with_unit, without = ((lambda trials, one=one: seen(one(trials))) for one in pair)
    return audit_mechanism(with_unit, without, claim=(1.0, delta), trials=TRIALS, confidence=CONFIDENCE)


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("found", [False, True], ids=["public groups", "groups found"])
def test_no_audit_exceeds_the_claim(name: str, found: bool) -> None:
    measured = audit(name, delta=1e-3 if found else 0.0, found=found)
    assert measured.value is not None
    assert measured.value <= 1.0, measured
    if name != "several":
        assert measured.value > 0.15, "the audit sees something of what there is"


def test_low_bits_of_published_figures_tell_nothing_more() -> None:
    measured = audit("several", seen=low_bits)
    assert measured.value is not None
    assert measured.value <= 1.0, measured


def test_bounding_that_is_off_by_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = bounding._stage

    def off_by_one(*arguments, limit):
        return sound(*arguments, limit=limit + 1)

    monkeypatch.setattr(bounding, "_stage", off_by_one)
    assert audit("count").value > 1.15


def test_noise_that_is_too_small_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        noise,
        "discrete_laplace",
        lambda count, scale, random: discrete_laplace(count, scale=0.7 * scale, random=random),
    )
    monkeypatch.setattr(
        noise,
        "discrete_gaussian",
        lambda count, sigma, random: discrete_gaussian(count, sigma=0.7 * sigma, random=random),
    )
    assert audit("count").value > 1.1
