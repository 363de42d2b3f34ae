"""Is the whole-number noise what it claims to be, and do choice and selection keep their epsilon?

False-alarm probability: at most 1e-6 for each figure that is compared, by exact distributions (binomial), by chi-square
with at least fifty expected in each bin, or by the confidence of an audit. Beside each test stands what it must notice:
a twin that is wrong by a stated amount and lies at least five standard deviations beyond the alarm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from wardline.attacks import audit_mechanism
from wardline.attacks.auditing.mechanism_conformance import ALARM, check_fit, check_independence
from wardline.attacks.auditing.one_run import best_lower_bound, default_guesses, guess
from wardline.core import Claim, SecureRandom
from wardline.dp import noisy_sum
from wardline.dp.accounting import compose
from wardline.dp.mechanisms import (
    discrete_gaussian,
    discrete_laplace,
    exponential,
    gaussian_event,
    gaussian_partition_events,
    gaussian_partitions,
    geometric_partition_event,
    geometric_partitions,
    laplace_event,
    scale_for,
    threshold,
    truncation,
)

N = 400_000
CONFIDENCE = 1 - ALARM
Integers = NDArray[np.int64]
Cumulative = Callable[[Integers], NDArray[np.float64]]


def laplace_cdf(scale: float) -> Cumulative:
    def cumulative(values: Integers) -> NDArray[np.float64]:
        up, down = np.maximum(values, 0) + 1.0, np.minimum(values, 0) * 1.0
        twice = 1 + np.exp(-1 / scale)
        return np.where(values >= 0, 1 - np.exp(-up / scale) / twice, np.exp(down / scale) / twice)

    return cumulative


def gaussian_cdf(sigma: float) -> Cumulative:
    if sigma > 1e5:  # the discrete one differs from the continuous one by less than 1e-5 of a standard deviation
        return lambda values: stats.norm.cdf((values + 0.5) / sigma)
    places = np.arange(-int(40 * sigma) - 2, int(40 * sigma) + 3)
    table = np.cumsum(np.exp(-0.5 * (places / sigma) ** 2))
    return lambda values: (table / table[-1])[np.clip(values - places[0], 0, len(table) - 1)]


@pytest.mark.parametrize("scale", [0.3, 1.0, 7.5, 1000.0, 2.0**24, 2.0**24 + 1, 3e9, 2.0**54])
def test_discrete_laplace_has_its_distribution(scale: float) -> None:
    drawn = discrete_laplace(N, scale=scale, random=SecureRandom())
    assert check_fit(drawn, laplace_cdf(scale)).passed
    assert not check_fit(drawn, laplace_cdf(1.03 * scale)).passed, "noticed: a scale that is 3 % off"
    assert scale < 1 or check_independence(drawn).passed
    # The far tail, which few bins see: a binomial count beyond eight scales.
    beyond = int(8 * scale)
    prob = 2 * laplace_cdf(scale)(np.array([-beyond - 1]))[0]
    seen = int((np.abs(drawn) > beyond).sum())
    assert stats.binomtest(seen, N, prob).pvalue > ALARM
    assert stats.binomtest(0, N, prob).pvalue < ALARM or N * prob < 30, "noticed: a tail that is cut"


@pytest.mark.parametrize("sigma", [0.5, 1.0, 7.5, 1000.0, 2.0**24, 3e9, 2.0**53])
def test_discrete_gaussian_has_its_distribution(sigma: float) -> None:
    drawn = discrete_gaussian(N, sigma=sigma, random=SecureRandom())
    assert check_fit(drawn, gaussian_cdf(sigma)).passed
    assert not check_fit(drawn, gaussian_cdf(1.03 * sigma)).passed, "noticed: a scale that is 3 % off"
    assert sigma < 1 or check_independence(drawn).passed
    beyond = int(3.5 * sigma)
    prob = 2 * gaussian_cdf(sigma)(np.array([-beyond - 1]))[0]
    seen = int((np.abs(drawn) > beyond).sum())
    assert stats.binomtest(seen, N, prob).pvalue > ALARM
    assert stats.binomtest(0, N, prob).pvalue < ALARM or N * prob < 30, "noticed: a tail that is cut"


def same_distribution(one: Integers, other: Integers) -> bool:
    """Two-sample chi-square over bins that hold a hundred numbers or more."""
    together = np.concatenate([one, other])
    edges = np.unique(np.quantile(together, np.linspace(0, 1, 41)[1:-1], method="nearest"))
    table = np.array([np.bincount(np.searchsorted(edges, part), minlength=len(edges) + 1) for part in (one, other)])
    table = table[:, table.sum(axis=0) >= 100]
    return bool(stats.chi2_contingency(table, correction=False).pvalue > ALARM)


@pytest.mark.crosscheck
@pytest.mark.parametrize("scale", [0.7, 25.0, 1e6])
@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
def test_opendp_draws_from_the_same_distribution(kind: str, scale: float) -> None:
    """OpenDP's samplers are another exact implementation (of the algorithms of Canonne, Kamath and Steinke 2020)."""
    import opendp.prelude as opendp

    opendp.enable_features("contrib")
    count = 40_000
    space = opendp.vector_domain(opendp.atom_domain(T=int))
    if kind == "laplace":
        theirs = opendp.m.make_laplace(space, opendp.l1_distance(T=int), scale=scale)([0] * count)
        ours = discrete_laplace(count, scale=scale, random=SecureRandom())
        wrong = discrete_laplace(count, scale=1.2 * scale, random=SecureRandom())
        cumulative, shifted = laplace_cdf(scale), laplace_cdf(1.2 * scale)
    else:
        theirs = opendp.m.make_gaussian(space, opendp.l2_distance(T=float), scale=scale)([0] * count)
        ours = discrete_gaussian(count, sigma=scale, random=SecureRandom())
        wrong = discrete_gaussian(count, sigma=1.2 * scale, random=SecureRandom())
        cumulative, shifted = gaussian_cdf(scale), gaussian_cdf(1.2 * scale)
    assert same_distribution(ours, np.array(theirs))
    assert not same_distribution(wrong, np.array(theirs)), "noticed: a scale that is 20 % off"
    for drawn in (ours, np.array(theirs)):
        assert check_fit(drawn, cumulative).passed
        assert not check_fit(drawn, shifted).passed


