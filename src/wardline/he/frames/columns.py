"""Frames of what a client uploads: fresh ciphertexts, each as a seed and its first part."""

from __future__ import annotations

import math
import struct

import numpy as np

from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import SEED_BYTES, Form, SeededColumns, most_dropped_bits
from wardline.he.frames.layout import Kind, close_frame, exact, open_frame
from wardline.he.frames.residues import digit_bounds, from_digits, pack, packed_bytes, to_digits, unpack
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.parameters import Parameters

DESCRIPTION = struct.Struct("<IHBBd")  # ciphertexts, limbs, form, dropped bits, scale
FORMS: dict[int, Form] = {1: "coefficients", 2: "evaluations"}
FORM_NUMBERS = {form: number for number, form in FORMS.items()}


def write_columns(columns: SeededColumns, *, session: Session, binding: Binding, dropped_bits: int = 0) -> bytes:
    """Write fresh ciphertexts into one frame.

    Args:
        columns: the ciphertexts.
        session: whose key authenticates the frame.
        binding: what it belongs to.
        dropped_bits: low bits of every coefficient to leave out, 0 to `most_dropped_bits`; for ciphertexts by
            coefficients alone. The noise of such a ciphertext grows by at most 2^(dropped_bits - 1).

    Raises:
        ValueError: for bits that cannot be left out.
    """
    by_coefficients = columns.form == "coefficients"
    if not 0 <= dropped_bits <= (most_dropped_bits(columns.parameters) if by_coefficients else 0):
        raise ValueError("so many bits cannot be left out of these ciphertexts")
    if columns.dropped_bits > dropped_bits:
        raise ValueError("bits of these ciphertexts were left out already, and cannot be written")
    moduli = columns.parameters.moduli[: columns.limbs]
    description = DESCRIPTION.pack(len(columns), columns.limbs, FORM_NUMBERS[columns.form], dropped_bits, columns.scale)
    if by_coefficients:
        digits = to_digits(columns.c0, moduli, dropped_bits=dropped_bits)
        body = pack(digits, digit_bounds(moduli, dropped_bits))
    else:
        body = pack(columns.c0, moduli)
    return close_frame(
        Kind.COLUMNS,
        [[description], [columns.seeds.tobytes()], body],
        parameters=columns.parameters,
        session=session,
        binding=binding,
    )


def read_columns(
    frame: bytes | memoryview,
    *,
    parameters: Parameters,
    session: Session,
    limits: Limits,
    binding: Binding | None = None,
) -> tuple[Binding, SeededColumns]:
    """Read what `write_columns` wrote, and nothing else.

    Args:
        frame: all of its bytes.
        parameters: what it must be for.
        session: what it must belong to.
        limits: what is taken at most.
        binding: what it must belong to; None takes what it says.

    Raises:
        IntegrityError: for anything else, down to the last bit.

    Guarantee: whatever the bytes, no more memory is taken than `Limits` says, every residue is below its prime, and
    writing the result again gives the same frame. A seed and residues may still be no encryption of anything that
    the client knows; that is the client's affair.
    """
    opened = open_frame(frame, Kind.COLUMNS, parameters=parameters, session=session, limits=limits, binding=binding)
    description, seeds, body = opened.sections
    count, limbs, number, dropped_bits, scale = DESCRIPTION.unpack(exact(description, DESCRIPTION.size))
    form = read_form(number, scale, parameters)
    if not (1 <= count <= limits.ciphertexts and 1 <= limbs <= len(parameters.moduli)):
        raise IntegrityError(f"the frame holds {count} ciphertexts of {limbs} limbs, which is too many or too few")
    if dropped_bits > (most_dropped_bits(parameters) if form == "coefficients" else 0):
        raise IntegrityError("the frame leaves out more bits than its ciphertexts can spare")
    moduli = parameters.moduli[:limbs]
    bounds = digit_bounds(moduli, dropped_bits) if form == "coefficients" else moduli
    # Both lengths are compared before the first number is looked at.
    exact(seeds, count * SEED_BYTES)
    exact(body, packed_bytes(count, parameters.degree, bounds))
    c0 = unpack(body, rows=count, degree=parameters.degree, bounds=bounds)
    if form == "coefficients":
        c0 = from_digits(c0, moduli, dropped_bits=dropped_bits)
    return opened.binding, SeededColumns(
        parameters=parameters,
        seeds=np.frombuffer(bytes(seeds), dtype=np.uint8).reshape(count, SEED_BYTES),
        c0=c0,
        form=form,
        scale=scale,
        dropped_bits=dropped_bits,
    )


def read_form(number: int, scale: float, parameters: Parameters) -> Form:
    """The form of ciphertexts by its number.

    Raises:
        IntegrityError: if there is none of this number, or the scale is none that a ciphertext of this scheme has.
    """
    form = FORMS.get(number)
    if form is None:
        raise IntegrityError("the frame's ciphertexts are in a form that this version does not know")
    if not (math.isfinite(scale) and scale > 0) or (parameters.scheme == "bfv" and scale != 1.0):
        raise IntegrityError("the scale of the frame's ciphertexts is none that they can have")
    return form
