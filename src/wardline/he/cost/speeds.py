"""How fast this machine is at the operations that `work` counts: measured on the very kernels, once a process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from wardline.he.cost.work import Shares, Work, relinearised

_DEGREE = 8192
_BITS = (31, 26, 26, 26, 26, 26)
_DEGREES = (4096, 8192, 16384, 32768)
_TURNS = 3
_MANY = 4
"""Ciphertexts at a time, 2 MiB: more than the second cache holds, as in an evaluation."""
_TERMS, _APART = 32, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Seconds of one processor for one of each operation in `Work`; see there.

    Attributes:
        transform: by the degree of the ring.
    """

    transform: Mapping[int, float] = field(default_factory=dict)
    expanded: float
    summed: float
    summed_alone: float
    passed: float
    keyed: float
    hidden: float
    calls: float

    def seconds(self, work: Work, degree: int) -> float:
        """Of all this work in a ring."""
        return (
            work.transforms * self.one_transform(degree)
            + work.expanded * self.expanded
            + work.summed * self.summed
            + work.summed_alone * self.summed_alone
            + work.passed * self.passed
            + work.keyed * self.keyed
            + work.hidden * self.hidden
            + work.calls * self.calls
        )

    def of(self, shares: Shares, degree: int, *, threads: int = 1) -> float:
        """Seconds of a batch, if threads share out what they can and each has a processor."""
        return self.seconds(shares.shared, degree) / threads + self.seconds(shares.alone, degree)

    def one_transform(self, degree: int) -> float:
        """As measured, or from the nearest degree that was, in proportion to N log N."""
        nearest = min(self.transform, key=lambda one: abs(one.bit_length() - degree.bit_length()))
        return self.transform[nearest] * (degree * degree.bit_length()) / (nearest * nearest.bit_length())


@lru_cache(maxsize=1)
def measure_speeds() -> Speeds:
    """Measure the kernels: a fraction of a second, after they were compiled; a process does it once.

    It is processor time of this thread, the least of a few turns, so what else the machine does matters little.
    """
    # They load numba, and counting does without.
    from wardline.core import SecureRandom, Seeds
    from wardline.he.kernels import columns, expansion, modular, sampling, switching, transform, zero
    from wardline.he.parameters import Parameters, find_primes

    moduli, special = find_primes(_DEGREE, _BITS), find_primes(_DEGREE, (31, 31))[1]
    parameters = Parameters(scheme="ckks", degree=_DEGREE, moduli=moduli, special=special)
    generator = Seeds(0).numpy("he.cost")

    def uniform(primes: tuple[int, ...], *leading: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
        pieces = [generator.integers(0, one, (*leading, _DEGREE), dtype=np.uint32) for one in primes]
        return np.stack(pieces, axis=-2)

    def transformed(degree: int) -> float:
        (prime,) = find_primes(degree, (30,))
        count = _MANY * _DEGREE * len(_BITS) // degree
        one = generator.integers(0, prime, (count, 1, degree), dtype=np.uint32)
        there = _least(lambda: transform.to_evaluations(one, moduli=(prime,)))
        back = _least(lambda: transform.to_coefficients(one, moduli=(prime,)))
        return (there + back) / (2 * count)

    by_degree = {degree: transformed(degree) for degree in _DEGREES}
    many, key = uniform(moduli, _MANY, 3), uniform(parameters.primes, len(moduli), 2)
    two = np.ascontiguousarray(many[0, :2])
    passed = _least(lambda: modular.multiply(many, many, moduli=moduli)) / many.size
    seeds = generator.integers(0, 256, (2, 64), dtype=np.uint8)
    expanded = _least(lambda: expansion.expand(seeds, parameters)) / (2 * two[0].size)

    # Rows lie apart, as those of one limb do among all the others, and terms are few, as in a block of a layer.
    rows = generator.integers(0, moduli[1], (_TERMS * _APART, _DEGREE), dtype=np.uint32)
    sums = np.zeros((_TERMS * _APART, _DEGREE), dtype=np.uint32)

    def summed(outputs: int) -> float:
        weights = generator.integers(-512, 512, (outputs, _TERMS))
        places = _APART * np.arange(outputs), _APART * np.arange(_TERMS)
        took = _least(lambda: columns.add_sums(sums, rows, weights, places=places, prime=moduli[1], fresh=False))
        return took / (outputs * _TERMS * _DEGREE)

    counted = relinearised(len(moduli), _DEGREE)
    switched = _least(lambda: switching.relinearise(many, key, parameters, form="evaluations")) / _MANY
    switched -= counted.transforms * by_degree[_DEGREE] + counted.passed * passed
    random = SecureRandom()

    def hide() -> None:
        fresh = zero.encryptions_of_zero(random, two, count=_MANY, moduli=moduli, form="evaluations")
        noise = sampling.flooding(random, (_MANY, _DEGREE), bits=70, moduli=moduli)
        modular.add(np.ascontiguousarray(fresh[:, 0]), noise, moduli=moduli)

    few = two[:1, :1, :64].copy()
    calls = _least(lambda: [modular.add(few, few, moduli=moduli[:1]) for _ in range(20)]) / 20
    hiding = _least(hide) / _MANY - 3 * len(moduli) * by_degree[_DEGREE]
    return Speeds(
        transform=by_degree,
        expanded=expanded,
        summed=summed(_TERMS),
        summed_alone=summed(1),
        passed=passed,
        keyed=max(switched, 0.0) / counted.keyed,
        hidden=max(hiding, 0.0) / two[0].size,
        calls=calls,
    )


def _least(work: Callable[[], object]) -> float:
    work()
    best = float("inf")
    for _ in range(_TURNS):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best
