"""Modulus and key switching: equal to SEAL's, bit for bit, and to the definition by integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.he.kernels import switching
from wardline.he.kernels.modular import multiply
from wardline.he.kernels.radix import integers, to_digits
from wardline.he.kernels.transform import apply_galois, galois_element, to_coefficients, to_evaluations
from wardline.he.parameters import Parameters, find_primes

MIXED = find_primes(8192, (26, 31, 26, 25))
"""A last prime that is smaller than all, and below one that is larger than those beside it."""

CKKS = Parameters(scheme="ckks", degree=8192, moduli=MIXED, special=find_primes(8192, (31, 31))[1])


@pytest.mark.parametrize("bits", [(25, 25, 25), (20, 31, 31), (31, 31, 17)])
def test_division_rounds_to_the_nearest(residues, bits: tuple[int, ...]) -> None:
    moduli = find_primes(256, bits)
    found = residues(256, moduli, 2, 2)
    product, last = math.prod(moduli), moduli[-1]
    divided = switching.divide_by_last(found, moduli=moduli, form="coefficients")
    whole = integers(to_digits(found, moduli=moduli), moduli=moduli)
    wanted = ((2 * whole + last) // (2 * last)) % (product // last)
    assert (integers(to_digits(divided, moduli=moduli[:-1]), moduli=moduli[:-1]) == wanted).all()
    values = switching.divide_by_last(to_evaluations(found, moduli=moduli), moduli=moduli, form="evaluations")
    assert (to_coefficients(values, moduli=moduli[:-1]) == divided).all()


def test_what_cannot_be_switched_is_refused(residues) -> None:
    with pytest.raises(ValueError, match="last modulus"):
        switching.divide_by_last(
            residues(64, find_primes(64, (20,))), moduli=find_primes(64, (20,)), form="coefficients"
        )
    every = len(MIXED)
    key = np.zeros((every, 2, every + 1, 8192), dtype=np.uint32)
    polynomial = np.zeros((every, 8192), dtype=np.uint32)
    with pytest.raises(ValueError, match="key is"):
        switching.switch_key(polynomial, key[:-1], CKKS, form="evaluations")
    with pytest.raises(ValueError, match="polynomials"):
        switching.switch_key(polynomial[:, :64], key, CKKS, form="evaluations")
    without = Parameters(scheme="ckks", degree=8192, moduli=MIXED)
    with pytest.raises(ValueError, match="special"):
        switching.switch_key(polynomial, key, without, form="evaluations")
    for parts in (1, 2, 4):
        with pytest.raises(ValueError, match="three parts"):
            switching.relinearise(np.stack([polynomial] * parts), key, CKKS, form="evaluations")
    with pytest.raises(ValueError, match="two parts"):
        switching.rotate(np.stack([polynomial] * 3), key, CKKS, element=3)


@pytest.mark.crosscheck
def test_ckks_equals_seal_through_two_levels(seal) -> None:
    oracle = seal(CKKS)
    keys = oracle.seal.RelinKeys()
    oracle.generator.create_relin_keys(keys)
    (key,) = oracle.keys(keys)
    plain, cipher = oracle.seal.Plaintext(), oracle.seal.Ciphertext()
    oracle.seal.CKKSEncoder(oracle.context).encode([1.5, -2.0, 3.25], 2.0**24, plain)
    oracle.encryptor.encrypt(plain, cipher)
    for level in (4, 3):
        moduli = CKKS.moduli[:level]
        parts, _ = oracle.opened(cipher)
        square, two, lower = (oracle.seal.Ciphertext() for _ in range(3))
        oracle.evaluator.square(cipher, square)
        squared, _ = oracle.opened(square)
        assert (squared[[0, 2]] == multiply(parts, parts, moduli=moduli)).all()
        oracle.evaluator.relinearize(square, keys, two)
        relinearised, _ = oracle.opened(two)
        assert (switching.relinearise(squared, key, CKKS, form="evaluations") == relinearised).all()
        oracle.evaluator.rescale_to_next(two, lower)
        rescaled, _ = oracle.opened(lower)
        assert (switching.divide_by_last(relinearised, moduli=moduli, form="evaluations") == rescaled).all()
        cipher = lower


@pytest.mark.crosscheck
@pytest.mark.parametrize("steps", [1, -3, 0])
def test_rotations_equal_seal(seal, steps: int) -> None:
    oracle = seal(CKKS)
    element = galois_element(steps, 8192)
    keys = oracle.seal.GaloisKeys()
    oracle.generator.create_galois_keys([element], keys)
    key = oracle.keys(keys)[(element - 1) // 2]
    assert key is not None
    plain, cipher, turned = oracle.seal.Plaintext(), oracle.seal.Ciphertext(), oracle.seal.Ciphertext()
    oracle.seal.CKKSEncoder(oracle.context).encode([1.5, -2.0, 3.25], 2.0**24, plain)
    oracle.encryptor.encrypt(plain, cipher)
    if steps:
        oracle.evaluator.rotate_vector(cipher, steps, keys, turned)
    else:
        oracle.evaluator.complex_conjugate(cipher, keys, turned)
    parts, _ = oracle.opened(cipher)
    wanted, _ = oracle.opened(turned)
    both = switching.rotate(np.stack([parts, parts]), key, CKKS, element=element)
    assert (both == wanted).all(), "a batch of two"


@pytest.mark.crosscheck
def test_rotations_together_decrypt_as_rotations_alone(seal) -> None:
    """The slots agree to within noise whose standard deviation is near 6e-9, and the message is far above it.

    With digits that are not centred the noise of a few slots was 1e-7 to 1e-6.
    """
    oracle = seal(CKKS)
    scale = 2.0**40
    elements = [galois_element(steps, 8192) for steps in (1, 5, -2)]
    made = oracle.seal.GaloisKeys()
    oracle.generator.create_galois_keys(elements, made)
    keys = {element: oracle.keys(made)[(element - 1) // 2] for element in elements}
    values = np.random.default_rng(3).uniform(-1, 1, 4096)
    encoder = oracle.seal.CKKSEncoder(oracle.context)
    plain, cipher = oracle.seal.Plaintext(), oracle.seal.Ciphertext()
    encoder.encode(values.tolist(), scale, plain)
    oracle.encryptor.encrypt(plain, cipher)
    parts, fields = oracle.opened(cipher)
    together = switching.rotate_many(parts, keys, CKKS)
    for element, steps in zip(elements, (1, 5, -2), strict=True):
        oracle.decryptor.decrypt(oracle.made(together[element], fields), plain)
        assert np.abs(np.array(encoder.decode_double(plain)) - np.roll(values, -steps)).max() < 1e-7
    # The control: without the switch of keys nothing of the message is left.
    oracle.decryptor.decrypt(oracle.made(apply_galois(parts, elements[0]), fields), plain)
    assert np.abs(np.array(encoder.decode_double(plain)) - np.roll(values, -1)).max() > 1
    assert switching.rotate_many(parts, {}, CKKS) == {}
    with pytest.raises(ValueError, match="two parts"):
        switching.rotate_many(parts[:1], keys, CKKS)
    with pytest.raises(ValueError, match="key is"):
        switching.rotate_many(parts, {3: keys[elements[0]][:-1]}, CKKS)


@pytest.mark.crosscheck
def test_bfv_equals_seal(seal) -> None:
    primes = find_primes(4096, (25, 27, 25, 31))
    parameters = Parameters(scheme="bfv", degree=4096, moduli=primes[:3], special=primes[3], plain_modulus=1 << 10)
    oracle = seal(parameters)
    keys = oracle.seal.RelinKeys()
    oracle.generator.create_relin_keys(keys)
    (key,) = oracle.keys(keys)
    cipher, square, two, lower = (oracle.seal.Ciphertext() for _ in range(4))
    oracle.encryptor.encrypt(oracle.seal.Plaintext("5x^3 + 2"), cipher)
    oracle.evaluator.square(cipher, square)
    oracle.evaluator.relinearize(square, keys, two)
    relinearised, _ = oracle.opened(two)
    assert (switching.relinearise(oracle.opened(square)[0], key, parameters, form="coefficients") == relinearised).all()
    oracle.evaluator.mod_switch_to_next(cipher, lower)
    switched, fields = oracle.opened(lower)
    mine = switching.divide_by_last(oracle.opened(cipher)[0], moduli=parameters.moduli, form="coefficients")
    assert (mine == switched).all()
    plain = oracle.seal.Plaintext()
    oracle.decryptor.decrypt(oracle.made(mine, fields), plain)
    assert plain.to_string() == "5x^3 + 2"
