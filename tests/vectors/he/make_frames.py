"""Makes the vectors of the frames of encrypted inference: `python tests/vectors/he/make_frames.py`.

Run it only when the format gets a new version; the committed file is what later versions and other implementations are
held to. Residues come from a formula (see `residues`), so that a frame can be made from its case alone; the tags are
under a session whose key is known and used for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from wardline.he.ciphertext import Ciphertext, Residues, SeededColumns, SeededKey, SeededKeys
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import write_evaluation_keys
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.replies import write_replies
from wardline.he.frames.session import Binding, Session
from wardline.he.parameters import Parameters

HERE = Path(__file__).parent
SECRET = bytes(range(48))
BINDING = Binding(request=bytes(range(16, 32)), model=bytes(range(32, 64)), part=1, parts=3)
SMALL = Parameters(scheme="bfv", degree=1024, moduli=(12289,), plain_modulus=16)
BFV = Parameters(scheme="bfv", degree=2048, moduli=(12289, 40961), plain_modulus=1 << 20)
CKKS = Parameters(scheme="ckks", degree=2048, moduli=(12289, 40961), special=61441)


def residues(rows: int, primes: tuple[int, ...], degree: int) -> Residues:
    """Number k of limb i of row r is (1000003 (r + 1) + 10007 (i + 1) + 31 k^2 + k) modulo prime i."""
    k = np.arange(degree, dtype=np.uint64)
    out = np.empty((rows, len(primes), degree), dtype=np.uint32)
    for row in range(rows):
        for limb, prime in enumerate(primes):
            start = np.uint64(1000003 * (row + 1) + 10007 * (limb + 1))
            out[row, limb] = (start + np.uint64(31) * k * k + k) % np.uint64(prime)
    return out


def columns(parameters: Parameters, count: int, limbs: int) -> SeededColumns:
    """Ciphertexts by the formula; byte i of seed j is i + j."""
    ckks = parameters.scheme == "ckks"
    return SeededColumns(
        parameters=parameters,
        seeds=(np.arange(64) + np.arange(count)[:, None]).astype(np.uint8),
        c0=residues(count, parameters.moduli[:limbs], parameters.degree),
        form="evaluations" if ckks else "coefficients",
        scale=2.0**10 if ckks else 1.0,
    )


def replies(parameters: Parameters, shape: tuple[int, int, int]) -> list[Ciphertext]:
    """So many ciphertexts of so many parts and limbs by the formula, a part a row."""
    count, parts, limbs = shape
    ckks = parameters.scheme == "ckks"
    rows = residues(count * parts, parameters.moduli[:limbs], parameters.degree)
    return [
        Ciphertext(
            parameters=parameters,
            parts=one,
            form="evaluations" if ckks else "coefficients",
            scale=2.0**10 if ckks else 1.0,
        )
        for one in rows.reshape(count, parts, limbs, parameters.degree)
    ]


def keys(parameters: Parameters, elements: tuple[int, ...]) -> SeededKeys:
    """Keys by the formula, a switching key's digit a row; byte i of the seed of digit j is i + j.

    To every residue and every byte of the key at place p of the elements, p counted from 1, p is added.
    """
    limbs, degree = len(parameters.moduli), parameters.degree
    public = residues(2, parameters.moduli, degree)
    if parameters.special is None:
        return SeededKeys(parameters=parameters, public=public)
    primes = np.array(parameters.primes, dtype=np.uint32)[:, None]

    def switching(place: int) -> SeededKey:
        return SeededKey(
            seeds=(np.arange(64) + np.arange(limbs)[:, None] + place).astype(np.uint8),
            c0=(residues(limbs, parameters.primes, degree) + np.uint32(place)) % primes,
        )

    galois = {element: switching(place) for place, element in enumerate(elements, start=1)}
    return SeededKeys(parameters=parameters, public=public, relinearisation=switching(0), galois=galois)


def valid() -> dict[str, tuple[Parameters, dict[str, Any], bytes]]:
    """Frames by name, with the case that they are made from."""
    session = Session(SECRET)
    found: dict[str, tuple[Parameters, dict[str, Any], bytes]] = {}
    for name, parameters, count, limbs, dropped in (
        ("columns", SMALL, 1, 1, 0),
        ("columns without low bits", SMALL, 1, 1, 5),
        ("columns of two limbs", BFV, 2, 2, 0),
        ("columns of two limbs without low bits", BFV, 3, 2, 6),
        ("columns by evaluations", CKKS, 2, 2, 0),
    ):
        case = {"kind": "columns", "count": count, "limbs": limbs, "dropped_bits": dropped}
        frame = write_columns(columns(parameters, count, limbs), session=session, binding=BINDING, dropped_bits=dropped)
        found[name] = (parameters, case, frame)
    for name, parameters, shape in (
        ("reply", SMALL, (1, 2, 1)),
        ("reply of two limbs", BFV, (2, 2, 2)),
        ("reply of three parts", CKKS, (2, 3, 1)),
    ):
        case = {"kind": "replies", "shape": list(shape)}
        found[name] = (parameters, case, write_replies(replies(parameters, shape), session=session, binding=BINDING))
    for name, parameters, elements in (
        ("public key", SMALL, ()),
        ("keys", CKKS, (3, 9, 4095)),
    ):
        case = {"kind": "keys", "elements": list(elements)}
        frame = write_evaluation_keys(keys(parameters, elements), session=session, binding=BINDING)
        found[name] = (parameters, case, frame)
    return found


TABLE = HEADER_BYTES  # where the table of sections begins; an entry has 12 bytes
COLUMNS_BODY = HEADER_BYTES + 3 * 12
REPLY_BODY = HEADER_BYTES + 2 * 12
KEYS_BODY = HEADER_BYTES + 4 * 12


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def f64(value: float) -> bytes:
    return struct.pack("<d", value)


def at(offset: int, value: bytes) -> list[dict[str, Any]]:
    """Overwrite bytes from an offset on, from the end where it is below 0."""
    return [{"at": offset, "bytes": value.hex()}]


def failures() -> list[dict[str, Any]]:
    """Frames that must be refused: a valid one, with bytes overwritten, cut off or added, with or without a new tag.

    The new tag is over all bytes but the last 32, which it replaces.
    """

    largest = (1 << 14) - 1
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("nothing", "columns", {"keep": 0}),
        ("only the header", "columns", {"keep": HEADER_BYTES}),
        ("cut in the header", "columns", {"keep": HEADER_BYTES - 1}),
        ("cut by a byte", "columns", {"keep": -1}),
        ("a byte too many", "columns", {"append": "00"}),
        ("another magic", "columns", {"edits": at(0, b"\x88"), "tag": True}),
        ("version 0", "columns", {"edits": at(8, u16(0)), "tag": True}),
        ("version 2", "columns", {"edits": at(8, u16(2)), "tag": True}),
        ("kind 0", "columns", {"edits": at(10, u16(0)), "tag": True}),
        ("kind 4", "columns", {"edits": at(10, u16(4)), "tag": True}),
        ("another kind", "columns", {"edits": at(10, u16(3)), "tag": True}),
        ("a part beyond the parts", "columns", {"edits": at(12, u32(3)), "tag": True}),
        ("no parts", "columns", {"edits": at(12, u32(0) + u32(0)), "tag": True}),
        ("too many parts", "columns", {"edits": at(16, u32((1 << 20) + 1)), "tag": True}),
        ("a section too few", "columns", {"edits": at(20, u32(2)), "tag": True}),
        ("2^32 - 1 sections", "columns", {"edits": at(20, u32(2**32 - 1)), "tag": True}),
        ("a total of 0", "columns", {"edits": at(24, u64(0)), "tag": True}),
        ("a total of 2^64 - 1", "columns", {"edits": at(24, u64(2**64 - 1)), "tag": True}),
        ("other parameters", "columns", {"edits": at(32, b"\0"), "tag": True}),
        ("another session", "columns", {"edits": at(64, b"\xff"), "tag": True}),
        ("another request", "columns", {"edits": at(80, b"\xff"), "tag": True}),
        ("another model", "columns", {"edits": at(96, b"\xff"), "tag": True}),
        ("another part", "columns", {"edits": at(12, u32(0)), "tag": True}),
        ("another tag", "columns", {"edits": at(-1, b"\x00")}),
        ("a seed changed", "columns", {"edits": at(COLUMNS_BODY + 16, b"\xff")}),
        ("an unknown section", "columns", {"edits": at(TABLE, u32(7)), "tag": True}),
        (
            "sections in another order",
            "columns",
            {"edits": [*at(TABLE + 12, u32(6)), *at(TABLE + 24, u32(5))], "tag": True},
        ),
        ("a section longer than the frame", "columns", {"edits": at(TABLE + 28, u64(2**63)), "tag": True}),
        ("a section of 2^64 - 1 bytes", "columns", {"edits": at(TABLE + 4, u64(2**64 - 1)), "tag": True}),
        ("bytes in no section", "columns", {"edits": at(TABLE + 28, u64(1791)), "tag": True}),
        (
            "a byte moved between sections",
            "columns",
            {"edits": [*at(TABLE + 16, u64(63)), *at(TABLE + 28, u64(1793))], "tag": True},
        ),
        ("no ciphertexts", "columns", {"edits": at(COLUMNS_BODY, u32(0)), "tag": True}),
        ("two ciphertexts in the bytes of one", "columns", {"edits": at(COLUMNS_BODY, u32(2)), "tag": True}),
        ("2^32 - 1 ciphertexts", "columns", {"edits": at(COLUMNS_BODY, u32(2**32 - 1)), "tag": True}),
        ("no limbs", "columns", {"edits": at(COLUMNS_BODY + 4, u16(0)), "tag": True}),
        ("more limbs than moduli", "columns", {"edits": at(COLUMNS_BODY + 4, u16(2)), "tag": True}),
        ("form 0", "columns", {"edits": at(COLUMNS_BODY + 6, b"\0"), "tag": True}),
        ("form 3", "columns", {"edits": at(COLUMNS_BODY + 6, b"\3"), "tag": True}),
        (
            "low bits left out by evaluations",
            "columns by evaluations",
            {"edits": at(COLUMNS_BODY + 7, b"\1"), "tag": True},
        ),
        ("more low bits left out than may be", "columns", {"edits": at(COLUMNS_BODY + 7, b"\x08"), "tag": True}),
        ("all bits left out", "columns", {"edits": at(COLUMNS_BODY + 7, b"\xff"), "tag": True}),
        ("a scale of 2 with bfv", "columns", {"edits": at(COLUMNS_BODY + 8, f64(2.0)), "tag": True}),
        ("a scale of 0", "columns by evaluations", {"edits": at(COLUMNS_BODY + 8, f64(0.0)), "tag": True}),
        ("a scale below 0", "columns by evaluations", {"edits": at(COLUMNS_BODY + 8, f64(-1.0)), "tag": True}),
        (
            "an infinite scale",
            "columns by evaluations",
            {"edits": at(COLUMNS_BODY + 8, f64(float("inf"))), "tag": True},
        ),
        (
            "a scale that is no number",
            "columns by evaluations",
            {"edits": at(COLUMNS_BODY + 8, f64(float("nan"))), "tag": True},
        ),
        ("a residue that is its prime", "columns", {"edits": at(COLUMNS_BODY + 80, u16(12289)), "tag": True}),
        (
            "the largest number in a residue's bits",
            "columns",
            {"edits": at(COLUMNS_BODY + 80, u16(largest)), "tag": True},
        ),
        (
            "a digit that is its bound",
            "columns without low bits",
            {"edits": at(COLUMNS_BODY + 80, u16(385)), "tag": True},
        ),
        ("a residue of the reply that is its prime", "reply", {"edits": at(REPLY_BODY + 16, u16(12289)), "tag": True}),
        ("a reply of one part", "reply", {"edits": at(REPLY_BODY + 7, b"\1"), "tag": True}),
        ("a reply of four parts", "reply", {"edits": at(REPLY_BODY + 7, b"\4"), "tag": True}),
        ("2^32 - 1 ciphertexts in a reply", "reply", {"edits": at(REPLY_BODY, u32(2**32 - 1)), "tag": True}),
        ("a switching key without its prime", "public key", {"edits": at(KEYS_BODY, u32(1)), "tag": True}),
        ("galois keys without their prime", "public key", {"edits": at(KEYS_BODY + 4, u32(1)), "tag": True}),
        ("2^32 - 1 galois keys", "public key", {"edits": at(KEYS_BODY + 4, u32(2**32 - 1)), "tag": True}),
        ("two relinearisation keys", "keys", {"edits": at(KEYS_BODY, u32(2)), "tag": True}),
        ("an even galois element", "keys", {"edits": at(KEYS_BODY + 8, u32(2)), "tag": True}),
        ("the galois element 1", "keys", {"edits": at(KEYS_BODY + 8, u32(1)), "tag": True}),
        ("a galois element that is too large", "keys", {"edits": at(KEYS_BODY + 16, u32(4097)), "tag": True}),
        ("a galois element twice", "keys", {"edits": at(KEYS_BODY + 12, u32(3)), "tag": True}),
        ("falling galois elements", "keys", {"edits": at(KEYS_BODY + 8, u32(11)), "tag": True}),
    ]
    return [{"name": name, "of": of, **change} for name, of, change in cases]


def main() -> None:
    """Write the file."""
    frames = []
    for name, (parameters, case, frame) in valid().items():
        entry = {
            "name": name,
            "parameters": parameters.to_json(),
            **case,
            "bytes": len(frame),
            "sha256": hashlib.sha256(frame).hexdigest(),
            "header": frame[:HEADER_BYTES].hex(),
            "tag": frame[-32:].hex(),
        }
        if len(frame) < 4096:
            entry["frame"] = base64.b64encode(frame).decode()
        frames.append(entry)
    value = {
        "format": "frames of encrypted inference, version 1",
        "residues": " ".join((residues.__doc__ or "").split()),
        "session": SECRET.hex(),
        "binding": {
            "request": BINDING.request.hex(),
            "model": BINDING.model.hex(),
            "part": BINDING.part,
            "parts": BINDING.parts,
        },
        "valid": frames,
        "refused": failures(),
    }
    (HERE / "frames.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
