"""SEAL's files are read as version 4.3 writes them, and another layout is noticed."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard

from wardline.core import IntegrityError
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.files import (
    Cursor,
    Decompressor,
    SeededFile,
    plaintext_head,
    read_plaintext,
    read_switching_keys,
)
from wardline.he.seal.scratch import Scratch


def _file(body: bytes, *, mode: int = 2, **changes: int) -> bytes:
    fields = {"magic": 0xA15E, "size": 16, "major": 4, "minor": 3, "mode": mode, "nothing": 0, "total": 16 + len(body)}
    return struct.pack("<HBBBBHQ", *(fields | changes).values()) + body


def test_a_file_is_decompressed_up_to_its_limit() -> None:
    content = bytes(10_000)
    body = zstandard.ZstdCompressor().compress(content)
    assert Decompressor()(_file(body), most_bytes=10_000) == content
    assert Decompressor()(_file(content, mode=0), most_bytes=10_000) == content
    for mode, data in ((2, body), (0, content)):
        with pytest.raises(IntegrityError):
            Decompressor()(_file(data, mode=mode), most_bytes=9_999)


@pytest.mark.parametrize(
    "change",
    [{"magic": 1}, {"size": 15}, {"major": 3}, {"minor": 4}, {"mode": 1}, {"nothing": 1}, {"total": 3}],
    ids=str,
)
def test_another_header_is_noticed(change: dict[str, int]) -> None:
    body = zstandard.ZstdCompressor().compress(b"content")
    with pytest.raises(IntegrityError, match="another layout"):
        Decompressor()(_file(body, **change), most_bytes=100)


@pytest.mark.parametrize("file", [b"", bytes(15), _file(b""), _file(b"no zstandard"), _file(bytes(40))])
def test_what_is_no_file_is_noticed(file: bytes) -> None:
    with pytest.raises(IntegrityError):
        Decompressor()(file, most_bytes=100)


def test_a_file_that_hides_its_size_is_noticed() -> None:
    body = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(IntegrityError):
        Decompressor()(_file(body), most_bytes=1000)


def test_a_plaintext_of_ours_is_one_of_seal_s(integers: SealLattice) -> None:
    context = integers.key.context
    numbers = np.arange(1, 9, dtype="<u8")
    plain = context.seal.Plaintext()
    with Scratch() as scratch:
        scratch.write([plaintext_head(8), numbers.data.cast("B")])
        plain.load(context.handle, scratch.path)
        assert [plain.data(i) for i in range(8)] == numbers.tolist()
        plain.save(scratch.path)
        content = Decompressor()(scratch.read(), most_bytes=1000)
    assert content == plaintext_head(8)[16:] + numbers.tobytes()
    found, scale = read_plaintext(content, level=bytes(32), most=8)
    assert (found == numbers).all()
    assert scale == 1.0
    for wrong in (content[:-1], content + b"\0", b"\1" + content[1:], content[:30], content[:44]):
        with pytest.raises(IntegrityError):
            read_plaintext(wrong, level=bytes(32), most=8)
    with pytest.raises(IntegrityError):
        read_plaintext(content, level=bytes(32), most=7)


def test_a_seeded_file_must_be_the_expected_one(integers: SealLattice) -> None:
    context = integers.key.context
    level = context.levels[3]
    layout = SeededFile.of(level, evaluations=False, scale=1.0)
    c0, seed = np.zeros((3, 4096), np.uint32), np.zeros(64, np.uint8)
    content = layout.head + bytes(8 * 3 * 4096) + layout.seed_head + bytes(range(64))
    layout.take(content, c0, seed)
    assert seed.tolist() == list(range(64))
    seed_at = len(content) - 64 - len(layout.seed_head)
    for place in (0, 32, 40, len(layout.head) - 1, seed_at, len(content) - 65):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(IntegrityError):
            layout.take(bytes(changed), c0, seed)
    for wrong in (content[:-1], content + b"\0", b""):
        with pytest.raises(IntegrityError):
            layout.take(wrong, c0, seed)


def test_a_cursor_stays_within_its_content() -> None:
    for call in (lambda c: c.count(), lambda c: c.words(1), lambda c: c.expect(bytes(8)), lambda c: c.end()):
        with pytest.raises(IntegrityError):
            call(Cursor(bytes(7)))


def test_switching_keys_of_another_layout_are_noticed(reals: SealLattice) -> None:
    context = reals.key.context
    keys = context.seal.KeyGenerator(context.handle).create_relin_keys()
    with Scratch() as scratch:
        keys.save(scratch.path)
        content = Decompressor()(scratch.read(), most_bytes=1 << 24)
    level = context.key_level
    found = read_switching_keys(content, level=level, digits=3)[0]
    assert found.c0.shape == (3, 4, 8192)
    assert len(np.unique(found.seeds, axis=0)) == 3
    with pytest.raises(IntegrityError):
        read_switching_keys(content, level=level, digits=2)
    for place in (0, 32, 40, 48, 70, 100, 110, 130, 150, len(content) - 65):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(IntegrityError):
            read_switching_keys(bytes(changed), level=level, digits=3)
    for wrong in (content + b"\0", content[:-1], content[:50]):
        with pytest.raises(IntegrityError):
            read_switching_keys(wrong, level=level, digits=3)
