"""The folder: the weights are for the server alone, and any change is seen."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wardline.core import DataError, IntegrityError, KeyAccessError, UsageError
from wardline.he.compiled.compiling import Compiled
from wardline.he.compiled.folder import (
    PUBLIC_FILE,
    WEIGHTS_FILE,
    pack_weights,
    read_model,
    read_public,
    write_model,
)


@pytest.fixture
def folder(tmp_path: Path, compiled: Compiled) -> Path:
    write_model(tmp_path / "model", compiled.public, compiled.weights)
    return tmp_path / "model"


def test_it_is_read_as_it_was_written(folder: Path, compiled: Compiled) -> None:
    found = read_model(folder)
    assert (
        found.digest == compiled.public.digest == read_public(folder).digest == read_public(folder / PUBLIC_FILE).digest
    )
    assert np.array_equal(found.secret.weights, compiled.evaluator.secret.weights)
    assert np.array_equal(found.secret.bias, compiled.evaluator.secret.bias)


def test_the_weights_are_readable_for_their_owner_alone(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyAccessError, match="other users"):
        read_model(folder)


def test_every_byte_of_the_weights_counts(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(IntegrityError):
            read_model(folder)
    for other in (b"", content[:-1], content + b"\0"):
        path.write_bytes(other)
        with pytest.raises(IntegrityError):
            read_model(folder)
    path.write_bytes(content)
    read_model(folder)


def test_weights_of_another_model_are_refused(folder: Path, compiled: Compiled) -> None:
    again = pack_weights(compiled.evaluator.secret, compiled.public.plan)
    assert again.sha256 != compiled.weights.sha256, "the salt is fresh, so nobody can try weights against the digest"
    (folder / WEIGHTS_FILE).write_bytes(again.content)
    with pytest.raises(IntegrityError, match="written with"):
        read_model(folder)
    with pytest.raises(ValueError, match="other weights"):
        write_model(folder, compiled.public, again)


def test_weights_beyond_their_plan_are_refused(tmp_path: Path, compiled: Compiled) -> None:
    secret = replace(compiled.evaluator.secret, weights=compiled.evaluator.secret.weights * 1000)
    packed = pack_weights(secret, compiled.public.plan)
    write_model(tmp_path / "large", replace(compiled.public, weights_sha256=packed.sha256), packed)
    with pytest.raises(IntegrityError, match="larger than their plan"):
        read_model(tmp_path / "large")


def test_a_public_part_with_less_noise_than_hides_the_weights_is_refused(folder: Path, compiled: Compiled) -> None:
    plan = compiled.public.plan
    for bits, refused in ((plan.flood_bits, False), (plan.flood_bits - 1, True), (40, True)):
        public = replace(compiled.public, plan=replace(plan, flood_bits=bits))
        (folder / PUBLIC_FILE).write_bytes(public.to_bytes())
        if not refused:
            assert read_model(folder).digest == public.digest
            continue
        with pytest.raises(IntegrityError, match="would not hide the weights"):
            read_model(folder)


def test_links_and_missing_files_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS_FILE).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError):
        read_model(folder)
    (folder / WEIGHTS_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError):
        read_model(folder)


def test_a_model_is_never_overwritten(tmp_path: Path, compiled: Compiled) -> None:
    public, weights = write_model(tmp_path / "model", compiled.public, compiled.weights)
    for left in (public, weights):
        other = weights if left is public else public
        kept = other.read_bytes()
        other.unlink()
        before = left.read_bytes()
        with pytest.raises(UsageError, match="a model is there"):
            write_model(tmp_path / "model", compiled.public, compiled.weights)
        assert left.read_bytes() == before
        assert not other.exists()
        other.write_bytes(kept)
