"""Private lookups by size of the database, beside SEAL's own products and the floor of a download, in one run.

    OMP_NUM_THREADS=1 python benchmarks/he_lookup.py [MiB ...]

Records have 256 bytes. Times are the processor's in this process, the best of several runs, one thread: what else the
machine does then takes caches and memory bandwidth from them, but no time.

SEAL has no lookup. Its lines count what the same database takes in it, with the same parameters, SealPIR's way: as many
Galois switchings as a question expands to, a product with a plaintext in NTT form for each polynomial, and the sum. In
one dimension, and in two: then the sums of the first are switched to two primes, cut into four plaintexts each, and
selected from once more, and the reply is four times as large. Moving by monomials, cutting, the choice inside of a
polynomial and the fresh reply are left out, in SEAL's favour.
"""

from __future__ import annotations

import math
import os
import platform
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.gates import choose, expand_numbers, make_gates
from wardline.he.kernels.monomials import times_monomial
from wardline.he.kernels.selection import selected_sums
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.lookup.answering import answer_question
from wardline.he.lookup.asking import ask_record, lookup_keys, read_record
from wardline.he.lookup.database import Database, build_database, open_database
from wardline.he.lookup.plan import LookupPlan, plan_lookup
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.context import Context
from wardline.he.seal.files import plaintext_head
from wardline.he.seal.scratch import Scratch

