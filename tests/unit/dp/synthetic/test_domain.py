import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import DataError, SecureRandom
from wardline.data import Column, Contract, enforce
from wardline.dp.synthetic import Attribute, Domain, Measured
from wardline.dp.synthetic.coarsen import coarsen, identity

RANDOM = SecureRandom()
CONTRACT = Contract(
    columns=(
        Column(name="age", kind="integer", low=17, high=90),
        Column(name="gain", kind="integer", low=0, high=99_999, scale="log"),
        Column(name="dose", kind="number", low=-1.5, high=10.0, missing=True),
        Column(name="fee", kind="number", low=1.0, high=1e6, scale="log"),
        Column(name="ward", kind="category", values=("north", "south", "?"), missing=True),
        Column(name="note", kind="ignore"),
        Column(name="sick", kind="boolean"),
    ),
    target="sick",
)


def test_the_domain_is_the_contracts():
    domain = Domain.of(CONTRACT, cells=32)
    assert domain.names == ("age", "gain", "dose", "fee", "ward", "sick")
    assert domain.sizes == (32, 31, 33, 32, 4, 2)
    assert Domain.of(CONTRACT, cells=100).sizes[0] == 74, "a range of 74 whole numbers has one cell for each"


@pytest.mark.parametrize("cells", [2, 7, 256])
def test_a_decoded_cell_encodes_to_itself(cells):
    for attribute in Domain.of(CONTRACT, cells=cells).attributes:
        places = np.repeat(np.arange(attribute.size), 50)
        values = pa.chunked_array([attribute.decode(places, random=RANDOM)])
        np.testing.assert_array_equal(attribute.encode(values), places)


def test_decoding_keeps_types_and_ranges():
    domain = Domain.of(CONTRACT, cells=16)
    rows = 4000
    cells = [np.arange(rows) % size for size in domain.sizes]
    table = domain.decode(cells, random=RANDOM)
    assert [str(field.type) for field in table.schema] == ["int64", "int64", "double", "double", "string", "bool"]
    held = enforce(CONTRACT, table.append_column("note", pa.nulls(rows, pa.string())))
    assert held.num_rows == rows
    assert min(table["age"].to_pylist()) == 17
    assert max(table["age"].to_pylist()) == 90
    assert table["ward"].null_count == rows // 4


def test_whole_numbers_are_spread_over_their_cell():
    attribute = Attribute.of(Column(name="n", kind="integer", low=0, high=99), cells=10)
    drawn = np.array(attribute.decode(np.full(20_000, 3), random=RANDOM).to_pylist())
    assert set(drawn) == set(range(30, 40))
    # Each of ten values 2,000 times in the mean; 300 are seven standard deviations.
    assert np.abs(np.bincount(drawn)[30:] - 2000).max() < 300


@given(st.integers(-(2**40), 2**40), st.integers(1, 2**41), st.integers(2, 300), st.sampled_from(["linear", "log"]))
@settings(max_examples=200, deadline=None)
def test_every_range_is_cut_without_a_gap(low, width, cells, scale):
    column = Column(name="n", kind="integer", low=low, high=low + width, scale=scale)
    attribute = Attribute.of(column, cells=cells)
    edges = attribute.edges
    assert edges[0] == low
    assert edges[-1] == low + width + 1
    assert (np.diff(edges) >= 1).all()
    assert attribute.size <= max(cells, 2)
    ends = np.array([low, low + width])
    np.testing.assert_array_equal(attribute.encode(pa.chunked_array([pa.array(ends)])), [0, attribute.size - 1])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", pa.array([16])),
        ("age", pa.array([None], pa.int64())),
        ("dose", pa.array([10.5])),
        ("dose", pa.array([float("nan")])),
        ("ward", pa.array(["west"])),
    ],
)
def test_values_outside_of_the_contract_are_refused_without_being_told(name, values):
    attribute = next(one for one in Domain.of(CONTRACT).attributes if one.name == name)
    with pytest.raises(DataError, match=r"1 of 1 rows") as caught:
        attribute.encode(pa.chunked_array([values]))
    assert not any(str(value) in str(caught.value) for value in ("16", "10.5", "west"))


