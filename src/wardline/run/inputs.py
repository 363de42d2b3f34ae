"""The data of a run: fetched, held to its contract, encoded, split. Read anew each time, never copied."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, IntegrityError, Progress, SecureRandom, Seeds
from wardline.data import Encoder, Examples, Source, bounded_rows, enforce, fetch, split_by_unit, table_digest
from wardline.dp import dataset_key
from wardline.plan import DataFacts, contract_of
from wardline.policy import LoadedPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All rows of the data set, encoded.

    Attributes:
        examples: the rows.
        source: what the policy calls the source.
        sha256: digest of the table's contents, the same for a CSV and a Parquet file with the same rows.
    """

    examples: Examples = field(repr=False)
    source: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are trained on and which are held out, as indices into all rows."""

    train: npt.NDArray[np.int64] = field(repr=False)
    holdout: npt.NDArray[np.int64] = field(repr=False)

    def to_blobs(self) -> dict[str, bytes]:
        """The indices as bytes: little-endian, eight each."""
        return {"train": self.train.astype("<i8").tobytes(), "holdout": self.holdout.astype("<i8").tobytes()}

    @classmethod
    def from_blobs(cls, blobs: Mapping[str, bytes]) -> Selection:
        """The selection that `to_blobs` wrote."""
        return cls(
            train=np.frombuffer(blobs["train"], dtype="<i8").astype(np.int64),
            holdout=np.frombuffer(blobs["holdout"], dtype="<i8").astype(np.int64),
        )


def load_inputs(loaded: LoadedPolicy, *, local_copy: Path | None, progress: Progress) -> Inputs:
    """Fetch the policy's data, hold it to its contract and encode it.

    Args:
        loaded: the policy.
        local_copy: a file to read instead of the source; its contents must have the policy's digest.
        progress: told about downloads.

    Raises:
        DataError: if the data cannot be read or breaks its contract.
        IntegrityError: if it has another digest than the policy says.
    """
    source, sha256 = load_source(loaded, local_copy=local_copy, progress=progress)
    return _encoded(loaded, source, sha256)


def load_source(loaded: LoadedPolicy, *, local_copy: Path | None, progress: Progress) -> tuple[Source, str]:
    """Fetch the policy's data as it is, and the digest of its contents.

    Args:
        loaded: the policy.
        local_copy: a file to read instead of the source; its contents must have the policy's digest.
        progress: told about downloads.

    Raises:
        DataError: if the data cannot be read.
        IntegrityError: if it has another digest than the policy says.
    """
    data = loaded.policy.data
    source = _local(loaded, local_copy, progress) if local_copy else _fetch(loaded, data.source, data.sha256, progress)
    sha256 = table_digest(source.table)
    if data.table_sha256 is not None and sha256 != data.table_sha256:
        raise IntegrityError(
            f"the table's contents have digest {sha256}, not the one that the policy states",
            where=loaded.place("data", "table_sha256"),
            hint="get the data again from its publisher, or review the change and state the new digest",
        )
    return source, sha256


def load_public(loaded: LoadedPolicy, path: Path, *, private: Inputs, progress: Progress) -> Inputs:
    """Rows that nobody has to protect, in the form of the policy's data.

    Raises:
        DataError: if they cannot be read, break the contract, or are the protected rows themselves.
    """
    source = _fetch(loaded, f"file:{path.resolve()}", None, progress)
    sha256 = table_digest(source.table)
    if sha256 == private.sha256:
        raise DataError(
            "these are the protected rows themselves",
            where=str(path),
            hint="give rows that nobody has to protect, or charge the sweep to the budget with --charge",
        )
    return _encoded(loaded, source, sha256)


def _encoded(loaded: LoadedPolicy, source: Source, sha256: str) -> Inputs:
    contract = contract_of(loaded.policy)
    try:
        # The border pixels of images may well be constant; they are part of the shape.
        constants: Literal["keep", "refuse"] = "keep" if loaded.policy.model.kind == "cnn" else "refuse"
        table = enforce(contract, source.table, constant_features=constants)
    except DataError as error:
        raise DataError(error.message, where=error.where or loaded.place("data", "columns"), hint=error.hint) from error
    return Inputs(examples=Encoder(contract).encode(table), source=loaded.policy.data.source, sha256=sha256)


def _fetch(loaded: LoadedPolicy, source: str, sha256: str | None, progress: Progress) -> Source:
    data = loaded.policy.data
    return fetch(
        source,
        sha256=sha256,
        base=loaded.path.resolve().parent,
        cache=_cache(),
        progress=progress,
        header=None if data.header else tuple(data.columns),
    )


def _cache() -> Path:
    """Where downloads are kept: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wardline"


def _local(loaded: LoadedPolicy, path: Path, progress: Progress) -> Source:
    """A local copy: the very bytes that the policy pins, or other bytes with the pinned contents."""
    data = loaded.policy.data
    if data.table_sha256 is None and data.sha256 is None:
        raise DataError(
            "the policy pins no digest, so nothing tells whether this copy is the same data",
            where=loaded.place("data"),
            hint="add table_sha256 (`wardline data describe` prints it), or name the file as the source",
        )
    return _fetch(loaded, f"file:{path.resolve()}", None if data.table_sha256 else data.sha256, progress)


def select(loaded: LoadedPolicy, inputs: Inputs, *, seeds: Seeds | None = None) -> Selection:
    """Keep a share of the units apart, and bound how many rows a person contributes to training.

    Which of a person's rows stay is drawn afresh at each call, so a run stores what it drew. The split comes from the
    policy's seed unless other seeds are given.
    """
    data = loaded.policy.data
    split = split_by_unit(inputs.examples, holdout=data.holdout, seeds=seeds or Seeds(loaded.policy.evidence.seed))
    if data.unit == "row":
        return Selection(train=split.train_rows, holdout=split.holdout_rows)
    kept = bounded_rows(split.train, data.unit.max_rows, random=SecureRandom())
    return Selection(train=split.train_rows[kept], holdout=split.holdout_rows)


def account_of(loaded: LoadedPolicy, sha256: str) -> str:
    """The key under which the ledger adds up what is released about these people: by name, else by contents."""
    data = loaded.policy.data
    unit = "row" if data.unit == "row" else data.unit.column
    if data.name is not None:
        return dataset_key(name=data.name, unit=unit)
    return dataset_key(source_sha256=sha256, unit=unit)


def facts_of(loaded: LoadedPolicy, inputs: Inputs, selection: Selection) -> DataFacts:
    """What the plan needs to know about the data."""
    examples, unit = inputs.examples, loaded.policy.data.unit
    return DataFacts(
        source=inputs.source,
        sha256=inputs.sha256,
        account=account_of(loaded, inputs.sha256),
        rows=len(examples),
        units=examples.n_units,
        unit="row" if unit == "row" else unit.column,
        train_rows=len(selection.train),
        train_units=len(np.unique(examples.unit[selection.train])),
        holdout_rows=len(selection.holdout),
        holdout_units=len(np.unique(examples.unit[selection.holdout])),
        features=len(examples.features),
        classes=examples.classes,
    )
