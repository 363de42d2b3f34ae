"""Files of lookups: they come back for their database and question, and hostile ones give a clean error."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from wardline.core import Seeds, canonical_json
from wardline.core.errors import DataError, IntegrityError
from wardline.he.ciphertext import Ciphertext, SeededKeys
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.session import TAG_BYTES
from wardline.he.lookup.answering import answer_question
from wardline.he.lookup.asking import ask_record, read_record
from wardline.he.lookup.database import build_database
from wardline.he.lookup.parcels import (
    MAGIC,
    read_keys,
    read_question,
    read_reply,
    write_keys,
    write_question,
    write_reply,
)


@pytest.fixture
def question(small, tmp_path: Path) -> Path:
    path = tmp_path / "question"
    write_question(path, small.database.public, ask_record(small.lattice, small.plan, 77))
    return path


def test_a_lookup_through_files(small, question: Path, tmp_path: Path) -> None:
    public = small.database.public
    asked, columns = read_question(question, public)
    assert columns.dropped_bits == 4
    write_reply(tmp_path / "reply", answer_question(columns, small.keys, database=small.database), asked=asked)
    again, _ = read_question(question, public)
    reply = read_reply(tmp_path / "reply", public, asked=again)
    assert read_record(small.lattice, small.plan, reply) == small.records[77].tobytes()
    assert question.stat().st_size < small.plan.question_bytes + 1000
    assert (tmp_path / "reply").stat().st_size < small.plan.reply_bytes + 1000


def test_keys_come_back(small, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_keys(path, small.database.public, small.seeded)
    found = read_keys(path, small.database.public)
    assert sorted(found.galois) == list(small.plan.elements)
    assert all(np.array_equal(found.galois[one].c0, small.seeded.galois[one].c0) for one in found.galois)
    assert path.stat().st_size < small.plan.key_bytes + 1000
    short = SeededKeys(parameters=small.plan.parameters, public=small.seeded.public)
    write_keys(path, small.database.public, short)
    with pytest.raises(IntegrityError, match="lookup takes"):
        read_keys(path, small.database.public)


def test_a_reply_to_another_question_is_refused(small, question: Path, tmp_path: Path) -> None:
    public = small.database.public
    other = tmp_path / "other"
    write_question(other, public, ask_record(small.lattice, small.plan, 77))
    asked, columns = read_question(question, public)
    write_reply(tmp_path / "reply", answer_question(columns, small.keys, database=small.database), asked=asked)
    with pytest.raises(IntegrityError, match="another session"):
        read_reply(tmp_path / "reply", public, asked=read_question(other, public)[0])
    with pytest.raises(IntegrityError, match="holds a lookup's question"):
        read_reply(question, public, asked=asked)
    with pytest.raises(IntegrityError, match="holds a lookup's reply"):
        read_question(tmp_path / "reply", public)


def test_a_reply_of_another_shape_is_refused(small, question: Path, tmp_path: Path) -> None:
    public = small.database.public
    asked, _ = read_question(question, public)
    parts = np.zeros((2, small.plan.reply_limbs + 1, small.plan.parameters.degree), dtype=np.uint32)
    for kept, form in ((slice(None), "coefficients"), (slice(-1), "evaluations")):
        one = Ciphertext(parameters=small.plan.parameters, parts=np.ascontiguousarray(parts[:, kept]), form=form)
        write_reply(tmp_path / "reply", one, asked=asked)
        with pytest.raises(IntegrityError):
            read_reply(tmp_path / "reply", public, asked=asked)


def test_files_of_another_database_are_refused(small, question: Path, tmp_path: Path) -> None:
    twin = build_database(tmp_path / "twin", small.records, plan=small.plan)  # the same records, another salt
    with pytest.raises(IntegrityError, match="another database"):
        read_question(question, twin)
    with pytest.raises(DataError, match="cannot read"):
        read_question(tmp_path / "nothing", twin)


def parts_of(data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    import json

    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    at = len(MAGIC) + 4
    return data[:at], json.loads(data[at : at + length]), data[at + length :]


def test_a_thousand_mutated_questions_give_clean_errors(small, question: Path, tmp_path: Path) -> None:
    # Half of them mutated anywhere; half inside of the frame and tagged again with the session's key, as a client
    # that means harm would: these are taken or refused, and what is taken is a question that can be computed with.
    public, data = small.database.public, question.read_bytes()
    head, header, frame = parts_of(data)
    session = read_question(question, public)[0].session
    generator = Seeds(4).numpy("mutations")
    path, taken, refused = tmp_path / "mutated", [], 0
    for trial in range(1000):
        changed = bytearray(data if trial % 2 else frame[:-TAG_BYTES])
        early = generator.random() < 0.5  # in headers, where most can go wrong
        for _ in range(int(generator.integers(1, 4))):
            place = int(generator.integers(0, 600 if early else len(changed)))
            changed[place] = int(generator.integers(0, 256))
        match int(generator.integers(0, 5)):
            case 0:
                changed = changed[: int(generator.integers(0, len(changed)))]
            case 1:
                changed += generator.bytes(int(generator.integers(1, 50)))
        if trial % 2 == 0:
            text = canonical_json(header)
            tagged = bytes(changed) + session.tag(changed)
            changed = bytearray(MAGIC + struct.pack("<I", len(text)) + text + tagged)
        path.write_bytes(changed)
        try:
            taken.append(read_question(path, public)[1])
        except IntegrityError:
            refused += 1
    assert refused + len(taken) == 1000
    assert refused > 500
    for one in taken[:2]:
        assert (one.c0[0].max(axis=1) < np.array(small.plan.parameters.moduli)).all()
        answer_question(one, small.keys, database=small.database)
    assert head.startswith(MAGIC)


@pytest.mark.parametrize(
    "change",
    [
        {"database": "00"},
        {"database": 5},
        {"request": "zz" * 16},
        {"session": "AA" * 48},
        {"content": "other"},
        {"more": 1},
    ],
)
def test_wrong_headers_are_refused(small, question: Path, change: dict[str, object]) -> None:
    _, header, frame = parts_of(question.read_bytes())
    text = canonical_json({**header, **change})
    question.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + frame)
    with pytest.raises(IntegrityError):
        read_question(question, small.database.public)


def test_short_files_are_refused(small, question: Path) -> None:
    data = question.read_bytes()
    for length in (0, 5, 11, 12, 100, 400, HEADER_BYTES + 400, len(data) - 1):
        question.write_bytes(data[:length])
        with pytest.raises(IntegrityError):
            read_question(question, small.database.public)
    question.write_bytes(MAGIC + struct.pack("<I", 1 << 30) + data)
    with pytest.raises(IntegrityError, match="too long"):
        read_question(question, small.database.public)