def test_senseless_numbers_of_cells_are_refused():
    for cells in (1, 1 << 17):
        with pytest.raises(ValueError, match="cells"):
            Domain.of(CONTRACT, cells=cells)


# --- merging -------------------------------------------------------------------------------------------


def noisy(counts, sigma=1.0):
    counts = np.array(counts, dtype=np.float64)
    return Measured(clique=(0,), counts=counts, variance=np.full(counts.shape, sigma**2))


def attribute_of(cells):
    return Attribute.of(Column(name="n", kind="integer", low=0, high=cells - 1), cells=cells)


def test_a_value_that_many_rows_have_stays_alone():
    counts = np.full(100, 20.0)
    counts[40] = 5000
    found = coarsen(attribute_of(100), noisy(counts, 5.0), bins=10)
    assert np.count_nonzero(found.groups == found.groups[40]) == 1
    assert 3 <= found.size < 60


def test_an_empty_range_is_not_told_apart_by_noise():
    rng = np.random.default_rng(0)
    counts = np.concatenate([[10_000.0], np.zeros(200), np.full(20, 50.0)]) + rng.normal(0, 10, 221)
    found = coarsen(attribute_of(221), noisy(counts, 10.0), bins=8)
    assert found.groups[0] == 0
    assert np.count_nonzero(found.groups == 0) == 1
    empty = found.shares[1:200]
    assert np.count_nonzero(empty) < 40, "most of what is empty is known to be empty"
    assert found.size <= 5


def test_rare_categories_become_one_group_that_shares_by_counts():
    attribute = Attribute.of(Column(name="c", kind="category", values=tuple("abcde"), missing=True), cells=2)
    found = coarsen(attribute, noisy([500.0, 2.0, 300.0, 1.0, -4.0, 0.0]), bins=4)
    np.testing.assert_array_equal(found.groups, [0, 2, 1, 2, 2, 3])
    np.testing.assert_allclose(found.shares, [1, 2 / 3, 1, 1 / 3, 0, 1])


def test_merged_counts_and_their_noise_add_up():
    attribute = Attribute.of(Column(name="c", kind="category", values=tuple("abc")), cells=2)
    measured = noisy([500.0, 2.0, 1.0], 4.0)
    merged = coarsen(attribute, measured, bins=4).merge(measured)
    np.testing.assert_allclose(merged.counts, [500, 3])
    np.testing.assert_allclose(merged.variance, [16, 32])


@given(st.lists(st.floats(-50, 5000), min_size=2, max_size=120), st.floats(0.5, 60), st.integers(2, 40))
@settings(max_examples=200, deadline=None)
def test_groups_are_runs_and_shares_add_up(counts, sigma, bins):
    found = coarsen(attribute_of(len(counts)), noisy(counts, sigma), bins=bins)
    assert set(np.diff(found.groups)) <= {0, 1}
    assert found.groups[0] == 0
    np.testing.assert_allclose(np.bincount(found.groups, weights=found.shares), 1.0)
    assert found.shares.min() >= 0


def test_splitting_follows_the_shares():
    attribute = Attribute.of(Column(name="c", kind="category", values=tuple("abcd")), cells=2)
    found = coarsen(attribute, noisy([900.0, 3.0, 1.0, 0.0], 2.0), bins=4)
    drawn = found.split(np.repeat([0, 1], 20_000), random=RANDOM)
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == 20_000
    assert counts[3] == 0
    assert abs(counts[1] - 15_000) < 500, "eight standard deviations"
    np.testing.assert_array_equal(identity(4).split(np.arange(4), random=RANDOM), np.arange(4))
