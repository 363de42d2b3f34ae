"""Tables in files: which they are, and whether they stayed the same while they were read."""

from __future__ import annotations

import glob
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from wardline.core.canonical import digest_file
from wardline.core.errors import DataError
from wardline.dp.engines.base import CHANGED

_RACY_SECONDS = 0.1
"""Clocks of file systems tick this often or more often: a file changed so recently could change again unnoticed."""

Stamp = tuple[str, int, int, int, int, int]


def files_of(source: str | Path) -> list[Path]:
    """The files that a path or a glob names, sorted.

    Raises:
        DataError: if there are none.
    """
    path = Path(source)
    try:
        found = [path] if path.is_file() else sorted(map(Path, glob.glob(str(source), recursive=True)))  # noqa: PTH207
    except (OSError, ValueError):  # a name that no file can have
        found = []
    found = [one for one in found if one.is_file()]
    if not found:
        raise DataError("no such file", where=str(source), hint="name a Parquet or CSV file, or a glob that finds some")
    return found


def stamps(files: Sequence[Path]) -> list[Stamp]:
    """What changes whenever a file's content does: its identity, size, and times of change.

    The time of the last change of a file's content or attributes (ctime) is set by the kernel alone; nobody can put it
    back. A file that changed within the last tick of its clock is waited for, so that a change after this look cannot
    carry the same time as one before it.

    Raises:
        DataError: if a file is gone.
    """
    while True:
        found = []
        for path in files:
            try:
                stat = path.stat()
            except OSError:
                raise DataError("the table changed while it was read", where=str(path), hint=CHANGED) from None
            found.append((str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        newest = max(stamp[5] for stamp in found) / 1e9
        if not 0 <= time.time() - newest < _RACY_SECONDS:
            return found
        time.sleep(_RACY_SECONDS / 4)


def check_unchanged(source: str | Path, before: Sequence[Stamp]) -> None:
    """Refuse to go on if a file changed, came or went since `before`.

    Raises:
        DataError: if so.
    """
    after = []
    for path in files_of(source):
        stat = path.stat()
        after.append((str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    if after != list(before):
        raise DataError("the table changed while it was read", where=str(source), hint=CHANGED)


def files_digest(source: str | Path) -> str:
    """SHA-256 of a file; of several, SHA-256 of their digests in the order of their names."""
    files = files_of(source)
    if len(files) == 1:
        return digest_file(files[0])
    digest = hashlib.sha256(b"wardline.files/1\n")
    for path in files:
        digest.update(bytes.fromhex(digest_file(path)))
    return digest.hexdigest()


def default_spill_folder() -> str:
    """Where an engine may put what does not fit into memory: the system's folder for temporary files."""
    import tempfile

    return os.environ.get("WARDLINE_SPILL", tempfile.gettempdir())
