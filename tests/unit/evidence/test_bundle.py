"""Bundles are written whole, verified before they appear, and never over something else."""

from __future__ import annotations

import base64
import copy
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from wardline.core import IntegrityError, Verdict, WorkspaceError
from wardline.crypto import SigningKey
from wardline.evidence import build_bundle, unsafe_write_unsigned_bundle, verify_bundle, write_bundle

PREDICATE = json.loads((Path(__file__).parents[2] / "vectors" / "evidence-predicate.json").read_text())
KEY = SigningKey.generate()
FILES = {"report.html": b"<!doctype html>", "model.json": b"{}"}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_bundle_holds_an_in_toto_statement_about_its_files(tmp_path):
    source = tmp_path / "weights"
    source.write_bytes(b"weights" * 400_000)  # more than one piece
    path = write_bundle(
        tmp_path / "new" / "evidence", predicate=PREDICATE, files={**FILES, "model.safetensors": source}, key=KEY
    )
    folder = path.parent
    assert names(folder) == ["bundle.json", "model.json", "model.safetensors", "report.html"]
    assert names(folder.parent) == ["evidence"]
    assert (folder / "model.safetensors").read_bytes() == source.read_bytes()
    envelope = json.loads(path.read_bytes())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "urn:wardline:evidence:1",
    )
    assert statement["predicate"] == PREDICATE
    assert statement["subject"] == [
        {"name": name, "digest": {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}}
        for name in ("model.json", "model.safetensors", "report.html")
    ]
    assert verify_bundle(folder, KEY.verifying_key).verdict is Verdict.PASS


def test_writing_the_same_again_changes_nothing(tmp_path):
    folder = tmp_path / "evidence"
    before = write_bundle(folder, predicate=PREDICATE, files=FILES, key=KEY).read_bytes()
    assert write_bundle(folder, predicate=copy.deepcopy(PREDICATE), files=FILES, key=KEY).read_bytes() == before
    assert names(tmp_path) == ["evidence"]


@pytest.mark.parametrize("other", ["files", "predicate", "key"])
def test_another_bundle_is_not_overwritten_unless_that_is_said(tmp_path, other):
    folder = tmp_path / "evidence"
    before = write_bundle(folder, predicate=PREDICATE, files=FILES, key=KEY).read_bytes()
    new = {"predicate": PREDICATE, "files": FILES, "key": KEY}
    new[other] = {
        "files": {"report.html": b"another"},
        "predicate": {**PREDICATE, "project": "another"},
        "key": SigningKey.generate(),
    }[other]
    with pytest.raises(WorkspaceError, match="something else stands"):
        write_bundle(folder, **new)
    assert (folder / "bundle.json").read_bytes() == before
    assert verify_bundle(folder, KEY.verifying_key).subjects_checked == ("model.json", "report.html")

    write_bundle(folder, **new, replace=True)
    assert (folder / "bundle.json").read_bytes() != before
    assert verify_bundle(folder, new["key"].verifying_key).verdict is Verdict.PASS
    assert names(tmp_path) == ["evidence"]


def test_what_is_no_bundle_is_never_removed(tmp_path):
    folder = tmp_path / "evidence"
    write_bundle(folder, predicate=PREDICATE, files=FILES, key=KEY)
    (folder / "thesis.txt").write_text("ten years of work")
    for standing in (folder, tmp_path):
        with pytest.raises(WorkspaceError, match="something else stands"):
            write_bundle(standing, predicate=PREDICATE, files={"a": b""}, key=KEY, replace=True)
    assert (folder / "thesis.txt").read_text() == "ten years of work"
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(WorkspaceError, match="a file stands"):
        write_bundle(file, predicate=PREDICATE, files=FILES, key=KEY, replace=True)
    assert file.read_text() == "kept"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert write_bundle(empty, predicate=PREDICATE, files=FILES, key=KEY).exists()
    link = tmp_path / "link"
    link.symlink_to(empty)
    with pytest.raises(WorkspaceError, match="a file stands"):
        write_bundle(link, predicate=PREDICATE, files={"a": b""}, key=KEY, replace=True)


@pytest.mark.parametrize("call", ["fsync", "rename", "replace_rename"])
def test_a_full_disk_leaves_what_stood_there(tmp_path, monkeypatch, call):
    folder = tmp_path / "evidence"
    before = write_bundle(folder, predicate=PREDICATE, files=FILES, key=KEY).read_bytes()
    other = tmp_path / "other"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rename, calls = Path.rename, []

    def full_the_second_time(self: Path, target: Path) -> Path:
        calls.append(target)
        return full() if len(calls) == 2 else rename(self, target)

    with monkeypatch.context() as patch:
        match call:
            case "fsync":
                patch.setattr(os, "fsync", full)
            case "rename":
                patch.setattr(Path, "rename", full)
            case "replace_rename":
                patch.setattr(Path, "rename", full_the_second_time)
        target = folder if call == "replace_rename" else other
        with pytest.raises(WorkspaceError, match="no space left") as failure:
            write_bundle(target, predicate=PREDICATE, files={"a": b""}, key=KEY, replace=True)
    assert "make room" in failure.value.hint
    assert (folder / "bundle.json").read_bytes() == before
    assert verify_bundle(folder, KEY.verifying_key).verdict is Verdict.PASS
    assert names(tmp_path) == ["evidence"]


