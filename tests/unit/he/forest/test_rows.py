"""The client's half: refusals before anything is encrypted, and batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tenseal")

from wardline.core import DataError
from wardline.he.ciphertext import Ciphertext
from wardline.he.forest.choice import plan_forest
from wardline.he.forest.rows import decrypt_outputs, encrypt_rows
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.slots import from_coefficients


@pytest.fixture(scope="module")
def planned(random_forest, rows, client):
    forest, sample = random_forest(1, depth=1), rows(1)
    plan, secret = plan_forest(forest, sample)
    return plan, secret, client(plan.parameters)[0], sample


def test_what_cannot_be_compared_is_refused(planned) -> None:
    plan, _, lattice, sample = planned
    for wrong, message in (
        (sample[:0], "no rows"),
        (sample[:, :2], "rows have 2 numbers, the forest reads 3"),
        (np.where(sample == sample[3], np.nan, sample), "not finite as float32"),
        (np.full((1, 3), 1e39), "not finite as float32"),
    ):
        with pytest.raises(DataError, match=message):
            encrypt_rows(lattice, plan, wrong)
    other = replace(plan, parameters=replace(plan.parameters, plain_modulus=114689))
    with pytest.raises(ValueError, match="other parameters"):
        encrypt_rows(lattice, other, sample)


def test_rows_fill_batches_of_bits(planned) -> None:
    plan, _, lattice, sample = planned
    many = np.resize(sample, (plan.rows + 5, 3))
    batches = list(encrypt_rows(lattice, plan, many))
    assert [len(one) for one in batches] == [len(plan.thresholds)] * 2
    bits = plan.thresholds.bits(many)
    for number, one in enumerate(batches):
        second = expand(one.seeds, plan.parameters)
        whole = [
            Ciphertext(parameters=plan.parameters, parts=np.stack([c0, c1]), form="coefficients")
            for c0, c1 in zip(one.c0, second, strict=True)
        ]
        slots = from_coefficients(lattice.decrypt_coefficients(whole), plain_modulus=plan.parameters.plain_modulus)
        sent = bits[number * plan.rows : (number + 1) * plan.rows]
        np.testing.assert_array_equal(slots[:, : len(sent)].T, sent)
        assert not slots[:, len(sent) :].any()


def test_replies_must_be_as_many_as_the_rows_need(planned) -> None:
    plan, _, lattice, _ = planned
    with pytest.raises(ValueError, match="need 1 replies of 1 ciphertexts"):
        decrypt_outputs(lattice, plan, [], rows=5)
    with pytest.raises(ValueError, match="need 1 replies of 1 ciphertexts"):
        decrypt_outputs(lattice, plan, [()], rows=5)
