"""Encrypted linear models end to end: SEAL encrypts and decrypts, our kernels add up in between."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("tenseal")
pytest.importorskip("numba")

from wardline.core.errors import DataError
from wardline.he.ciphertext import SeededColumns
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.linear.evaluation import scores, unsafe_sums
from wardline.he.linear.plan import LEFT_OUT, LinearPlan, LinearWeights, plan_linear
from wardline.he.linear.rows import decrypt_outputs, encrypt_rows, unsafe_raw_outputs
from wardline.he.ranges import outside
from wardline.he.seal.bridge import SealLattice


def random_model(seed: int, *, features: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(400, features)) * 10.0 ** generator.uniform(-2, 3, features)
    return generator.normal(size=(outputs, features)) / rows.std(axis=0), generator.normal(size=outputs), rows


@pytest.fixture(scope="module")
def loan() -> tuple[LinearPlan, LinearWeights, SealLattice, np.ndarray, np.ndarray]:
    weights, bias, rows = random_model(0, features=6, outputs=2)
    plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    return plan, secret, SealLattice.generate(plan.parameters), rows, rows @ weights.T + bias


Loan = tuple[LinearPlan, LinearWeights, SealLattice, np.ndarray, np.ndarray]


@pytest.mark.parametrize("seed", range(25))
def test_errors_are_as_predicted_over_random_models(seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights, bias, rows = random_model(
        seed, features=int(generator.integers(1, 8)), outputs=int(generator.integers(1, 4))
    )
    sizes = 10.0 ** generator.uniform(-6, 2, len(bias))
    weights, bias = weights * sizes[:, None], bias * sizes
    plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    lattice = SealLattice.generate(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, rows)
    reply = scores(columns, lattice.evaluation_keys().public, plan=plan, secret=secret)
    off = unsafe_raw_outputs(lattice, plan, [reply], rows=len(rows)) - (rows @ weights.T + bias)
    assert (np.abs(off) <= plan.worst * plan.units).all()
    # 400 rows: a standard deviation is estimated to 3.5 %, so that 25 % off has a chance below 1e-10.
    assert (off.std(axis=0) <= 1.25 * plan.error * plan.units).all()


def test_scores_survive_the_wire_and_are_rounded(loan: Loan) -> None:
    plan, secret, lattice, rows, exact = loan
    session, binding, limits = Session.generate(), Binding.fresh(), Limits()
    (columns,) = encrypt_rows(lattice, plan, rows)
    sent = write_columns(columns, session=session, binding=binding, dropped_bits=LEFT_OUT)
    assert len(sent) <= plan.features * (64 + 67 * plan.parameters.degree // 8) + 512
    _, received = read_columns(sent, parameters=plan.parameters, session=session, binding=binding, limits=limits)
    reply = scores(received, lattice.evaluation_keys().public, plan=plan, secret=secret)
    back = write_replies(reply, session=session, binding=binding)
    _, replied = read_replies(back, parameters=plan.parameters, session=session, binding=binding, limits=limits)
    found = decrypt_outputs(lattice, plan, [replied], rows=len(rows))
    assert np.abs(found - exact).max() <= plan.worst + plan.step / 2
    assert np.array_equal(plan.rounded(found), found)


def test_more_rows_than_coefficients_are_split(loan: Loan) -> None:
    plan, secret, lattice, rows, exact = loan
    many, wanted = np.tile(rows, (11, 1)), np.tile(exact, (11, 1))
    public = lattice.evaluation_keys().public
    replies = [scores(one, public, plan=plan, secret=secret) for one in encrypt_rows(lattice, plan, many)]
    assert len(replies) == 2
    assert np.abs(unsafe_raw_outputs(lattice, plan, replies, rows=len(many)) - wanted).max() <= plan.worst


def test_sums_are_the_same_for_any_number_of_threads(loan: Loan) -> None:
    plan, secret, lattice, rows, _ = loan
    (columns,) = encrypt_rows(lattice, plan, rows)
    single, several = (unsafe_sums(columns, plan=plan, secret=secret, threads=threads) for threads in (1, 3))
    assert np.array_equal(single, several)


def test_another_key_reads_nothing(loan: Loan) -> None:
    plan, secret, lattice, rows, exact = loan
    (columns,) = encrypt_rows(lattice, plan, rows)
    reply = scores(columns, lattice.evaluation_keys().public, plan=plan, secret=secret)
    other = SealLattice.generate(plan.parameters)
    found = unsafe_raw_outputs(other, plan, [reply], rows=len(rows))
    assert abs(np.corrcoef(found[:, 0], exact[:, 0])[0, 1]) < 0.35  # 400 rows: 7 standard deviations
    assert np.abs(found - exact).max() > plan.worst


def test_columns_that_do_not_fit_are_refused(loan: Loan) -> None:
    plan, secret, lattice, rows, _ = loan
    (columns,) = encrypt_rows(lattice, plan, rows)
    public = lattice.evaluation_keys().public
    fewer = SeededColumns(
        parameters=columns.parameters, seeds=columns.seeds[:-1], c0=columns.c0[:-1], form="coefficients"
    )
    coarse = dataclasses.replace(columns, dropped_bits=LEFT_OUT + 1)
    for wrong in (fewer, coarse):
        with pytest.raises(ValueError, match="6 features"):
            scores(wrong, public, plan=plan, secret=secret)
    others = dataclasses.replace(
        columns, parameters=dataclasses.replace(plan.parameters, plain_modulus=plan.parameters.plain_modulus // 2)
    )
    with pytest.raises(ValueError, match="other parameters"):
        scores(others, public, plan=plan, secret=secret)


def test_bad_rows_are_refused_before_anything_is_encrypted(loan: Loan) -> None:
    plan, _, lattice, rows, _ = loan
    gap = rows.copy()
    gap[7, 2] = np.nan
    for bad, said in ((rows[:0], "no rows"), (rows[:, :-1], "5 features"), (gap, "not a finite number")):
        with pytest.raises(DataError, match=said):
            encrypt_rows(lattice, plan, bad)


def test_rows_out_of_range_are_clipped_or_refused(loan: Loan) -> None:
    plan, secret, lattice, rows, _ = loan
    far = rows.copy()
    far[3] *= 100
    assert outside(plan, rows) == 0
    assert outside(plan, far) == 1
    with pytest.raises(DataError, match="1 of 400 rows"):
        encrypt_rows(lattice, plan, far, out_of_range="refuse")
    (columns,) = encrypt_rows(lattice, plan, far)
    reply = scores(columns, lattice.evaluation_keys().public, plan=plan, secret=secret)
    found = unsafe_raw_outputs(lattice, plan, [reply], rows=len(far))
    assert np.abs(found).max() <= plan.bound + plan.worst


def test_replies_that_are_too_few_are_refused(loan: Loan) -> None:
    plan, _, lattice, _, _ = loan
    with pytest.raises(ValueError, match="5000 rows need 2 replies"):
        unsafe_raw_outputs(lattice, plan, [], rows=5000)