def test_a_disk_that_loses_bytes_is_noticed_before_anything_appears(tmp_path, monkeypatch):
    fsync = os.fsync

    def losing(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "report.html":
            os.ftruncate(descriptor, 3)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", losing)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        write_bundle(tmp_path / "evidence", predicate=PREDICATE, files=FILES, key=KEY)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"": b""},
        {".": b""},
        {"..": b""},
        {"../a": b""},
        {"/a": b""},
        {"a/b": b""},
        {"a\\b": b""},
        {".hidden": b""},
        {"a b": b""},
        {"a\n": b""},
        {"ä": b""},
        {"bundle.json": b""},
        {"unsigned-statement.json": b""},
        {"a": b"", "A": b""},
        {"a" * 101: b""},
    ],
    ids=lambda files: ascii(sorted(files))[:20],
)
def test_names_that_are_not_plain_are_refused_before_anything_is_written(tmp_path, files):
    for write in (
        lambda: write_bundle(tmp_path / "evidence", predicate=PREDICATE, files=files, key=KEY),
        lambda: unsafe_write_unsigned_bundle(tmp_path / "evidence", predicate=PREDICATE, files=files),
        lambda: build_bundle(PREDICATE, dict.fromkeys(files, "0" * 64), key=KEY),
    ):
        with pytest.raises(ValueError, match=r"file|same name"):
            write()
    assert names(tmp_path) == []


def test_a_missing_source_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(WorkspaceError, match="cannot read a file of the bundle") as failure:
        write_bundle(tmp_path / "evidence", predicate=PREDICATE, files={"a": tmp_path / "absent"}, key=KEY)
    assert failure.value.where == str(tmp_path / "absent")
    assert names(tmp_path) == []


def test_evidence_that_contradicts_itself_is_not_signed(tmp_path):
    predicate = {**PREDICATE, "verdict": {"outcome": "fail", "summary": ""}}
    for write in (
        lambda: write_bundle(tmp_path / "evidence", predicate=predicate, files=FILES, key=KEY),
        lambda: unsafe_write_unsigned_bundle(tmp_path / "evidence", predicate=predicate, files=FILES),
        lambda: build_bundle(predicate, {"a": "0" * 64}, key=KEY),
    ):
        with pytest.raises(IntegrityError, match="does not hold together"):
            write()
    assert names(tmp_path) == []


def test_evidence_that_is_too_large_or_not_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="more than"):
        build_bundle({**PREDICATE, "project": "x" * (4 << 20)}, {"a": "0" * 64}, key=KEY)
    with pytest.raises(ValueError, match="not finite"):
        build_bundle({**PREDICATE, "seconds": float("nan")}, {"a": "0" * 64}, key=KEY)
    with pytest.raises(TypeError, match="no JSON form"):
        build_bundle({**PREDICATE, "key": KEY}, {"a": "0" * 64}, key=KEY)
    with pytest.raises(ValueError, match="hexadecimal"):
        build_bundle(PREDICATE, {"a": "0" * 63}, key=KEY)


def test_a_large_float_survives(tmp_path):
    predicate = {**PREDICATE, "seconds": 1e17}
    write_bundle(tmp_path / "evidence", predicate=predicate, files=FILES, key=KEY)
    assert verify_bundle(tmp_path / "evidence", KEY.verifying_key).predicate["seconds"] == 1e17


def test_an_unsigned_statement_is_no_bundle(tmp_path):
    path = unsafe_write_unsigned_bundle(tmp_path / "evidence", predicate=PREDICATE, files=FILES)
    assert path.name == "unsigned-statement.json"
    assert json.loads(path.read_bytes())["predicate"] == PREDICATE
    with pytest.raises(IntegrityError, match="only an unsigned statement"):
        verify_bundle(path.parent, KEY.verifying_key)
    with pytest.raises(IntegrityError, match="only an unsigned statement"):
        verify_bundle(path, KEY.verifying_key)
    write_bundle(path.parent, predicate=PREDICATE, files=FILES, key=KEY, replace=True)
    assert verify_bundle(path.parent, KEY.verifying_key).verdict is Verdict.PASS
