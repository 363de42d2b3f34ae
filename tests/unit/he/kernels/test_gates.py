"""Expansion and gates, against decryptions with the secret key; switching, against SEAL's."""

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
from wardline.he.kernels.gates import choose, expand_numbers, make_gates, switch_centred
from wardline.he.kernels.modular import add, multiply
from wardline.he.kernels.radix import centred
from wardline.he.kernels.switching import switch_key
from wardline.he.kernels.transform import to_coefficients, to_evaluations
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
        message[limb, DEGREE - 8 + 1] = 50 * unit * share[limb] % prime  # X^-8, negative, beside the second number
    question = encrypt(message, lattice)
    arguments = {"count": len(numbers), "doublings": DOUBLINGS}
    found = expand_numbers(question, keys.galois, PARAMETERS, **arguments)
    assert np.array_equal(found, expand_numbers(question, keys.galois, PARAMETERS, threads=3, **arguments))
    for index, (number, one) in enumerate(zip(numbers, found, strict=True)):
        wanted = np.zeros(DEGREE)
        wanted[0], wanted[DEGREE - 8] = number, 50 * (index == 1)
        assert np.abs(phase(one, lattice) / unit - wanted).max() < 1e-6


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