def as_many_as(counts: Integers, probs: NDArray[np.float64]) -> bool:
    statistic = float(np.sum((counts - counts.sum() * probs) ** 2 / (counts.sum() * probs)))
    return bool(stats.chi2.sf(statistic, len(counts) - 1) > ALARM)


@pytest.mark.parametrize(("epsilon", "sensitivity", "monotonic"), [(1.0, 1, False), (3.0, 5, False), (0.7, 1, True)])
def test_candidates_are_chosen_as_often_as_they_should(epsilon: float, sensitivity: int, monotonic: bool) -> None:
    scores = np.array([7, 5, 5, 2, -3])
    random = SecureRandom()

    def probs(epsilon: float) -> NDArray[np.float64]:
        weights = np.exp(epsilon * (scores - 7) / (sensitivity * (1 if monotonic else 2)))
        return np.asarray(weights / weights.sum())

    options = {"sensitivity": sensitivity, "random": random, "monotonic": monotonic}
    chosen = [exponential(scores, epsilon=epsilon, **options) for _ in range(20_000)]
    counts = np.bincount(chosen, minlength=len(scores))
    assert as_many_as(counts, probs(epsilon))
    assert not as_many_as(counts, probs(1.3 * epsilon)), "noticed: a choice that is 30 % too sharp"


def test_geometric_selection_shows_keys_as_often_as_it_should() -> None:
    epsilon, delta = 0.8, 0.004
    most = truncation(epsilon=epsilon, delta=delta)
    pmf = np.exp(-epsilon * np.abs(np.arange(-most, most + 1)))
    pmf /= pmf.sum()
    trials = 300_000
    for count in (1, 3, most, most + 2, 2 * most + 1):
        kept, noisy = geometric_partitions(np.full(trials, count), epsilon=epsilon, delta=delta, random=SecureRandom())
        prob = float(pmf[np.arange(-most, most + 1) + count > most].sum())
        assert stats.binomtest(int(kept.sum()), trials, min(prob, 1.0)).pvalue > ALARM
        if count == 1:
            assert prob <= delta
            assert stats.binomtest(int(kept.sum()), trials, 1.5 * prob).pvalue < ALARM, "noticed: half as much more"
        shown = np.bincount(noisy[kept] - most - 1)
        expected = pmf[np.arange(-most, most + 1) + count > most]
        assert len(shown) <= len(expected)
        assert len(expected) < 2 or as_many_as(
            np.pad(shown, (0, len(expected) - len(shown))), expected / expected.sum()
        )


