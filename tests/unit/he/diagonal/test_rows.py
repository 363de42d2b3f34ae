"""The client's half: rows that are refused or clipped, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core.errors import DataError
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program
from wardline.he.diagonal.choice import unsafe_plan_unprotected_diagonal
from wardline.he.diagonal.evaluation import unsafe_replies
from wardline.he.diagonal.rows import decrypt_outputs, encrypt_rows


@pytest.fixture(scope="module")
def planned(network, scene):
    return scene(unsafe_plan_unprotected_diagonal, *network(21, widths=(3, 2)), rows=3)


def score(one, rows):
    found = [
        unsafe_replies(columns, one.keys, plan=one.plan, secret=one.secret)
        for columns in encrypt_rows(one.lattice, one.plan, rows)
    ]
    return decrypt_outputs(one.lattice, one.plan, found, rows=len(rows))


def test_every_row_is_a_batch_of_its_own(planned) -> None:
    off = score(planned, planned.rows) - planned.program.evaluate(planned.rows)
    assert off.shape == (3, 2)
    assert np.abs(off).max() <= planned.plan.worst
    assert planned.plan.rows == 1


def test_rows_out_of_range_are_clipped_or_refused(planned) -> None:
    far = planned.rows.copy()
    far[1, 2] = 1e6
    with pytest.raises(DataError, match="1 of 3 rows"):
        encrypt_rows(planned.lattice, planned.plan, far, out_of_range="refuse")
    found = score(planned, far)
    far[1, 2] = planned.plan.centre[2] + planned.plan.half_width[2]
    assert np.abs(found - planned.program.evaluate(far)).max() <= planned.plan.worst


def test_a_row_far_beyond_the_sample_is_noticed(scene) -> None:
    generator = np.random.default_rng(5)
    both = generator.uniform(-1, 1, (200, 1))
    sample = np.hstack([both, both + generator.uniform(-0.05, 0.05, (200, 1))])
    layer = Affine(weights=np.array([[1.0, -1.0]]), offset=np.zeros(1), name="difference")
    program = Program(input_shape=(2,), layers=(layer,), meaning=Meaning(gives="values"))
    one = scene(unsafe_plan_unprotected_diagonal, program, sample, rows=2)
    far = np.array([[0.3, -0.1]])  # six times the largest difference, and each number within its range
    with pytest.raises(DataError, match="row 2: a row lies far beyond"):
        score(one, np.vstack([one.rows, far]))


def test_bad_rows_are_refused_before_anything_is_encrypted(planned) -> None:
    broken = planned.rows.copy()
    broken[2, 0] = np.nan
    for rows in (broken, planned.rows[:0], planned.rows[:, :2]):
        with pytest.raises(DataError):
            encrypt_rows(planned.lattice, planned.plan, rows)
