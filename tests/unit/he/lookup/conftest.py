"""A small database whose grid has several rows and columns, with a client's keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tenseal")
pytest.importorskip("numba")

from wardline.core import Seeds
from wardline.he.ciphertext import EvaluationKeys, Residues, SeededKeys
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.modular import add, multiply, subtract
from wardline.he.kernels.radix import centred
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.lookup.asking import lookup_keys
from wardline.he.lookup.database import Database, build_database, open_database
from wardline.he.lookup.plan import LookupPlan, plan_lookup
from wardline.he.lookup.records import to_coefficients as record_coefficients
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keys import unsafe_export_residues

RECORDS, RECORD_BYTES = 80, 4000


@dataclass(frozen=True, kw_only=True)
class Small:
    """Records, their database, and a client."""

    records: np.ndarray
    database: Database
    folder: Path
    lattice: SealLattice
    seeded: SeededKeys
    keys: EvaluationKeys

    @property
    def plan(self) -> LookupPlan:
        return self.database.plan

    def noise(self, parts: Residues, index: int) -> np.ndarray:
        """What an answer [2, limbs, degree] holds beside the polynomial that the record begins, with the secret key."""
        plan = self.plan
        moduli, plain = plan.parameters.moduli[: parts.shape[1]], 1 << plan.plain_bits
        secret = unsafe_export_residues(self.lattice.key)[: len(moduli)]
        product = multiply(to_evaluations(np.ascontiguousarray(parts[1]), moduli=moduli), secret, moduli=moduli)
        phase = add(np.ascontiguousarray(parts[0]), to_coefficients(product, moduli=moduli), moduli=moduli)
        polynomial, place = divmod(index, plan.places)
        stored = record_coefficients(self.records[polynomial * plan.places :][: plan.places], plan)
        whole = np.zeros(plan.parameters.degree, dtype=np.int64)
        for other, one in enumerate(stored):
            whole[sum(plan.start(other)) :][: plan.coefficients] = one
        start = sum(plan.start(place))
        wanted = np.concatenate([whole[start:], -whole[:start]])  # the polynomial times X^-start
        modulus = math.prod(moduli)
        ideal = [(2 * modulus * one + plain) // (2 * plain) for one in wanted.tolist()]
        residues = np.array([[one % prime for one in ideal] for prime in moduli], dtype=np.uint32)
        return centred(subtract(phase, residues, moduli=moduli), moduli=moduli)


def make(
    folder: Path, records: np.ndarray, *, plain_bits: int | None = None, lattice: SealLattice | None = None
) -> Small:
    plan = plan_lookup(*records.shape)
    parameters = plan.parameters
    if plain_bits is not None:
        parameters = replace(parameters, plain_modulus=1 << plain_bits)
    plan = replace(plan, parameters=parameters, rows=3, doublings=6)
    build_database(folder, records, plan=plan)
    lattice = lattice or SealLattice.generate(plan.parameters)
    seeded = lookup_keys(lattice, plan)
    database = open_database(folder)
    return Small(
        records=records, database=database, folder=folder, lattice=lattice, seeded=seeded, keys=expand_keys(seeded)
    )


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    records = Seeds(1).numpy("records").integers(0, 256, (RECORDS, RECORD_BYTES), dtype=np.uint8)
    return make(tmp_path_factory.mktemp("lookup"), records)


@pytest.fixture(scope="session")
def other_small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Small]:
    """Databases of other records, of another plain modulus if need be."""
    return lambda records, **rest: make(tmp_path_factory.mktemp("lookup"), records, **rest)
