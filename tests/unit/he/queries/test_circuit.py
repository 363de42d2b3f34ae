"""Circuits: computed in the clear they give what DuckDB gives, and questions that cannot be answered are refused."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core.errors import UsageError
from wardline.he.queries.choice import plan_table
from wardline.he.queries.circuit import plan_query, typical_queries
from wardline.he.queries.derivation import derive_schema
from wardline.he.queries.plan import TablePlan
from wardline.he.queries.rows import Result, simulate
from wardline.he.queries.schema import MISSING, NumberColumn


def made(columns: dict[str, np.ndarray], **settings) -> TablePlan:
    return plan_table(derive_schema(columns)[0], len(next(iter(columns.values()))), **settings)


def same(found: Result, query, expected, plan: TablePlan) -> None:
    match query.kind:
        case "count":
            assert found.count == expected
        case "sum":
            assert found.total == expected[0]
        case "mean":
            assert (found.total, found.count) == expected
            assert found.mean == (pytest.approx(float(expected[0]) / expected[1], rel=1e-15) if expected[1] else None)
        case _:
            column = plan.schema.columns[plan.schema.index(query.column)]
            assert found.histogram is not None
            counts = dict.fromkeys(found.histogram, 0)
            for key, rows in expected.items():
                if key == "None":
                    name = MISSING
                elif isinstance(column, NumberColumn):
                    value = round(float(key) / float(column.unit))
                    name = next(
                        level
                        for level, (low, below) in zip(column.levels, column.buckets, strict=False)
                        if low <= value < below
                    )
                else:
                    name = {"True": "true", "False": "false"}.get(key, key)
                counts[name] += rows
            assert found.histogram == counts


def random_condition(generator: np.random.Generator, plan: TablePlan) -> str:
    column = plan.schema.columns[generator.integers(len(plan.schema.columns))]
    if column.missing and generator.random() < 0.15:
        return f"{column.name} is {'not ' if generator.random() < 0.7 else ''}missing"
    if isinstance(column, NumberColumn):
        edge = column.text(int(generator.choice(column.edges)))
        return f"{column.name} {generator.choice(['>=', '<'])} {edge}"
    names = generator.permutation(column.categories)[: generator.integers(1, len(column.categories) + 1)]
    word = "in" if generator.random() < 0.6 else "not in"
    return f"{column.name} {word} ({', '.join(repr(str(one)) for one in names)})"


def test_random_queries_are_those_of_duckdb(asking) -> None:
    ask, wanted, people = asking
    columns = people(700, seed=3)
    plan = made(columns, filters=4)
    generator = np.random.default_rng(4)
    refused = 0
    for number in range(100):
        kind = ["count", "sum", "mean", "histogram"][number % 4]
        names = {"count": [None], "histogram": list(columns)}.get(kind, ["age", "debt"])
        column = names[generator.integers(len(names))]
        where = " and ".join(random_condition(generator, plan) for _ in range(generator.integers(0, 4)))
        query = ask(kind, column, where)
        try:
            circuit = plan_query(plan, query)
        except UsageError:
            refused += 1
            continue
        same(simulate(plan, circuit, columns), query, wanted(columns, query), plan)
    assert refused < 30, "most of them can be answered"


def test_sets_and_ranges_of_one_column_take_one_factor(asking) -> None:
    ask, _, people = asking
    plan = made(people(700))
    circuit = plan_query(plan, ask("count", None, "state != CA and state in (CA, TX) and age >= 17 and age < 200"))
    assert len(circuit.filters) == 1
    assert circuit.depth == 0
    everything = plan_query(plan, ask("sum", "age", "age >= 17 and sex in (F, M)"))
    assert not everything.filters


def test_comparisons_take_the_edge_between_two_values(asking) -> None:
    ask, wanted, people = asking
    columns = people(700)
    plan = made(columns)
    debt = plan.schema.columns[plan.schema.index("debt")]
    assert isinstance(debt, NumberColumn)
    edge, before = debt.text(debt.edges[-1]), debt.text(debt.edges[-1] - 1)
    between = before + "5"
    assert debt.text(debt.edges[-1] - 1) != edge
    counts = {}
    for where in (f"debt >= {edge}", f"debt > {before}", f"debt < {edge}", f"debt <= {before}", f"debt > {between}"):
        query = ask("count", None, where)
        counts[where] = simulate(plan, plan_query(plan, query), columns).count
        assert counts[where] == wanted(columns, query)
    assert len(set(counts.values())) == 2


def test_a_limit_with_many_digits_is_not_rounded(asking) -> None:
    ask, _, _ = asking
    columns = {"age": np.array([29, 30, 31, 40])}
    plan = made(columns)
    counts = []
    for limit in ("30", f"30.{'0' * 40}1"):
        circuit = plan_query(plan, ask("count", None, f"age >= {limit}"))
        counts.append(simulate(plan, circuit, columns).count)
    assert counts == [3, 2]


@pytest.mark.parametrize(
    ("kind", "column", "where", "message"),
    [
        ("count", None, "height = 3", "no column 'height'"),
        ("sum", "height", "", "no column"),
        ("count", None, "sex = X", "no category 'X'"),
        ("count", None, "sex > F", "in no order"),
        ("count", None, "age = x", "something else than a number"),
        ("count", None, "age in (30)", "names a range"),
        ("count", None, "age >= 30.5", "without an edge at 31"),
        ("count", None, "sex = F and sex = M", "excludes every row"),
        ("count", None, "age < 17", "excludes every row"),
        ("count", None, "sex is missing", "excludes every row"),
        ("count", None, "", "the answer is public: the table has 700 rows"),
        ("count", None, "age >= 17", "the answer is public"),
        ("sum", "sex", "", "cannot be added up"),
        ("mean", "debt", "debt is missing", "no values"),
        ("sum", "age", "sex = F and insured = true and state = CA and debt is missing", "takes 3 products"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(asking, kind, column, where: str, message: str) -> None:
    ask, _, people = asking
    plan = made(people(700), filters=2)
    if "takes 3" in message:
        where, message = where, "takes 3 products in a row"
    with pytest.raises(UsageError, match=message) as caught:
        plan_query(plan, ask(kind, column, where))
    assert caught.value.hint


def test_a_column_with_one_level_has_no_histogram(asking) -> None:
    ask, _, _ = asking
    plan = made({"same": np.array(["x"] * 5, dtype=object), "age": np.arange(5)})
    with pytest.raises(UsageError, match="one level"):
        plan_query(plan, ask("histogram", "same"))


def test_typical_queries_are_as_deep_as_the_table_bears(asking) -> None:
    _, _, people = asking
    for filters in (0, 1, 3):
        plan = made(people(700), filters=filters)
        depths = [circuit.depth for circuit in typical_queries(plan).values()]
        assert max(depths) == plan.depth
