"""Expansion, gates and selected sums: by integers, and against decryptions with the secret key."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("tenseal")
pytest.importorskip("numba")

from wardline.core import Seeds
from wardline.he.ciphertext import EvaluationKeys, Residues
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add, multiply
from wardline.he.kernels.radix import centred
from wardline.he.kernels.selection import (
    BLOCK,
    apply_element,
    blocked,
    choose,
    expand_numbers,
    make_gates,
    selected_sums,
    switch_centred,
    times_monomial,
)
from wardline.he.kernels.switching import switch_key
from wardline.he.kernels.transform import apply_galois, to_coefficients, to_evaluations
from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keys import unsafe_export_residues

PRIMES = find_primes(4096, (31, 30, 31))
PARAMETERS = Parameters(scheme="bfv", degree=4096, moduli=PRIMES[:2], special=PRIMES[2], plain_modulus=1 << 20)
MODULI, DEGREE = PARAMETERS.moduli, PARAMETERS.degree
DOUBLINGS = 3
GENERATOR = Seeds(5).numpy("selection")


def uniform(*leading: int, moduli: tuple[int, ...] = MODULI, degree: int = DEGREE) -> Residues:
    limbs = [GENERATOR.integers(0, prime, (*leading, degree), dtype=np.uint32) for prime in moduli]
    return np.stack(limbs, axis=-2)


@pytest.fixture(scope="module")
def lattice() -> SealLattice:
    return SealLattice.generate(PARAMETERS)


@pytest.fixture(scope="module")
def keys(lattice: SealLattice) -> EvaluationKeys:
    elements = [DEGREE // (1 << level) + 1 for level in range(DOUBLINGS)]
    return expand_keys(lattice.evaluation_keys(relinearisation=True, elements=elements))


def phase(parts: Residues, lattice: SealLattice, *, power: int = 1) -> np.ndarray:
    """c0 + c1 s^power, centred, as doubles."""
    secret = unsafe_export_residues(lattice.key)[: len(MODULI)]
    product = np.ascontiguousarray(parts[1])
    product = to_evaluations(product, moduli=MODULI)
    for _ in range(power):
        product = multiply(product, secret, moduli=MODULI)
    product = to_coefficients(product, moduli=MODULI)
    return centred(add(np.ascontiguousarray(parts[0]), product, moduli=MODULI), moduli=MODULI)


def encrypt(message: Residues, lattice: SealLattice) -> Residues:
    """A polynomial of residues [limbs, degree], as it is, on an encryption of zero."""
    zero = lattice.encrypt_coefficients(np.zeros((1, 1), dtype=np.int64))
    return np.stack([add(zero.c0[0], message, moduli=MODULI), expand(zero.seeds, PARAMETERS)[0]])


def test_elements_beside_those_of_rotations_are_made_and_checked(lattice: SealLattice) -> None:
    keys = lattice.evaluation_keys(steps=[1], elements=[DEGREE + 1, 3])
    assert sorted(keys.galois) == [3, DEGREE + 1]  # 3 is what turns by one
    for element in (2, 1, 2 * DEGREE, 2 * DEGREE + 1, -3):
        with pytest.raises(ValueError, match="galois element"):
            lattice.evaluation_keys(elements=[element])
    without = Parameters(scheme="bfv", degree=4096, moduli=MODULI, plain_modulus=1 << 20)
    with pytest.raises(ValueError, match="special"):
        SealLattice.generate(without).evaluation_keys(elements=[3])


@pytest.mark.parametrize("element", [1, 3, DEGREE + 1, DEGREE // 4 + 1, 2 * DEGREE - 1])
def test_elements_act_as_on_evaluations(element: int) -> None:
    polynomials = uniform(2)
    found = to_evaluations(apply_element(polynomials, element, moduli=MODULI), moduli=MODULI)
    assert np.array_equal(found, apply_galois(to_evaluations(polynomials, moduli=MODULI), element))
    zeros = np.zeros_like(polynomials)
    assert not apply_element(zeros, element, moduli=MODULI).any()


def test_other_elements_are_refused() -> None:
    for element in (0, 2, 2 * DEGREE, -1):
        with pytest.raises(ValueError, match="odd"):
            apply_element(uniform(), element, moduli=MODULI)


@pytest.mark.parametrize("power", [0, 1, -1, 7, DEGREE - 1, DEGREE, -DEGREE, 2 * DEGREE + 3, -5 * DEGREE - 2])
def test_monomials_are_products(power: int) -> None:
    polynomials = uniform(2)
    found = times_monomial(polynomials, power, moduli=MODULI)
    sign, place = (1, power % DEGREE) if power % (2 * DEGREE) < DEGREE else (-1, power % DEGREE)
    primes = np.array(MODULI, dtype=np.int64)[:, None]
    moved = np.roll(polynomials.astype(np.int64), place, axis=-1)
    moved[..., :place] *= -1
    assert np.array_equal(found, (sign * moved) % primes)
    assert not times_monomial(np.zeros_like(polynomials), power, moduli=MODULI).any()


def test_switching_is_seals_with_less_noise(lattice: SealLattice, keys: EvaluationKeys) -> None:
    assert keys.relinearisation is not None
    polynomial = uniform()
    plain = switch_key(polynomial, keys.relinearisation, PARAMETERS, form="coefficients")
    found = switch_centred(polynomial, keys.relinearisation, PARAMETERS)
    zero = np.stack([np.zeros_like(polynomial), polynomial])
    wanted = phase(zero, lattice, power=2)
    noises = [np.abs(_difference(phase(one, lattice), wanted)).max() for one in (found, plain)]
    assert noises[0] < 8 * math.sqrt(2 * DEGREE * 10.5 / 12 + 2 * DEGREE / 36) * 1.1
    assert not np.array_equal(found, plain)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    modulus = float(math.prod(MODULI))
    difference = one - other
    return difference - np.rint(difference / modulus) * modulus


def test_numbers_are_expanded(lattice: SealLattice, keys: EvaluationKeys) -> None:
    numbers = np.array([5, -3, 0, 1000, 7], dtype=np.int64)
    share = [pow(1 << DOUBLINGS, -1, prime) for prime in MODULI]
    unit = 1 << 40
    message = np.zeros((2, DEGREE), dtype=np.uint32)
    for limb, prime in enumerate(MODULI):
        message[limb, : len(numbers)] = [int(one) * unit * share[limb] % prime for one in numbers]
    question = encrypt(message, lattice)
    arguments = {"count": len(numbers), "doublings": DOUBLINGS}
    found = expand_numbers(question, keys.galois, PARAMETERS, **arguments)
    assert np.array_equal(found, expand_numbers(question, keys.galois, PARAMETERS, threads=3, **arguments))
    for number, one in zip(numbers, found, strict=True):
        values = phase(one, lattice) / unit
        assert abs(values[0] - number) < 1e-6
        assert np.abs(values[1:]).max() < 1e-6


def test_a_gate_lets_one_of_two_through(lattice: SealLattice, keys: EvaluationKeys) -> None:
    assert keys.relinearisation is not None
    unit = 1 << 53
    pair = []
    for values in GENERATOR.integers(-100, 100, (2, DEGREE)):
        message = np.array([[int(one) * unit % prime for one in values] for prime in MODULI], dtype=np.uint32)
        pair.append((values, encrypt(message, lattice)))
    for bit in (0, 1):
        rows = []
        for limb in range(len(MODULI)):
            message = np.zeros((2, DEGREE), dtype=np.uint32)
            message[limb, 0] = bit
            rows.append(encrypt(message, lattice))
        gate = make_gates(np.stack(rows)[None], keys.relinearisation, PARAMETERS)[0]
        found = choose(pair[0][1][None], pair[1][1][None], gate, PARAMETERS, threads=2)[0]
        assert np.abs(phase(found, lattice) / unit - pair[bit][0]).max() < 0.01


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (4, 1), (5, 3), (9, 2)])
def test_selected_sums_are_exact(rows: int, columns: int) -> None:
    moduli, degree = find_primes(1024, (31, 31, 20)), 1024
    selectors = uniform(rows, 2, moduli=moduli, degree=degree)
    grid = uniform(columns, rows, moduli=moduli, degree=degree)
    selectors[0, 0] = grid[0, 0] = np.array(moduli, dtype=np.uint32)[:, None] - 1  # the largest residues there are
    selectors[-1] = np.array(moduli, dtype=np.uint32)[:, None] - 1
    grid[:, -1] = np.array(moduli, dtype=np.uint32)[:, None] - 1
    database = np.ascontiguousarray(np.moveaxis(np.stack([blocked(column) for column in grid]), 0, 2))
    assert database.shape == (3, degree // BLOCK, columns, rows, BLOCK)
    found = selected_sums(selectors, database, moduli=moduli)
    wanted = np.einsum("rpld,crld->cpld", selectors.astype(object), grid.astype(object))
    assert np.array_equal(found, wanted % np.array(moduli, dtype=object)[:, None])
    database.flags.writeable = False
    assert np.array_equal(found, selected_sums(selectors, database, moduli=moduli, threads=2))


def test_sums_of_the_largest_residues_do_not_overflow() -> None:
    moduli = find_primes(1024, (31,))
    largest = np.full((37, 2, 1, 1024), moduli[0] - 1, dtype=np.uint32)
    database = np.full((1, 1, 2, 37, BLOCK), moduli[0] - 1, dtype=np.uint32)
    assert (selected_sums(largest, database, moduli=moduli) == 37).all()  # (-1)^2 = 1, as often as there are rows


def test_what_does_not_fit_is_refused(keys: EvaluationKeys) -> None:
    assert keys.relinearisation is not None
    question = uniform(2)
    with pytest.raises(ValueError, match="question"):
        expand_numbers(question, keys.galois, PARAMETERS, count=9, doublings=3)
    with pytest.raises(ValueError, match="missing"):
        expand_numbers(question, keys.galois, PARAMETERS, count=9, doublings=4)
    with pytest.raises(ValueError, match="threads"):
        expand_numbers(question, keys.galois, PARAMETERS, count=4, doublings=2, threads=0)
    with pytest.raises(ValueError, match="a bit comes"):
        make_gates(uniform(1, 2), keys.relinearisation, PARAMETERS)
    with pytest.raises(ValueError, match="pairs"):
        choose(uniform(2, 2), uniform(1, 2), uniform(4, 2), PARAMETERS)
    with pytest.raises(ValueError, match="gate"):
        choose(uniform(1, 2), uniform(1, 2), uniform(2, 2), PARAMETERS)
    with pytest.raises(ValueError, match="switched"):
        switch_centred(uniform(), keys.relinearisation[:1], PARAMETERS)
    database = np.zeros((2, DEGREE // BLOCK, 1, 3, BLOCK), dtype=np.uint32)
    with pytest.raises(ValueError, match="database"):
        selected_sums(uniform(2, 2), database, moduli=MODULI)
    with pytest.raises(ValueError, match="threads"):
        selected_sums(uniform(3, 2), database, moduli=MODULI, threads=0)
