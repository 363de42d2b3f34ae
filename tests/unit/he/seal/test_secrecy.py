"""No bytes of a secret key stand in anything that leaves the client, in whatever way they may be written."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from wardline.he.ciphertext import Ciphertext, Residues, SeededColumns
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import expand_keys, write_evaluation_keys
from wardline.he.frames.replies import write_replies
from wardline.he.frames.session import Binding, Session, unsafe_session_secret
from wardline.he.kernels import packing
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.radix import centred
from wardline.he.kernels.transform import to_coefficients
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keys import unsafe_export_residues

NUMBERS, TERNARY = 3, 48
"""How many numbers of the secret, in a row, count as it: 75 bits or more. There are some 10^3 windows of them and 10^7
places to stand at, so that one is found by chance with a probability below 2^-40."""
WINDOWS = 16


def _spellings(lattice: SealLattice) -> list[tuple[bytes, int]]:
    """The secret as residues and as small numbers, in several widths and as bits; and bytes of a window of each."""
    primes = lattice.key.context.primes
    evaluations = unsafe_export_residues(lattice.key)
    coefficients = to_coefficients(evaluations, moduli=primes)
    ternary = centred(coefficients, moduli=primes).astype(np.int8)
    found = [
        (ternary.tobytes(), TERNARY),
        (ternary.astype("<i4").tobytes(), 4 * TERNARY),
        (ternary.astype("<f8").tobytes(), 8 * TERNARY),
        (packing.pack((ternary + 1).astype(np.uint32), 2), 12),
    ]
    for limb, prime in enumerate(primes):
        for numbers in (evaluations[limb], coefficients[limb]):
            for kind in ("<u4", "<u8", ">u4"):
                # Of a ternary secret's coefficients, three in a row tell nothing; of its evaluations they do.
                row = NUMBERS if numbers is evaluations[limb] else TERNARY
                found.append((numbers.astype(kind).tobytes(), row * int(kind[2])))
            found.append((packing.pack(numbers, (prime - 1).bit_length()), 12 if row == NUMBERS else 4 * TERNARY))
    return found


def _stands_in(secret: list[tuple[bytes, int]], content: bytes) -> bool:
    return any(
        spelling[start : start + size] in content
        for spelling, size in secret
        for start in range(0, len(spelling) - size, len(spelling) // WINDOWS)
    )


def _pair(lattice: SealLattice, columns: SeededColumns, first: Residues, second: Residues) -> Ciphertext:
    parts = np.stack([first, second])
    return Ciphertext(parameters=lattice.parameters, parts=parts, form=columns.form, scale=columns.scale)


@pytest.mark.parametrize("which", ["integers", "reals"])
def test_no_secret_leaves_the_client(
    which: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    lattice: SealLattice = request.getfixturevalue(which)
    session, binding = Session.generate(), Binding.fresh()
    bfv = lattice.parameters.scheme == "bfv"
    with caplog.at_level(logging.DEBUG):
        seeded = lattice.evaluation_keys(relinearisation=not bfv, steps=() if bfv else (1,))
        if bfv:
            columns = lattice.encrypt_coefficients(np.arange(8, dtype=np.int64).reshape(2, 4))
        else:
            columns = lattice.encrypt_slots(np.ones((2, 4)), scale=2.0**20)
    c1 = expand(columns.seeds, lattice.parameters)
    keys = expand_keys(seeded)
    replies = [_pair(lattice, columns, first, second) for first, second in zip(columns.c0, c1, strict=True)]
    sent = [
        write_evaluation_keys(seeded, session=session, binding=binding),
        write_columns(columns, session=session, binding=binding),
        write_columns(columns, session=session, binding=binding, dropped_bits=8 if bfv else 0),
        write_replies(replies, session=session, binding=binding),
    ]
    held = [keys.public, columns.c0, columns.seeds, *(one.parts for one in replies), *keys.galois.values()]
    held += [] if keys.relinearisation is None else [keys.relinearisation]
    said = [repr(one) for one in (lattice, lattice.key, keys, seeded, columns, replies[0], session)] + [caplog.text]
    secret = _spellings(lattice)
    for content in [*sent, *(one.tobytes() for one in held), *(one.encode() for one in said)]:
        assert not _stands_in(secret, content)
        assert unsafe_session_secret(session)[16:] not in content

    # The control: a client that took its secret for a ciphertext would be found out, plain and packed.
    leaked = unsafe_export_residues(lattice.key)[None, : columns.limbs]
    leak = SeededColumns(
        parameters=lattice.parameters,
        seeds=columns.seeds[:1],
        c0=np.ascontiguousarray(leaked),
        form=columns.form,
        scale=columns.scale,
    )
    assert _stands_in(secret, leak.c0.tobytes())
    assert _stands_in(secret, write_columns(leak, session=session, binding=binding))
    reply = _pair(lattice, columns, leak.c0[0], c1[0])
    assert _stands_in(secret, write_replies([reply], session=session, binding=binding))
