"""Frames of what a server answers: whole ciphertexts."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import Ciphertext
from wardline.he.frames.columns import FORM_NUMBERS, read_form
from wardline.he.frames.layout import Kind, close_frame, exact, open_frame
from wardline.he.frames.residues import pack, packed_bytes, unpack
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.parameters import Parameters

DESCRIPTION = struct.Struct("<IHBBd")  # ciphertexts, limbs, form, parts, scale


def write_replies(ciphertexts: Sequence[Ciphertext], *, session: Session, binding: Binding) -> bytes:
    """Write ciphertexts of the same shape, form and scale into one frame.

    Args:
        ciphertexts: at least one.
        session: whose key authenticates the frame.
        binding: what it belongs to; a reply has the request and model of what it answers.

    Raises:
        ValueError: if there are none, or they differ in more than their residues.
    """
    if not ciphertexts:
        raise ValueError("a reply holds at least one ciphertext")
    first = ciphertexts[0]
    for one in ciphertexts:
        same = one.parts.shape == first.parts.shape and one.parameters == first.parameters
        if not same or (one.form, one.scale) != (first.form, first.scale):
            raise ValueError("the ciphertexts of a reply have the same parameters, shape, form and scale")
    parts = len(first.parts)
    moduli = first.parameters.moduli[: first.limbs]
    rows = np.concatenate([one.parts for one in ciphertexts])
    description = DESCRIPTION.pack(len(ciphertexts), first.limbs, FORM_NUMBERS[first.form], parts, first.scale)
    return close_frame(
        Kind.REPLIES,
        [[description], pack(rows, moduli)],
        parameters=first.parameters,
        session=session,
        binding=binding,
    )


def read_replies(
    frame: bytes | memoryview,
    *,
    parameters: Parameters,
    session: Session,
    limits: Limits,
    binding: Binding | None = None,
) -> tuple[Binding, list[Ciphertext]]:
    """Read what `write_replies` wrote, and nothing else.

    Args:
        frame: all of its bytes.
        parameters: what it must be for.
        session: what it must belong to.
        limits: what is taken at most.
        binding: what it must belong to: a client gives that of its request. None takes what it says.

    Raises:
        IntegrityError: for anything else, down to the last bit.

    Guarantee: as of `wardline.he.frames.columns.read_columns`.
    """
    opened = open_frame(frame, Kind.REPLIES, parameters=parameters, session=session, limits=limits, binding=binding)
    description, body = opened.sections
    count, limbs, number, parts, scale = DESCRIPTION.unpack(exact(description, DESCRIPTION.size))
    form = read_form(number, scale, parameters)
    if not (1 <= count <= limits.ciphertexts and 1 <= limbs <= len(parameters.moduli) and 2 <= parts <= 3):
        raise IntegrityError(f"the frame holds {count} ciphertexts of {limbs} limbs and {parts} parts")
    moduli = parameters.moduli[:limbs]
    exact(body, packed_bytes(count * parts, parameters.degree, moduli))
    rows = unpack(body, rows=count * parts, degree=parameters.degree, bounds=moduli)
    return opened.binding, [
        Ciphertext(parameters=parameters, parts=one, form=form, scale=scale)
        for one in rows.reshape(count, parts, limbs, parameters.degree)
    ]
