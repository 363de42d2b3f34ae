"""The folder of a run: finished stages are kept, changed or damaged ones are computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wardline.core import WorkspaceError
from wardline.run.workspace import Workspace


def counting(calls: list[str]) -> Callable[[str], tuple[Mapping[str, Any], Mapping[str, bytes]]]:
    def compute(key: str) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        calls.append(key)
        return {"figure": len(calls)}, {"blob": b"bytes"}

    return compute


def test_a_finished_stage_is_not_computed_again(tmp_path: Path) -> None:
    calls: list[str] = []
    with Workspace(tmp_path / "run") as workspace:
        first = workspace.stage("train", {"a": 1}, counting(calls))
        run_id = workspace.run_id
    with Workspace(tmp_path / "run") as workspace:
        second = workspace.stage("train", {"a": 1}, counting(calls))
        assert workspace.run_id == run_id
    assert len(calls) == 1
    assert (first.reused, second.reused) == (False, True)
    assert second.value == {"figure": 1}
    assert second.blobs == {"blob": b"bytes"}
    assert first.sha256 == second.sha256


def test_changed_inputs_change_the_key(tmp_path: Path) -> None:
    calls: list[str] = []
    with Workspace(tmp_path) as workspace:
        workspace.stage("train", {"a": 1}, counting(calls))
        again = workspace.stage("train", {"a": 2}, counting(calls))
    assert len(set(calls)) == 2
    assert not again.reused


@pytest.mark.parametrize("damage", ["flip", "remove", "truncate"])
def test_damaged_objects_are_noticed_and_made_again(tmp_path: Path, damage: str) -> None:
    calls: list[str] = []
    with Workspace(tmp_path) as workspace:
        workspace.stage("train", {"a": 1}, counting(calls))
        for path in (tmp_path / "objects").iterdir():
            content = path.read_bytes()
            match damage:
                case "flip":
                    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
                case "remove":
                    path.unlink()
                case _:
                    path.write_bytes(content[:-1])
        repaired = workspace.stage("train", {"a": 1}, counting(calls))
        assert repaired.blobs == {"blob": b"bytes"}
        assert workspace.stage("train", {"a": 1}, counting(calls)).reused
    assert len(calls) == 2


def test_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    calls: list[str] = []
    with Workspace(tmp_path) as workspace:
        workspace.stage("train", {"a": 1}, counting(calls))
        (tmp_path / "stages" / "train.json").write_bytes(b"{half")
        assert not workspace.stage("train", {"a": 1}, counting(calls)).reused


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Workspace(tmp_path), pytest.raises(WorkspaceError, match="another run"), Workspace(tmp_path):
        pass
    with Workspace(tmp_path):  # the first one let go
        pass


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError) as error, Workspace(tmp_path / "file" / "run"):
        pass
    assert error.value.hint


def test_a_failing_stage_leaves_no_record(tmp_path: Path) -> None:
    def fail(key: str) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        raise RuntimeError("stop")

    with Workspace(tmp_path) as workspace:
        with pytest.raises(RuntimeError):
            workspace.stage("train", {}, fail)
        assert not (tmp_path / "stages").exists()


def test_what_nothing_refers_to_is_pruned(tmp_path: Path) -> None:
    calls: list[str] = []
    with Workspace(tmp_path) as workspace:
        workspace.stage("train", {"a": 1}, counting(calls))
        kept, left = workspace.put(b"kept"), workspace.put(b"left behind")
        workspace.prune(keep={kept})
        assert workspace.get(kept) == b"kept"
        assert workspace.get(left) is None
        assert workspace.stage("train", {"a": 1}, counting(calls)).reused
