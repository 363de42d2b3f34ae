"""The client's half of a forest: rows into encrypted bits, and replies into outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wardline.core.errors import DataError
from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.forest.plan import ForestPlan
from wardline.he.forest.trees import Floats
from wardline.he.kernels.slots import from_coefficients, to_coefficients
from wardline.he.ranges import OutOfRange
from wardline.he.seal.lattice import Integers, Lattice

_TOGETHER = 32


def encrypt_rows(
    lattice: Lattice, plan: ForestPlan, rows: Floats, *, out_of_range: OutOfRange = "clip"
) -> Iterator[SeededColumns]:
    """Rows as encrypted bits, as many batches as they fill: bit j of a batch's rows is ciphertext j.

    Args:
        lattice: the client's keys, of the plan's parameters.
        plan: of the forest.
        rows: [rows, inputs], at least one row, finite in the type that features are compared in.
        out_of_range: taken for the sake of a client of many kinds of models. A comparison has no range to leave.

    Raises:
        DataError: for no rows, another number of inputs, or numbers that are not finite; before anything was encrypted.
        ValueError: for keys of other parameters.
    """
    del out_of_range
    if lattice.parameters != plan.parameters:
        raise ValueError("the keys were made for other parameters than the forest's")
    if rows.ndim != 2 or not len(rows):
        raise DataError("there are no rows to score", hint="give at least one row")
    if rows.shape[1] != plan.inputs:
        raise DataError(f"rows have {rows.shape[1]} numbers, the forest reads {plan.inputs}")
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(rows).astype(plan.thresholds.number)).all(axis=1)
    if not finite.all():
        raise DataError(
            f"a number is missing, or not finite as {plan.thresholds.number}",
            where=f"row {int(np.flatnonzero(~finite)[0])}",
            hint="fill or drop such rows",
        )
    return _batches(lattice, plan, rows)


def _batches(lattice: Lattice, plan: ForestPlan, rows: Floats) -> Iterator[SeededColumns]:
    for start in range(0, len(rows), plan.rows):
        bits = plan.thresholds.bits(rows[start : start + plan.rows])
        # Some at a time: plaintexts take more memory than what is encrypted of them.
        pieces = [
            _encrypted(lattice, plan, bits[:, first : first + _TOGETHER])
            for first in range(0, len(plan.thresholds), _TOGETHER)
        ]
        yield replace(
            pieces[0],
            seeds=np.concatenate([one.seeds for one in pieces]),
            c0=np.concatenate([one.c0 for one in pieces]),
        )


def _encrypted(lattice: Lattice, plan: ForestPlan, bits: npt.NDArray[np.bool_]) -> SeededColumns:
    """Bits [rows, count] as ciphertexts, a row a slot."""
    assert plan.parameters.plain_modulus is not None
    slots = np.zeros((bits.shape[1], plan.rows), dtype=np.int64)
    slots[:, : len(bits)] = bits.T
    return lattice.encrypt_coefficients(to_coefficients(slots, plain_modulus=plan.parameters.plain_modulus))


def decrypt_outputs(
    lattice: Lattice, plan: ForestPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Outputs of so many rows, [rows, outputs]: exactly those of the forest with rounded leaves.

    They hold no noise, and may be shown to others.

    Args:
        lattice: the client's keys.
        plan: of the forest.
        replies: for each batch its outputs' ciphertexts, in order.
        rows: how many rows were sent.

    Raises:
        ValueError: for replies that are not as many as the rows need, or that do not belong to these keys.
    """
    return np.asarray(plan.centre + plan.step * decrypt_steps(lattice, plan, replies, rows=rows), dtype=np.float64)


def unsafe_raw_outputs(
    lattice: Lattice, plan: ForestPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """The same as `decrypt_outputs`: exact integers have no raw form, which other kinds of models have."""
    return decrypt_outputs(lattice, plan, replies, rows=rows)


def decrypt_steps(
    lattice: Lattice, plan: ForestPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Integers:
    """Outputs as whole numbers of steps, [rows, outputs]; arguments and errors as of `decrypt_outputs`."""
    batches = -(-rows // plan.rows)
    if len(replies) != batches or any(len(one) != plan.outputs for one in replies):
        raise ValueError(f"{rows} rows need {batches} replies of {plan.outputs} ciphertexts each")
    assert plan.parameters.plain_modulus is not None
    out = np.empty((rows, plan.outputs), dtype=np.int64)
    for batch, reply in enumerate(replies):
        found = lattice.decrypt_coefficients(reply)
        slots = from_coefficients(found, plain_modulus=plan.parameters.plain_modulus)
        part = out[batch * plan.rows : (batch + 1) * plan.rows]
        part[:] = slots.T[: len(part)]
    return out
