"""The local model: persons a second and error, beside multi-freq-ldpy where it is installed, as Markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/local.py [persons]

Both sides randomise the answers of the same persons and estimate the same counts. Wardline's coins come from
AES-256-CTR and have exact probabilities; the peer's come from NumPy's Mersenne twister in compiled code (numba) and are
compared in floating point. The peer works person by person, so it is timed on some thousand of them. It is no
dependency of ours: `pip install multi-freq-ldpy` (0.2.5, 2023) brings it; without it its columns stay empty.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import platform
import resource
import sys
import time
from typing import Any

import numpy as np

from wardline.core import SecureRandom
from wardline.dp.local import (
    HadamardResponse,
    NumericResponse,
    RandomisedResponse,
    Rappor,
    UnaryEncoding,
    decode,
    encode,
    simulate,
)

SIZES, EPSILON, PEER_PERSONS, PIECE, REPEATS = (10, 1000), 1.0, 3000, 50_000, 10
PEER = importlib.util.find_spec("multi_freq_ldpy") is not None


def mechanisms(size: int) -> dict[str, Any]:
    return {
        "randomised response": RandomisedResponse(size=size, epsilon=EPSILON),
        "optimised unary encoding": UnaryEncoding(size=size, epsilon=EPSILON),
        "symmetric unary encoding": UnaryEncoding(size=size, epsilon=EPSILON, flips="symmetric"),
        "Hadamard response": HadamardResponse(size=size, epsilon=EPSILON),
        "RAPPOR, one round": Rappor(size=size, epsilon=2 * EPSILON, report_epsilon=EPSILON),
    }


def seconds(work: Any) -> tuple[float, Any]:
    """The best of three, and the last result."""
    best, found = math.inf, None
    for _ in range(3):
        began = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - began)
    return best, found


def peer(name: str, mechanism: Any, values: np.ndarray) -> tuple[float, float, float] | None:
    """Persons a second of the peer's client; its error and ours at as many persons. None for what it does not have.

    The peer's estimates are clipped at 0 and scaled to 1 in all, so ours are made consistent for this comparison, too.
    """
    homes: dict[str, tuple[str, dict[str, bool], bool]] = {
        "randomised response": ("GRR", {}, True),
        "optimised unary encoding": ("UE", {"optimal": True}, False),
        "symmetric unary encoding": ("UE", {"optimal": False}, False),
    }
    if not PEER or name not in homes:
        return None
    module, options, told = homes[name]
    functions = importlib.import_module(f"multi_freq_ldpy.pure_frequency_oracles.{module}")
    client, server = getattr(functions, f"{module}_Client"), getattr(functions, f"{module}_Aggregator_MI")
    few = [int(one) for one in values[:PEER_PERSONS]]
    true = np.bincount(few, minlength=mechanism.size)
    client(few[0], mechanism.size, EPSILON, **options)  # compiles it
    rate, theirs, ours = 0.0, [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        reports = [client(one, mechanism.size, EPSILON, **options) for one in few]
        rate = max(rate, len(few) / (time.perf_counter() - began))
        size = (mechanism.size,) if told else ()
        theirs.append(np.asarray(server(reports, *size, EPSILON, **options)) * len(few) - true)
        ours.append(mechanism.estimate(simulate(mechanism, few, random=SecureRandom())).consistent() - true)
    return rate, float(np.sqrt(np.mean(np.square(theirs)))), float(np.sqrt(np.mean(np.square(ours))))


def main() -> None:
    people = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, one thread"
    print(f"{people:,} persons, epsilon {EPSILON:g}; {versions}")
    print(
        f"Errors are root mean squares over the values, in persons; the last two of {PEER_PERSONS:,}, post-processed."
    )
    print()
    heads = ["values", "mechanism", "client, persons/s", "server, persons/s", "error", "expected"]
    heads += ["peer's client, persons/s", "peer's error", "ours"]
    print(f"| {' | '.join(heads)} |\n| ---: | --- |{' ---: |' * 7}")
    random = SecureRandom()
    for size in SIZES:
        values = np.random.default_rng(0).zipf(1.4, people) % size
        true = np.bincount(values, minlength=size)
        for name, mechanism in mechanisms(size).items():
            piece = values[:PIECE]
            client, reports = seconds(lambda m=mechanism, p=piece: m.randomise(p, random=random))
            server, _ = seconds(lambda m=mechanism, r=reports: m.tally(r))
            began = time.perf_counter()
            estimate = mechanism.estimate(simulate(mechanism, values, random=random))
            whole = time.perf_counter() - began
            error = math.sqrt(float(np.mean((estimate.counts - true) ** 2)))
            other = peer(name, mechanism, values)
            theirs = f"{other[0]:,.0f} | {other[1]:,.1f} | {other[2]:,.1f}" if other else " | | "
            print(
                f"| {size} | {name} | {len(piece) / client:,.0f} | {len(piece) / server:,.0f} | {error:,.0f} | "
                f"{math.sqrt(mechanism.mean_variance(people)):,.0f} | {theirs} |",
                flush=True,
            )
            print(f"{name}: all {people:,} simulated and estimated in {whole:.2f} s", file=sys.stderr)
    print("\n| number | client, persons/s | server, persons/s |\n| --- | ---: | ---: |")
    numbers = np.random.default_rng(0).uniform(0, 1, people)
    for method in ("duchi", "piecewise", "hybrid"):
        mean = NumericResponse(lower=0.0, upper=1.0, epsilon=EPSILON, method=method)
        client, reports = seconds(lambda m=mean: m.randomise(numbers, random=random))
        server, _ = seconds(lambda m=mean, r=reports: m.estimate(m.tally(r)))
        print(f"| {method} | {people / client:,.0f} | {people / server:,.0f} |")
    oue = UnaryEncoding(size=1000, epsilon=EPSILON)
    written, messages = seconds(lambda: encode(oue, oue.randomise(np.zeros(PIECE, dtype=int), random=random)))
    read, _ = seconds(lambda: decode(oue, messages))
    print(f"\nserial form, 1000 values: {PIECE / written:,.0f} written and {PIECE / read:,.0f} read a second")
    print(
        f"memory of the whole run at its highest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
