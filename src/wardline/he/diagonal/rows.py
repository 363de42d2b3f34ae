"""The client's half of a network on one row at a time: numbers into slots, and replies into outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.diagonal.plan import DiagonalPlan, laid_out
from wardline.he.network.rows import check_reach
from wardline.he.network.stages import Floats
from wardline.he.network.tiling import slots_of
from wardline.he.ranges import OutOfRange, check_rows, scaled_rows
from wardline.he.seal.lattice import Lattice


def encrypt_rows(
    lattice: Lattice, plan: DiagonalPlan, rows: Floats, *, out_of_range: OutOfRange = "clip"
) -> Iterator[SeededColumns]:
    """Each row as the few ciphertexts that the plan lays it out in.

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


def _batches(lattice: Lattice, plan: DiagonalPlan, rows: Floats) -> Iterator[SeededColumns]:
    places = plan.input_places
    for row in scaled_rows(plan, rows):
        yield lattice.encrypt_slots(laid_out(places, row[None])[0], scale=plan.input_scale)


def decrypt_outputs(
    lattice: Lattice, plan: DiagonalPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Outputs of so many rows, [rows, outputs], rounded to multiples of `plan.step`.

    The step is at least two deviations of the noise that the server added, which depends on no key and no weight: a
    rounded output may be shown to others.

    Args:
        lattice: the client's keys.
        plan: of the network.
        replies: for each row its ciphertext, in order.
        rows: how many rows were sent.

    Raises:
        DataError: for outputs so far beyond what the network was compiled for that numbers must have wrapped around
            their modulus. Those that wrap to a size which may be are not noticed.
        ValueError: for replies that are not as many as the rows, or that do not belong to these keys.

    References: Li and Micciancio 2021 (what decrypted noise may say of the key).
    """
    return np.rint(unsafe_raw_outputs(lattice, plan, replies, rows=rows) / plan.step) * plan.step


def unsafe_raw_outputs(
    lattice: Lattice, plan: DiagonalPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
) -> Floats:
    """Outputs with the noise that they came with: for the owner of the key alone; see `decrypt_outputs`."""
    if len(replies) != rows or any(len(one) != 1 for one in replies):
        raise ValueError(f"{rows} rows need as many replies of one ciphertext each")
    out = np.empty((rows, plan.outputs))
    for row, (reply,) in zip(out, replies, strict=True):
        # A mean over places that were withheld would be garbage: the few coefficients that came are read as they are.
        row[:] = slots_of(lattice.decrypt_polynomials([reply]), plan.room)[0, : plan.outputs]
    for index in range(rows):
        check_reach(out[index : index + 1], plan, first=index)
    return out
