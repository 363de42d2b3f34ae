"""A synthesis from beginning to end: check, charge, learn, draw, write, seal.

The order is what protects. Whatever can be found wrong without the budget is found first. The charge is durable before
a count is taken; the table is written, whole, before it is sealed. After a kill in between, the same call charges anew
and draws fresh noise: a charge is never used twice.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wardline.core import NoProgress, Progress, SecureRandom, digest_value, make_folder, need
from wardline.data import Contract, enforce, table_digest
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, dataset_key
from wardline.dp.synthetic._learn import learn_model
from wardline.dp.synthetic._private import PrivateRows, Purse
from wardline.dp.synthetic.files import check_ending, read_synthetic, sealed_digest
from wardline.dp.synthetic.model import MarginalModel
from wardline.dp.synthetic.plan import MOST_ROWS, Method, SynthesisOptions, SynthesisPlan, plan_synthesis
from wardline.dp.synthetic.value import Synthetic

if TYPE_CHECKING:
    import pyarrow as pa


def synthesize(
    table: pa.Table,
    contract: Contract,
    *,
    epsilon: float,
    delta: float,
    method: Method = "aim",
    rows: int | None = None,
    ledger: Ledger | None = None,
    options: SynthesisOptions | None = None,
) -> Synthetic:
    """Make a table of rows that nobody lived, whose low-order marginals are near those of a real one.

    Example: ``synthesize(table, contract, epsilon=1, delta=1e-6).save(Path("synthetic.parquet"))``.

    Args:
        table: the real rows.
        contract: which columns there are, within which ranges and values, and whom a row is about. It is public.
        epsilon: what may be spent, above 0, at most 1,000.
        delta: the probability mass on which epsilon may not hold, in (0, 1); well below one over the number of units.
        method: ``aim`` is more accurate, ``mst`` faster.
        rows: how many rows to draw; None for about as many as the table has.
        ledger: where it is charged, before anything is counted. None charges nowhere: then nobody adds up what all
            releases about these people reveal together.
        options: how the model is made.

    Raises:
        ValueError: for a figure out of range; nothing is charged.
        DataError: if the table breaks its contract; nothing is charged.
        BudgetError: if the ledger's limit for this data set would be exceeded; nothing is counted.

    Guarantee: (epsilon, delta)-differential privacy of table and model, for one unit of the contract added or removed,
        as `Synthetic.claim` states: zero-concentrated counts and choices in exact integer arithmetic, everything after
        them post-processing. It does not cover how long the call takes, nor errors about rows that break the contract.

    References:
        McKenna, Miklau and Sheldon 2021 (MST); McKenna, Mullins, Sheldon and Miklau 2022 (AIM); McKenna, Sheldon and
        Miklau 2019 (graphical models).
    """
    plan = plan_synthesis(contract, epsilon=epsilon, delta=delta, method=method, rows=rows, options=options)
    return synthesize_planned(plan, table, ledger=ledger)


def synthesize_planned(
    plan: SynthesisPlan,
    table: pa.Table,
    *,
    ledger: Ledger | None = None,
    limit: Limit | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Synthetic:
    """Carry out a plan; as `synthesize`, for those who looked at the plan first.

    Args:
        plan: what `plan_synthesis` gave.
        table: the real rows.
        ledger: where it is charged.
        limit: what the data set may spend in all; needs a ledger.
        dataset: the key of the data set in the ledger, if the table is a part of one; by default that of the table.
        out: a ``.parquet`` or ``.csv`` file for the result. If the very same synthesis was made there before, it is
            read back and not charged again.
        progress: told how far it is.

    Raises:
        ValueError: for a limit without a ledger.
        BudgetError, DataError: as `synthesize`.
        UsageError: for another ending of `out`.
        WorkspaceError: if `out` cannot be written.
    """
    if limit is not None and ledger is None:
        raise ValueError("a limit needs a ledger that knows what was spent")
    if out is not None:
        check_ending(out)
        make_folder(out.parent)
    told = progress or NoProgress()
    table_sha256 = table_digest(table)
    account = dataset or dataset_key(source_sha256=table_sha256, unit=plan.unit)
    release_id = digest_value({"synthesis": plan.to_json(), "dataset": account, "table": table_sha256})
    if ledger is not None and out is not None:
        sealed = ledger.sealed(ledger.latest_attempt_id(release_id))
        if sealed is not None and sealed == sealed_digest(out):
            return read_synthetic(out)
    held = enforce(plan.contract, table, to_learn=False)
    if ledger is not None:
        release_id = ledger.next_attempt_id(release_id)
        ledger.charge(_planned(plan, release_id, account), limit=limit)
    random = SecureRandom()
    model = learn(plan, held, random=random, progress=told)
    told.start("draw rows", 0)
    rows = min(round(model.total), MOST_ROWS) if plan.rows is None else operator.index(plan.rows)
    drawn = model.sample(rows, random=random)
    about: dict[str, Any] = {
        "charged": ledger is not None,
        "method": plan.method,
        "options": plan.to_json()["options"],
        "measured": [list(columns) for columns in model.measured],
    }
    made = Synthetic(
        table=drawn,
        claim=plan.claim(),
        model=model,
        about=about,
        release_id=None if ledger is None else release_id,
    )
    told.finish()
    digest = table_digest(drawn) if out is None else made.save(out)
    if ledger is not None:
        ledger.seal(release_id, digest)
    return made


def learn(
    plan: SynthesisPlan, held: pa.Table, *, random: SecureRandom, progress: Progress | None = None
) -> MarginalModel:
    """Learn the model of a plan from a table that `enforce` returned. Nothing is charged: the caller has done so.

    Raises:
        DataError: if the table breaks the contract.

    Guarantee: as `synthesize`.
    """
    domain = plan.domain
    columns = domain.encode(held)
    if plan.contract.unit_column is not None:
        kept = bounded(held.column(plan.contract.unit_column), plan.contract.max_rows_per_unit, random)
        columns = [one[kept] for one in columns]
    rows = PrivateRows(
        columns,
        domain.sizes,
        rows_per_unit=plan.contract.max_rows_per_unit,
        purse=Purse(plan.rho),
        random=random,
    )
    return learn_model(rows, domain, method=plan.method, options=plan.options, progress=progress or NoProgress())


def _planned(plan: SynthesisPlan, release_id: str, dataset: str) -> PlannedRelease:
    return PlannedRelease(
        release_id=release_id,
        dataset=dataset,
        unit=plan.unit,
        events=(plan.event,),
        description=f"synthetic table by {plan.method}, epsilon {plan.epsilon:g} at delta {plan.delta:g}",
    )


def bounded(persons: pa.ChunkedArray, most: int, random: SecureRandom) -> npt.NDArray[np.int64]:
    """At most so many rows of each person, chosen at random; their places.

    Guarantee: which rows of a person stay does not depend on any other person.
    """
    pa = need("pyarrow", extra="data")
    if pa.types.is_dictionary(persons.type):
        persons = persons.cast(persons.type.value_type)
    person = persons.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    order = np.lexsort((random.uint64(len(person)), person))
    grouped = person[order]
    rank = np.arange(len(person)) - np.searchsorted(grouped, grouped, side="left")
    return np.sort(order[rank < most])
