"""Frames carry what they are given, and arguments that make no frame are refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from wardline.core import IntegrityError, Seeds
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKeys
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import keys_digest, read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.layout import HEADER_BYTES, Kind, announced
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.parameters import Parameters, find_primes

PARAMETERS = Parameters(scheme="bfv", degree=4096, moduli=find_primes(4096, (25, 25, 25)), plain_modulus=1 << 45)
SESSION = Session.generate()
BINDING = Binding.fresh()
RANDOM = Seeds(5).numpy("residues")


def _residues(rows: int, moduli: tuple[int, ...], degree: int = 4096) -> np.ndarray:
    return np.stack([RANDOM.integers(0, q, (rows, degree), dtype=np.uint32) for q in moduli], axis=1)


def _columns(count: int, limbs: int = 3) -> SeededColumns:
    return SeededColumns(
        parameters=PARAMETERS,
        seeds=RANDOM.integers(0, 256, (count, 64), dtype=np.uint8),
        c0=_residues(count, PARAMETERS.moduli[:limbs]),
        form="coefficients",
    )


def _ciphertext(parts: int, limbs: int) -> Ciphertext:
    return Ciphertext(parameters=PARAMETERS, parts=_residues(parts, PARAMETERS.moduli[:limbs]), form="coefficients")


def test_twenty_features_cost_168_bytes_a_row() -> None:
    frame = write_columns(_columns(20), session=SESSION, binding=BINDING, dropped_bits=8)
    assert 20 * 67 / 8 < len(frame) / 4096 < 168


def test_the_start_of_a_frame_announces_it() -> None:
    frame = write_columns(_columns(1), session=SESSION, binding=BINDING)
    found = announced(frame[:HEADER_BYTES], limits=Limits())
    assert (found.kind, found.total_bytes) == (Kind.COLUMNS, len(frame))
    assert (found.session, found.binding) == (SESSION.id, BINDING)
    assert found.parameters.hex() == PARAMETERS.digest
    with pytest.raises(IntegrityError, match="announces"):
        announced(frame[:HEADER_BYTES], limits=Limits(frame_bytes=len(frame) - 1))


def test_limits_hold() -> None:
    frame = write_columns(_columns(2), session=SESSION, binding=BINDING)
    arguments = {"parameters": PARAMETERS, "session": SESSION}
    assert len(read_columns(frame, limits=Limits(frame_bytes=len(frame), ciphertexts=2), **arguments)[1]) == 2
    for limits in (Limits(frame_bytes=len(frame) - 1), Limits(ciphertexts=1)):
        with pytest.raises(IntegrityError):
            read_columns(frame, limits=limits, **arguments)


def test_reading_takes_no_more_memory_than_stated() -> None:
    frame = write_columns(_columns(20), session=SESSION, binding=BINDING)
    tracemalloc.start()
    read_columns(frame, parameters=PARAMETERS, session=SESSION, limits=Limits())
    residues = 32 * len(frame) / 25
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert residues / 2 < peak < 5 * residues


@pytest.mark.parametrize(("parts", "limbs", "count"), [(2, 1, 3), (3, 3, 1), (2, 2, 2)])
def test_replies_come_back(parts: int, limbs: int, count: int) -> None:
    sent = [_ciphertext(parts, limbs) for _ in range(count)]
    frame = write_replies(sent, session=SESSION, binding=BINDING)
    binding, found = read_replies(frame, parameters=PARAMETERS, session=SESSION, limits=Limits(), binding=BINDING)
    assert binding == BINDING
    assert all((one.parts == other.parts).all() for one, other in zip(sent, found, strict=True))


def test_a_reply_to_another_request_is_refused() -> None:
    frame = write_replies([_ciphertext(2, 1)], session=SESSION, binding=BINDING)
    for other in (
        Binding.fresh(),
        Binding(request=BINDING.request, model=b"m" * 32),
        Binding(request=BINDING.request, part=0, parts=2),
    ):
        with pytest.raises(IntegrityError, match="another request"):
            read_replies(frame, parameters=PARAMETERS, session=SESSION, limits=Limits(), binding=other)


def test_a_frame_of_another_session_or_other_parameters_is_refused() -> None:
    frame = write_replies([_ciphertext(2, 1)], session=SESSION, binding=BINDING)
    with pytest.raises(IntegrityError, match="another session"):
        read_replies(frame, parameters=PARAMETERS, session=Session.generate(), limits=Limits())
    impostor = Session(SESSION.id + bytes(32))
    with pytest.raises(IntegrityError, match="key"):
        read_replies(frame, parameters=PARAMETERS, session=impostor, limits=Limits())
    other = Parameters(scheme="bfv", degree=4096, moduli=PARAMETERS.moduli, plain_modulus=1 << 44)
    with pytest.raises(IntegrityError, match="parameters"):
        read_replies(frame, parameters=other, session=SESSION, limits=Limits())


def test_what_makes_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        write_replies([], session=SESSION, binding=BINDING)
    with pytest.raises(ValueError, match="same"):
        write_replies([_ciphertext(2, 1), _ciphertext(2, 2)], session=SESSION, binding=BINDING)
    for bits in (-1, 13):
        with pytest.raises(ValueError, match="left out"):
            write_columns(_columns(1), session=SESSION, binding=BINDING, dropped_bits=bits)
    frame = write_columns(_columns(1), session=SESSION, binding=BINDING, dropped_bits=8)
    _, cut = read_columns(frame, parameters=PARAMETERS, session=SESSION, limits=Limits())
    with pytest.raises(ValueError, match="already"):
        write_columns(cut, session=SESSION, binding=BINDING)


def test_a_residue_that_is_too_large_to_write_is_refused() -> None:
    reply = Ciphertext(parameters=PARAMETERS, parts=np.full((2, 1, 4096), 1 << 25, np.uint32), form="coefficients")
    with pytest.raises(ValueError, match="bits"):
        write_replies([reply], session=SESSION, binding=BINDING)


def test_keys_have_one_digest_whatever_the_session() -> None:
    public = _residues(2, PARAMETERS.moduli)
    keys = SeededKeys(parameters=PARAMETERS, public=public)
    other = Session.generate()
    frames = [write_evaluation_keys(keys, session=one, binding=BINDING) for one in (SESSION, other)]
    assert frames[0] != frames[1]
    _, first = read_evaluation_keys(frames[0], parameters=PARAMETERS, session=SESSION, limits=Limits())
    _, second = read_evaluation_keys(frames[1], parameters=PARAMETERS, session=other, limits=Limits())
    assert keys_digest(first) == keys_digest(second) == keys_digest(keys)
    public = public.copy()
    public[1, 2, 3] ^= 1
    assert keys_digest(SeededKeys(parameters=PARAMETERS, public=public)) != keys_digest(keys)
