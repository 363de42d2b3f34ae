"""The committed vectors: frames that must be written and read just so, and frames that must be refused."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardline.core import IntegrityError
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKey, SeededKeys
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.parameters import Parameters

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "he" / "frames.json").read_text())
SESSION = Session(bytes.fromhex(VECTORS["session"]))
BINDING = Binding(
    request=bytes.fromhex(VECTORS["binding"]["request"]),
    model=bytes.fromhex(VECTORS["binding"]["model"]),
    part=VECTORS["binding"]["part"],
    parts=VECTORS["binding"]["parts"],
)
VALID = {case["name"]: case for case in VECTORS["valid"]}
READERS = {"columns": read_columns, "replies": read_replies, "keys": read_evaluation_keys}


def residues(rows: int, primes: tuple[int, ...], degree: int) -> Any:
    """The formula of the vectors, in Python's integers."""
    numbers = [
        [
            [(1000003 * (row + 1) + 10007 * (limb + 1) + 31 * k * k + k) % prime for k in range(degree)]
            for limb, prime in enumerate(primes)
        ]
        for row in range(rows)
    ]
    return np.array(numbers, dtype=np.uint32)


def content(case: dict[str, Any]) -> Any:
    """What a valid vector holds."""
    parameters = Parameters.from_json(case["parameters"])
    ckks, degree = parameters.scheme == "ckks", parameters.degree
    form: Any = "evaluations" if ckks else "coefficients"
    scale = 1024.0 if ckks else 1.0
    match case["kind"]:
        case "columns":
            count, moduli = case["count"], parameters.moduli[: case["limbs"]]
            seeds = np.array([[i + j for i in range(64)] for j in range(count)], dtype=np.uint8)
            c0 = residues(count, moduli, degree)
            return SeededColumns(parameters=parameters, seeds=seeds, c0=c0, form=form, scale=scale)
        case "replies":
            count, parts, limbs = case["shape"]
            rows = residues(count * parts, parameters.moduli[:limbs], degree).reshape(count, parts, limbs, degree)
            return [Ciphertext(parameters=parameters, parts=one, form=form, scale=scale) for one in rows]
    limbs, public = len(parameters.moduli), residues(2, parameters.moduli, degree)
    if parameters.special is None:
        return SeededKeys(parameters=parameters, public=public)
    primes = np.array(parameters.primes, dtype=np.uint32)[:, None]
    c0 = residues(limbs, parameters.primes, degree)
    keys = [
        SeededKey(
            seeds=np.array([[i + j + place for i in range(64)] for j in range(limbs)], dtype=np.uint8),
            c0=(c0 + np.uint32(place)) % primes,
        )
        for place in range(1 + len(case["elements"]))
    ]
    return SeededKeys(
        parameters=parameters,
        public=public,
        relinearisation=keys[0],
        galois=dict(zip(case["elements"], keys[1:], strict=True)),
    )


def written(case: dict[str, Any]) -> bytes:
    found = content(case)
    match case["kind"]:
        case "columns":
            return write_columns(found, session=SESSION, binding=BINDING, dropped_bits=case["dropped_bits"])
        case "replies":
            return write_replies(found, session=SESSION, binding=BINDING)
    return write_evaluation_keys(found, session=SESSION, binding=BINDING)


FRAMES = {name: written(case) for name, case in VALID.items()}


def read(case: dict[str, Any], frame: bytes) -> Any:
    return READERS[case["kind"]](
        frame,
        parameters=Parameters.from_json(case["parameters"]),
        session=SESSION,
        limits=Limits(),
        binding=BINDING,
    )[1]


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_a_frame_is_written_as_it_always_was(case: dict[str, Any]) -> None:
    frame = FRAMES[case["name"]]
    assert len(frame) == case["bytes"]
    assert frame.startswith(bytes.fromhex(case["header"]))
    assert frame[-32:].hex() == case["tag"]
    assert hashlib.sha256(frame).hexdigest() == case["sha256"]
    if "frame" in case:
        assert frame == base64.b64decode(case["frame"])


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_a_frame_is_read_as_what_was_written(case: dict[str, Any]) -> None:
    wanted, found = content(case), read(case, FRAMES[case["name"]])
    if case["kind"] == "columns":
        assert found.parameters == wanted.parameters
        assert (found.form, found.scale, found.dropped_bits) == (wanted.form, wanted.scale, case["dropped_bits"])
        assert (found.seeds == wanted.seeds).all()
        if not case["dropped_bits"]:
            assert (found.c0 == wanted.c0).all()
    elif case["kind"] == "replies":
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert (one.form, one.scale, one.parameters) == (other.form, other.scale, other.parameters)
            assert (one.parts == other.parts).all()
    else:
        assert (found.public == wanted.public).all()
        assert (found.relinearisation is None) is (wanted.relinearisation is None)
        assert list(found.galois) == list(wanted.galois)
        pairs = [(found.galois[element], wanted.galois[element]) for element in wanted.galois]
        for one, other in [*pairs, *([(found.relinearisation, wanted.relinearisation)] if pairs else [])]:
            assert (one.seeds == other.seeds).all()
            assert (one.c0 == other.c0).all()


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_a_frame_is_refused(case: dict[str, Any]) -> None:
    base = VALID[case["of"]]
    frame = bytearray(FRAMES[case["of"]])
    for edit in case.get("edits", []):
        value = bytes.fromhex(edit["bytes"])
        start = edit["at"] % len(frame)
        frame[start : start + len(value)] = value
    if "keep" in case:
        del frame[case["keep"] if case["keep"] >= 0 else len(frame) + case["keep"] :]
    frame += bytes.fromhex(case.get("append", ""))
    if case.get("tag"):
        frame[-32:] = SESSION.tag(frame[:-32])
    assert bytes(frame) != FRAMES[case["of"]]
    with pytest.raises(IntegrityError):
        read(base, bytes(frame))
