"""Keys, rows and scores as files: read as they were written, for their model alone, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wardline.core import DataError, IntegrityError, KeyAccessError, canonical_json
from wardline.he.compiled.compiling import Compiled, compile_model
from wardline.he.compiled.parcels import (
    MAGIC,
    check_parcel_key,
    read_keys_parcel,
    read_rows_parcel,
    read_scores_parcel,
    write_keys_parcel,
    write_rows_parcel,
    write_scores_parcel,
)
from wardline.he.compiler.program import Program
from wardline.he.frames.evaluation_keys import expand_keys, keys_digest
from wardline.he.linear.rows import decrypt_outputs, encrypt_rows
from wardline.he.seal.bridge import SealLattice


def test_the_whole_way_by_files(tmp_path: Path, compiled: Compiled, program: Program, rows: np.ndarray) -> None:
    public, plan = compiled.public, compiled.public.plan
    lattice = SealLattice.generate(plan.parameters)
    keys = lattice.evaluation_keys()
    write_keys_parcel(tmp_path / "keys", public, keys, key=lattice.key.id)
    again = read_keys_parcel(tmp_path / "keys", public)
    assert keys_digest(again) == keys_digest(keys)
    batches = list(encrypt_rows(lattice, plan, rows))
    write_rows_parcel(tmp_path / "rows", public, batches, rows=len(rows), key=lattice.key.id)
    columns, count = read_rows_parcel(tmp_path / "rows", public)
    assert count == len(rows)
    replies = [compiled.evaluator.evaluate(one, expand_keys(again), rows=count) for one in columns]
    write_scores_parcel(tmp_path / "scores", public, replies, rows=count, key=lattice.key.id)
    found, count = read_scores_parcel(tmp_path / "scores", public)
    scores = decrypt_outputs(lattice, plan, found, rows=count)
    assert np.abs(scores - program.evaluate(rows)).max() <= plan.worst + plan.step / 2

    # What another key decrypts to would look like scores: the files tell which key they belong to.
    for name in ("keys", "rows", "scores"):
        check_parcel_key(tmp_path / name, lattice.key.id)
        with pytest.raises(KeyAccessError, match="another key"):
            check_parcel_key(tmp_path / name, SealLattice.generate(plan.parameters).key.id)

    content = (tmp_path / "rows").read_bytes()
    generator = np.random.default_rng(0)
    for at in [*range(0, 400, 7), *generator.integers(0, len(content), 60).tolist()]:
        (tmp_path / "broken").write_bytes(content[:at] + bytes([content[at] ^ 0x04]) + content[at + 1 :])
        try:
            _, told = read_rows_parcel(tmp_path / "broken", public)
        except IntegrityError:
            continue
        # The header is for convenience and not authenticated: another number of rows of the same batch may pass.
        assert told != count
    for broken in (b"", content[:9], content[:-1], content + b"\0"):
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(IntegrityError, match=r"broken: "):
            read_rows_parcel(tmp_path / "broken", public)
    with pytest.raises(IntegrityError, match="scores are wanted"):
        read_scores_parcel(tmp_path / "rows", public)
    with pytest.raises(DataError):
        read_keys_parcel(tmp_path / "nothing", public)
    with pytest.raises(IntegrityError, match="another model"):
        read_rows_parcel(tmp_path / "rows", compile_model(program, rows, margin=0.3).public)


def test_parcels_of_no_rows_or_of_other_columns_are_refused(
    tmp_path: Path, compiled: Compiled, rows: np.ndarray
) -> None:
    public = compiled.public
    lattice = SealLattice.generate(public.plan.parameters)
    (columns,) = encrypt_rows(lattice, public.plan, rows)
    header = {
        "content": "rows",
        "frames": 0,
        "model": public.digest.hex(),
        "request": "0" * 32,
        "rows": 0,
        "session": "0" * 96,
    }
    for read, content in ((read_rows_parcel, "rows"), (read_scores_parcel, "scores")):
        written = canonical_json({**header, "content": content})
        (tmp_path / "none").write_bytes(MAGIC + len(written).to_bytes(4, "little") + written)
        with pytest.raises(IntegrityError, match="not those of its rows"):
            read(tmp_path / "none", public)
    fewer = replace(columns, seeds=columns.seeds[1:], c0=columns.c0[1:])
    write_rows_parcel(tmp_path / "fewer", public, [fewer], rows=len(rows), key=lattice.key.id)
    with pytest.raises(IntegrityError, match="the model reads 3"):
        read_rows_parcel(tmp_path / "fewer", public)
