"""The client's half of a network: rows into encrypted columns, and replies into outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from wardline.core.errors import DataError
from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.network.plan import NetworkPlan
from wardline.he.network.stages import Floats
from wardline.he.network.tiling import period, slots_of, tiled
from wardline.he.ranges import OutOfRange, check_rows, scaled_rows
from wardline.he.seal.lattice import Lattice

_WRAPPED = 4.0
"""So many times the reach is left free in the moduli: see `wardline.he.network.choice`."""


class Reaching(Protocol):
    """A plan that knows how large its outputs are."""

    @property
    def reach(self) -> float:
        """No output of rows within the ranges is larger in size."""
        ...

    @property
    def worst(self) -> float:
        """No such output is farther from the exact one."""
        ...


def encrypt_rows(
    lattice: Lattice, plan: NetworkPlan, rows: Floats, *, out_of_range: OutOfRange = "clip"
) -> Iterator[SeededColumns]:
    """Rows as encrypted columns, as many batches as they fill: number j of a batch's rows is ciphertext j.

    Rows that do not fill a batch repeat in its slots, so that an answer can be cut down to them (see `tiling`).

    Args:
        lattice: the client's keys, of the plan's parameters.
        plan: of the network.
        rows: [rows, inputs], at least one row, finite.
        out_of_range: whether numbers beyond the calibrated range are set to its end, or the rows refused.

    Raises:
        DataError: for no rows, another number of inputs, numbers that are not finite, or rows that are refused; before
            anything was encrypted.
        ValueError: for keys of other parameters.
    """
    if lattice.parameters != plan.parameters:
        raise ValueError("the keys were made for other parameters than the network's")
    check_rows(plan, rows, out_of_range=out_of_range)
    return _batches(lattice, plan, rows)


def _batches(lattice: Lattice, plan: NetworkPlan, rows: Floats) -> Iterator[SeededColumns]:
    for start in range(0, len(rows), plan.rows):
        columns = np.ascontiguousarray(scaled_rows(plan, rows[start : start + plan.rows]).T)
        yield lattice.encrypt_slots(tiled(columns, plan.rows), scale=plan.input_scale)


def decrypt_outputs(
    lattice: Lattice, plan: NetworkPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Outputs of so many rows, [rows, outputs], rounded to multiples of `plan.step`.

    The step is at least two deviations of the noise that the server added, which depends on no key and no weight: a
    rounded output may be shown to others.

    Args:
        lattice: the client's keys.
        plan: of the network.
        replies: for each batch its outputs' ciphertexts, in order.
        rows: how many rows were sent.

    Raises:
        DataError: if answers are so large that numbers must have wrapped around their modulus: a row lies far beyond
            what the network was compiled for, and spoils its whole batch. A row that came alone may spoil its own
            answer unseen.
        ValueError: for replies that are not as many as the rows need, or that do not belong to these keys.

    References: Li and Micciancio 2021 (what decrypted noise may say of the key).
    """
    return np.rint(unsafe_raw_outputs(lattice, plan, replies, rows=rows) / plan.step) * plan.step


def unsafe_raw_outputs(
    lattice: Lattice, plan: NetworkPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Outputs with the noise that they came with: for the owner of the key alone; see `decrypt_outputs`."""
    batches = -(-rows // plan.rows)
    if len(replies) != batches or any(len(one) != plan.outputs for one in replies):
        raise ValueError(f"{rows} rows need {batches} replies of {plan.outputs} ciphertexts each")
    out = np.empty((rows, plan.outputs))
    for batch, reply in enumerate(replies):
        part = out[batch * plan.rows : (batch + 1) * plan.rows]
        if period(len(part)) == plan.rows:
            part[:] = lattice.decrypt_slots(reply).T[: len(part)]
        else:
            part[:] = slots_of(lattice.decrypt_polynomials(reply), len(part)).T
        check_reach(part, plan, first=batch * plan.rows)
    return out


def check_reach(outputs: Floats, plan: Reaching, *, first: int) -> None:
    """Refuse outputs of a batch that are so large that numbers must have wrapped around their modulus.

    What wraps around is a coefficient, which stands in every slot: it takes answers of all rows far away.

    Args:
        outputs: [rows, outputs].
        plan: of the network.
        first: the first row's number, for the message.
    """
    if float(np.abs(outputs).max()) > _WRAPPED * plan.reach + plan.worst:
        last = first + len(outputs) - 1
        raise DataError(
            "a row lies far beyond what the network was compiled for, and no answer of its batch can be trusted",
            where=f"rows {first} to {last}" if last > first else f"row {first}",
            hint="score fewer rows at a time to find it, or compile with a sample that has such rows",
        )
