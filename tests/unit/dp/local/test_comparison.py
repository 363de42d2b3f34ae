"""Central against local: figures from formulas against second opinions, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import integrate, stats

from wardline.core import JsonLinesProgress, to_json
from wardline.dp.local import compare_counts, compare_means
from wardline.dp.local._figures import laplace_std, mean_largest, student_quantile
from wardline.dp.local.comparison import measure


@pytest.mark.parametrize("free", [1, 2, 5, 19, 99])
@pytest.mark.parametrize("prob", [0.75, 0.975, 0.995])
def test_quantiles_are_student_s(prob: float, free: int) -> None:
    assert student_quantile(prob, free) == pytest.approx(stats.t.ppf(prob, free), rel=1e-5)


@pytest.mark.parametrize("scale", [0.05, 1.0, 40.0])
def test_the_standard_deviation_is_that_of_discrete_laplace_noise(scale: float) -> None:
    assert laplace_std(scale) == pytest.approx(stats.dlaplace(1 / scale).std(), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 50, 2**24])
def test_the_largest_error_is_the_expected_maximum(size: int) -> None:
    # Of Laplace errors the maximum has the harmonic number for its mean; of normal ones, by another integral.
    laplace = mean_largest(lambda t: 1 - math.exp(-t), size, 1.0)
    harmonic = sum(1 / one for one in range(1, size + 1)) if size < 1000 else math.log(size) + 0.5772156649
    assert laplace == pytest.approx(harmonic, rel=1e-4)
    normal = mean_largest(lambda t: math.erf(t / math.sqrt(2)), size, 1.0)
    expected, _ = integrate.quad(lambda t: -math.expm1(size * math.log1p(-2 * stats.norm.sf(t))), 0, 12, limit=200)
    assert normal == pytest.approx(expected, rel=1e-3)


def test_counts_from_formulas() -> None:
    found = compare_counts(size=50, people=100_000, epsilons=[0.5, 2.0])
    assert not found.measured
    assert found.epsilons == (0.5, 2.0)
    for epsilon in found.epsilons:
        central, local = found.central(epsilon), found.best_local(epsilon)
        assert central.rmse == pytest.approx(laplace_std(2 / epsilon))
        assert central.people_needed == 100_000
        e = math.exp(epsilon)
        assert local.rmse == pytest.approx(math.sqrt(100_000 * 4 * e / (e - 1) ** 2), rel=0.05)
        # With as many persons as it says, the share is as wrong as in the central model.
        again = compare_counts(size=50, people=round(local.people_needed), epsilons=[epsilon]).best_local(epsilon)
        assert again.rmse / local.people_needed == pytest.approx(central.rmse / 100_000, rel=1e-3)
    assert "times the error" in str(found)
    json.dumps(to_json(found))


def test_twice_the_people_double_the_price_of_trusting_no_one() -> None:
    def price(people: int) -> float:
        found = compare_counts(size=10, people=people, epsilons=[1.0])
        return found.best_local(1.0).rmse / found.central(1.0).rmse

    assert price(4_000_000) / price(1_000_000) == pytest.approx(2.0, rel=1e-6)


def test_measuring_intervals() -> None:
    given = iter([np.array([3.0, -4.0]), np.array([0.0, 1.0]), np.array([-2.0, 2.0])])
    found = measure(lambda: next(given), 3)
    squares = [12.5, 0.5, 4.0]
    assert found.rmse == pytest.approx(math.sqrt(np.mean(squares)))
    assert found.largest == pytest.approx((4 + 1 + 2) / 3)
    low, high = stats.t.interval(0.95, 2, np.mean([4, 1, 2]), stats.sem([4, 1, 2]))
    assert found.largest_interval.low == pytest.approx(max(0, low), rel=1e-5)
    assert found.largest_interval.high == pytest.approx(high, rel=1e-5)
    assert found.rmse_interval.low <= found.rmse <= found.rmse_interval.high


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    compare_means(
        lower=0, upper=1, people=10, epsilons=[1.0], values=[0.5] * 10, progress=JsonLinesProgress(sys.stderr)
    )
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert told[0] == {"event": "start", "stage": "compare", "done": 0, "total": 4, "seconds": told[0]["seconds"]}
    assert told[-1]["event"] == "finish"


BAD_COUNTS = [
    {"size": 1},
    {"people": 0},
    {"epsilons": []},
    {"epsilons": [0.0]},
    {"epsilons": [1.0, float("nan")]},
    {"values": [0, 1]},
    {"values": [0, 1, 5]},
    {"values": [0, 1, -1]},
    {"values": [0, 1, 2], "draws": 1},
]
BAD_MEANS = [
    {"lower": 1.0},
    {"upper": float("inf")},
    {"values": [0.5]},
    {"values": [0.5, 0.5, float("nan")]},
]


@pytest.mark.parametrize("index", range(len(BAD_COUNTS)))
def test_bad_counts_are_refused(index: int) -> None:
    with pytest.raises(ValueError):
        compare_counts(**{"size": 5, "people": 3, "epsilons": [1.0], **BAD_COUNTS[index]})


@pytest.mark.parametrize("index", range(len(BAD_MEANS)))
def test_bad_means_are_refused(index: int) -> None:
    with pytest.raises(ValueError):
        compare_means(**{"lower": 0.0, "upper": 1.0, "people": 3, "epsilons": [1.0], **BAD_MEANS[index]})