def test_nearly_even_truncated_noise_has_its_distribution() -> None:
    """With a large delta most of the noise is cut off, and another way of drawing is taken."""
    epsilon, delta = 0.05, 0.05
    most = truncation(epsilon=epsilon, delta=delta)
    assert most < 1 / epsilon
    places = np.arange(-most, most + 1)
    far = 1_000_000
    kept, noisy = geometric_partitions(np.full(N, far), epsilon=epsilon, delta=delta, random=SecureRandom())
    assert kept.all()
    counts = np.bincount(noisy - far + most, minlength=len(places))
    pmf = np.exp(-epsilon * np.abs(places))
    assert as_many_as(counts, pmf / pmf.sum())
    assert not as_many_as(counts, np.full(len(places), 1 / len(places))), "noticed: noise that is even"


def test_gaussian_selection_shows_keys_as_often_as_it_should() -> None:
    sigma, delta, groups, trials = 4.0, 0.01, 3, 300_000
    above = threshold(sigma=sigma, delta=delta, groups=groups)
    for count in (1, above // 2, above, 2 * above):
        kept, _ = gaussian_partitions(
            np.full(trials, count), sigma=sigma, delta=delta, groups=groups, random=SecureRandom()
        )
        prob = 1 - float(gaussian_cdf(sigma)(np.array([above - count]))[0])
        assert stats.binomtest(int(kept.sum()), trials, prob).pvalue > ALARM
    # Of persons with three keys that nobody else has, no more than delta see any of them shown.
    kept, _ = gaussian_partitions(
        np.ones(3 * trials, np.int64), sigma=sigma, delta=delta, groups=groups, random=SecureRandom()
    )
    seen = int(kept.reshape(-1, 3).any(axis=1).sum())
    assert stats.binomtest(seen, trials, delta, alternative="greater").pvalue > ALARM
    assert stats.binomtest(seen, trials, delta / 2, alternative="greater").pvalue < ALARM, "noticed: half the delta"


# Bounds beside claims. Each audit must stay below its claim, come near enough to it to mean something, and rise above
# it for a twin that does not keep it (the positive control, in the same measurement).


def claim(epsilon: float, delta: float = 0.0) -> Claim:
    return Claim(
        id="mechanism",
        quantity="epsilon",
        value=epsilon,
        direction="at_most",
        statement="",
        adversary="",
        parameters={"delta": delta},
        reference="",
    )


def audited(
    run: Callable[[int, bool], NDArray[np.float64]],
    broken: Callable[[int, bool], NDArray[np.float64]],
    *,
    epsilon: float,
    delta: float = 0.0,
    trials: int = 200_000,
    at_least: float = 0.7,
) -> None:
    found = audit_mechanism(
        lambda count: run(count, True),
        lambda count: run(count, False),
        claim=claim(epsilon, delta),
        trials=trials,
        confidence=CONFIDENCE,
        broken=(lambda count: broken(count, True), lambda count: broken(count, False)),
    )
    assert found.value is not None
    assert found.control is not None
    assert at_least * epsilon < found.value <= epsilon, found
    assert found.control.passed, found.control
    assert found.bears_on == "mechanism"


def test_audit_of_discrete_laplace() -> None:
    def run(wrong: float) -> Callable[[int, bool], NDArray[np.float64]]:
        return lambda count, there: 3 * there + discrete_laplace(count, scale=wrong * 3.0, random=SecureRandom())

    audited(run(1.0), run(0.9), epsilon=1.0, at_least=0.9)


def test_audit_of_a_vector_with_discrete_laplace() -> None:
    change = np.array([2, 1, 0, 1])

    def run(l1: int) -> Callable[[int, bool], NDArray[np.float64]]:
        scale = scale_for(epsilon=1.0, l1=l1)
        return lambda count, there: (
            change * there + discrete_laplace(4 * count, scale=scale, random=SecureRandom()).reshape(count, 4)
        )

    # The twin forgets one group.
    audited(run(4), run(3), epsilon=1.0, at_least=0.6)


def test_audit_of_a_vector_with_discrete_gaussian() -> None:
    delta = 1e-3

    def run(wrong: float) -> Callable[[int, bool], NDArray[np.float64]]:
        return lambda count, there: (
            there + discrete_gaussian(3 * count, sigma=wrong * 4.0, random=SecureRandom()).reshape(count, 3)
        )

    epsilon = compose([gaussian_event(sigma=4.0, l2_squared=3)], delta=delta)
    audited(run(1.0), run(0.5), epsilon=epsilon, delta=delta, at_least=0.4)


def test_audit_of_exponential_choice() -> None:
    # A unit that raises one score and lowers all others: the worst case.
    scores = {True: np.array([1, -1, -1, -1, -1]), False: np.array([0, 0, 0, 0, 0])}

    def run(wrong: float) -> Callable[[int, bool], NDArray[np.float64]]:
        random = SecureRandom()
        return lambda count, there: np.array(
            [exponential(scores[there], epsilon=wrong * 2.0, sensitivity=1, random=random) for _ in range(count)]
        )

    audited(run(1.0), run(2.5), epsilon=2.0, trials=16_000, at_least=0.3)


def test_audit_of_geometric_selection() -> None:
    epsilon, delta = 1.0, 1e-3

    def run(wrong: float) -> Callable[[int, bool], NDArray[np.float64]]:
        def outputs(count: int, there: bool) -> NDArray[np.float64]:
            # One key that eight others have.
            kept, noisy = geometric_partitions(
                np.full(count, 8 + there), epsilon=wrong * epsilon, delta=delta, random=SecureRandom()
            )
            return np.stack([kept, noisy], axis=1).astype(np.float64)

        return outputs

    assert geometric_partition_event(epsilon=epsilon, delta=delta).epsilon == epsilon
    audited(run(1.0), run(1.25), epsilon=epsilon, delta=delta, at_least=0.6)


def test_audit_of_selection_where_a_key_is_somebodys_alone() -> None:
    """What delta is spent on: with the claim's delta the audit sees nothing, with less it sees everything."""
    delta = 0.01

    def outputs(count: int, there: bool) -> NDArray[np.float64]:
        kept, _ = geometric_partitions(np.full(count, int(there)), epsilon=1.0, delta=delta, random=SecureRandom())
        return kept.astype(np.float64)

    for allowed, low, high in ((delta, 0.0, 1.0), (delta / 10, 3.0, 20.0)):
        found = audit_mechanism(
            lambda count: outputs(count, True),
            lambda count: outputs(count, False),
            claim=(1.0, allowed),
            trials=200_000,
            confidence=CONFIDENCE,
        )
        assert found.value is not None
        assert low <= found.value <= high


def test_audit_of_gaussian_selection() -> None:
    sigma, delta, groups = 6.0, 1e-3, 4

    def run(wrong: float) -> Callable[[int, bool], NDArray[np.float64]]:
        def outputs(count: int, there: bool) -> NDArray[np.float64]:
            kept, noisy = gaussian_partitions(
                np.full(groups * count, 15 + there),
                sigma=wrong * sigma,
                delta=delta,
                groups=groups,
                random=SecureRandom(),
            )
            return np.concatenate([kept.reshape(count, -1), noisy.reshape(count, -1)], axis=1).astype(np.float64)

        return outputs

    events = gaussian_partition_events(sigma=sigma, delta=delta, groups=groups)
    audited(run(1.0), run(0.4), epsilon=compose(events, delta=2 * delta), delta=2 * delta, at_least=0.25)


def test_audit_of_a_noisy_sum() -> None:
    delta = 1e-3
    gradient = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)

    def run(wrong: float) -> Callable[[int, bool], NDArray[np.float64]]:
        def outputs(count: int, there: bool) -> NDArray[np.float64]:
            total = {"w": (gradient * there).repeat(count, 1)}
            noisy = noisy_sum(total, noise_multiplier=2.0 * wrong, clip_norm=1.0, random=SecureRandom())
            return noisy["w"].numpy().astype(np.float64)

        return outputs

    epsilon = compose([gaussian_event(sigma=2.0, l2_squared=1)], delta=delta)
    audited(run(1.0), run(0.5), epsilon=epsilon, delta=delta, at_least=0.4)


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
def test_one_run_audit_of_noisy_counts(kind: str) -> None:
    """Four thousand canaries, each alone in its group and there by its own coin: one release tells all of them."""
    # The bound spends up to 2 * canaries * delta of its error on delta, so that a small error needs a tiny delta.
    canaries, delta = 4000, 0.0 if kind == "laplace" else 1e-11
    random = SecureRandom()
    coins = random.bernoulli(canaries, 0.5)

    def bound(wrong: float) -> float:
        if kind == "laplace":
            noise = discrete_laplace(canaries, scale=wrong * 1.0, random=random)
        else:
            noise = discrete_gaussian(canaries, sigma=wrong * 2.0, random=random)
        # Ties between whole numbers are broken by more noise, which is post-processing.
        scores = coins + noise + 0.5 * random.uniform(canaries)
        tried = [guess(scores, coins, made=made) for made in default_guesses(canaries)]
        return best_lower_bound(tried, delta=delta, confidence=CONFIDENCE)[0]

    event = laplace_event(scale=1.0, linf=1) if kind == "laplace" else gaussian_event(sigma=2.0, l2_squared=1)
    epsilon = 1.0 if kind == "laplace" else compose([event], delta=delta)
    assert 0.1 < bound(1.0) <= epsilon
    assert bound(0.1) > epsilon, "noticed: noise that is a tenth of what was claimed"
