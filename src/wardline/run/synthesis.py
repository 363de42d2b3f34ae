"""A synthetic table for a policy's data: charged, made, written, sealed; and compared with real rows where allowed.

A comparison with real rows tells something about them. So there are three ways and no fourth: with rows that nobody has
to protect; with protected rows that were kept out of the synthesis, under noise that is charged; or without noise, for
the holder alone. In the second and third, the policy's share of held-out units stays out of the synthesis.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wardline.core import (
    DataError,
    Progress,
    SecureRandom,
    Seeds,
    UsageError,
    canonical_json,
    digest_bytes,
    digest_value,
    make_folder,
    write_atomic,
)
from wardline.data import Encoder, enforce, fetch, split_by_unit, table_digest
from wardline.dp import Ledger, Limit, PlannedRelease
from wardline.dp.synthetic import (
    Quality,
    SynthesisPlan,
    Synthetic,
    charged_quality,
    plan_synthesis,
    quality,
    quality_event,
    synthesize_planned,
)
from wardline.dp.synthetic.files import check_ending, sealed_digest
from wardline.dp.synthetic.plan import Method
from wardline.dp.synthetic.synthesis import bounded
from wardline.plan import contract_of
from wardline.policy import LoadedPolicy, load_policy
from wardline.run.inputs import account_of, load_source
from wardline.run.synthesis_page import render_quality

if TYPE_CHECKING:
    import pyarrow as pa

_QUALITY = "wardline.synthetic.quality/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisSettings:
    """What is asked for.

    Attributes:
        epsilon, delta: what the table may cost.
        method: ``aim`` or ``mst``.
        rows: how many rows to draw; None for about as many as there are.
        public: rows to compare with that nobody has to protect.
        compare_epsilon: what a comparison with held-out rows under noise may cost on top.
        holder: whether to compare with held-out rows without noise, for the holder alone.

    Raises:
        UsageError: if more than one way to compare is asked for.
    """

    epsilon: float
    delta: float
    method: Method = "aim"
    rows: int | None = None
    public: Path | None = None
    compare_epsilon: float | None = None
    holder: bool = False

    def __post_init__(self) -> None:
        if (self.public is not None) + (self.compare_epsilon is not None) + self.holder > 1:
            raise UsageError(
                "there is more than one way to compare at once", hint="give --public, --compare-epsilon or --holder"
            )

    @property
    def holds_out(self) -> bool:
        """Whether the policy's held-out units stay out of the synthesis."""
        return self.holder or self.compare_epsilon is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisFiles:
    """Where to read and write.

    Attributes:
        out: the table, ``.parquet`` or ``.csv``.
        ledger: a file, or the address of a PostgreSQL table.
        report: an HTML page about the comparison.
        local_copy: a file to read instead of the policy's source; its digest is checked.
    """

    out: Path
    ledger: Path | str
    report: Path | None = None
    local_copy: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisOutcome:
    """What was made, and whether this call charged for it."""

    synthetic: Synthetic
    quality: Quality | None
    charged: bool


def plan_of(loaded: LoadedPolicy, settings: SynthesisSettings) -> SynthesisPlan:
    """The plan for a policy's contract. No row is read.

    Raises:
        UsageError: for a figure out of range.
    """
    try:
        return plan_synthesis(
            contract_of(loaded.policy),
            epsilon=settings.epsilon,
            delta=settings.delta,
            method=settings.method,
            rows=settings.rows,
        )
    except ValueError as error:
        raise UsageError(str(error), hint="`wardline synthesize --help` tells the ranges") from None


