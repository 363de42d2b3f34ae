"""Writing files so that a crash, a full disk or a missing permission never leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from wardline.core.errors import WorkspaceError

_REMEDIES = {
    errno.ENOSPC: "make room on the disk, then run the same command again; what was finished is kept",
    errno.EDQUOT: "make room in the quota, then run the same command again; what was finished is kept",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
}


def workspace_error(error: OSError, path: Path) -> WorkspaceError:
    """Translate what the operating system said into one error that names the place and a remedy."""
    reason = (error.strerror or str(error)).lower()
    hint = _REMEDIES.get(error.errno or 0, "choose another folder")
    return WorkspaceError(f"cannot write: {reason}", where=str(path), hint=hint)


def make_folder(path: Path) -> Path:
    """Make a folder and its parents where they are missing.

    Raises:
        WorkspaceError: if that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise workspace_error(error, path) from error
    return path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a whole file or nothing: to a neighbour, synced to disk, then renamed over the old one.

    Args:
        path: the file; its folder is made if it is not there.
        data: all that it shall hold.
        mode: its permissions, of which the process's umask takes away what it always does.

    Raises:
        WorkspaceError: if it cannot be written; the old file, if any, is then untouched. If only the folder cannot be
            synced, the new file is in place, but may not outlast a power cut.
    """
    make_folder(path.parent)
    temporary = path.parent / f".wardline-{os.urandom(8).hex()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:  # an interruption, too, leaves nothing lying about
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise workspace_error(error, path) from error


def sync_folder(path: Path) -> None:
    """Make a rename inside a folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
