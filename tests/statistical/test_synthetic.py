"""Synthetic tables: the noise and the choices behind them, and attackers who look for one unit.

Every alarm below is false with a probability of at most 1e-6, and every test also shows that it would have noticed the
deviation named in it.
"""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from wardline.attacks.auditing.synthesis import Neighbours, audit_synthesis, bootstrap, rarest_row
from wardline.core import SecureRandom
from wardline.data import Column, Contract, enforce
from wardline.dp.synthetic import SynthesisOptions, Synthetic, plan_synthesis
from wardline.dp.synthetic._private import PrivateRows, Purse
from wardline.dp.synthetic.synthesis import learn

ALARM = 1e-6
SURE = 1 - ALARM
TRIALS = 400


def private(columns, sizes, *, per_unit=1):
    purse = Purse(1e9)
    return PrivateRows(columns, sizes, rows_per_unit=per_unit, purse=purse, random=SecureRandom())


@pytest.mark.parametrize("per_unit", [1, 4])
def test_the_noise_on_counts_is_what_rho_demands_and_ten_percent_less_would_be_noticed(per_unit):
    cells, rho = 20_000, 0.01
    rows = private([np.arange(cells)], [cells], per_unit=per_unit)
    noise = rows.measure((0,), rho=rho).counts - 1  # one row in each cell
    # Half of L2**2 / sigma**2 is rho. The discrete Gaussian's variance is sigma**2 to 1e-9 at this sigma.
    sigma = math.sqrt(per_unit**2 / (2 * rho))

    def alarm(noise):
        total = float((noise**2).sum()) / sigma**2
        return 2 * min(stats.chi2.cdf(total, cells), stats.chi2.sf(total, cells))

    assert alarm(noise) > ALARM
    assert alarm(0.9 * noise) < ALARM
    assert alarm(noise / 0.9) < ALARM
    assert (noise == np.rint(noise)).all()


def test_choices_are_those_of_the_exponential_mechanism_and_a_forgotten_factor_would_be_noticed():
    rows = private([np.array([0, 0, 1]), np.array([1, 1, 1])], [2, 2])
    candidates = [((0,), np.zeros(2), 2, 0.0), ((1,), np.zeros(2), 1, 0.0), ((0, 1), np.full((2, 2), 0.5), 1, 0.5)]
    scores = np.array([2 * 3.0, 3.0, 0.5 * 2 + 1.5 + 0.5 - 0.5])
    draws, epsilon = 6000, 2.0
    counts = {clique: 0 for clique, *_ in candidates}
    for _ in range(draws):
        counts[rows.choose(candidates, epsilon=epsilon)] += 1
    found = np.array(list(counts.values()))

    def alarm(sensitivity):
        weights = np.exp(epsilon * (scores - scores.max()) / (2 * sensitivity))
        return stats.chisquare(found, draws * weights / weights.sum()).pvalue

    assert alarm(2.0) > ALARM, "the sensitivity is the largest weight"
    assert alarm(1.0) < ALARM
    assert alarm(4.0) < ALARM


# --- attackers -----------------------------------------------------------------------------------------


COLUMNS = (
    Column(name="age", kind="integer", low=0, high=99),
    Column(name="ward", kind="category", values=("a", "b", "c", "d")),
    Column(name="sick", kind="boolean"),
)
ROWS = Contract(columns=COLUMNS, target="sick")
OPTIONS = SynthesisOptions(cells=20, bins=8, steps=5)


def people(rows=120):
    rng = np.random.default_rng(3)
    age = rng.integers(20, 60, rows)
    return pa.table({"age": age, "ward": rng.choice(["a", "b", "c"], rows), "sick": age > rng.integers(20, 60, rows)})


def synthesizer(plan, *, overspent=1.0):
    loud = dataclasses.replace(plan, rho=plan.rho * overspent)

    def make(table):
        model = learn(loud, table, random=SecureRandom())
        drawn = model.sample(max(1, round(model.total)), random=SecureRandom())
        return Synthetic(table=drawn, claim=plan.claim(), model=model, about={"method": plan.method})

    return make


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mst", "aim"])
def test_an_attacker_breaks_copied_rows_and_not_what_is_protected(method):
    table = enforce(ROWS, people())
    plan = plan_synthesis(ROWS, epsilon=1.0, delta=1e-5, method=method, options=OPTIONS)
    target = rarest_row(table, ROWS)
    assert target["ward"].to_pylist() == ["d"]
    bound, area = audit_synthesis(
        synthesizer(plan),
        Neighbours(without=table, target=target, contract=ROWS),
        claim=plan.claim(),
        trials=TRIALS,
        broken=lambda real: bootstrap(real, ROWS),
        confidence=SURE,
    )
    assert bound.bears_on == area.bears_on == "dp.synthetic"
    assert bound.control is not None
    assert bound.control.passed, "copied rows were not recognised: the attack proves nothing"
    assert bound.control.value > 1.0
    assert area.control is not None
    assert area.control.value > 0.9
    assert bound.value <= 1.0
    # Epsilon 1 with a delta that is next to nothing allows an area of e / (1 + e) = 0.73.
    assert area.interval.low <= math.e / (1 + math.e)


@pytest.mark.slow
def test_a_synthesiser_that_forgets_how_many_rows_a_person_has_is_caught():
    persons = Contract(columns=COLUMNS, target="sick", unit_column="person", max_rows_per_unit=30)
    table = people().append_column("person", pa.array(np.arange(120)))
    target = pa.table({"age": [95] * 30, "ward": ["d"] * 30, "sick": [True] * 30, "person": [500] * 30})
    right = plan_synthesis(persons, epsilon=1.0, delta=1e-5, method="mst", options=OPTIONS)
    bound, _ = audit_synthesis(
        synthesizer(right),
        Neighbours(without=enforce(persons, table), target=target, contract=persons),
        claim=right.claim(),
        trials=TRIALS,
        # Noise for one row where a person has thirty: 900 times the rho.
        broken=synthesizer(right, overspent=900.0),
        sees="model",
        confidence=SURE,
    )
    assert bound.control is not None
    assert bound.control.passed
    assert bound.value <= 1.0


def test_the_attack_refuses_what_it_cannot_judge():
    table = enforce(ROWS, people(30))
    plan = plan_synthesis(ROWS, epsilon=1.0, delta=1e-5, method="mst", options=OPTIONS)
    neighbours = Neighbours(without=table, target=table.slice(0, 1), contract=ROWS)
    with pytest.raises(ValueError, match="trials"):
        audit_synthesis(synthesizer(plan), neighbours, claim=plan.claim(), trials=10)
    with pytest.raises(ValueError, match="no model"):
        audit_synthesis(lambda real: bootstrap(real, ROWS), neighbours, claim=plan.claim(), trials=TRIALS, sees="model")
    with pytest.raises(ValueError, match="columns"):
        Neighbours(without=table, target=table.select(["age"]), contract=ROWS)
    with pytest.raises(ValueError, match="at least one row"):
        Neighbours(without=table, target=table.slice(0, 0), contract=ROWS)
