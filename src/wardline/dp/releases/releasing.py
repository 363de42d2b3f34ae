"""A release from beginning to end: check, charge, compute, write, seal.

The order is what protects. Whatever can be found wrong without the budget is found first. The charge is durable
before anything is computed; the result is written, whole, before it is sealed. A kill between any two of these leaves
one of three situations, which `_settled` tells apart; a charge is never used for a second draw of noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core.canonical import digest_value, to_json
from wardline.core.errors import IntegrityError, UsageError
from wardline.core.files import make_folder
from wardline.core.progress import NoProgress, Progress
from wardline.core.rng import SecureRandom
from wardline.data.digest import table_digest
from wardline.dp.engines import default_engine, is_postgres, source_digest
from wardline.dp.engines.files import Stamp, check_unchanged, files_of, stamps
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, dataset_key
from wardline.dp.queries.collection import check_rows, collect
from wardline.dp.queries.plan import Plan, check_kinds, columns_used, specs_of
from wardline.dp.releases.columns import key_columns, labels_of
from wardline.dp.releases.files import plain, read_release, rendered, sealed_digest, write
from wardline.dp.releases.measures import BinCounts
from wardline.dp.releases.plan import ReleasePlan, plan_release, provisional, with_ranges
from wardline.dp.releases.ranges import choose_range
from wardline.dp.releases.statement import claim_of, limits_of, unit_of
from wardline.dp.releases.tabulate import published_table
from wardline.dp.releases.trees import Tree
from wardline.dp.releases.value import Release

if TYPE_CHECKING:
    from wardline.dp.engines.base import Engine
    from wardline.dp.queries.query import Query, Table


def release(
    query: Query,
    *,
    epsilon: float,
    delta: float = 0.0,
    share: Mapping[str, float] | None = None,
    ledger: Ledger | None = None,
    limit: Limit | None = None,
    engine: Engine | None = None,
    out: Path | None = None,
) -> Release:
    """Answer a query about a table under differential privacy.

    Args:
        query: what is asked; see `Query`.
        epsilon: what the whole release may cost; above 0, at most 1,000.
        delta: the probability mass on which epsilon may not hold; at least 0 and below 1, above 0 if groups are found
            in the data.
        share: weights of aggregates in the division of the budget, by label; all the same by default.
        ledger: where it is charged, before anything is computed. None charges nowhere: then nobody adds up what all
            releases about these people reveal together.
        limit: what the data set may spend in all; needs a ledger.
        engine: where the query runs; by default the one that fits the table.
        out: a ``.parquet`` or ``.csv`` file for the result. If the very same release was made there before, it is
            read back and not charged again.

    Returns:
        The published table, with its claim.

    Raises:
        ValueError: for a figure out of its range; nothing is charged.
        DataError: if the table or a column does not fit; nothing is charged, unless the table changes under way, or a
            range cannot be found privately.
        BudgetError: if the limit would be exceeded; nothing is computed.
        UsageError: for a live table without a name, or another ending of `out`.

    Guarantee: (epsilon, delta)-differential privacy of the returned table and everything in it, for one unit of the
        query added or removed, as `Release.claim` states. It does not cover how long the call takes, nor errors that
        tell that the data does not fit the query.

    References:
        Dwork, McSherry, Nissim and Smith 2006; Desfontaines et al. 2022 (groups found in the data); Hay et al. 2010
        (trees of counts); Fieller 1954 (intervals of ratios).
    """
    plan = plan_release(query, epsilon=epsilon, delta=delta, share=share)
    return release_planned(plan, ledger=ledger, limit=limit, engine=engine, out=out)


def release_planned(
    plan: ReleasePlan,
    *,
    ledger: Ledger | None = None,
    limit: Limit | None = None,
    engine: Engine | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Release:
    """Carry out a plan; as `release`, for those who looked at the plan first.

    Args:
        plan: what `plan_release` gave.
        ledger: as for `release`, like the following three.
        limit: see there.
        engine: see there.
        out: see there.
        progress: told which step is under way.

    Raises:
        BudgetError, DataError, UsageError: as `release`.
        ValueError: for a limit without a ledger.
    """
    if limit is not None and ledger is None:
        raise ValueError("a limit needs a ledger that knows what was spent")
    if out is not None:
        _check_out(out)
    query, told = plan.query, progress or NoProgress()
    engine = default_engine(query.table) if engine is None else engine
    told.start("read", 0)
    before = _stamps(query.table)
    dataset = "" if ledger is None else _dataset(query)
    told.finish()
    release_id = _release_id(plan, dataset)
    if ledger is not None:
        settled = _settled(ledger, release_id, dataset, out)
        if settled is not None:
            return settled
    if ledger is not None:
        told.start("check", 0)
        check(plan, engine)
        _check_stamps(query.table, before)
        told.finish()
        release_id = _charge(ledger, plan, release_id, dataset, limit)
    told.start("compute", 0)
    made = _compute(plan, engine, charged=ledger is not None)
    _check_stamps(query.table, before)
    told.finish()
    files, digest = ({}, table_digest(plain(made.table))) if out is None else rendered(made, out)
    if ledger is not None and out is not None:
        # Noted before it is written, so that after a kill between the two lines below the file is known for ours. The
        # file itself must not say under which id it was charged: that is derived from the protected rows.
        ledger.progress(release_id, 0, digest)
    write(files)
    if ledger is not None:
        ledger.seal(release_id, digest)
    return made


def check(plan: ReleasePlan, engine: Engine) -> None:
    """Refuse, before anything is charged, what collecting would refuse: missing columns, persons and keys, overflow.

    Raises:
        DataError: naming the column and the remedy.
    """
    query = provisional(plan.query)
    with engine.open(query.table, columns=columns_used(query)) as session:
        kinds = session.columns()
        check_kinds(query, kinds)
        check_rows(Plan(query=query, session=session, kinds=kinds), specs_of(query))


def _compute(plan: ReleasePlan, engine: Engine, *, charged: bool) -> Release:
    random = SecureRandom()
    ranges = {column: _find_range(plan, column, engine, random) for column in plan.ranges}
    query = with_ranges(plan.query, ranges)
    table = published_table(plan, query, collect(query, engine), random)
    about: dict[str, Any] = {
        "query": query.to_json(),
        "keys": list(key_columns(query)),
        "figures": list(labels_of(query)),
        "cells": {key.column: key.cell for key in query.by if key.cell is not None},
        "ranges": {column: list(ends) for column, ends in ranges.items()},
        "noise": {name: {"kind": price.kind, "price": price.amount} for name, price in plan.prices.items()},
        "threshold": None if plan.selection is None else plan.selection.threshold,
        "level": 0.95,
        "limits": list(limits_of(plan)),
    }
    return Release(table=table, claim=claim_of(plan, charged=charged), about=to_json(about))


def _find_range(plan: ReleasePlan, column: str, engine: Engine, random: SecureRandom) -> tuple[float, float]:
    query = plan.ranges[column]
    found = query.aggregates[0]
    measure = BinCounts(aggregate=found, tree=Tree(bins=found.bins, blocks=(1,)))  # type: ignore[arg-type, union-attr]
    noise = plan.range_prices[column].noise(measure.sensitivity(query))
    exact = measure.exact(collect(query, engine).groups)
    return choose_range(noise.added_to(exact, random)[0], noise, column=column)


def _check_out(out: Path) -> None:
    if out.suffix not in (".parquet", ".csv"):
        raise UsageError("a release is a .parquet or a .csv file", where=str(out), hint="choose one of the two endings")
    make_folder(out.parent)


def _stamps(table: Table) -> list[Stamp] | None:
    """What tells that files did not change between two looks; None for tables elsewhere, or under a stated name."""
    in_files = isinstance(table.source, str | Path) and table.name is None and not is_postgres(table)
    return stamps(files_of(table.source)) if in_files else None


def _check_stamps(table: Table, before: list[Stamp] | None) -> None:
    if before is not None:
        check_unchanged(table.source, before)


def _dataset(query: Query) -> str:
    """The key under which the ledger adds up what was released about these people."""
    unit = unit_of(query)
    if query.table.name is not None:
        return dataset_key(name=query.table.name, unit=unit)
    digest = source_digest(query.table)
    if digest is not None:
        return dataset_key(source_sha256=digest, unit=unit)
    raise UsageError(
        "a live table needs a name under which the ledger adds up its releases",
        hint="give the table a name, always the same one for the same people",
    )


def _release_id(plan: ReleasePlan, dataset: str) -> str:
    """Stands for what defines the release: what is asked, of which data (not: in which file), at which price."""
    return digest_value(
        {
            "release": "wardline.release/1",
            "query": {**plan.query.to_json(), "table": None},
            "dataset": dataset,
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "kind": plan.kind,
            "totals": plan.totals,
            "prices": {name: price.amount for name, price in {**plan.prices, **plan.range_prices}.items()},
        }
    )


def _settled(ledger: Ledger, release_id: str, dataset: str, out: Path | None) -> Release | None:
    """The result of the newest attempt, if it is there and whole.

    - Sealed, and the file is the sealed one: it is the result.
    - Charged and not sealed, and the file is the one noted for this charge: the kill came between writing and
      sealing. It is sealed now.
    - Otherwise the result is lost, or never was: what is made now has to be charged anew.
    """
    if out is None or not out.exists():
        return None
    attempt = ledger.latest_attempt_id(release_id)
    charged = any(entry.kind == "charge" and entry.release_id == attempt for entry in ledger.entries(dataset))
    if not charged:
        return None
    try:
        found = read_release(out)
    except (IntegrityError, UsageError):
        return None  # not a result of ours, or a damaged one: what stands there is replaced
    noted, digest = ledger.checkpoint(attempt), sealed_digest(out)
    if noted is None or noted[1] != digest:
        return None
    ledger.seal(attempt, digest)  # changes nothing if it is sealed already
    return found


def _charge(ledger: Ledger, plan: ReleasePlan, release_id: str, dataset: str, limit: Limit | None) -> str:
    """Charge a new attempt; the id under which it stands."""
    while True:
        attempt = ledger.next_attempt_id(release_id)
        planned = PlannedRelease(
            release_id=attempt,
            dataset=dataset,
            unit=unit_of(plan.query),
            events=plan.events,
            description=_description(plan),
        )
        # Two processes may ask for the same number at once; the one that finds it taken takes the next.
        if ledger.charge(planned, limit=limit).fresh:
            return attempt


def _description(plan: ReleasePlan) -> str:
    words = f"table release: {plan.query}, epsilon {plan.epsilon:g}, delta {plan.delta:g}"
    told = "".join(character if character.isprintable() else "?" for character in words)
    return told if len(told) <= 500 else f"{told[:499]}…"
