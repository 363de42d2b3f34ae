"""Bounding keeps what it says, depends on each person's own rows alone, and no neighbour exceeds the sensitivity."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from wardline.dp.engines import DuckDbEngine
from wardline.dp.queries import (
    Bound,
    Count,
    Histogram,
    Key,
    Mean,
    Persons,
    Quantiles,
    Query,
    Sum,
    Table,
    TopK,
    Variance,
    collect,
)

ENGINE = DuckDbEngine(threads=1)
SCHEMA = pa.schema({"person": pa.string(), "area": pa.string(), "x": pa.float64(), "y": pa.int64()})

value = st.none() | st.sampled_from([0.0, 1.0, 100.0, -math.inf, math.inf, math.nan]) | st.floats(-5, 105)
row = st.tuples(st.sampled_from("abc"), st.sampled_from(["s", "t", "ü"]), value, st.none() | st.integers(-3, 3))
rows = st.lists(row, max_size=25).flatmap(
    lambda r: st.lists(st.sampled_from(r), max_size=25).map(r.__add__) if r else st.just(r)
)
limit = st.none() | st.integers(1, 6)
bounds = (
    st.builds(lambda r, k, m: (r, k, m), limit, limit, limit)
    .filter(lambda b: b[0] or (b[1] and b[2]))
    .map(lambda b: Bound(rows=b[0], groups=b[1], rows_per_group=b[2]))
)
AREA = st.sampled_from([(), (Key("area"),), (Key("area", ["ü", "s", "none"]),)])
quietly = settings(
    deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
AGGREGATES = (
    Count(),
    Persons(),
    Sum("x", lower=-2, upper=90),
    Mean("x", lower=0, upper=100),
    Variance("x", lower=0, upper=100),
    Quantiles("x", lower=0, upper=100, bins=5),
    Histogram("y", edges=[-3, 0, 2]),
    TopK("y", k=2),
)
some = st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=3, unique_by=lambda one: one.label)


def table(found):
    columns = list(zip(*found, strict=True)) or [()] * len(SCHEMA)
    return Table(
        pa.Table.from_arrays([pa.array(c, type=f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
    )


def asked(found, bound, by, aggregates=AGGREGATES):
    return collect(Query(table=table(found), unit="person", bound=bound, by=by, aggregates=aggregates), ENGINE)


def cells(found):
    """Every statistic as one vector over groups and bins, by group, so that frames with different groups compare."""
    vectors = defaultdict(dict)
    frames = {"": found.groups, **{str(k): v for k, v in found.candidates.items()}}
    for frame_name, frame in frames.items():
        groups = (
            list(zip(*(frame.keys[i].to_pylist() for i in range(frame.keys.num_columns)), strict=True))
            or [()] * frame.size
        )
        for name, one in frame.statistics.items():
            flat = one.values.reshape(frame.size, -1) if frame.size else one.values
            for group, line in zip(groups, flat, strict=True):
                for bin_, figure in enumerate(line.tolist()):
                    vectors[frame_name, name][group, bin_] = figure
    return vectors


def sensitivities(found):
    frames = {"": found.groups, **{str(k): v for k, v in found.candidates.items()}}
    return {(f, n): one.per_unit for f, frame in frames.items() for n, one in frame.statistics.items()}


def excess(one, other, declared):
    """The statistics whose change exceeds what was declared."""
    bad = []
    for name, limit in declared.items():
        a, b = one[name], other[name]
        change = [abs(a.get(cell, 0) - b.get(cell, 0)) for cell in a.keys() | b.keys()]
        if (
            sum(change) > limit.l1
            or sum(c * c for c in change) > limit.l2_squared
            or max(change, default=0) > limit.linf
        ):
            bad.append(name)
    return bad


@settings(quietly, max_examples=40)
@given(rows=rows, bound=bounds, by=AREA, aggregates=some, person=st.sampled_from("abc"))
def test_no_neighbour_exceeds_the_sensitivity(rows, bound, by, aggregates, person):
    whole = asked(rows, bound, by, aggregates)
    less = asked([r for r in rows if r[0] != person], bound, by, aggregates)
    assert excess(cells(whole), cells(less), sensitivities(whole)) == []


@pytest.mark.parametrize(
    "bound", [Bound(rows=3), Bound(groups=2, rows_per_group=2), Bound(groups=3, rows_per_group=1, rows=2)]
)
def test_the_sensitivity_is_reached(bound):
    """A person who does the worst: the declared figures are no larger than need be (and the test above can fail)."""
    by = (Key("area", ["s", "t", "ü"]),)
    worst = [("a", area, 90.0, 1) for area in ["s", "t", "ü"] for _ in range(5)]
    whole, none = asked(worst, bound, by), asked([], bound, by)
    declared = sensitivities(whole)
    l1 = {name: sum(abs(c) for c in vector.values()) for name, vector in cells(whole).items()}
    for name in [("", "rows"), ("", next(n for n in whole.groups.statistics if n.startswith("sum of 'x': [-2")))]:
        assert l1[name] == declared[name].l1
        assert not any(cells(none)[name].values())
    # Half of what was declared would be caught.
    halved = {n: type(s)(l1=s.l1 // 2, l2_squared=s.l2_squared // 4, linf=s.linf) for n, s in declared.items()}
    assert ("", "rows") in excess(cells(whole), cells(none), halved)


@settings(quietly, max_examples=20)
@given(rows=rows, bound=bounds, order=st.randoms(use_true_random=False), aggregates=some)
def test_the_order_of_rows_does_not_matter(rows, bound, order, aggregates):
    shuffled = list(rows)
    order.shuffle(shuffled)
    first, second = (cells(asked(one, bound, (Key("area"),), aggregates)) for one in (rows, shuffled))
    assert first == second


def offset(stage, person):
    return int(hashlib.md5(f"wardline.bound/1|{stage}|{person}".encode()).hexdigest()[:15], 16)


def sampled(things, most, start):
    n = len(things)
    return things if n <= most else [t for i, t in enumerate(things) if (i * most + start % n) % n < most]


def first_none(value):
    return (value is not None, value if value is not None else 0)


def oracle(rows, bound, listed):
    """The rows kept, as the docstring says it, in Python: of (area, whole number of y)."""
    kept = []
    mine = defaultdict(list)
    for person, area, _, y in rows:
        if listed is None or area in listed:
            mine[person].append((area.encode(), None if y is None else min(max(y, -2), 2)))
    for person, own in sorted(mine.items()):
        own = sorted(own, key=lambda r: (r[0], first_none(r[1])))
        if bound.groups:
            groups = sampled(sorted({r[0] for r in own}), bound.groups, offset("groups", person))
            own = [r for r in own if r[0] in groups]
        if bound.rows_per_group:
            own = [
                r
                for g in sorted({r[0] for r in own})
                for r in sampled([r for r in own if r[0] == g], bound.rows_per_group, offset("rows_per_group", person))
            ]
        if bound.rows:
            own = sampled(own, bound.rows, offset("rows", person))
        kept += [(person, *r) for r in own]
    return kept


@settings(quietly, max_examples=60)
@given(rows=rows, bound=bounds, listed=st.sampled_from([None, ["ü", "s", "none"]]))
@example(rows=[("a", "s", None, None)] * 9 + [("a", "t", None, 1)] * 9, bound=Bound(rows=6), listed=None)
def test_it_keeps_what_the_docstring_says(rows, bound, listed):
    found = asked(rows, bound, (Key("area", listed),), (Count(), Persons(), Sum("y", lower=-2, upper=2, quantum=1.0)))
    kept = oracle(rows, bound, listed)
    areas = found.groups.keys["area"].to_pylist()
    count, sums = Counter(r[1] for r in kept), Counter()
    for _, area, y in kept:
        sums[area] += y or 0
    persons = Counter(area for _, area in {(p, a) for p, a, _ in kept})
    figures = {name: one.values.tolist() for name, one in found.groups.statistics.items()}
    assert figures["rows"] == [count[a.encode()] for a in areas]
    assert figures["persons"] == [persons[a.encode()] for a in areas]
    assert next(v for n, v in figures.items() if n.startswith("sum")) == [sums[a.encode()] for a in areas]
    if listed is None:
        assert areas == sorted((area.decode() for area in count), key=str.encode)


def test_each_row_has_the_same_chance():
    """1,000 persons with 10 rows each, of which 3 are kept: each of the 10 about 300 times.

    A row's count is Binomial(1000, 0.3), sd 14.5, if offsets are even; |count - 300| > 100 has probability below 1e-11
    (Bernstein), 1e-10 for any of ten. A rule that favours one row by half (450) is off by 150 and caught.
    """
    people = [(str(p), str(i), 1.0, i) for p in range(1000) for i in range(10)]
    counts = asked(people, Bound(rows=3), (Key("area"),), (Count(),)).groups.statistics["rows"].values
    assert counts.sum() == 3000
    assert np.all(np.abs(counts - 300) <= 100)
    first = Counter(r[3] for p in range(1000) for r in people[10 * p : 10 * p + 3])  # a rule that takes the first three
    assert max(abs(first[i] - 300) for i in range(10)) > 150


@settings(quietly, max_examples=40)
@given(
    xs=st.lists(st.floats(allow_nan=False) | st.floats(-10, 110), min_size=1, max_size=30),
    ends=st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)),
)
def test_quantised_sums_are_near_the_exact_ones(xs, ends):
    lower, upper = ends[0], ends[0] + ends[1]
    found = asked(
        [(str(i), "s", x, 0) for i, x in enumerate(xs)],
        Bound(rows=1),
        (),
        (Mean("x", lower=lower, upper=upper), Variance("x", lower=lower, upper=upper)),
    )
    statistics = found.groups.statistics
    names = found.names(found.query.aggregates[1])
    clipped = [Fraction(min(max(x, lower), upper)) for x in xs]
    one = statistics[names["sum"]]
    assert statistics[names["count"]].values[0] == len(xs)
    total = Fraction(one.quantum) * int(one.values[0]) + Fraction(one.centre) * len(xs)
    assert abs(total - sum(clipped)) <= len(xs) * (
        Fraction(one.quantum) * Fraction(51, 100) + Fraction(upper - lower) / 2**40
    )
    assert one.quantum <= (upper - lower) / 2 / 2**19
    two = statistics[names["squares"]]
    squares = Fraction(two.quantum) * int(two.values[0]) + Fraction(two.centre) * len(xs)
    exact = sum((x - Fraction(one.centre)) ** 2 for x in clipped)
    half = Fraction(upper - lower) / 2
    assert abs(squares - exact) <= len(xs) * half**2 * Fraction(1, 2**18)