def synthesize_policy(
    policy: Path, *, settings: SynthesisSettings, files: SynthesisFiles, progress: Progress
) -> SynthesisOutcome:
    """Make a synthetic table of a policy's data.

    The same call again, with its file in place, gives the stored table and charges nothing.

    Args:
        policy: its section ``data`` tells the source, the contract, the unit and the budget.
        settings: what is asked for.
        files: where to read and write.
        progress: told how far it is.

    Raises:
        BudgetError: if the data set's limit would be exceeded; nothing is counted then.
        DataError, IntegrityError: if the data cannot be read, breaks the contract or is not what the policy pins.
        UsageError: for a figure out of range or another ending of the file.
        WorkspaceError: if a file cannot be written.
    """
    check_ending(files.out)
    loaded = load_policy(policy)
    plan = plan_of(loaded, settings)
    source, sha256 = load_source(loaded, local_copy=files.local_copy, progress=progress)
    public = None if settings.public is None else _public(loaded, settings.public, sha256, progress)
    kept, apart = _parts(loaded, plan, source.table) if settings.holds_out else (source.table, None)
    _check_delta(plan, kept)
    ledger = Ledger(files.ledger)
    account = account_of(loaded, sha256)
    budget = loaded.policy.data.budget
    limit = Limit(epsilon=budget.epsilon, delta=budget.delta) if budget else None
    made = synthesize_planned(plan, kept, ledger=ledger, limit=limit, dataset=account, out=files.out, progress=progress)
    seeds = Seeds(loaded.policy.evidence.seed).child("synthetic.quality")
    found: Quality | None = None
    progress.start("compare", 0)
    if public is not None:
        found = quality(made.table, plan.contract, held_out=public, basis="public", seeds=seeds)
    elif apart is not None and settings.holder:
        found = quality(made.table, plan.contract, held_out=apart, real=kept, basis="holder", seeds=seeds)
    elif apart is not None and settings.compare_epsilon is not None:
        asked = _Asked(plan=plan, epsilon=settings.compare_epsilon, account=account, limit=limit)
        found = _charged(asked, made, apart, ledger=ledger, out=files.out, seeds=seeds)
    progress.finish()
    if found is not None and files.report is not None:
        write_atomic(files.report, render_quality(loaded.policy.project, made, found))
    return SynthesisOutcome(synthetic=made, quality=found, charged=made.model is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    plan: SynthesisPlan
    epsilon: float
    account: str
    limit: Limit | None


def quality_path(out: Path) -> Path:
    """Where the charged comparison of a table stands: beside it."""
    return out.with_suffix(".quality.json")


def _charged(asked: _Asked, made: Synthetic, apart: pa.Table, *, ledger: Ledger, out: Path, seeds: Seeds) -> Quality:
    """Charge, compare under noise, write, seal; or read what the same call wrote before."""
    path = quality_path(out)
    basis = {"quality": _QUALITY, "synthetic": sealed_digest(out), "epsilon": asked.epsilon, "dataset": asked.account}
    release_id = ledger.latest_attempt_id(digest_value(basis))
    sealed = ledger.sealed(release_id)
    if sealed is not None and path.is_file() and digest_bytes(path.read_bytes()) == sealed:
        return Quality.from_json(json.loads(path.read_bytes()))
    release_id = ledger.next_attempt_id(release_id)
    ledger.charge(
        PlannedRelease(
            release_id=release_id,
            dataset=asked.account,
            unit=asked.plan.unit,
            events=(quality_event(asked.epsilon),),
            description=f"how near a synthetic table is to held-out rows, epsilon {asked.epsilon:g}",
        ),
        limit=asked.limit,
    )
    try:
        found = charged_quality(made.table, asked.plan.contract, held_out=apart, epsilon=asked.epsilon, seeds=seeds)
    except ValueError as error:
        raise DataError(f"the comparison came to nothing: {error}", hint="it was charged all the same") from None
    content = canonical_json(found.to_json())
    make_folder(path.parent)
    write_atomic(path, content)
    ledger.seal(release_id, digest_bytes(content))
    return found


def _parts(loaded: LoadedPolicy, plan: SynthesisPlan, table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows to make a table of, and the rows of the held-out units."""
    held = enforce(plan.contract, table, to_learn=False)
    split = split_by_unit(
        Encoder(plan.contract).encode(held),
        holdout=loaded.policy.data.holdout,
        seeds=Seeds(loaded.policy.evidence.seed),
    )
    apart = table.take(split.holdout_rows)
    if plan.contract.unit_column is not None:
        persons = apart.column(plan.contract.unit_column)
        apart = apart.take(bounded(persons, plan.contract.max_rows_per_unit, SecureRandom()))
    return table.take(split.train_rows), apart


def _public(loaded: LoadedPolicy, path: Path, private_sha256: str, progress: Progress) -> pa.Table:
    data = loaded.policy.data
    source = fetch(
        f"file:{path.resolve()}",
        sha256=None,
        base=Path.cwd(),
        progress=progress,
        header=None if data.header else tuple(data.columns),
    )
    if table_digest(source.table) == private_sha256:
        raise DataError(
            "these are the protected rows themselves",
            where=str(path),
            hint="give rows that nobody has to protect, or charge the comparison with --compare-epsilon",
        )
    return source.table


def _check_delta(plan: SynthesisPlan, table: pa.Table) -> None:
    """A delta of one over the number of units would permit publishing somebody's row."""
    units = table.num_rows
    if plan.contract.unit_column is not None and plan.contract.unit_column in table.column_names:
        units = len(np.unique(table.column(plan.contract.unit_column).combine_chunks().dictionary_encode().indices))
    if plan.delta * max(units, 1) >= 1:
        raise UsageError(
            f"delta {plan.delta:g} is not below one over the number of units",
            where="--delta",
            hint="choose a tenth of that or less: such a delta would allow publishing somebody's row",
        )
