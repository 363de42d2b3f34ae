"""The client's half of a linear model: rows into encrypted columns, and replies into scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.linear.plan import Floats, LinearPlan, encode
from wardline.he.ranges import OutOfRange, check_rows
from wardline.he.seal.lattice import Lattice


def encrypt_rows(
    lattice: Lattice, plan: LinearPlan, rows: Floats, *, out_of_range: OutOfRange = "clip"
) -> Iterator[SeededColumns]:
    """Rows as encrypted columns, as many batches as they fill: feature j of a batch's rows is ciphertext j.

    Args:
        lattice: the client's keys, of the plan's parameters.
        plan: of the model.
        rows: [rows, features], at least one row, finite.
        out_of_range: whether features beyond the calibrated range are set to its end, or the rows refused.

    Raises:
        DataError: for no rows, another number of features, numbers that are not finite, or rows that are refused;
            before anything was encrypted.
        ValueError: for keys of other parameters.
    """
    if lattice.parameters != plan.parameters:
        raise ValueError("the keys were made for other parameters than the model's")
    check_rows(plan, rows, out_of_range=out_of_range)
    return _batches(lattice, plan, rows)


def _batches(lattice: Lattice, plan: LinearPlan, rows: Floats) -> Iterator[SeededColumns]:
    degree = plan.parameters.degree
    for start in range(0, len(rows), degree):
        encoded = encode(plan, rows[start : start + degree])
        yield lattice.encrypt_coefficients(np.ascontiguousarray(encoded.T))


def decrypt_outputs(
    lattice: Lattice, plan: LinearPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Scores of so many rows, [rows, outputs], rounded to multiples of each output's step.

    The step is as large as the noise that the server added: a rounded score says nothing of the noise, so it may be
    shown to others.

    Args:
        lattice: the client's keys.
        plan: of the model.
        replies: for each batch its outputs' ciphertexts, in order.
        rows: how many rows were sent.

    Raises:
        ValueError: for replies that are not as many as the rows need, or that do not belong to these keys.
    """
    return plan.rounded(unsafe_raw_outputs(lattice, plan, replies, rows=rows))


def unsafe_raw_outputs(
    lattice: Lattice, plan: LinearPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Scores with the noise that they came with: for the owner of the key alone; see `decrypt_outputs`.

    Their noise depends on the secret key. Whoever else sees enough of them beside the ciphertexts may find it out (Li
    and Micciancio 2021).
    """
    degree = plan.parameters.degree
    if len(replies) != -(-rows // degree) or any(len(one) != plan.outputs for one in replies):
        raise ValueError(f"{rows} rows need {-(-rows // degree)} replies of {plan.outputs} ciphertexts each")
    out = np.empty((rows, plan.outputs))
    for batch, reply in enumerate(replies):
        found = lattice.decrypt_coefficients(reply) / plan.scale * plan.units[:, None]
        part = out[batch * degree : (batch + 1) * degree]
        part[:] = found.T[: len(part)]
    return out
