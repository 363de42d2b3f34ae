"""The folder of a database: what is written is what is read, and nothing else is."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from wardline.core.errors import DataError, IntegrityError, KeyAccessError, WorkspaceError
from wardline.he.kernels.transform import to_coefficients
from wardline.he.lookup.database import PublicDatabase, build_database, open_database, read_public
from wardline.he.lookup.plan import plan_lookup


def test_polynomials_hold_the_records(small) -> None:
    plan, stored = small.plan, small.database.polynomials
    assert not stored.flags.writeable
    limbs, blocks, columns, rows, block = stored.shape
    assert (columns, rows) == (plan.columns, plan.rows)
    flat = np.transpose(stored, (2, 3, 0, 1, 4)).reshape(columns * rows, limbs, blocks * block)
    prime = plan.parameters.moduli[0]
    first = to_coefficients(np.ascontiguousarray(flat[:, :1]), moduli=(prime,))[:, 0]
    index = 37
    polynomial, place = divmod(index, plan.places)
    found = first[polynomial, sum(plan.start(place))]
    head = int.from_bytes(small.records[index, :8].tobytes(), "little") & ((1 << plan.plain_bits) - 1)
    signed = head - (1 << plan.plain_bits) if head >> (plan.plain_bits - 1) else head
    assert found == signed % prime
    assert not first[plan.polynomials :].any()  # what is left over of the grid


def test_the_digest_does_not_tell_of_the_records(tmp_path: Path) -> None:
    records = np.zeros((4, 4), dtype=np.uint8)
    one, other = (build_database(tmp_path / name, records) for name in ("a", "b"))
    assert one.sha256 != other.sha256
    assert one.digest != other.digest


def test_the_public_part_comes_back(small) -> None:
    public = small.database.public
    assert read_public(small.folder) == public == PublicDatabase.from_bytes(public.to_bytes())
    assert public.digest == read_public(small.folder / "public.json").digest


@pytest.mark.parametrize("change", [b"wardline lookup/2", b"rows", b"0" * 64])
def test_a_changed_public_part_is_refused_or_another(small, change: bytes) -> None:
    data = small.database.public.to_bytes()
    old = {b"wardline lookup/2": b"wardline lookup/1", b"rows": b"bytes"}.get(change)
    if old is None:
        changed = PublicDatabase.from_bytes(data.replace(small.database.public.sha256.encode(), change))
        assert changed.digest != small.database.public.digest
        return
    with pytest.raises(IntegrityError):
        PublicDatabase.from_bytes(data.replace(b'"' + old + b'"', b'"' + change + b'"'))


def test_a_tampered_database_is_refused(small, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small.folder, folder)
    open_database(folder)
    path = folder / "database.bin"
    path.chmod(0o644)
    with pytest.raises(KeyAccessError, match="other users"):
        open_database(folder)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(IntegrityError, match="not the one"):
        open_database(folder)
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(IntegrityError, match="not the one"):
        open_database(folder)
    path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        open_database(folder)
    with pytest.raises(DataError, match="cannot read"):
        read_public(tmp_path / "nothing")


def test_a_disk_without_room_is_told_before_records_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with holes would take the size, and the process would end by a signal when they are filled."""

    def full(descriptor: int, start: int, size: int) -> None:
        assert start == 0
        assert size > plan_lookup(4, 4).database_bytes
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WorkspaceError, match="no space left") as caught:
        build_database(tmp_path, np.zeros((4, 4), dtype=np.uint8))
    assert "room" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_behind_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    records = np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(WorkspaceError):
        build_database(tmp_path / "file", records)
    with pytest.raises(ValueError, match="plan"):
        build_database(tmp_path / "x", records, plan=plan_lookup(5, 4))
    with pytest.raises(ValueError, match="bytes"):
        build_database(tmp_path / "x", records.astype(np.int64))
