"""The client's half: rows that are refused, clipped, or split into batches."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core.errors import DataError
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program
from wardline.he.network.choice import unsafe_plan_unprotected_network
from wardline.he.network.evaluation import unsafe_replies
from wardline.he.network.rows import decrypt_outputs, encrypt_rows
from wardline.he.ranges import outside


@pytest.fixture(scope="module")
def planned(program, rows, client):
    model, sample = program(21, squares=0), rows(21, 3)
    plan, secret = unsafe_plan_unprotected_network(model, sample)
    return model, sample, plan, secret, *client(plan.parameters)


def test_more_rows_than_slots_are_split(planned) -> None:
    model, sample, plan, secret, lattice, keys = planned
    many = np.resize(sample, (plan.rows + 5, 3))
    batches = list(encrypt_rows(lattice, plan, many))
    assert len(batches) == 2
    found = [unsafe_replies(one, keys, plan=plan, secret=secret) for one in batches]
    off = decrypt_outputs(lattice, plan, found, rows=len(many)) - model.evaluate(many)
    assert off.shape == (plan.rows + 5, 2)
    assert np.abs(off).max() <= plan.worst
    with pytest.raises(ValueError, match="need 2 replies"):
        decrypt_outputs(lattice, plan, found[:1], rows=len(many))


def test_rows_out_of_range_are_clipped_or_refused(planned) -> None:
    model, sample, plan, secret, lattice, keys = planned
    far = sample[:4].copy()
    far[1, 2] = 1e6
    assert outside(plan, far) == 1
    with pytest.raises(DataError, match="1 of 4 rows"):
        encrypt_rows(lattice, plan, far, out_of_range="refuse")
    (columns,) = encrypt_rows(lattice, plan, far)
    found = decrypt_outputs(lattice, plan, [unsafe_replies(columns, keys, plan=plan, secret=secret)], rows=4)
    far[1, 2] = plan.centre[2] + plan.half_width[2]
    assert np.abs(found - model.evaluate(far)).max() <= plan.worst


def test_one_row_far_beyond_the_sample_spoils_its_batch_and_is_noticed(client) -> None:
    generator = np.random.default_rng(5)
    both = generator.uniform(-1, 1, (200, 1))
    sample = np.hstack([both, both + generator.uniform(-0.05, 0.05, (200, 1))])
    layer = Affine(weights=np.array([[1.0, -1.0]]), offset=np.zeros(1), name="difference")
    model = Program(input_shape=(2,), layers=(layer,), meaning=Meaning(gives="values"))
    plan, secret = unsafe_plan_unprotected_network(model, sample)
    lattice, keys = client(plan.parameters)

    def scored(rows: np.ndarray) -> np.ndarray:
        (columns,) = encrypt_rows(lattice, plan, rows)
        return decrypt_outputs(lattice, plan, [unsafe_replies(columns, keys, plan=plan, secret=secret)], rows=len(rows))

    assert np.abs(scored(sample) - model.evaluate(sample)).max() <= plan.worst
    far = np.array([[1.0, -1.0]])  # each number is within its range
    assert outside(plan, far) == 0
    with pytest.raises(DataError, match=r"rows 0 to 200: .*no answer of its batch"):
        scored(np.vstack([sample, far]))


def test_bad_rows_are_refused_before_anything_is_encrypted(planned) -> None:
    _, sample, plan, _, lattice, _ = planned
    broken = sample[:3].copy()
    broken[2, 0] = np.nan
    with pytest.raises(DataError, match="not a finite"):
        encrypt_rows(lattice, plan, broken)
    with pytest.raises(DataError, match="no rows"):
        encrypt_rows(lattice, plan, sample[:0])
    with pytest.raises(DataError, match="the model reads 3"):
        encrypt_rows(lattice, plan, sample[:, :2])


def test_keys_of_other_parameters_are_refused(planned, program, rows) -> None:
    _, sample, _, _, lattice, _ = planned
    other, _ = unsafe_plan_unprotected_network(program(22), rows(22, 3))
    with pytest.raises(ValueError, match="other parameters"):
        encrypt_rows(lattice, other, sample)
