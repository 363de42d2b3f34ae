import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wardline.core import SecureRandom, Seeds
from wardline.dp.training.sampling import PoissonSampler, UnitRows, poisson_sample


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


@pytest.mark.parametrize("sample_rate", [1e-6, 0.01, 0.5, 0.999, 1.0])
def test_samples_of_a_block_are_ascending_and_in_range(sample_rate):
    sampler = PoissonSampler(300, sample_rate=sample_rate, random=SecureRandom())
    samples = [sampler.draw() for _ in range(600)]  # more than a block
    for sample in samples:
        assert sample.dtype == np.int64
        assert (np.diff(sample) > 0).all()
        assert not len(sample) or (sample[0] >= 0 and sample[-1] < 300)
    # Poisson in good approximation, at most 300 in each: six standard deviations, a false alarm of 2e-9.
    expected = 600 * 300 * sample_rate
    assert abs(sum(map(len, samples)) - expected) <= 6 * np.sqrt(expected * (1 - sample_rate) + 1)
    assert sample_rate > 1e-3 or min(map(len, samples)) == 0


@pytest.mark.parametrize("sample_rate", [0.003, 0.1, 0.7])
def test_the_first_and_the_last_unit_of_a_step_join_like_the_others_and_a_lost_end_would_be_noticed(sample_rate):
    # What goes wrong where a line of coins is cut into steps goes wrong at its ends.
    steps, alarm = 40_000, 1e-6 / 5
    sampler = PoissonSampler(5, sample_rate=sample_rate, random=SecureRandom())
    joined = np.zeros(5, dtype=np.int64)
    for _ in range(steps):
        joined[sampler.draw()] += 1
    for count in joined:
        assert stats.binomtest(int(count), steps, sample_rate).pvalue > alarm
    # A unit that is lost at every end of a step would be noticed, and so would one that joins a third more often.
    assert stats.binomtest(0, steps, sample_rate).pvalue < alarm
    assert stats.binomtest(round(4 / 3 * sample_rate * steps) + 80, steps, sample_rate).pvalue < alarm


def test_gaps_are_geometric_and_one_that_is_off_by_one_would_be_noticed():
    rate, draws = 0.2, 200_000
    gaps = PoissonSampler(10**6, sample_rate=rate, random=SecureRandom())._gaps(draws)
    values = np.arange(1, 31)
    expected = draws * np.append(rate * (1 - rate) ** (values - 1), (1 - rate) ** 30)

    def p_value(found):
        counts = np.append([(found == value).sum() for value in values], (found > 30).sum())
        return stats.chisquare(counts, expected).pvalue

    assert p_value(gaps) > 1e-6
    assert p_value(gaps + 1) < 1e-6
    assert p_value(np.where(gaps == 1, 2, gaps)) < 1e-6


def test_a_rate_next_to_nothing_and_many_units_do_not_overflow():
    for n_units, sample_rate in ((10**12, 1e-11), (1, 1e-300), (3, 5e-324)):
        sampler = PoissonSampler(n_units, sample_rate=sample_rate, random=SecureRandom())
        assert all(len(sampler.draw()) < 100 for _ in range(20))


@pytest.mark.parametrize("random", [Seeds(0), np.random.default_rng(0), None])
def test_a_sampler_takes_nothing_that_can_be_seeded(random):
    with pytest.raises(TypeError, match="SecureRandom"):
        PoissonSampler(10, sample_rate=0.5, random=random)