RECORD_BYTES = 256
REPEATS = 5
GENERATOR = np.random.default_rng(0)


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Of the processor, for the least disturbed of a few runs."""
    work()
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def stages(database: Database, lattice: SealLattice, keys: Any) -> None:
    """The parts of an answer, one by one."""
    plan = database.plan
    parameters, moduli = plan.parameters, plan.parameters.moduli
    question = ask_record(lattice, plan, 5)
    whole = np.stack([question.c0[0], expand(question.seeds, parameters)[0]])

    def expansion() -> np.ndarray:
        return expand_numbers(whole, keys.galois, parameters, count=plan.numbers, doublings=plan.doublings)

    numbers = expansion()
    bits = numbers[plan.rows :].reshape(plan.bits, len(moduli), 2, len(moduli), parameters.degree)
    gates = make_gates(bits, keys.relinearisation, parameters)
    selectors = to_evaluations(numbers[: plan.rows], moduli=moduli)
    sums = selected_sums(selectors, database.polynomials, moduli=moduli)
    plain = to_coefficients(sums, moduli=moduli)

    def choices() -> None:
        found = plain
        for gate in gates[: plan.column_bits]:
            pairs = len(found) // 2
            chosen = choose(found[: 2 * pairs : 2], found[1::2], gate, parameters)
            found = np.concatenate([chosen, found[2 * pairs :]])
        for bit, gate in enumerate(gates[plan.column_bits :]):
            found = choose(found, times_monomial(found, -(plan.coefficients << bit), moduli=moduli), gate, parameters)

    took = {
        "expansion": seconds(expansion, 3),
        "gates": seconds(lambda: make_gates(bits, keys.relinearisation, parameters), 3),
        "selectors to NTT form": seconds(lambda: to_evaluations(numbers[: plan.rows], moduli=moduli), 3),
        "sums over the database": seconds(lambda: selected_sums(selectors, database.polynomials, moduli=moduli), 3),
        "sums from NTT form": seconds(lambda: to_coefficients(sums, moduli=moduli), 3),
        "choice of column and place": seconds(choices, 3),
    }
    for name, one in took.items():
        print(f"  {name:28} {one * 1e3:9.1f} ms")
    stored = database.polynomials
    copied = np.empty_like(stored)
    floor = seconds(lambda: np.copyto(copied, stored), 3)
    sums_took = took["sums over the database"]
    print(
        f"  the database's file is read at {stored.nbytes / sums_took / 1e9:.1f} GB/s; "
        f"a copy of it moves {2 * stored.nbytes / floor / 1e9:.1f} GB/s (half read, half written)"
    )


def by_seal(plan: LookupPlan) -> tuple[float, float]:
    """Seconds of one Galois switching in SEAL, and of one product with its sum."""
    context = Context(plan.parameters)
    seal = context.seal
    maker = seal.KeyGenerator(context.handle)
    secret = maker.secret_key()
    element = plan.parameters.degree + 1
    galois = seal.GaloisKeys()
    maker.create_galois_keys([element], galois)
    encryptor, evaluator = seal.Encryptor(context.handle, secret), seal.Evaluator(context.handle)
    degree = plan.parameters.degree
    words = GENERATOR.integers(0, 1 << plan.plain_bits, degree, dtype=np.uint64)
    plain, encrypted, product = seal.Plaintext(), seal.Ciphertext(), seal.Ciphertext()
    with Scratch() as scratch:
        scratch.write([plaintext_head(degree), words.astype("<u8").data.cast("B")])
        plain.load(context.handle, scratch.path)
        encryptor.encrypt_symmetric(plain).save(scratch.path)
        encrypted.load(context.handle, scratch.path)
    turned = seal.Ciphertext()
    evaluator.apply_galois(encrypted, element, galois, turned)
    switching = seconds(lambda: [evaluator.apply_galois_inplace(turned, element, galois) for _ in range(8)]) / 8
    level = context.levels[len(plan.parameters.moduli)].name
    evaluator.transform_to_ntt_inplace(plain, list(struct.unpack("<4Q", level)))
    evaluator.transform_to_ntt_inplace(encrypted)
    times = seconds(lambda: [evaluator.multiply_plain(encrypted, plain, product) for _ in range(16)]) / 16
    total = seal.Ciphertext()
    evaluator.add(product, product, total)
    adding = seconds(lambda: [evaluator.add_inplace(total, product) for _ in range(16)]) / 16
    return switching, times + adding


def report(mebibytes: int, folder: Path) -> None:
    count = mebibytes * 2**20 // RECORD_BYTES
    records = GENERATOR.integers(0, 256, (count, RECORD_BYTES), dtype=np.uint8)
    plan = plan_lookup(count, RECORD_BYTES)
    print(f"\n{mebibytes} MiB\n{plan.explain()}")
    began = time.process_time()
    build_database(folder, records, plan=plan)
    print(f"building: {time.process_time() - began:.1f} s")
    database = open_database(folder)
    lattice = SealLattice.generate(plan.parameters)
    began = time.process_time()
    seeded = lookup_keys(lattice, plan)
    print(f"keys: {time.process_time() - began:.2f} s, once")
    keys = expand_keys(seeded)
    index = count // 3
    question = ask_record(lattice, plan, index)
    reply = answer_question(question, keys, database=database)
    assert read_record(lattice, plan, reply) == records[index].tobytes()
    answering = seconds(lambda: answer_question(question, keys, database=database))
    clock = []
    for threads in (1, 2):
        began = time.perf_counter()
        answer_question(question, keys, database=database, threads=threads)
        clock.append(time.perf_counter() - began)
    asking = seconds(lambda: ask_record(lattice, plan, index))
    reading = seconds(lambda: read_record(lattice, plan, reply))
    size = records.nbytes
    print(f"answer {answering * 1e3:.0f} ms, {size / answering / 1e9:.3f} GB of records a second")
    print(f"  on the clock {clock[0] * 1e3:.0f} ms, with two threads {clock[1] * 1e3:.0f} ms")
    print(f"question {asking * 1e3:.1f} ms, reply read in {reading * 1e3:.1f} ms")
    stages(database, lattice, keys)
    moved = plan.question_bytes + plan.reply_bytes
    print(f"  bytes on the wire {moved:,}; a download of everything {size:,}, {size / moved:.0f} times as many")
    switching, product = by_seal(plan)
    side = math.isqrt(plan.polynomials - 1) + 1
    print(f"  SEAL: switching {switching * 1e3:.2f} ms, product and sum {product * 1e3:.3f} ms")
    for dimensions, numbers, products in (
        (1, plan.polynomials, plan.polynomials),
        (2, 2 * side, side * side + 4 * side),
    ):
        switchings = (1 << (numbers - 1).bit_length()) - 1
        whole = switchings * switching + products * product
        print(
            f"    in {dimensions}: {switchings} switchings and {products} products: {whole * 1e3:.0f} ms, "
            f"{whole / answering:.1f} times as long"
        )


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, numba {numba.__version__}, numpy {np.__version__}")
    for one in [int(word) for word in sys.argv[1:]] or [16, 64, 256]:
        with tempfile.TemporaryDirectory() as folder:
            report(one, Path(folder))


if __name__ == "__main__":
    main()
