"""The transform against its definition by Python's integers, and against SEAL."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.kernels import transform
from wardline.he.kernels.modular import add, multiply, subtract
from wardline.he.parameters import Parameters, find_primes

CKKS = Parameters(
    scheme="ckks", degree=4096, moduli=find_primes(4096, (31, 26, 25)), special=find_primes(4096, (20,))[0]
)


@pytest.mark.parametrize("degree", [4, 8, 64, 128, 256])
def test_evaluations_by_definition(residues, degree: int) -> None:
    moduli = find_primes(degree, (31, 25, 17))
    found = residues(degree, moduli, 2)
    values = transform.to_evaluations(found, moduli=moduli)
    order = transform.reversed_bits(degree.bit_length() - 1)
    for limb, prime in enumerate(moduli):
        root = transform.tables(prime, degree).root
        assert pow(root, degree, prime) == prime - 1
        for place in range(0, degree, max(1, degree // 16)):
            at = pow(root, 2 * int(order[place]) + 1, prime)
            value = sum(int(one) * pow(at, power, prime) for power, one in enumerate(found[1, limb])) % prime
            assert values[1, limb, place] == value
    assert (transform.to_coefficients(values, moduli=moduli) == found).all()


@pytest.mark.parametrize("degree", [1024, 4096, 8192, 32768])
def test_there_and_back(residues, degree: int) -> None:
    moduli = find_primes(degree, (31, 31, 26))
    found = residues(degree, moduli, 2)
    found[1] = np.array(moduli, dtype=np.uint32)[:, None] - 1
    values = transform.to_evaluations(found, moduli=moduli)
    assert (values < np.array(moduli)[:, None]).all()
    assert (transform.to_coefficients(values, moduli=moduli) == found).all()


def test_products_of_evaluations_are_products_of_polynomials(residues) -> None:
    degree = 64
    moduli = find_primes(degree, (31, 20))
    left, right = residues(degree, moduli), residues(degree, moduli)
    values = multiply(
        transform.to_evaluations(left, moduli=moduli), transform.to_evaluations(right, moduli=moduli), moduli=moduli
    )
    found = transform.to_coefficients(values, moduli=moduli)
    for limb, prime in enumerate(moduli):
        product = np.convolve(left[limb].astype(object), right[limb].astype(object))
        wrapped = product[:degree] - np.append(product[degree:], 0)
        assert (found[limb] == wrapped % prime).all()


def test_the_root_is_the_smallest() -> None:
    for prime, order in ((12289, 16), (97, 32), (find_primes(64, (20,))[0], 128)):
        every = [one for one in range(2, prime) if pow(one, order // 2, prime) == prime - 1]
        assert transform.smallest_root(prime, order) == every[0]


@pytest.mark.parametrize("element", [3, 9, 127, 1])
def test_automorphisms_by_definition(residues, element: int) -> None:
    degree = 64
    moduli = find_primes(degree, (31, 20))
    found = residues(degree, moduli)
    turned = np.zeros_like(found)
    for power in range(degree):
        quotient, place = divmod(power * element, degree)
        sign = found[:, power].astype(np.int64) * (-1) ** quotient
        turned[:, place] = sign % np.array(moduli)
    values = transform.apply_galois(transform.to_evaluations(found, moduli=moduli), element)
    assert (transform.to_coefficients(values, moduli=moduli) == turned).all()


def test_galois_elements() -> None:
    assert transform.galois_element(1, 64) == 3
    assert transform.galois_element(0, 64) == 127
    assert transform.galois_element(-1, 64) * 3 % 128 == 1
    for wrong in (32, -32):
        with pytest.raises(ValueError, match="steps"):
            transform.galois_element(wrong, 64)
    for wrong in (0, 2, 129):
        with pytest.raises(ValueError, match="odd"):
            transform.apply_galois(np.zeros((1, 64), dtype=np.uint32), wrong)


def test_primes_without_a_transform_are_refused(residues) -> None:
    with pytest.raises(ValueError, match="no transform"):
        transform.to_evaluations(np.zeros((1, 256), dtype=np.uint32), moduli=(find_primes(64, (20,))[0],))
    with pytest.raises(ValueError, match="no transform"):
        transform.tables(find_primes(64, (20,))[0], 48)
    with pytest.raises(ValueError, match="no prime"):
        transform.tables(33 * 128 * 2 + 1, 64)
    with pytest.raises(ValueError, match="read-only"):
        transform.tables(find_primes(64, (20,))[0], 64).forward[0, 0] = 1


@pytest.mark.crosscheck
def test_seal_writes_the_same_evaluations(seal) -> None:
    """A CKKS plaintext is brought back to coefficients that embed its message."""
    oracle = seal(CKKS)
    plain = oracle.seal.Plaintext()
    oracle.seal.CKKSEncoder(oracle.context).encode([1.5, -2.25, 1000.0], 2.0**22, plain)
    found = transform.to_coefficients(oracle.evaluations(plain), moduli=CKKS.moduli).astype(np.int64)
    moduli = np.array(CKKS.moduli)[:, None]
    signed = np.where(found > moduli // 2, found - moduli, found)
    assert (signed == signed[0]).all(), "the coefficients are smaller than half of every prime"
    # The embedding of CKKS: a slot is the polynomial's value at a power 3^slot of a complex root.
    for slot, wanted in enumerate([1.5, -2.25, 1000.0, 0.0]):
        at = np.exp(1j * np.pi / 4096 * pow(3, slot, 8192) * np.arange(4096))
        assert abs((signed[0] * at).sum() / 2.0**22 - wanted) < 1e-4


@pytest.mark.crosscheck
def test_seal_adds_what_was_transformed_here(seal) -> None:
    """A ciphertext plus a polynomial from coefficients, decrypted by SEAL, is moved by these coefficients."""
    oracle = seal(CKKS)
    cipher = oracle.seal.Ciphertext()
    oracle.encryptor.encrypt_zero(cipher)
    parts, fields = oracle.opened(cipher)
    message = np.zeros((3, 4096), dtype=np.uint32)
    message[:, 0], message[:, 7] = 1 << 20, 12345 << 8
    before = oracle.decrypted(parts, fields)
    parts[0] = add(parts[0], transform.to_evaluations(message, moduli=CKKS.moduli), moduli=CKKS.moduli)
    moved = subtract(oracle.decrypted(parts, fields), before, moduli=CKKS.moduli)
    assert (transform.to_coefficients(moved, moduli=CKKS.moduli) == message).all()
