"""A small encrypted table, its key and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardline.he.queries.choice import plan_table
from wardline.he.queries.derivation import derive_schema
from wardline.he.queries.folder import EncryptedTable, read_encrypted_table, write_table
from wardline.he.queries.language import Query, parse_where
from wardline.he.queries.plan import Reader, TablePlan
from wardline.he.queries.rows import encrypt_table


def people(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Texts, truth values, whole numbers and decimals below 0, some of them missing."""
    generator = np.random.default_rng(seed)
    debt = np.round(generator.normal(0, 5000, rows), 1)
    debt[::7] = np.nan
    states = np.array(["CA", "New York", "TX", None], dtype=object)
    return {
        "sex": generator.choice(["F", "M"], rows).astype(object),
        "state": states[generator.choice(4, rows, p=[0.3, 0.3, 0.3, 0.1])],
        "insured": generator.choice([True, False], rows),
        "age": generator.integers(17, 90, rows),
        "debt": debt,
    }


def ask(kind: str, column: str | None = None, where: str = "") -> Query:
    return Query(kind=kind, column=column, where=parse_where(where) if where else ())


def wanted(columns: Mapping[str, np.ndarray], query: Query) -> Any:
    """The same answer from DuckDB: a count, a sum (0 of nothing), a mean and its count, or counts by value."""
    import duckdb
    import pyarrow as pa

    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    conditions = []
    for one in query.where:
        values = ", ".join(f"'{value}'" for value in one.values)
        right = {"is missing": "IS NULL", "is not missing": "IS NOT NULL"}.get(one.comparison)
        if right is None:
            right = f"{one.comparison} ({values})" if "in" in one.comparison else f"{one.comparison} {values}"
        conditions.append(f'"{one.column}" {right}')
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    with duckdb.connect() as connection:
        connection.register("people", table)
        match query.kind:
            case "count":
                return connection.execute(f"SELECT count(*) FROM people {where}").fetchone()[0]
            case "sum" | "mean":
                column = f'CAST("{query.column}" AS DECIMAL(18, 1))'
                total, count = connection.execute(
                    f"SELECT sum({column}), count({column}) FROM people {where}"
                ).fetchone()
                return total or 0, count
            case _:
                sql = f'SELECT "{query.column}", count(*) FROM people {where} GROUP BY 1'
                return {str(key): rows for key, rows in connection.execute(sql).fetchall()}


@dataclass(frozen=True)
class Owner:
    """The owner, and the server's folder."""

    columns: dict[str, np.ndarray]
    plan: TablePlan
    lattice: Any
    folder: Path
    table: EncryptedTable


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory):
    """Makes an encrypted table of people, once for each number of rows, filters and reader."""
    pytest.importorskip("tenseal")
    from wardline.he.seal.bridge import SealLattice

    made: dict[tuple, Owner] = {}

    def make(rows: int = 5000, *, filters: int = 2, reader: Reader = "owner", drop: tuple[str, ...] = ()) -> Owner:
        name = (rows, filters, reader, drop)
        if name not in made:
            columns = {key: values for key, values in people(rows).items() if key not in drop}
            plan = plan_table(derive_schema(columns)[0], rows, filters=filters, reader=reader)
            lattice = SealLattice.generate(plan.parameters)
            folder = tmp_path_factory.mktemp("table")
            keys = lattice.evaluation_keys(relinearisation=plan.depth > 0)
            write_table(folder, plan, key=lattice.key.id, keys=keys, columns=encrypt_table(lattice, plan, columns))
            made[name] = Owner(columns, plan, lattice, folder, read_encrypted_table(folder))
        return made[name]

    return make


@pytest.fixture(scope="session")
def asking():
    """What tests ask, and what DuckDB answers: they cannot import this file."""
    return ask, wanted, people
