"""Whole files or nothing: a full disk, a closed folder, a kill in the middle."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wardline.core import WorkspaceError, make_folder, write_atomic

_UNPRIVILEGED = 65534


def _names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def _in_child(work) -> int:
    """Run `work` in a forked child; its result, a number below 256, is the exit status (negative for a signal)."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_file_is_written_whole_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    write_atomic(path, b"first")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [one.name for one in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("umask", "mode", "expected"), [(0o022, 0o644, 0o644), (0o077, 0o644, 0o600), (0, 0o600, 0o600)]
)
def test_the_umask_of_the_caller_is_honoured(tmp_path: Path, umask: int, mode: int, expected: int) -> None:
    path = tmp_path / "file"
    before = os.umask(umask)
    try:
        write_atomic(path, b"x", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == expected


def test_a_link_is_replaced_and_what_it_points_to_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert target.read_bytes() == b"precious"
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The limit on the size of files stops the write in the middle, as a full disk does."""
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def work() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_atomic(path, b"n" * 100_000)
        except WorkspaceError as error:
            return 7 if isinstance(error.__cause__, OSError) and error.where == str(path) and error.hint else 8
        return 9

    assert _in_child(work) == 7
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["file"]


def _mount_small_disk(folder: Path) -> bool:
    if os.geteuid() != 0:
        return False
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_disk_that_is_full_is_told_with_a_remedy(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not _mount_small_disk(disk):
        pytest.skip("a small disk can be mounted only by root")
    try:
        write_atomic(disk / "file", b"old")
        with pytest.raises(WorkspaceError, match="no space left") as caught:
            write_atomic(disk / "file", os.urandom(200_000))
        assert "make room" in caught.value.hint
        assert (disk / "file").read_bytes() == b"old"
        assert _names(disk) == ["file"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "can be written"),
        (errno.EIO, "another folder"),
    ],
)
def test_each_refusal_of_the_system_has_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WorkspaceError) as caught:
        write_atomic(tmp_path / "file", b"new")
    assert remedy in caught.value.hint
    assert _names(tmp_path) == []


def test_an_interruption_leaves_nothing_lying_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert _names(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == folder.owner() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
        if parent.name.startswith("pytest-of"):
            break
    folder.chmod(0o555)

    def work() -> int:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(_UNPRIVILEGED)
            os.setuid(_UNPRIVILEGED)
        try:
            write_atomic(folder / "file", b"new")
        except WorkspaceError as error:
            return 7 if "permission denied" in str(error) and "may write" in error.hint else 8
        return 9

    assert _in_child(work) == 7
    assert _names(folder) == []


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(WorkspaceError) as caught:
        make_folder(tmp_path / "file")
    assert "another folder" in caught.value.hint
    with pytest.raises(WorkspaceError) as caught:
        write_atomic(tmp_path / "file" / "below", b"x")
    assert "a file stands where a folder is needed" in caught.value.hint
    with pytest.raises(WorkspaceError):
        write_atomic(tmp_path, b"x")


_WRITER = """
import sys
from pathlib import Path
from wardline.core import write_atomic
path = Path(sys.argv[1])
turn = 0
while True:
    turn += 1
    write_atomic(path, bytes([turn % 256]) * 2_000_000)
    print(turn, flush=True)
"""


def test_a_kill_in_the_middle_never_shows_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for rounds in range(5):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(1 + rounds):
            writer.stdout.readline()
        writer.kill()
        writer.wait()
        writer.stdout.close()
        data = path.read_bytes()
        assert len(data) == 2_000_000
        assert len(set(data)) == 1
    left = [one.name for one in tmp_path.iterdir() if one != path]
    assert all(name.startswith(".wardline-") for name in left), "what a kill leaves is hidden and named after us"
