"""Frames of the keys that a server computes with."""

from __future__ import annotations

import hashlib
import itertools
import struct
from dataclasses import replace

import numpy as np

from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import SEED_BYTES, EvaluationKeys, Residues, SeededKey, SeededKeys
from wardline.he.frames.layout import Kind, close_frame, exact, open_frame
from wardline.he.frames.residues import pack, packed_bytes, unpack
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.kernels.expansion import expand
from wardline.he.parameters import Parameters

_DESCRIPTION = struct.Struct("<II")  # relinearisation keys (0 or 1), Galois keys; their elements follow
_ELEMENT = struct.Struct("<I")


def write_evaluation_keys(keys: SeededKeys, *, session: Session, binding: Binding) -> bytes:
    """Write a client's public keys into one frame, half of every switching key as its seeds.

    Args:
        keys: the keys.
        session: whose key authenticates the frame.
        binding: what it belongs to.
    """
    parameters = keys.parameters
    elements = sorted(keys.galois)
    relinearisation = keys.relinearisation
    description = _DESCRIPTION.pack(0 if relinearisation is None else 1, len(elements))
    return close_frame(
        Kind.EVALUATION_KEYS,
        [
            [description, *(_ELEMENT.pack(element) for element in elements)],
            pack(keys.public, parameters.moduli),
            [] if relinearisation is None else _pieces(relinearisation, parameters),
            [piece for element in elements for piece in _pieces(keys.galois[element], parameters)],
        ],
        parameters=parameters,
        session=session,
        binding=binding,
    )


def read_evaluation_keys(
    frame: bytes | memoryview,
    *,
    parameters: Parameters,
    session: Session,
    limits: Limits,
    binding: Binding | None = None,
) -> tuple[Binding, SeededKeys]:
    """Read what `write_evaluation_keys` wrote, and nothing else.

    Args:
        frame: all of its bytes.
        parameters: what it must be for.
        session: what it must belong to.
        limits: what is taken at most.
        binding: what it must belong to; None takes what it says.

    Raises:
        IntegrityError: for anything else, down to the last bit.

    Guarantee: as of `wardline.he.frames.columns.read_columns`. That the keys fit each other, or any secret key, nobody
    but the client can tell: with others it gets answers that decrypt to nothing.
    """
    opened = open_frame(
        frame, Kind.EVALUATION_KEYS, parameters=parameters, session=session, limits=limits, binding=binding
    )
    description, public, relinearisation, galois = opened.sections
    if len(description) < _DESCRIPTION.size:
        raise IntegrityError("a section of the frame is longer or shorter than its description says")
    relinearising, count = _DESCRIPTION.unpack_from(description)
    if relinearising > 1 or count > limits.galois_keys:
        raise IntegrityError(f"the frame holds {relinearising} and {count} switching keys, which is too many")
    if parameters.special is None and relinearising + count:
        raise IntegrityError("the frame holds switching keys, for which its parameters have no prime")
    exact(description, _DESCRIPTION.size + count * _ELEMENT.size)
    elements = [one for (one,) in _ELEMENT.iter_unpack(description[_DESCRIPTION.size :])]
    # Rising, so that one set of keys has one spelling.
    if any(one % 2 == 0 or not 1 < one < 2 * parameters.degree for one in elements) or any(
        one >= other for one, other in itertools.pairwise(elements)
    ):
        raise IntegrityError("the frame's galois elements are no odd numbers in rising order")
    limbs, degree = len(parameters.moduli), parameters.degree
    one_key = limbs * SEED_BYTES + packed_bytes(limbs, degree, parameters.primes)
    exact(public, packed_bytes(2, degree, parameters.moduli))
    exact(relinearisation, relinearising * one_key)
    exact(galois, count * one_key)

    def switching_key(section: memoryview) -> SeededKey:
        seeds, residues = section[: limbs * SEED_BYTES], section[limbs * SEED_BYTES :]
        return SeededKey(
            seeds=np.frombuffer(bytes(seeds), dtype=np.uint8).reshape(limbs, SEED_BYTES),
            c0=unpack(residues, rows=limbs, degree=degree, bounds=parameters.primes),
        )

    return opened.binding, SeededKeys(
        parameters=parameters,
        public=unpack(public, rows=2, degree=degree, bounds=parameters.moduli),
        relinearisation=switching_key(relinearisation) if relinearising else None,
        galois={element: switching_key(galois[i * one_key : (i + 1) * one_key]) for i, element in enumerate(elements)},
    )


def expand_keys(keys: SeededKeys) -> EvaluationKeys:
    """The keys with their seeds drawn out, for computing: twice the memory.

    The seeds give residues modulo all primes, the special one last, as SEAL draws them.
    """
    parameters = keys.parameters
    # The uniform parts are drawn modulo every prime of a key, so for this the special one counts as any other.
    whole = replace(parameters, moduli=parameters.primes, special=None)

    def drawn(key: SeededKey) -> Residues:
        return np.stack([key.c0, expand(key.seeds, whole)], axis=1)

    return EvaluationKeys(
        parameters=parameters,
        public=keys.public,
        relinearisation=None if keys.relinearisation is None else drawn(keys.relinearisation),
        galois={element: drawn(key) for element, key in keys.galois.items()},
    )


def keys_digest(keys: SeededKeys) -> bytes:
    """SHA-256 of the keys, 32 bytes, by which a server may keep them from session to session.

    The same keys have the same digest, whatever session they came in.
    """
    parameters, relinearisation = keys.parameters, keys.relinearisation
    digest = hashlib.sha256(b"wardline evaluation keys/1\0" + bytes.fromhex(parameters.digest))
    digest.update(_DESCRIPTION.pack(0 if relinearisation is None else 1, len(keys.galois)))
    for piece in pack(keys.public, parameters.moduli):
        digest.update(piece)
    switching = [] if relinearisation is None else [(0, relinearisation)]
    for element, key in [*switching, *sorted(keys.galois.items(), key=lambda item: item[0])]:
        digest.update(_ELEMENT.pack(element))
        for piece in _pieces(key, parameters):
            digest.update(piece)
    return digest.digest()


def _pieces(key: SeededKey, parameters: Parameters) -> list[bytes]:
    return [key.seeds.tobytes(), *pack(key.c0, parameters.primes)]
