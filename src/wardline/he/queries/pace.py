"""How long a query will take on this machine: its steps, timed once on random residues."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import SEED_BYTES, Residues
from wardline.he.frames.residues import pack, unpack
from wardline.he.kernels import product
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.sums import weighted_sums
from wardline.he.kernels.switching import relinearise
from wardline.he.queries.circuit import Circuit
from wardline.he.queries.evaluation import fresh
from wardline.he.queries.plan import TablePlan

_REPEATS = 3
_TERMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of the processor for each step of a query, with the parameters of one table.

    Attributes:
        read: to check and unpack one stored ciphertext of a block and draw out its second part.
        term: to add it to a factor.
        extend: to bring a ciphertext into both bases, and multiply it with one that is there.
        multiply: of two ciphertexts, scaled and relinearised.
        finish: to scale and relinearise a sum of products.
        leave: to make a sum a fresh ciphertext of as few moduli as it leaves with.
    """

    read: float
    term: float
    extend: float
    multiply: float
    finish: float
    leave: float

    @classmethod
    def measure(cls, plan: TablePlan) -> Self:
        """Time the steps: a tenth of a second or so, and some seconds more where kernels are compiled first."""
        parameters, moduli, random = plan.parameters, plan.parameters.moduli, SecureRandom()
        two = _residues(random, 2, parameters.degree, moduli)[None]
        packed = memoryview(b"".join(pack(two[0, :1], moduli)))
        seed = np.zeros((1, SEED_BYTES), dtype=np.uint8)

        def read() -> None:
            with Path(file.name).open("rb") as again:
                content = again.read()
            hashlib.sha256(content).digest()
            c0 = unpack(memoryview(content), rows=1, degree=parameters.degree, bounds=moduli)
            np.stack([c0.copy(), expand(seed, parameters)], axis=1)

        terms = np.repeat(two, _TERMS, axis=0)
        ones = np.ones((1, _TERMS), dtype=np.int64)
        adding = _seconds(lambda: weighted_sums(terms, ones, moduli=moduli)) / _TERMS
        leaving = _seconds(lambda: fresh(two, two[0], plan=plan, random=random))
        with tempfile.NamedTemporaryFile() as file:
            file.write(packed)
            file.flush()
            reading = _seconds(read)
        if parameters.special is None:
            return cls(read=reading, term=adding, extend=0.0, multiply=0.0, finish=0.0, leave=leaving)
        limbs = len(moduli)
        drawn = _residues(random, 2 * limbs, parameters.degree, parameters.primes)
        key = drawn.reshape(limbs, 2, limbs + 1, parameters.degree)
        more = moduli + product.second_base(parameters, plan.blocks)
        sums = _residues(random, 3, parameters.degree, more)[None]

        def extend() -> None:
            wide = product.extend(two, parameters, terms=plan.blocks)
            product.add_products(sums, wide, wide, parameters, terms=plan.blocks)

        def finish() -> None:
            found = product.scale_down(sums, parameters, terms=plan.blocks)
            relinearise(found, key, parameters, form="coefficients")

        def multiply() -> None:
            relinearise(product.multiply_bfv(two, two.copy(), parameters), key, parameters, form="coefficients")

        return cls(
            read=reading,
            term=adding,
            leave=leaving,
            extend=_seconds(extend),
            multiply=_seconds(multiply),
            finish=_seconds(finish),
        )

    def seconds(self, plan: TablePlan, circuit: Circuit) -> float:
        """Predicted for one query with one thread, once kernels are compiled and files are in memory."""
        multiplied = sum(one.factor is not None for one in circuit.outputs) if circuit.filters else 0
        factors = [*circuit.filters, *(one.factor for one in circuit.outputs if one.factor is not None)]
        block = len(circuit.used) * self.read + sum(len(one.terms) for one in factors) * self.term
        block += max(len(circuit.filters) - 1, 0) * self.multiply
        if multiplied:
            block += (1 + multiplied) * self.extend
        return plan.blocks * block + multiplied * self.finish + len(circuit.outputs) * self.leave


def _residues(random: SecureRandom, rows: int, degree: int, moduli: tuple[int, ...]) -> Residues:
    return flooding(random, (rows, degree), bits=62, moduli=moduli)


def _seconds(step: Callable[[], object]) -> float:
    step()  # kernels are compiled, tables made
    least = float("inf")
    for _ in range(_REPEATS):
        start = time.thread_time()
        step()
        least = min(least, time.thread_time() - start)
    return least
