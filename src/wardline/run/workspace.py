"""The folder of a run: what each stage found, stored under its digest, so that a killed run goes on.

    run.json                 id of the run, made once
    lock                     held while a process works here
    stages/NAME.json         key of the stage (a digest of all that it depends on), digest of its result
    objects/SHA256           results, named by their content
    evidence/                the bundle, put in place as a whole

A stage whose key is unchanged and whose objects are all there and intact is not computed again. Anything
else is: a changed policy changes keys, a damaged object is noticed by its name.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from wardline._version import __version__
from wardline.core import WorkspaceError, canonical_json, digest_bytes, digest_value, make_folder, write_atomic
from wardline.core.files import workspace_error
from wardline.models import TrainedModel, model_from_files

Computed: TypeAlias = tuple[Mapping[str, Any], Mapping[str, bytes]]
"""What a stage computes: a JSON value and named blobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage found: a JSON value and named blobs, with the digest of both."""

    name: str
    key: str
    value: Mapping[str, Any]
    blobs: Mapping[str, bytes]
    seconds: float
    sha256: str
    reused: bool

    def model(self) -> TrainedModel:
        """The model among the blobs.

        Raises:
            IntegrityError: if there is none, or it is none that can be trusted.
        """
        return model_from_files(self.blobs, where=self.name)


class Workspace:
    """One run's folder, held by one process at a time. Use as a context manager.

    Args:
        folder: made if it is missing.

    Raises:
        WorkspaceError: if the folder cannot be written, or another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None

    def __enter__(self) -> Self:
        make_folder(self.folder)
        try:
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkspaceError(
                "another run holds this folder", where=str(self.folder), hint="wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise workspace_error(error, self.folder) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)  # the lock goes with the descriptor, also when the process is killed
            self._lock = None

    @property
    def run_id(self) -> str:
        """The id of this run: random, made once, the same after each resumption."""
        path = self.folder / "run.json"
        stored = _read_json(path)
        if stored is None:
            stored = {"schema": "wardline.run/1", "id": uuid.uuid4().hex}
            write_atomic(path, canonical_json(stored))
        return str(stored["id"])

    def stage(
        self,
        name: str,
        inputs: Mapping[str, Any],
        compute: Callable[[str], Computed],
    ) -> StageResult:
        """The result of a stage: read if it is there and whole, else computed and stored.

        Args:
            name: the stage.
            inputs: everything that its result depends on, as JSON values; their digest is the key.
            compute: given the key, returns a JSON value and named blobs.
        """
        key = digest_value({"stage": name, "version": __version__, "inputs": inputs})
        found = self._stored(name, key)
        if found is not None:
            return found
        began = time.monotonic()
        value, blobs = compute(key)
        seconds = round(time.monotonic() - began, 3)
        content = canonical_json({"value": value, "blobs": {blob: self.put(data) for blob, data in blobs.items()}})
        record = {"schema": "wardline.stage/1", "key": key, "result": self.put(content), "seconds": seconds}
        write_atomic(self.folder / "stages" / f"{name}.json", canonical_json(record))
        stored = self._stored(name, key)
        if stored is None:
            raise WorkspaceError(
                f"the result of {name} could not be read back", where=str(self.folder), hint="check the disk"
            )
        return dataclasses.replace(stored, reused=False)

    def put(self, content: bytes) -> str:
        """Store some bytes under their digest, which is returned."""
        sha256 = digest_bytes(content)
        if self.get(sha256) is None:
            write_atomic(self._object(sha256), content)
        return sha256

    def get(self, sha256: str) -> bytes | None:
        """The bytes with this digest, or None if they are missing or damaged."""
        try:
            content = self._object(sha256).read_bytes()
        except FileNotFoundError:
            return None
        return content if digest_bytes(content) == sha256 else None

    def remove(self, sha256: str) -> None:
        """Delete an object that nothing refers to any longer."""
        self._object(sha256).unlink(missing_ok=True)

    def prune(self, *, keep: Collection[str]) -> None:
        """Delete every object that neither a stage nor `keep` refers to: what a kill left behind."""
        known = set(keep)
        for path in (self.folder / "stages").glob("*.json"):
            result = str((_read_json(path) or {}).get("result"))
            known.add(result)
            known.update(json.loads(self.get(result) or b'{"blobs": {}}')["blobs"].values())
        for path in (self.folder / "objects").iterdir():
            if path.name not in known:
                path.unlink()

    def _object(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256

    def _stored(self, name: str, key: str) -> StageResult | None:
        record = _read_json(self.folder / "stages" / f"{name}.json")
        if record is None or record.get("key") != key:
            return None
        content = self.get(str(record.get("result")))
        if content is None:
            return None
        result = json.loads(content)
        blobs = {blob: self.get(sha256) for blob, sha256 in result["blobs"].items()}
        whole = {blob: data for blob, data in blobs.items() if data is not None}
        if len(whole) != len(blobs):
            return None
        return StageResult(
            name=name,
            key=key,
            value=result["value"],
            blobs=whole,
            seconds=float(record["seconds"]),
            sha256=str(record["result"]),
            reused=True,
        )


def _read_json(path: Path) -> dict[str, Any] | None:
    """A small JSON object of ours, or None where it is missing or damaged (it is then made anew)."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
