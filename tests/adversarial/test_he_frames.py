"""Hostile frames: whatever the bytes, a reader refuses them in one way, or takes exactly what a writer would write.

The strongest attacker that a frame has is a client with a session of its own: its tags are right. Most cases here are
therefore tagged anew after they were changed.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, Seeds
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKey, SeededKeys
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.parameters import Parameters

SESSION = Session(bytes(range(48)))
BINDING = Binding(request=bytes(16))
BFV = Parameters(scheme="bfv", degree=1024, moduli=(12289,), plain_modulus=16)
CKKS = Parameters(scheme="ckks", degree=1024, moduli=(12289,))
SWITCHING = Parameters(scheme="ckks", degree=2048, moduli=(12289,), special=40961)
LIMITS = Limits(frame_bytes=1 << 20, ciphertexts=8, galois_keys=8)
RANDOM = Seeds(11).numpy("content")
BATCH, EXAMPLES = 100, 140
INTERESTING = (0, 1, 2, 3, 8, 63, 64, 255, 256, 1023, 1024, 12288, 12289, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def _residues(rows: int, moduli: tuple[int, ...], degree: int) -> np.ndarray:
    return np.stack([RANDOM.integers(0, q, (rows, degree), dtype=np.uint32) for q in moduli], axis=1)


def _columns(parameters: Parameters, count: int) -> SeededColumns:
    ckks = parameters.scheme == "ckks"
    return SeededColumns(
        parameters=parameters,
        seeds=RANDOM.integers(0, 256, (count, 64), dtype=np.uint8),
        c0=_residues(count, parameters.moduli, parameters.degree),
        form="evaluations" if ckks else "coefficients",
        scale=512.0 if ckks else 1.0,
    )


def _reply(parts: int) -> list[Ciphertext]:
    residues = _residues(parts, BFV.moduli, BFV.degree)
    return [Ciphertext(parameters=BFV, parts=residues, form="coefficients")]


def _keys() -> SeededKeys:
    def switching() -> SeededKey:
        seeds = RANDOM.integers(0, 256, (1, 64), dtype=np.uint8)
        return SeededKey(seeds=seeds, c0=_residues(1, SWITCHING.primes, SWITCHING.degree))

    return SeededKeys(
        parameters=SWITCHING,
        public=_residues(2, SWITCHING.moduli, SWITCHING.degree),
        relinearisation=switching(),
        galois={3: switching(), 9: switching()},
    )


def _read(name: str, frame: bytes, binding: Binding | None = None) -> tuple[Binding, Any]:
    parameters, reader, _ = KINDS[name]
    return reader(frame, parameters=parameters, session=SESSION, limits=LIMITS, binding=binding)


def _write_columns_again(columns: SeededColumns, **where: Any) -> bytes:
    return write_columns(columns, dropped_bits=columns.dropped_bits, **where)


KINDS: dict[str, tuple[Parameters, Callable[..., Any], Callable[..., bytes]]] = {
    "columns": (BFV, read_columns, _write_columns_again),
    "cut columns": (BFV, read_columns, _write_columns_again),
    "evaluations": (CKKS, read_columns, _write_columns_again),
    "reply": (BFV, read_replies, write_replies),
    "keys": (SWITCHING, read_evaluation_keys, write_evaluation_keys),
}
WHERE: dict[str, Any] = {"session": SESSION, "binding": BINDING}
FRAMES = {
    "columns": write_columns(_columns(BFV, 2), **WHERE),
    "cut columns": write_columns(_columns(BFV, 1), dropped_bits=5, **WHERE),
    "evaluations": write_columns(_columns(CKKS, 1), **WHERE),
    "reply": write_replies(_reply(3), **WHERE),
    "keys": write_evaluation_keys(_keys(), **WHERE),
}


def _mutated(frame: bytes, random: np.random.Generator, others: list[bytes]) -> bytes:
    """One to three changes: bits, numbers at the places of numbers, pieces taken out, doubled, added or exchanged."""
    found = bytearray(frame)
    for _ in range(int(random.integers(1, 4))):
        # Half of the changes go to the header, the table and the description, which decide more than residues do.
        reach = len(found) if random.random() < 0.5 else min(len(found), HEADER_BYTES + 80)
        place = int(random.integers(0, max(reach, 1)))
        match int(random.integers(0, 8)):
            case 0 | 1 if found:
                found[place % len(found)] ^= 1 << int(random.integers(0, 8))
            case 2 | 3:
                size = int(random.choice([1, 2, 4, 8]))
                number = INTERESTING[int(random.integers(0, len(INTERESTING)))] % (1 << 8 * size)
                found[place : place + size] = number.to_bytes(size, "little")
            case 4:
                del found[place : place + int(random.integers(1, 64))]
            case 5:
                found[place:place] = found[place : place + int(random.integers(1, 64))]
            case 6:
                found[place:place] = random.bytes(int(random.integers(1, 64)))
            case _:
                other = others[int(random.integers(0, len(others)))]
                size = int(random.integers(1, 256))
                found[place : place + size] = other[place : place + size]
    return bytes(found)


def _tagged(frame: bytes, random: np.random.Generator) -> bytes:
    """With a right tag, and often with a right length: so that what lies deeper is reached."""
    found = bytearray(frame)
    if len(found) < HEADER_BYTES + 32:
        return frame
    if random.random() < 0.7:
        struct.pack_into("<Q", found, 24, len(found))
    found[-32:] = SESSION.tag(found[:-32])
    return bytes(found)


OUTCOMES: Counter[str] = Counter()


@given(seed=st.integers(0, 2**63 - 1), name=st.sampled_from(sorted(FRAMES)), tagged=st.integers(0, 9))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
def _fuzz(seed: int, name: str, tagged: int) -> None:
    random = Seeds(seed).numpy("mutations")
    others = list(FRAMES.values())
    for _ in range(BATCH):
        frame = _mutated(FRAMES[name], random, others)
        if tagged:
            frame = _tagged(frame, random)
        if frame == FRAMES[name]:
            continue
        OUTCOMES["tried"] += 1
        try:
            binding, value = _read(name, frame)
        except IntegrityError as error:
            OUTCOMES[error.message] += 1
            continue
        OUTCOMES["taken"] += 1
        assert tagged, "a frame that was changed has another tag"
        assert KINDS[name][2](value, session=SESSION, binding=binding) == frame


def test_ten_thousand_hostile_frames_are_refused_or_mean_what_they_say() -> None:
    OUTCOMES.clear()
    _fuzz()
    assert OUTCOMES["tried"] >= 10_000
    # The cases reach what lies deep: frames that are taken, and refusals of many kinds.
    assert OUTCOMES["taken"] > 500
    assert len([one for one, count in OUTCOMES.items() if count > 20]) >= 12, OUTCOMES


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_a_frame_that_was_not_changed_is_taken(name: str) -> None:
    binding, value = _read(name, FRAMES[name], BINDING)
    assert binding == BINDING
    assert KINDS[name][2](value, session=SESSION, binding=binding) == FRAMES[name]


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_every_bit_of_a_frame_counts(name: str) -> None:
    frame = FRAMES[name]
    places = {*range(HEADER_BYTES + 80), *range(len(frame) - 32, len(frame)), *range(0, len(frame), 97)}
    for place in places:
        changed = bytearray(frame)
        changed[place] ^= 1 << place % 8
        with pytest.raises(IntegrityError):
            _read(name, bytes(changed))


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_every_beginning_of_a_frame_is_refused(name: str) -> None:
    frame = FRAMES[name]
    for size in {*range(HEADER_BYTES + 100), *range(len(frame) - 40, len(frame))}:
        with pytest.raises(IntegrityError):
            _read(name, frame[:size])


@pytest.mark.parametrize("name", sorted(FRAMES))
@pytest.mark.parametrize("claim", [2**16, 2**31 - 1, 2**32 - 1])
def test_a_claim_of_much_takes_no_memory(name: str, claim: int) -> None:
    """A few thousand bytes that claim billions of numbers, authenticated, are refused before memory is taken."""
    frame = bytearray(FRAMES[name])
    sections = struct.unpack_from("<I", frame, 20)[0]
    description = HEADER_BYTES + 12 * sections
    offset = description + 4 if name == "keys" else description
    struct.pack_into("<I", frame, offset, claim)
    frame[-32:] = SESSION.tag(frame[:-32])
    generous = Limits(frame_bytes=1 << 40, ciphertexts=1 << 40, galois_keys=1 << 40)
    parameters, reader, _ = KINDS[name]
    for limits in (LIMITS, generous):
        tracemalloc.start()
        with pytest.raises(IntegrityError):
            reader(bytes(frame), parameters=parameters, session=SESSION, limits=limits)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


def test_a_frame_is_not_taken_twice_for_different_things() -> None:
    """Frames of one kind are none of another, nor of another scheme's parameters of the same shape."""
    for name, frame in FRAMES.items():
        for other in KINDS:
            if KINDS[other][:2] != KINDS[name][:2]:
                with pytest.raises(IntegrityError):
                    _read(other, frame)
