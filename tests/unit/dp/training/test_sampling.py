import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import SecureRandom, Seeds
from wardline.dp.training.sampling import UnitRows, poisson_sample


@given(st.lists(st.integers(0, 5), max_size=30), st.sets(st.integers(0, 5)))
def test_a_sampled_unit_brings_all_of_its_rows_and_nobody_elses(units, wanted):
    unit = np.unique(np.array(units, dtype=np.int64), return_inverse=True)[1].astype(np.int64)
    table = UnitRows(unit)
    chosen = np.array(sorted(one for one in wanted if one < len(table)), dtype=np.int64)
    rows, position = table.rows(chosen)
    assert sorted(rows) == [row for row in range(len(unit)) if unit[row] in chosen]
    np.testing.assert_array_equal(chosen[position], unit[rows])
    assert (np.diff(position) >= 0).all()
    assert table.most == max(np.bincount(unit), default=0)


@pytest.mark.parametrize("unit", [[0, 2], [-1, 0], [1]])
def test_units_that_are_not_dense_are_refused(unit):
    with pytest.raises(ValueError, match="numbered"):
        UnitRows(np.array(unit, dtype=np.int64))


def test_a_sample_is_ascending_and_everybody_joins_at_rate_one():
    sample = poisson_sample(1000, sample_rate=0.3, random=SecureRandom())
    assert (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(poisson_sample(7, sample_rate=1.0, random=SecureRandom()), np.arange(7))


def test_samples_may_be_empty():
    random = SecureRandom()
    # At a rate of 1/1000 all of 200 samples of one unit are empty with probability 0.8.
    assert min(len(poisson_sample(1, sample_rate=1e-3, random=random)) for _ in range(200)) == 0


@pytest.mark.parametrize("random", [Seeds(0), np.random.default_rng(0), None])
def test_nothing_that_can_be_seeded_is_accepted(random):
    with pytest.raises(TypeError, match="SecureRandom"):
        poisson_sample(10, sample_rate=0.5, random=random)


@pytest.mark.parametrize("sample_rate", [0.0, -0.1, 1.1, float("nan")])
def test_rates_out_of_range_are_refused(sample_rate):
    with pytest.raises(ValueError, match="sample_rate"):
        poisson_sample(10, sample_rate=sample_rate, random=SecureRandom())
    with pytest.raises(ValueError, match="unit"):
        poisson_sample(0, sample_rate=0.5, random=SecureRandom())
