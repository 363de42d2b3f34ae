"""Rows that repeat in the slots, and answers that tell of them alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.he.ciphertext import Ciphertext
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.network.choice import plan_network
from wardline.he.network.evaluation import replies
from wardline.he.network.rows import encrypt_rows, unsafe_raw_outputs
from wardline.he.network.tiling import charged, period, slots_of, tiled, withheld


@pytest.fixture(scope="module")
def planned(program, rows, client):
    model, sample = program(31, squares=1), rows(31, 3)
    plan, secret = plan_network(model, sample)
    return model, sample, plan, secret, *client(plan.parameters)


@given(st.integers(1, 10**6), st.sampled_from([2048, 4096, 8192]))
def test_what_is_charged_is_at_least_the_rows_and_less_than_twice(rows: int, slots: int) -> None:
    told = charged(rows, slots=slots)
    assert rows <= told < rows + max(slots, 1)
    assert told < 2 * rows or rows == told
    assert charged(told, slots=slots) == told
    assert sum(charged(slots, slots=slots) for _ in range(3)) == charged(3 * slots, slots=slots)


def test_rows_repeat_with_their_period() -> None:
    found = tiled(np.arange(1.0, 7.0).reshape(2, 3), 16)
    assert period(3) == 4
    assert found.tolist() == [[1.0, 2.0, 3.0, 0.0] * 4, [4.0, 5.0, 6.0, 0.0] * 4]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 1000, 2047])
def test_kept_coefficients_are_the_slots(planned, count: int) -> None:
    """The oracle is SEAL: what it decodes to slots, and what it gives as coefficients."""
    _, _, plan, _, lattice, _ = planned
    values = np.random.default_rng(count).normal(size=(2, count))
    columns = lattice.encrypt_slots(tiled(values, plan.rows), scale=plan.input_scale)
    c1 = expand(columns.seeds, plan.parameters)
    whole = [
        Ciphertext(
            parameters=plan.parameters,
            parts=np.stack([columns.c0[index], c1[index]]),
            form="evaluations",
            scale=plan.input_scale,
        )
        for index in range(2)
    ]
    assert np.abs(lattice.decrypt_slots(whole)[:, :count] - values).max() < 1e-6
    cut = [withheld(one, count) for one in whole]
    assert np.abs(slots_of(lattice.decrypt_polynomials(cut), count) - values).max() < 1e-6
    if count > 3:
        assert np.abs(lattice.decrypt_slots(cut)[:, :count] - values).max() > 1, "the rest of c0 is gone"


def test_rows_beyond_those_charged_cannot_be_read(planned) -> None:
    """A client that fills all slots with rows of its own and is charged for four learns means over its slots."""
    _, sample, plan, secret, lattice, keys = planned
    many = np.resize(sample, (plan.rows, 3)) * np.random.default_rng(0).uniform(0.5, 1.0, (plan.rows, 1))
    (columns,) = encrypt_rows(lattice, plan, many)
    answers = replies(columns, keys, plan=plan, secret=secret)
    exact = secret.simulate(many, plan)
    control = unsafe_raw_outputs(lattice, plan, [answers], rows=plan.rows)
    assert np.abs(control - exact).max() <= plan.worst, "the control: all rows can be read where nothing is withheld"
    cut = [withheld(one, 4) for one in answers]
    means = exact.reshape(-1, 4, exact.shape[1]).mean(axis=0)
    found = slots_of(lattice.decrypt_polynomials(cut), 4).T
    assert np.abs(found - means).max() <= plan.worst, "what was charged for is there"
    # Everything else that the key's owner has is the answer with the withheld coefficients of c0 set to 0, which is the
    # same for whatever they were: two answers that differ in them alone become one.
    changed = []
    for one in answers:
        parts = one.parts.copy()
        moduli = plan.parameters.moduli[: one.limbs]
        whole = to_coefficients(np.ascontiguousarray(parts[0]), moduli=moduli)
        kept = np.arange(4) * (plan.parameters.degree // 8)
        other = np.zeros_like(whole)
        other[:, kept] = whole[:, kept]
        parts[0] = to_evaluations(other, moduli=moduli)
        changed.append(Ciphertext(parameters=one.parameters, parts=parts, form=one.form, scale=one.scale))
    assert all(np.array_equal(withheld(one, 4).parts, two.parts) for one, two in zip(changed, cut, strict=True))
    assert all(np.array_equal(one.parts[1], two.parts[1]) for one, two in zip(answers, cut, strict=True))
    raw = lattice.decrypt_slots(cut).T
    assert np.abs(raw[4:] - exact[4:]).min(axis=1).max() > 1000 * plan.worst


def test_rows_out_of_range_are_refused(planned) -> None:
    _, sample, plan, secret, lattice, keys = planned
    (columns,) = encrypt_rows(lattice, plan, sample[:1])
    (answer, _) = replies(columns, keys, plan=plan, secret=secret)
    assert withheld(answer, plan.rows) is answer
    for rows in (0, plan.rows + 1):
        with pytest.raises(ValueError, match="rows must be"):
            withheld(answer, rows)
