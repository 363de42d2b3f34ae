"""The kernels of encrypted inference, each beside the floor of the memory that it must touch, in one run.

    OMP_NUM_THREADS=1 python benchmarks/he_kernels.py

A kernel's bytes are its arguments and its results, each counted once; the floor is a copy of as many bytes (half read,
half written) by numpy. Time is that of the processor in this thread, the best of several runs: what else the machine
does then takes caches from it, but no time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import numba
import numpy as np

from wardline.core import SecureRandom
from wardline.he.kernels import expansion, modular, packing, radix, sampling, sums, switching, transform, zero
from wardline.he.parameters import Parameters, find_primes

REPEATS = 15
GENERATOR = np.random.default_rng(0)


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, for the least disturbed of a few runs."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best


def report(name: str, moved: int, work: Callable[[], object], note: str = "") -> float:
    """Print one row, and tell the seconds."""
    source, target = np.zeros(moved // 2, dtype=np.uint8), np.zeros(moved // 2, dtype=np.uint8)
    took, floor = seconds(work), seconds(lambda: np.copyto(target, source))
    print(f"{name:44} {took * 1e6:10.1f} us {moved / took / 1e9:8.2f} GB/s {took / floor:8.1f}x  {note}", flush=True)
    return took


def uniform(degree: int, moduli: tuple[int, ...], *leading: int) -> np.ndarray:
    return np.stack([GENERATOR.integers(0, one, (*leading, degree), dtype=np.uint32) for one in moduli], axis=-2)


def linear() -> None:
    degree, moduli = 4096, find_primes(4096, (25, 25, 25))
    parameters = Parameters(scheme="bfv", degree=degree, moduli=moduli, plain_modulus=1 << 20)
    columns = uniform(degree, moduli, 20, 2)
    for outputs in (1, 4):
        weights = GENERATOR.integers(-(2**12), 2**12, (outputs, 20))
        moved = columns.nbytes * (20 + outputs) // 20
        took = report(
            f"weighted sums, 20 columns, {outputs} out",
            moved,
            lambda weights=weights: sums.weighted_sums(columns, weights, moduli=moduli, method="integers"),
        )
        print(f"{'':44} {degree / took / 1e6:10.1f} million rows a second")
    seeds = GENERATOR.integers(0, 256, (20, 64), dtype=np.uint8)
    moved = 20 * 3 * degree * 4
    took = report("expand 20 seeds", moved, lambda: expansion.expand(seeds, parameters))
    print(f"{'':44} {2 * moved / took / 1e9:10.2f} GB/s of BLAKE2Xb")
    report("add", 3 * columns.nbytes, lambda: modular.add(columns, columns, moduli=moduli))
    report("multiply", 3 * columns.nbytes, lambda: modular.multiply(columns, columns, moduli=moduli))
    report("scale", 2 * columns.nbytes, lambda: modular.scale(columns, [3, 5, 7], moduli=moduli))
    signed = GENERATOR.integers(-(2**62), 2**62, (40, degree))
    moved = signed.nbytes + columns.nbytes
    report("signed integers to residues", moved, lambda: modular.reduce_signed(signed, moduli=moduli))
    report("to mixed radix", 2 * columns.nbytes, lambda: radix.to_digits(columns, moduli=moduli))
    report("from mixed radix", 2 * columns.nbytes, lambda: radix.from_digits(columns, moduli=moduli))
    moved = columns.nbytes + 40 * degree * 8
    report("centred values", moved, lambda: radix.centred(columns, moduli=moduli))
    for bits in (17, 25):
        values = GENERATOR.integers(0, 1 << bits, columns.size, dtype=np.uint32)
        packed = packing.pack(values, bits)
        moved = values.nbytes + len(packed)
        report(f"pack {bits} bits", moved, lambda v=values, b=bits: packing.pack(v, b))
        report(f"unpack {bits} bits", moved, lambda p=packed, v=values, b=bits: packing.unpack(p, v.size, bits=b))
    random = SecureRandom()
    report("ternary", 40 * degree, lambda: sampling.ternary(random, 40 * degree))
    report("centred binomial", 40 * degree, lambda: sampling.binomial(random, 40 * degree))
    report("SecureRandom alone, as many bytes", 40 * degree, lambda: random.bytes(40 * degree))
    report("flooding, 70 bits", columns.nbytes, lambda: sampling.flooding(random, (40, degree), bits=70, moduli=moduli))
    key = uniform(degree, moduli, 2)
    report(
        "encryption of zero",
        2 * key.nbytes,
        lambda: zero.encryptions_of_zero(random, key, count=1, moduli=moduli, form="coefficients"),
        "9 transforms",
    )
    reply = columns[:4]
    report(
        "divide by the last prime, coefficients",
        reply.nbytes * 5 // 3,
        lambda: switching.divide_by_last(reply, moduli=moduli, form="coefficients"),
    )


def network() -> None:
    degree, moduli = 8192, find_primes(8192, (31, 26, 26, 26, 26, 26))
    parameters = Parameters(scheme="ckks", degree=degree, moduli=moduli, special=find_primes(8192, (31, 31))[1])
    for terms, outputs, limbs in ((64, 8, 6), (64, 64, 6), (256, 128, 1)):
        columns = uniform(degree, moduli[-limbs:], terms, 2)
        weights = GENERATOR.integers(-(2**9), 2**9, (outputs, terms))
        for method in ("integers", "doubles"):
            took = report(
                f"weighted sums, {terms} columns, {outputs} out, {method}",
                columns.nbytes * (terms + outputs) // terms,
                lambda c=columns, w=weights, m=method: sums.weighted_sums(c, w, moduli=moduli[-c.shape[2] :], method=m),
            )
            print(f"{'':44} {outputs * columns.size / took / 1e9:10.2f} billion multiply-adds a second")
    few = uniform(degree, moduli, 4, 2)
    took = report("transform", 2 * few.nbytes, lambda: transform.to_evaluations(few, moduli=moduli))
    print(f"{'':44} {took / 48 * 1e6:10.2f} us a polynomial")
    took = report("transform back", 2 * few.nbytes, lambda: transform.to_coefficients(few, moduli=moduli))
    print(f"{'':44} {took / 48 * 1e6:10.2f} us a polynomial")
    report("automorphism", 2 * few.nbytes, lambda: transform.apply_galois(few, 3))
    report(
        "rescale",
        few.nbytes * 11 // 6,
        lambda: switching.divide_by_last(few, moduli=moduli, form="evaluations"),
        "48 transforms",
    )
    primes = parameters.primes
    key = uniform(degree, primes, 6, 2)
    three = uniform(degree, moduli, 3)
    report(
        "relinearise",
        three.nbytes * 5 // 3 + key.nbytes,
        lambda: switching.relinearise(three, key, parameters, form="evaluations"),
        "62 transforms",
    )
    two = np.ascontiguousarray(three[:2])
    keys = dict.fromkeys((3, 9, 27, 81), key)
    report(
        "rotate four times, one by one",
        4 * (2 * two.nbytes + key.nbytes),
        lambda: [switching.rotate(two, one, parameters, element=element) for element, one in keys.items()],
        "248 transforms",
    )
    report(
        "rotate four times together",
        5 * two.nbytes + 4 * key.nbytes,
        lambda: switching.rotate_many(two, keys, parameters),
        "104 transforms",
    )


def main() -> None:
    print(platform.platform(), "numpy", np.__version__, "numba", numba.__version__)
    print(f"threads of the BLAS: {os.environ.get('OMP_NUM_THREADS', 'all')}; load: {os.getloadavg()[0]:.1f}")
    print(f"{'kernel':44} {'time':>13} {'moved':>13} {'floor':>9}")
    linear()
    network()
    print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
